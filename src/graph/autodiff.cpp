// SPDX-License-Identifier: Apache-2.0
#include "graph/autodiff.h"

#include "core/format.h"
#include "kernels/op.h"

namespace tanul {

namespace {

// The gradients known so far, one per value, grown as nodes add values.
class Tape {
 public:
  explicit Tape(Graph& graph) : graph_(graph), gradient_(graph.values.size(), kNoValue) {}

  ValueId of(ValueId value) const { return gradient_[static_cast<size_t>(value)]; }

  void add(ValueId value, ValueId gradient, const std::string& layer) {
    ValueId& known = gradient_[static_cast<size_t>(value)];
    if (known == kNoValue) {
      known = gradient;
    } else {
      known = graph_.add_node(OpKind::add_fwd, layer, Phase::backward, {known, gradient}, Params{})
                  .front();
    }
  }

 private:
  Graph& graph_;
  std::vector<ValueId> gradient_;  // of the values that were there before differentiation
};

class NodeGradient : public GradContext {
 public:
  NodeGradient(Graph& graph, Tape& tape, Node node, const std::vector<bool>& needed)
      : graph_(graph), tape_(tape), node_(std::move(node)), needed_(needed) {}

  const Node& node() const override { return node_; }
  ValueId in(int i) const override { return node_.in[static_cast<size_t>(i)]; }
  ValueId out(int i) const override { return node_.out[static_cast<size_t>(i)]; }
  ValueId grad_out(int i) const override {
    return out(i) == kNoValue ? kNoValue : tape_.of(out(i));
  }
  bool wants(int i) const override {
    return i < static_cast<int>(node_.in.size()) && in(i) != kNoValue &&
           needed_[static_cast<size_t>(in(i))];
  }
  std::vector<ValueId> emit(OpKind kind, std::vector<ValueId> in, const Params& params) override {
    return graph_.add_node(kind, node_.layer, Phase::backward, std::move(in), params);
  }
  void set_grad(int i, ValueId gradient) override {
    if (wants(i) && gradient != kNoValue) tape_.add(in(i), gradient, node_.layer);
  }

 private:
  Graph& graph_;
  Tape& tape_;
  const Node node_;  // a copy: emitting nodes moves the graph's
  const std::vector<bool>& needed_;
};

}  // namespace

std::vector<ValueId> differentiate(Graph& graph,
                                   const std::vector<std::pair<ValueId, ValueId>>& seeds,
                                   const std::vector<ValueId>& wrt) {
  const size_t forward_nodes = graph.nodes.size();
  // A value's gradient is needed where the value is asked for or made of one that is.
  std::vector<bool> needed(graph.values.size(), false);
  for (ValueId value : wrt) needed[static_cast<size_t>(value)] = true;
  for (const Node& node : graph.nodes) {
    bool depends = false;
    for (ValueId in : node.in) depends |= in != kNoValue && needed[static_cast<size_t>(in)];
    for (ValueId out : node.out) {
      if (out != kNoValue && depends) needed[static_cast<size_t>(out)] = true;
    }
  }

  Tape tape(graph);
  for (const auto& [value, gradient] : seeds) tape.add(value, gradient, "");

  for (size_t i = forward_nodes; i-- > 0;) {
    const Node node = graph.nodes[i];
    bool reached = false;
    bool wanted = false;
    for (ValueId out : node.out) reached |= out != kNoValue && tape.of(out) != kNoValue;
    for (ValueId in : node.in) wanted |= in != kNoValue && needed[static_cast<size_t>(in)];
    if (!reached || !wanted) continue;
    const OpDef& op = op_def(node.kind);
    if (op.grad == nullptr) {
      fail(Code::unsupported, "layer \"{}\": {} has no gradient", node.layer, op_name(node.kind));
    }
    NodeGradient context(graph, tape, node, needed);
    op.grad(context);
  }

  std::vector<ValueId> gradients;
  for (ValueId value : wrt) gradients.push_back(tape.of(value));
  return gradients;
}

std::vector<ValueId> differentiate(Graph& graph, ValueId loss, const std::vector<ValueId>& wrt) {
  Value one;
  one.name = "d_loss";
  one.shape = Shape{1};
  one.kind = ValueKind::constant;
  one.constant = {1.0f};
  const ValueId seed = graph.add_value(one);
  return differentiate(graph, {{loss, seed}}, wrt);
}

}  // namespace tanul
