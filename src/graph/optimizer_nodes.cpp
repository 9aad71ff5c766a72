// SPDX-License-Identifier: Apache-2.0
#include "graph/optimizer_nodes.h"

#include <algorithm>
#include <utility>

#include "core/glob.h"
#include "kernels/linear/linear.h"
#include "kernels/op.h"
#include "kernels/optim/averaging.h"
#include "kernels/optim/loss_scale.h"
#include "kernels/optim/optim.h"

namespace tanul {

namespace {

// Makes the node that updates one parameter, by the kind of the optimizer.
class UpdateMaker {
 public:
  UpdateMaker(Graph& graph, const ParameterInfo& info, ValueId w, ValueId g, ValueId clip,
              const ParameterGroup* group, bool is_decayed)
      : graph_(graph),
        info_(info),
        w_(w),
        g_(g),
        clip_(clip),
        group_(group),
        is_decayed_(is_decayed),
        lr_scale_(group != nullptr ? static_cast<float>(group->lr_scale) : 1.0f) {
    node_.layer = info.name.substr(0, info.name.rfind('.'));
    node_.phase = Phase::update;
  }

  Node make(const Optimizer& optimizer) {
    std::visit([this](const auto& o) { add(o); }, optimizer);
    return std::move(node_);
  }

 private:
  ValueId state(const char* suffix, float start = 0) {
    Value value;
    value.name = info_.name + suffix;
    value.shape = info_.shape;
    value.kind = ValueKind::state;
    if (start != 0) value.constant = {start};
    return graph_.add_value(value);
  }
  float decay(float weight_decay) const {
    if (!is_decayed_) return 0;
    return group_ != nullptr && group_->weight_decay ? static_cast<float>(*group_->weight_decay)
                                                     : weight_decay;
  }

  template <typename P>
  void set(OpKind kind, const P& params) {
    node_.kind = kind;
    node_.params = Params::of(params);
  }
  // in: w, g, the states, clip;  out: w, the states
  void states(const std::vector<ValueId>& ids) {
    node_.in = {w_, g_};
    node_.out = {w_};
    node_.in.insert(node_.in.end(), ids.begin(), ids.end());
    node_.out.insert(node_.out.end(), ids.begin(), ids.end());
    node_.in.push_back(clip_);
  }

  void add(const Sgd& o) {
    set(OpKind::sgd_update,
        SgdParams{o.momentum, o.dampening, decay(o.weight_decay), lr_scale_, o.nesterov});
    states({o.momentum != 0 ? state(".momentum") : kNoValue});
  }
  template <typename A>
  void add_adam(const A& o, bool is_decoupled) {
    set(OpKind::adam_update, AdamParams{o.beta1, o.beta2, o.eps, decay(o.weight_decay), lr_scale_,
                                        is_decoupled ? 1 : 0});
    states({state(".adam_m"), state(".adam_v")});
    if (!o.amsgrad) return;
    const ValueId largest = state(".adam_v_max");
    node_.in.push_back(largest);  // behind the clip scale
    node_.out.push_back(largest);
  }
  void add(const Adam& o) { add_adam(o, false); }
  void add(const AdamW& o) { add_adam(o, true); }
  void add(const Adagrad& o) {
    set(OpKind::adagrad_update, AdagradParams{o.lr_decay, o.eps, decay(o.weight_decay), lr_scale_});
    states({state(".adagrad_sum", o.initial)});
  }
  void add(const Adadelta& o) {
    set(OpKind::adadelta_update, AdadeltaParams{o.rho, o.eps, decay(o.weight_decay), lr_scale_});
    states({state(".adadelta_g2"), state(".adadelta_u2")});
  }
  void add(const RmsProp& o) {
    set(OpKind::rmsprop_update,
        RmsPropParams{o.alpha, o.eps, o.momentum, decay(o.weight_decay), lr_scale_});
    states({state(".rmsprop_v"), o.centered ? state(".rmsprop_m") : kNoValue,
            o.momentum != 0 ? state(".momentum") : kNoValue});
  }
  void add(const Adamax& o) {
    set(OpKind::adamax_update,
        AdamaxParams{o.beta1, o.beta2, o.eps, decay(o.weight_decay), lr_scale_});
    states({state(".adam_m"), state(".adamax_u")});
  }
  void add(const NAdam& o) {
    set(OpKind::nadam_update, NAdamParams{o.beta1, o.beta2, o.eps, o.momentum_decay,
                                          decay(o.weight_decay), lr_scale_, o.decoupled});
    states({state(".adam_m"), state(".adam_v")});
  }
  void add(const RAdam& o) {
    set(OpKind::radam_update,
        RAdamParams{o.beta1, o.beta2, o.eps, decay(o.weight_decay), lr_scale_, o.decoupled});
    states({state(".adam_m"), state(".adam_v")});
  }
  void add(const Lion& o) {
    set(OpKind::lion_update, LionParams{o.beta1, o.beta2, decay(o.weight_decay), lr_scale_});
    states({state(".momentum")});
  }
  void add(const Lars& o) {
    set(OpKind::lars_update,
        LarsParams{o.momentum, o.trust_coefficient, decay(o.weight_decay), lr_scale_});
    states({state(".momentum")});
  }
  void add(const Lamb& o) {
    set(OpKind::lamb_update, LambParams{o.beta1, o.beta2, o.eps, decay(o.weight_decay), lr_scale_});
    states({state(".adam_m"), state(".adam_v")});
  }
  void add(const Muon& o) {
    if (info_.shape.rank() < 2) {
      // The step's rate is Muon's own times the schedule's factor.
      lr_scale_ *= o.lr > 0 ? o.adamw.lr / o.lr : 1.0f;
      return add(o.adamw);
    }
    set(OpKind::muon_update, MuonParams{o.momentum, o.eps, decay(o.weight_decay), lr_scale_,
                                        o.ns_steps, o.nesterov, o.match_rms_adamw});
    states({state(".momentum")});
  }

  Graph& graph_;
  const ParameterInfo& info_;
  const ValueId w_, g_, clip_;
  const ParameterGroup* const group_;
  const bool is_decayed_;
  float lr_scale_;
  Node node_;
};

constexpr size_t kNowhere = static_cast<size_t>(-1);

// Mutations that follow one another: each is placed behind the one before it.
using Chain = std::vector<Node>;

ValueId follower(Graph& graph, const ParameterInfo& info, const char* suffix) {
  Value value;
  value.name = info.name + suffix;
  value.shape = info.shape;
  value.kind = ValueKind::state;
  value.starts_as = info.name;
  return graph.add_value(value);
}

// The mutation nodes of each parameter, in parameter order: update, lookahead, average. With a scaled loss
// all of them look at `clip`.
std::vector<Chain> update_chains(Graph& graph, const Model::Impl& model,
                                 const std::vector<ValueId>& parameters,
                                 const std::vector<ValueId>& gradients,
                                 const StepGraphOptions& options, ValueId clip) {
  const ValueId left_out = options.scales_loss ? clip : kNoValue;
  std::vector<Chain> chains;
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (gradients[i] == kNoValue) continue;
    const ParameterInfo& info = model.parameters[i];
    const ValueId w = parameters[i];
    UpdateMaker maker(graph, info, w, gradients[i], clip, group_of(options.groups, info.name),
                      decays(options, info));
    Chain chain{maker.make(options.optimizer)};
    const std::string layer = chain.front().layer;
    if (options.lookahead_k > 0) {
      const ValueId slow = follower(graph, info, ".slow");
      chain.push_back({OpKind::lookahead_update,
                       layer,
                       Phase::update,
                       Params::of(LookaheadParams{static_cast<int32_t>(options.lookahead_k),
                                                  static_cast<float>(options.lookahead_alpha)}),
                       {slow, w, left_out},
                       {slow, w}});
    }
    if (options.ema_decay > 0) {
      const ValueId average = follower(graph, info, ".ema");
      chain.push_back({OpKind::ema_update,
                       layer,
                       Phase::update,
                       Params::of(EmaParams{static_cast<float>(options.ema_decay)}),
                       {average, w, left_out},
                       {average}});
    }
    chains.push_back(std::move(chain));
  }
  return chains;
}

// The last node that reads or writes a value or one that shares its memory; 0 where there is none.
class LastTouch {
 public:
  explicit LastTouch(const Graph& graph) : root_(graph.values.size()), at_(graph.values.size(), 0) {
    for (size_t i = 0; i < root_.size(); ++i) root_[i] = static_cast<ValueId>(i);
    for (const Node& node : graph.nodes) {
      if (op_is_view(node.kind)) root(node.out.front()) = root(node.in.front());
    }
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      for (const std::vector<ValueId>* ids : {&graph.nodes[i].in, &graph.nodes[i].out}) {
        for (ValueId id : *ids) {
          if (id != kNoValue) at_[static_cast<size_t>(root(id))] = i;
        }
      }
    }
  }
  size_t of(ValueId id) const { return at_[static_cast<size_t>(root_[static_cast<size_t>(id)])]; }

 private:
  ValueId& root(ValueId id) { return root_[static_cast<size_t>(id)]; }

  std::vector<ValueId> root_;  // what a value is a view of
  std::vector<size_t> at_;     // by root
};

// Updates by SGD are made part of the step that makes the gradient of a linear layer, so that this never
// lies in memory: where nothing else reads it, and where the layer's input, which lives until the update
// instead, is the smaller of the two. The step moves behind the last one that touches the weights.
void fuse_updates(Graph& graph, std::vector<Chain>& chains) {
  std::vector<int> readers(graph.values.size(), 0);
  std::vector<size_t> maker(graph.values.size(), kNowhere);
  const LastTouch last_touch(graph);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (ValueId in : graph.nodes[i].in) {
      if (in != kNoValue) ++readers[static_cast<size_t>(in)];
    }
    for (ValueId out : graph.nodes[i].out) {
      if (out != kNoValue) maker[static_cast<size_t>(out)] = i;
    }
  }
  std::vector<std::vector<Node>> behind(graph.nodes.size());
  std::vector<bool> is_gone(graph.nodes.size(), false);
  for (Chain& chain : chains) {
    const Node& update = chain.front();
    if (update.kind != OpKind::sgd_update || update.in[3] != kNoValue) continue;
    const ValueId w = update.in[0], g = update.in[1];
    const size_t at = maker[static_cast<size_t>(g)];
    if (at == kNowhere || graph.nodes[at].kind != OpKind::linear_bwd_weights) continue;
    if (g != graph.nodes[at].out[0]) continue;  // the bias
    if (readers[static_cast<size_t>(g)] != 0 || graph.value(g).keep) continue;
    const Node& gradient = graph.nodes[at];
    const Shape& x = graph.value(gradient.in[0]).shape;
    if (x.elems() > graph.value(g).shape.elems()) continue;
    const LinearSgdParams params{gradient.params.as<LinearParams>().has_bias,
                                 update.params.as<SgdParams>()};
    behind[std::max(at, last_touch.of(w))].push_back(
        {OpKind::linear_bwd_weights_sgd,
         gradient.layer,
         Phase::update,
         Params::of(params),
         {gradient.in[0], gradient.in[1], w, update.in[2]},
         {w, update.out[1], gradient.out[1]}});
    is_gone[at] = true;
    chain.erase(chain.begin());
  }
  std::vector<Node> nodes = std::move(graph.nodes);
  graph.nodes.clear();
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!is_gone[i]) graph.nodes.push_back(std::move(nodes[i]));
    for (Node& node : behind[i]) {
      graph.add_mutation(node.kind, node.layer, node.phase, node.in, node.out, node.params);
    }
  }
}

// Puts each mutation right behind the last node that touches what it touches, so that the gradient's
// memory is free again at once.
void schedule_updates(Graph& graph, std::vector<Chain> chains) {
  const LastTouch last_touch(graph);
  std::vector<std::vector<Node>> behind(std::max<size_t>(1, graph.nodes.size()));
  for (Chain& chain : chains) {
    size_t last = 0;
    for (Node& update : chain) {
      for (ValueId id : update.in) {
        if (id == kNoValue) continue;
        last = std::max(last, last_touch.of(id));
      }
      behind[last].push_back(std::move(update));
    }
  }
  std::vector<Node> nodes = std::move(graph.nodes);
  graph.nodes.clear();
  for (size_t i = 0; i < behind.size(); ++i) {
    if (i < nodes.size()) graph.nodes.push_back(std::move(nodes[i]));
    for (Node& update : behind[i]) {
      graph.add_mutation(update.kind, update.layer, update.phase, update.in, update.out,
                         update.params);
    }
  }
}

std::vector<ValueId> clipped_by_value(Graph& graph, std::vector<ValueId> gradients,
                                      double max_value, ValueId loss_scale) {
  for (ValueId& g : gradients) {
    if (g == kNoValue) continue;
    g = graph
            .add_node(OpKind::clip_value, "clip", Phase::update, {g, loss_scale},
                      Params::of(ClipValueParams{static_cast<float>(max_value)}))
            .front();
  }
  return gradients;
}

// What all gradients are scaled by in the updates; none: they are taken as they are.
ValueId gradient_scale(Graph& graph, const std::vector<ValueId>& gradients, double max_norm,
                       ValueId loss_scale) {
  std::vector<ValueId> in;
  for (ValueId g : gradients) {
    if (g != kNoValue) in.push_back(g);
  }
  if (in.empty()) return kNoValue;
  const auto most = static_cast<float>(max_norm);
  if (loss_scale != kNoValue) {
    in.insert(in.begin(), loss_scale);
    return graph
        .add_node(OpKind::loss_scale_check, "loss_scale", Phase::update, in,
                  Params::of(LossScaleCheckParams{most}))
        .front();
  }
  if (max_norm <= 0) return kNoValue;
  return graph.add_node(OpKind::clip_scale, "clip", Phase::update, in, Params::of(ClipParams{most}))
      .front();
}

// What accumulation keeps from one micro-batch to the next.
ValueId accumulated(Graph& graph, const std::string& name, const Shape& shape) {
  Value value;
  value.name = name;
  value.shape = shape;
  value.kind = ValueKind::state;
  return graph.add_value(value);
}

// Gradients go to the sums of the step, and nothing else happens.
void gather(Graph& graph, const Model::Impl& model, const std::vector<ValueId>& gradients,
            std::vector<Node> mutations, const AccumulatedLoss& loss) {
  const ValueId total = accumulated(graph, "accumulated.divisor", Shape{1});
  std::vector<Chain> chains;
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (gradients[i] == kNoValue) continue;
    const ParameterInfo& info = model.parameters[i];
    const ValueId sum = accumulated(graph, info.name + ".accumulated", info.shape);
    chains.push_back({{OpKind::accumulate_add,
                       info.name.substr(0, info.name.rfind('.')),
                       Phase::update,
                       Params::of(AccumulateParams{loss.is_sum}),
                       {sum, gradients[i], loss.stats, total},
                       {sum}}});
  }
  for (Node& mutation : mutations) chains.push_back({std::move(mutation)});
  schedule_updates(graph, std::move(chains));
  graph.add_mutation(OpKind::accumulate_total, "accumulate", Phase::update, {total, loss.stats},
                     {total}, Params::of(AccumulateTotalParams{0}));
}

// The gradients of the whole step, from those gathered and those of its last micro-batch.
std::vector<ValueId> with_gathered(Graph& graph, const Model::Impl& model,
                                   std::vector<ValueId> gradients, const AccumulatedLoss& loss,
                                   ValueId total) {
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (gradients[i] == kNoValue) continue;
    const ParameterInfo& info = model.parameters[i];
    const ValueId sum = accumulated(graph, info.name + ".accumulated", info.shape);
    gradients[i] = graph
                       .add_node(OpKind::accumulate_mean, info.name.substr(0, info.name.rfind('.')),
                                 Phase::update, {gradients[i], sum, loss.stats, total},
                                 Params::of(AccumulateParams{loss.is_sum}))
                       .front();
  }
  return gradients;
}

}  // namespace

const ParameterGroup* group_of(const std::vector<ParameterGroup>& groups, const std::string& name) {
  for (const ParameterGroup& group : groups) {
    if (glob_match(group.pattern, name)) return &group;
  }
  return nullptr;
}

bool is_frozen_by(const std::vector<ParameterGroup>& groups, const std::string& name) {
  const ParameterGroup* group = group_of(groups, name);
  return group != nullptr && group->frozen;
}

bool decays(const StepGraphOptions& options, const ParameterInfo& info) {
  return options.decay_biases || !(info.is_bias || info.is_norm);
}

void append_optimizer(Graph& graph, const Model::Impl& model,
                      const std::vector<ValueId>& parameters, std::vector<ValueId> gradients,
                      const StepGraphOptions& options, std::vector<Node> mutations,
                      const AccumulatedLoss& loss, ValueId loss_scale) {
  if (options.accumulation == Accumulation::gather) {
    return gather(graph, model, gradients, std::move(mutations), loss);
  }
  ValueId total = kNoValue;
  if (options.accumulation == Accumulation::apply) {
    total = accumulated(graph, "accumulated.divisor", Shape{1});
    gradients = with_gathered(graph, model, std::move(gradients), loss, total);
  }
  if (options.clip_value > 0) {
    gradients = clipped_by_value(graph, std::move(gradients), options.clip_value, loss_scale);
  }
  const ValueId clip = gradient_scale(graph, gradients, options.clip_norm, loss_scale);
  std::vector<Chain> chains = update_chains(graph, model, parameters, gradients, options, clip);
  fuse_updates(graph, chains);
  for (Node& mutation : mutations) chains.push_back({std::move(mutation)});
  schedule_updates(graph, std::move(chains));
  if (loss_scale != kNoValue && clip != kNoValue) {
    graph.add_mutation(OpKind::loss_scale_update, "loss_scale", Phase::update, {loss_scale, clip},
                       {loss_scale}, Params::of(LossScaleParams{}));
  }
  if (total != kNoValue) {  // the next step begins anew
    graph.add_mutation(OpKind::accumulate_total, "accumulate", Phase::update, {total, loss.stats},
                       {total}, Params::of(AccumulateTotalParams{1}));
  }
}

}  // namespace tanul
