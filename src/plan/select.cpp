// SPDX-License-Identifier: Apache-2.0
#include "plan/select.h"

#include "core/format.h"
#include "kernels/op.h"

namespace tanul {

int64_t value_bytes(const Value& value) { return value.shape.elems() * dtype_bytes(value.dtype); }

Operand operand_of(const Graph& graph, ValueId id) {
  Operand operand{};
  operand.rank = -1;
  if (id == kNoValue) return operand;
  const Value& value = graph.value(id);
  if (value.shape.rank() > kMaxOperandRank) {
    fail(Code::unsupported, "\"{}\": tensors have at most {} extents here, got {}", value.name,
         kMaxOperandRank, value.shape.str());
  }
  operand.rank = value.shape.rank();
  for (int i = 0; i < operand.rank; ++i) operand.dims[i] = value.shape[i];
  operand.dtype = static_cast<int32_t>(value.dtype);
  return operand;
}

Selection select_implementation(const Graph& graph, const Node& node, const StepArgs& args,
                                const PlanOptions& options) {
  Selection result;
  const char* op = op_name(node.kind);
  std::string wanted;
  for (const auto& [kind, name] : options.force) {
    if (kind == op) wanted = name;
  }
  const ImplementationList& list = options.implementations(node.kind);
  if (list.count == 0) {
    fail(Code::unsupported, "{} of layer \"{}\": no kernel for it on {}", op, node.layer,
         options.device);
  }
  for (int i = 0; i < list.count && result.implementation == nullptr; ++i) {
    const Implementation& candidate = list.items[i];
    const char* refusal = candidate.supports(args);
    if (refusal == nullptr && options.precise_convolutions && candidate.is_less_precise) {
      refusal = "precise_convolutions is set";
    }
    if (refusal == nullptr && !wanted.empty() && wanted != candidate.name) {
      refusal = "another one is forced";
    }
    if (refusal == nullptr) {
      result.implementation = &candidate;
    } else {
      result.refused.push_back(fmt::format("{}: {}", candidate.name, refusal));
    }
  }
  if (result.implementation == nullptr) {
    std::string why;
    for (const std::string& refusal : result.refused) why += "; " + refusal;
    fail(Code::unsupported, "layer \"{}\": no implementation of {} fits{}", node.layer, op, why);
  }
  result.cost.workspace_bytes = result.implementation->workspace_bytes(args, options.threads);
  if (result.cost.workspace_bytes < 0) {
    const auto status = static_cast<int>(-result.cost.workspace_bytes);
    fail(Code::device, "{} of layer \"{}\", {}: {}", op, node.layer, result.implementation->name,
         options.status_text ? options.status_text(status) : std::to_string(status));
  }
  const OpDef& def = op_def(node.kind);
  result.cost.flops = def.flops == nullptr ? 0 : def.flops(args);
  for (const std::vector<ValueId>* ids : {&node.in, &node.out}) {
    for (ValueId id : *ids) {
      if (id != kNoValue) result.cost.bytes += static_cast<double>(value_bytes(graph.value(id)));
    }
  }
  return result;
}

}  // namespace tanul
