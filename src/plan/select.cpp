// SPDX-License-Identifier: Apache-2.0
#include "plan/select.h"

#include <utility>

#include "core/format.h"
#include "kernels/op.h"
#include "plan/tuner.h"

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

namespace {

// Why an implementation is not taken; empty where it may be. It is asked itself only where the options do not
// rule it out: a library prepares what it supports.
std::string refusal_of(const Implementation& candidate, const StepArgs& args,
                       const PlanOptions& options, const std::string& wanted) {
  if (options.precise_convolutions && candidate.is_less_precise) {
    return "precise_convolutions is set";
  }
  if (candidate.multiplies_in != Precision::fp32 && candidate.multiplies_in != options.precision) {
    return fmt::format("multiplies in {}, the plan wants {}",
                       precision_name(candidate.multiplies_in), precision_name(options.precision));
  }
  if (options.is_deterministic && !candidate.is_deterministic) {
    return "is not deterministic, and deterministic is set";
  }
  if (candidate.least_architecture > options.architecture) {
    return fmt::format("needs code for sm_{} or newer, {} runs sm_{}", candidate.least_architecture,
                       options.device, options.architecture);
  }
  if (!wanted.empty() && wanted != candidate.name) return "another one is forced";
  const char* unsupported = candidate.supports(args);
  return unsupported == nullptr ? "" : unsupported;
}

}  // namespace

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
  std::vector<const Implementation*> fitting;
  std::vector<int64_t> workspace_bytes;  // of each
  for (int i = 0; i < list.count && (fitting.empty() || options.tuner != nullptr); ++i) {
    const Implementation& candidate = list.items[i];
    const std::string refusal = refusal_of(candidate, args, options, wanted);
    if (!refusal.empty()) {
      result.refused.push_back(fmt::format("{}: {}", candidate.name, refusal));
      continue;
    }
    const int64_t bytes = candidate.workspace_bytes(args, options.threads);
    if (bytes < 0) {
      const auto status = static_cast<int>(-bytes);
      fail(Code::device, "{} of layer \"{}\", {}: {}", op, node.layer, candidate.name,
           options.status_text ? options.status_text(status) : std::to_string(status));
    }
    fitting.push_back(&candidate);
    workspace_bytes.push_back(bytes);
  }
  if (fitting.empty()) {
    std::string why;
    for (const std::string& refusal : result.refused) why += "; " + refusal;
    fail(Code::unsupported, "layer \"{}\": no implementation of {} fits{}", node.layer, op, why);
  }
  Tuner::Choice choice;
  if (fitting.size() > 1) choice = options.tuner->choose(node.kind, args, fitting);
  result.implementation = fitting[choice.place];
  result.tuned = std::move(choice.why);
  result.cost.workspace_bytes = workspace_bytes[choice.place];
  const OpDef& def = op_def(node.kind);
  result.cost.flops = def.flops == nullptr ? 0 : def.flops(args);
  for (const std::vector<ValueId>* ids : {&node.in, &node.out}) {
    for (ValueId id : *ids) {
      // of a data set a batch of it is read, which is the output
      if (id == kNoValue || graph.value(id).kind == ValueKind::data_set) continue;
      result.cost.bytes += static_cast<double>(value_bytes(graph.value(id)));
    }
  }
  return result;
}

}  // namespace tanul
