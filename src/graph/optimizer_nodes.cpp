// SPDX-License-Identifier: Apache-2.0
#include "graph/optimizer_nodes.h"

#include <algorithm>
#include <utility>

#include "kernels/op.h"
#include "kernels/optim/optim.h"

namespace tanul {

namespace {

// The mutation nodes of the optimizer, one per parameter, in parameter order.
std::vector<Node> update_nodes(Graph& graph, const Model::Impl& model,
                               const std::vector<ValueId>& parameters,
                               const std::vector<ValueId>& gradients,
                               const StepGraphOptions& options, ValueId clip) {
  std::vector<Node> updates;
  const auto add_state = [&](const ParameterInfo& info, const char* suffix) {
    Value value;
    value.name = info.name + suffix;
    value.shape = info.shape;
    value.kind = ValueKind::state;
    return graph.add_value(value);
  };
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (gradients[i] == kNoValue) continue;
    const ParameterInfo& info = model.parameters[i];
    const bool decays = options.decay_biases || !info.is_bias;
    const ValueId w = parameters[i];
    const ValueId g = gradients[i];
    Node node;
    node.layer = info.name.substr(0, info.name.rfind('.'));
    node.phase = Phase::update;
    if (const auto* sgd = std::get_if<Sgd>(&options.optimizer)) {
      node.kind = OpKind::sgd_update;
      const ValueId v = sgd->momentum != 0 ? add_state(info, ".momentum") : kNoValue;
      node.in = {w, g, v, clip};
      node.out = {w, v};
      node.params = Params::of(SgdParams{sgd->momentum, sgd->dampening,
                                         decays ? sgd->weight_decay : 0.0f, 1.0f, sgd->nesterov});
    } else {
      const auto* adam = std::get_if<Adam>(&options.optimizer);
      const auto* adamw = std::get_if<AdamW>(&options.optimizer);
      node.kind = OpKind::adam_update;
      const ValueId m = add_state(info, ".adam_m");
      const ValueId v = add_state(info, ".adam_v");
      node.in = {w, g, m, v, clip};
      node.out = {w, m, v};
      node.params = adam != nullptr
                        ? Params::of(AdamParams{adam->beta1, adam->beta2, adam->eps,
                                                decays ? adam->weight_decay : 0.0f, 1.0f, 0})
                        : Params::of(AdamParams{adamw->beta1, adamw->beta2, adamw->eps,
                                                decays ? adamw->weight_decay : 0.0f, 1.0f, 1});
    }
    updates.push_back(std::move(node));
  }
  return updates;
}

// Puts each update right behind the last node that reads its parameter or makes its gradient, so
// that the gradient's memory is free again at once.
void schedule_updates(Graph& graph, std::vector<Node> updates) {
  std::vector<ValueId> root(graph.values.size());  // what a value is a view of
  for (size_t i = 0; i < root.size(); ++i) root[i] = static_cast<ValueId>(i);
  for (const Node& node : graph.nodes) {
    if (!op_is_view(node.kind)) continue;
    root[static_cast<size_t>(node.out.front())] = root[static_cast<size_t>(node.in.front())];
  }
  std::vector<std::vector<Node>> behind(graph.nodes.size());
  for (Node& update : updates) {
    size_t last = 0;
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      const auto touches = [&](const std::vector<ValueId>& ids) {
        return std::any_of(ids.begin(), ids.end(), [&](ValueId id) {
          if (id == kNoValue) return false;
          return std::any_of(update.in.begin(), update.in.end(), [&](ValueId own) {
            return own != kNoValue &&
                   root[static_cast<size_t>(own)] == root[static_cast<size_t>(id)];
          });
        });
      };
      if (touches(graph.nodes[i].in) || touches(graph.nodes[i].out)) last = i;
    }
    behind[last].push_back(std::move(update));
  }
  std::vector<Node> nodes = std::move(graph.nodes);
  graph.nodes.clear();
  for (size_t i = 0; i < nodes.size(); ++i) {
    graph.nodes.push_back(std::move(nodes[i]));
    for (Node& update : behind[i]) {
      graph.add_mutation(update.kind, update.layer, update.phase, update.in, update.out,
                         update.params);
    }
  }
}

}  // namespace

void append_optimizer(Graph& graph, const Model::Impl& model,
                      const std::vector<ValueId>& parameters, const std::vector<ValueId>& gradients,
                      const StepGraphOptions& options, std::vector<Node> mutations) {
  ValueId clip = kNoValue;
  if (options.clip_norm > 0) {
    std::vector<ValueId> present;
    for (ValueId g : gradients) {
      if (g != kNoValue) present.push_back(g);
    }
    clip = graph
               .add_node(OpKind::clip_scale, "clip", Phase::update, present,
                         Params::of(ClipParams{static_cast<float>(options.clip_norm)}))
               .front();
  }
  std::vector<Node> updates = update_nodes(graph, model, parameters, gradients, options, clip);
  for (Node& mutation : mutations) updates.push_back(std::move(mutation));
  schedule_updates(graph, std::move(updates));
}

}  // namespace tanul
