// SPDX-License-Identifier: Apache-2.0
#include "graph/recompute.h"

#include <algorithm>
#include <map>
#include <utility>

#include "kernels/op.h"

namespace tanul {

namespace {

bool reads(const Node& node, ValueId value) {
  return std::find(node.in.begin(), node.in.end(), value) != node.in.end();
}

// `value` and, transitively, the views of it that the forward pass makes, each behind what it views.
std::vector<ValueId> with_views(const Graph& graph, ValueId value) {
  std::vector<ValueId> all{value};
  for (const Node& node : graph.nodes) {
    if (!op_is_view(node.kind) || node.phase == Phase::backward) continue;
    const bool is_view = std::find(all.begin(), all.end(), node.in.front()) != all.end();
    if (is_view) all.push_back(node.out.front());
  }
  return all;
}

bool is_read_backward(const Graph& graph, ValueId value) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
    return node.phase == Phase::backward && reads(node, value);
  });
}

// Appends `node` with new outputs, as its `infer` makes them; the first one is called `name`.
ValueId append(Graph& graph, const Node& node, const std::string& name) {
  const ValueId out =
      graph.add_node(node.kind, node.layer, Phase::backward, node.in, node.params).front();
  graph.value(out).name = name;
  return out;
}

void recompute_output(Graph& graph, const Node& made_by) {
  const ValueId y = made_by.out.front();
  const std::vector<ValueId> views = with_views(graph, y);
  const auto first = std::find_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
    return node.phase == Phase::backward && !op_is_view(node.kind) &&
           std::any_of(views.begin(), views.end(), [&](ValueId v) { return reads(node, v); });
  });
  if (first == graph.nodes.end()) return;
  const auto at = first - graph.nodes.begin();

  // The copies are appended, so that `infer` makes their values, and then moved to their place.
  const auto before = static_cast<long>(graph.nodes.size());
  std::map<ValueId, ValueId> copy;
  copy[y] = append(graph, op_def(made_by.kind).recompute(made_by), graph.value(y).name + ".again");
  for (size_t i = 1; i < views.size(); ++i) {
    const auto maker = std::find_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
      return !node.out.empty() && node.out[0] == views[i];
    });
    Node view = *maker;
    view.in.front() = copy.at(view.in.front());
    copy[views[i]] = append(graph, view, graph.value(views[i]).name + ".again");
  }
  for (long i = at; i < before; ++i) {
    Node& node = graph.nodes[static_cast<size_t>(i)];
    if (node.phase != Phase::backward) continue;
    for (ValueId& in : node.in) {
      const auto found = copy.find(in);
      if (found != copy.end()) in = found->second;
    }
  }
  std::rotate(graph.nodes.begin() + at, graph.nodes.begin() + before, graph.nodes.end());
}

}  // namespace

void recompute(Graph& graph) {
  // From the last layer to the first: what makes an output again may itself read one that is made
  // again.
  std::vector<Node> candidates;
  for (const Node& node : graph.nodes) {
    if (node.phase == Phase::forward && op_def(node.kind).recompute != nullptr) {
      candidates.push_back(node);
    }
  }
  for (auto node = candidates.rbegin(); node != candidates.rend(); ++node) {
    // Only where its own gradient keeps its input.
    if (is_read_backward(graph, node->in.front())) recompute_output(graph, *node);
  }
}

}  // namespace tanul
