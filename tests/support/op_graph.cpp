// SPDX-License-Identifier: Apache-2.0
#include "support/op_graph.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "core/philox.h"
#include "kernels/op.h"

namespace tanul::test {

namespace {

double value_at(const Fill& fill, const Philox& philox, int64_t i) {
  const uint64_t at = static_cast<uint64_t>(i);
  switch (fill.kind) {
    case Fill::normal: return fill.scale * philox.normal(at);
    case Fill::integers:
    case Fill::half_integers: {
      const double bound = std::floor(fill.scale);
      const double value =
          static_cast<double>(philox.below(at, static_cast<uint64_t>(2 * bound + 1))) - bound;
      return fill.kind == Fill::integers ? value : value + 0.5;
    }
    case Fill::away_from_zero: {
      const double value = fill.scale * philox.normal(at);
      return value + (value < 0 ? -0.25 : 0.25);
    }
    case Fill::positive: return fill.scale * (0.5 + philox.uniform(at));
    case Fill::labels:
      return static_cast<double>(philox.below(at, static_cast<uint64_t>(fill.scale)));
    case Fill::list: return fill.values[static_cast<size_t>(i) % fill.values.size()];
    case Fill::distinct: break;
  }
  return 0;
}

double round_to(DType dtype, double value) {
  if (dtype == DType::f32) return static_cast<double>(static_cast<float>(value));
  return std::nearbyint(value);
}

// One node's gradient rule alone: the gradients of its outputs are inputs of the graph.
class LoneNode : public GradContext {
 public:
  LoneNode(OpGraph& graph, Node node, const std::vector<int>& wanted)
      : graph_(graph), node_(std::move(node)), wanted_(wanted) {}

  const Node& node() const override { return node_; }
  ValueId in(int i) const override { return node_.in.at(static_cast<size_t>(i)); }
  ValueId out(int i) const override { return node_.out.at(static_cast<size_t>(i)); }
  ValueId grad_out(int i) const override { return graph_.dy.at(static_cast<size_t>(i)); }
  bool wants(int i) const override {
    return std::find(wanted_.begin(), wanted_.end(), i) != wanted_.end();
  }
  std::vector<ValueId> emit(OpKind kind, std::vector<ValueId> in, const Params& params) override {
    return graph_.graph.add_node(kind, node_.layer, Phase::backward, std::move(in), params);
  }
  void set_grad(int i, ValueId gradient) override {
    if (graph_.grad.at(static_cast<size_t>(i)) != kNoValue) {
      throw std::logic_error("the grad rule set a gradient twice");
    }
    if (wants(i)) graph_.grad[static_cast<size_t>(i)] = gradient;
  }

 private:
  OpGraph& graph_;
  const Node node_;
  const std::vector<int>& wanted_;
};

}  // namespace

RefTensor make_values(const In& in, const std::string& case_name, int operand) {
  if (!in.present) return RefTensor::absent();
  RefTensor t(in.shape, in.dtype);
  const Philox philox{7, philox_stream(case_name), static_cast<uint32_t>(operand)};
  for (int64_t i = 0; i < t.elems(); ++i) {
    t[i] = round_to(in.dtype, value_at(in.fill, philox, i));
  }
  if (in.fill.kind == Fill::distinct) {
    std::iota(t.v.begin(), t.v.end(), 0.0);
    for (int64_t i = t.elems() - 1; i > 0; --i) {
      const uint64_t at = static_cast<uint64_t>(i);
      std::swap(t[i], t[static_cast<int64_t>(philox.below(at, at + 1))]);
    }
    for (double& value : t.v) value = (value - static_cast<double>(t.elems()) / 2) * in.fill.scale;
  }
  return t;
}

OpGraph::OpGraph(const OpCase& op_case, const std::vector<int>& wanted) {
  for (const In& operand : op_case.in) {
    in.push_back(!operand.present ? kNoValue
                                  : graph.add_value({"in" + std::to_string(in.size()),
                                                     operand.shape,
                                                     operand.dtype,
                                                     ValueKind::input,
                                                     false,
                                                     {}}));
  }
  if (!op_case.mutates.empty()) {
    for (const auto& pair : op_case.mutates) out.push_back(in.at(static_cast<size_t>(pair.first)));
    graph.add_mutation(op_case.kind, "layer", Phase::update, in, out, op_case.params);
    return;
  }
  out = graph.add_node(op_case.kind, "layer", Phase::forward, in, op_case.params);
  grad.assign(in.size(), kNoValue);
  if (wanted.empty()) return;
  // Only the first output of a forward step takes part in the loss; the others are statistics.
  dy.assign(out.size(), kNoValue);
  Value weights;
  weights.name = "dy";
  weights.shape = graph.value(out[0]).shape;
  weights.kind = ValueKind::input;
  dy[0] = graph.add_value(weights);
  LoneNode context(*this, graph.nodes[0], wanted);
  op_def(op_case.kind).grad(context);
}

const RefTensor& RefInterpreter::eval(ValueId value) {
  const auto known = known_.find(value);
  if (known != known_.end()) return known->second;
  for (const Node& node : graph_.nodes) {
    if (std::find(node.out.begin(), node.out.end(), value) == node.out.end()) continue;
    std::vector<RefTensor> outs = reference(node.kind, node.params, operands(node), context_);
    for (size_t i = 0; i < node.out.size(); ++i) {
      if (node.out[i] != kNoValue) known_[node.out[i]] = std::move(outs.at(i));
    }
    return known_.at(value);
  }
  throw std::logic_error("nothing makes value " + std::to_string(value));
}

std::vector<RefTensor> RefInterpreter::operands(const Node& node) {
  std::vector<RefTensor> in;
  for (ValueId id : node.in) in.push_back(id == kNoValue ? RefTensor::absent() : eval(id));
  return in;
}

void feed_case(RefInterpreter& interpreter, const OpGraph& graph, const OpCase& op_case,
               const Fill* fill) {
  for (size_t i = 0; i < op_case.in.size(); ++i) {
    if (graph.in[i] == kNoValue) continue;
    In operand = op_case.in[i];
    if (fill != nullptr && operand.dtype == DType::f32) operand.fill = *fill;
    interpreter.feed(graph.in[i], make_values(operand, op_case.name, static_cast<int>(i)));
  }
  for (size_t i = 0; i < graph.dy.size(); ++i) {
    if (graph.dy[i] == kNoValue) continue;
    const In weights{graph.graph.value(graph.dy[i]).shape, fill != nullptr ? *fill : Fill{},
                     DType::f32, true};
    interpreter.feed(graph.dy[i], make_values(weights, op_case.name, 100 + static_cast<int>(i)));
  }
}

}  // namespace tanul::test
