// SPDX-License-Identifier: Apache-2.0
#include "graph/recompute.h"

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/op.h"

namespace tanul {

namespace {

bool is_of_forward_pass(const Node& node) {
  return node.phase == Phase::load || node.phase == Phase::forward;
}

class Recomputation {
 public:
  Recomputation(Graph& graph, const Keeping& keeping)
      : graph_(graph), forward_(std::move(graph.nodes)), keep_(graph.values.size(), Keep::kept) {
    graph_.nodes.clear();
    const size_t count = graph_.values.size();
    maker_.assign(count, -1);
    for (std::vector<ValueId>& copy : copy_) copy.assign(count, kNoValue);
    for (size_t n = 0; n < forward_.size(); ++n) {
      const Node& node = forward_[n];
      if (is_of_forward_pass(node)) note(node, static_cast<int32_t>(n), keeping);
    }
  }

  std::vector<std::pair<ValueId, ValueId>> run() {
    for (const Node& node : forward_) {
      if (node.phase != Phase::backward) {
        graph_.nodes.push_back(node);
        continue;
      }
      Node reader = node;
      for (ValueId& in : reader.in) in = again(in, false);
      graph_.nodes.push_back(std::move(reader));
    }
    return std::move(remade_);
  }

 private:
  void note(const Node& node, int32_t n, const Keeping& keeping) {
    for (size_t o = 0; o < node.out.size(); ++o) {
      const ValueId out = node.out[o];
      if (out == kNoValue || graph_.value(out).keep) continue;
      const auto at = static_cast<size_t>(out);
      maker_[at] = n;
      if (op_is_view(node.kind)) {
        keep_[at] = keep_[static_cast<size_t>(node.in.front())];
      } else if (at < keeping.size() && (o == 0 || op_def(node.kind).recompute == nullptr)) {
        keep_[at] = keeping[at];
      }
    }
  }

  // What a node of the backward pass reads in place of `id`. `is_on_the_way`: to make another value
  // again, else to propagate a gradient.
  ValueId again(ValueId id, bool is_on_the_way) {
    if (id == kNoValue || static_cast<size_t>(id) >= keep_.size()) return id;
    const Keep keep = keep_[static_cast<size_t>(id)];
    if (keep == Keep::kept) return id;
    const size_t purpose = keep == Keep::fleeting && is_on_the_way ? 1 : 0;
    if (copy_of(id, purpose) == kNoValue) make_again(id, keep == Keep::remade || is_on_the_way);
    return copy_of(id, purpose);
  }

  void make_again(ValueId id, bool is_on_the_way) {
    const Node& maker = forward_[static_cast<size_t>(maker_[static_cast<size_t>(id)])];
    const OpDef& op = op_def(maker.kind);
    const Node node = op.recompute != nullptr ? op.recompute(maker) : maker;
    std::vector<ValueId> in;
    for (ValueId operand : node.in) in.push_back(again(operand, is_on_the_way));
    const std::vector<ValueId> out =
        graph_.add_node(node.kind, node.layer, Phase::backward, std::move(in), node.params);
    for (size_t o = 0; o < std::min(out.size(), maker.out.size()); ++o) {
      const ValueId original = maker.out[o];
      if (original == kNoValue || out[o] == kNoValue) continue;
      graph_.value(out[o]).name = graph_.value(original).name + ".again";
      remade_.emplace_back(out[o], original);
      const bool is_apart = keep_[static_cast<size_t>(original)] == Keep::fleeting;
      ValueId& copy = copy_of(original, is_apart && is_on_the_way ? 1 : 0);
      if (copy == kNoValue) copy = out[o];
    }
  }

  ValueId& copy_of(ValueId id, size_t purpose) { return copy_[purpose][static_cast<size_t>(id)]; }

  Graph& graph_;
  const std::vector<Node> forward_;  // the nodes as they were
  std::vector<Keep> keep_;           // of each value that was there before
  std::vector<int32_t> maker_;       // of each: the place of the node that makes it, in forward_
  // Of each: what stands for it in the backward pass; of what is fleeting, [1] on the way to others.
  std::array<std::vector<ValueId>, 2> copy_;
  std::vector<std::pair<ValueId, ValueId>> remade_;
};

}  // namespace

Keeping default_keeping(const Graph& graph) {
  std::vector<bool> is_read_backward(graph.values.size(), false);
  for (const Node& node : graph.nodes) {
    if (node.phase != Phase::backward) continue;
    for (ValueId in : node.in) {
      if (in != kNoValue) is_read_backward[static_cast<size_t>(in)] = true;
    }
  }
  Keeping keeping(graph.values.size(), Keep::kept);
  for (const Node& node : graph.nodes) {
    if (node.phase != Phase::forward || op_def(node.kind).recompute == nullptr) continue;
    // Only where its own gradient keeps its input.
    if (is_read_backward[static_cast<size_t>(node.in.front())]) {
      keeping[static_cast<size_t>(node.out.front())] = Keep::remade;
    }
  }
  return keeping;
}

std::vector<std::pair<ValueId, ValueId>> recompute(Graph& graph, const Keeping& keeping) {
  return Recomputation(graph, keeping).run();
}

}  // namespace tanul
