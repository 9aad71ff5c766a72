// SPDX-License-Identifier: Apache-2.0
// The tables that ops.def makes: names, definitions, CPU implementations; and Graph::add_node.
#include "kernels/op.h"

namespace tanul {

namespace {

struct Row {
  const char* name;
  const OpDef* def;
  const ImplementationList* cpu;
};

const ImplementationList kNone{nullptr, 0};

const Row& row(OpKind kind) {
  static const Row rows[] = {
#define TANUL_STEP(name) {#name, &op_##name, &cpu_##name},
#define TANUL_VIEW(name) {#name, &op_##name, &kNone},
#include "kernels/ops.def"
#undef TANUL_STEP
#undef TANUL_VIEW
  };
  return rows[static_cast<size_t>(kind)];
}

}  // namespace

const char* op_name(OpKind kind) { return row(kind).name; }
const OpDef& op_def(OpKind kind) { return *row(kind).def; }
bool op_is_view(OpKind kind) { return row(kind).cpu == &kNone; }
const ImplementationList& cpu_implementations(OpKind kind) { return *row(kind).cpu; }

std::string InferContext::where() const {
  std::string op = op_name(kind_);
  const size_t at = op.rfind("_fwd");
  if (at != std::string::npos) op.resize(at);
  if (op_def(kind_).user_name != nullptr) op = op_def(kind_).user_name;
  if (user_name_ != nullptr) op = user_name_;
  return layer_.empty() ? op : op + " \"" + layer_ + "\"";
}

std::vector<ValueId> Graph::add_node(OpKind kind, const std::string& layer, Phase phase,
                                     std::vector<ValueId> in, const Params& params) {
  Node node{kind, layer, phase, params, std::move(in), {}};
  InferContext context(*this, kind, layer, node.in, node.params);
  op_def(kind).infer(context);
  for (size_t i = 0; i < context.outs().size(); ++i) {
    const InferContext::Out& out = context.outs()[i];
    if (!out.present) {
      node.out.push_back(kNoValue);
      continue;
    }
    std::string name = layer + "." + op_name(kind);
    if (i > 0) name += "." + std::to_string(i);
    node.out.push_back(add_value({name, out.shape, out.dtype, ValueKind::temp, false, {}}));
  }
  std::vector<ValueId> outs = node.out;
  nodes.push_back(std::move(node));
  return outs;
}

void Graph::add_mutation(OpKind kind, const std::string& layer, Phase phase,
                         std::vector<ValueId> in, std::vector<ValueId> out, const Params& params) {
  Node node{kind, layer, phase, params, std::move(in), std::move(out)};
  InferContext context(*this, kind, layer, node.in, node.params);
  op_def(kind).infer(context);
  nodes.push_back(std::move(node));
}

}  // namespace tanul
