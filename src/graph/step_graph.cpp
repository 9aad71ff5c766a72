// SPDX-License-Identifier: Apache-2.0
#include "graph/step_graph.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "core/format.h"
#include "graph/autodiff.h"
#include "graph/fuse.h"
#include "graph/loss_targets.h"
#include "graph/optimizer_nodes.h"
#include "graph/recompute.h"
#include "kernels/gather/gather.h"
#include "kernels/input_load/input_load.h"
#include "kernels/op.h"
#include "kernels/optim/loss_scale.h"
#include "kernels/optim/penalty.h"

namespace tanul {

namespace {

Shape with_batch(const Shape& shape, int64_t batch) {
  Shape result = shape;
  result[0] = batch;
  return result;
}

// A node of the model, being lowered.
class LoweredNode : public LowerContext {
 public:
  LoweredNode(Graph& graph, const Node& node, std::vector<ValueId> in, bool is_training,
              std::vector<Node>& mutations)
      : graph_(graph),
        node_(node),
        in_(std::move(in)),
        is_training_(is_training),
        mutations_(mutations) {}

  const Node& node() const override { return node_; }
  ValueId in(int i) const override {
    return i < static_cast<int>(in_.size()) ? in_[static_cast<size_t>(i)] : kNoValue;
  }
  Shape shape(int i) const override { return graph_.value(in(i)).shape; }
  bool is_training() const override { return is_training_; }
  std::vector<ValueId> emit(OpKind kind, std::vector<ValueId> in, const Params& params) override {
    return graph_.add_node(kind, node_.layer, node_.phase, std::move(in), params);
  }
  void mutate(OpKind kind, std::vector<ValueId> in, std::vector<ValueId> out,
              const Params& params) override {
    mutations_.push_back({kind, node_.layer, Phase::update, params, std::move(in), std::move(out)});
  }

 private:
  Graph& graph_;
  const Node& node_;
  const std::vector<ValueId> in_;
  const bool is_training_;
  std::vector<Node>& mutations_;
};

// The samples of an input as they lie in the data set, and the step that normalises them.
StepGraph::Input add_input(Graph& graph, const Model::Impl& model, size_t i,
                           const StepGraphOptions& options, std::vector<ValueId>& here) {
  const Model::Impl::Port& port = model.inputs[i];
  const Shape shape = model.graph.value(port.value).shape;
  StepGraph::Input input{};
  Value samples;
  samples.name = i == 0 ? "samples" : "samples." + port.name;
  samples.shape = with_batch(shape, options.batch);
  samples.dtype = options.samples[i];
  samples.kind = ValueKind::input;
  input.samples = graph.add_value(samples);
  for (ValueId* id : {&input.mean, &input.deviation}) {
    Value value;
    value.name = normalization_name(model, i, id == &input.mean ? "mean" : "deviation");
    value.shape = Shape{shape.rank() > 2 ? shape[1] : 1};
    value.kind = ValueKind::state;
    value.is_of_model = true;
    *id = graph.add_value(value);
  }
  here[static_cast<size_t>(port.value)] =
      graph
          .add_node(OpKind::input_load, port.name, Phase::load,
                    {input.samples, input.mean, input.deviation}, Params::of(InputLoadParams{}))
          .front();
  return input;
}

// Branches that lead to no loss in training, or to no output in evaluation, are not computed.
void drop_unread_nodes(Graph& graph, const std::vector<Node>& mutations) {
  std::vector<bool> is_read(graph.values.size(), false);
  const auto read = [&](const Node& node) {
    for (ValueId in : node.in) {
      if (in != kNoValue) is_read[static_cast<size_t>(in)] = true;
    }
  };
  for (const Node& mutation : mutations) read(mutation);
  std::vector<Node> needed;
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    Node& node = graph.nodes[i];
    const bool is_needed = std::any_of(node.out.begin(), node.out.end(), [&](ValueId out) {
      return out != kNoValue && (is_read[static_cast<size_t>(out)] || graph.value(out).keep);
    });
    if (!is_needed) continue;
    read(node);
    needed.push_back(std::move(node));
  }
  graph.nodes.assign(std::make_move_iterator(needed.rbegin()),
                     std::make_move_iterator(needed.rend()));
}

// Outputs that nobody reads and the op need not write are left out.
void drop_unread_outputs(Graph& graph) {
  std::vector<bool> is_read(graph.values.size(), false);
  for (const Node& node : graph.nodes) {
    for (ValueId in : node.in) {
      if (in != kNoValue) is_read[static_cast<size_t>(in)] = true;
    }
  }
  for (Node& node : graph.nodes) {
    for (size_t i = 0; i < node.out.size(); ++i) {
      const ValueId out = node.out[i];
      if (out == kNoValue || is_read[static_cast<size_t>(out)] || graph.value(out).keep) continue;
      if ((op_def(node.kind).optional_outputs >> i & 1) != 0) node.out[i] = kNoValue;
    }
  }
}

// Convolution and linear layers by their weights, each at its first use.
std::vector<StepGraph::Layer> layers_of(const Graph& graph) {
  std::vector<StepGraph::Layer> layers;
  std::set<std::string> seen;
  for (const Node& node : graph.nodes) {
    const std::string name = op_name(node.kind);
    if (name.rfind("conv", 0) != 0 && name.rfind("linear", 0) != 0) continue;
    if (node.in.size() < 2 || graph.value(node.in[1]).kind != ValueKind::parameter) continue;
    const std::string& weight = graph.value(node.in[1]).name;
    if (!seen.insert(weight).second) continue;
    layers.push_back({weight, node.kind, node.in[0], node.out.front(), 0, node.params});
  }
  return layers;
}

void find_nodes(const Graph& graph, std::vector<StepGraph::Layer>& layers) {
  for (StepGraph::Layer& layer : layers) {
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      const std::vector<ValueId>& out = graph.nodes[n].out;
      if (std::find(out.begin(), out.end(), layer.y) != out.end()) {
        layer.node = static_cast<int32_t>(n);
      }
    }
  }
}

ValueId add_loss_scale(Graph& graph) {
  Value state;
  state.name = kLossScaleName;
  state.shape = Shape{kLossScaleStates};
  state.kind = ValueKind::state;
  state.constant = {kFirstLossScale, 0, 0};
  return graph.add_value(state);
}

// What the gradient of a loss begins with: the loss's weight, scaled where there is a scale.
ValueId add_seed(Graph& graph, const std::string& name, double weight, ValueId loss_scale) {
  if (loss_scale != kNoValue) {
    const ValueId seed =
        graph
            .add_node(OpKind::loss_scale_seed, "loss_scale", Phase::loss, {loss_scale},
                      Params::of(LossScaleSeedParams{static_cast<float>(weight)}))
            .front();
    graph.value(seed).name = name;
    return seed;
  }
  Value constant;
  constant.name = name;
  constant.shape = Shape{1};
  constant.kind = ValueKind::constant;
  constant.constant = {static_cast<float>(weight)};
  return graph.add_value(constant);
}

// The steps that take the batch from a data set on the device go in front of all others; their values come
// last, so that those of all training graphs keep their ids.
void take_from_data_set(StepGraph& step, const Model::Impl& model,
                        const StepGraphOptions& options) {
  Graph& graph = step.graph;
  const auto before = static_cast<std::ptrdiff_t>(graph.nodes.size());
  const auto add = [&](const std::string& name, Shape shape, DType dtype) {
    Value value;
    value.name = "data set: " + name;
    value.shape = shape;
    value.shape[0] = options.resident_samples;
    value.dtype = dtype;
    value.kind = ValueKind::data_set;
    return graph.add_value(value);
  };
  step.data_set.order = add("order", Shape{1}, DType::i32);
  const auto take = [&](ValueId to, const std::string& layer, const GatherParams& params) {
    const Value value = graph.value(to);
    const ValueId rows = add(value.name, value.shape, value.dtype);
    graph.add_mutation(OpKind::gather_rows, layer, Phase::load, {rows, step.data_set.order}, {to},
                       Params::of(params));
    return rows;
  };
  GatherParams plain{};
  plain.batch = options.batch;
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    GatherParams params = plain;
    if (i == 0 && options.is_training && options.augmentation.is_on()) {
      params.height = options.image_height;
      params.width = options.image_width;
      params.crop = options.augmentation.crop;
      params.seed = options.seed;
      params.may_flip = options.augmentation.flip ? 1 : 0;
    }
    step.data_set.samples.push_back(take(step.inputs[i].samples, model.inputs[i].name, params));
  }
  for (size_t i = 0; i < step.losses.size(); ++i) {
    step.data_set.targets.push_back(take(step.losses[i].target, model.losses[i].layer, plain));
  }
  std::rotate(graph.nodes.begin(), graph.nodes.begin() + before, graph.nodes.end());
}

// Gradients of those values that are there, kNoValue for the others.
std::vector<ValueId> gradients_of(Graph& graph,
                                  const std::vector<std::pair<ValueId, ValueId>>& seeds,
                                  const std::vector<ValueId>& values) {
  std::vector<ValueId> wrt;
  for (ValueId id : values) {
    if (id != kNoValue) wrt.push_back(id);
  }
  const std::vector<ValueId> found = differentiate(graph, seeds, wrt);
  std::vector<ValueId> gradients;
  size_t next = 0;
  for (ValueId id : values) gradients.push_back(id == kNoValue ? kNoValue : found[next++]);
  return gradients;
}

}  // namespace

StepGraphOptions training_options(const TrainerOptions& options) {
  StepGraphOptions result;
  result.batch = options.batch;
  result.optimizer = options.optimizer;
  result.clip_norm = options.clip_norm;
  result.clip_value = options.clip_value;
  result.decay_biases = options.decay_biases && options.decay_norms_and_biases;
  result.groups = options.groups;
  result.l1 = options.l1;
  result.l2 = options.l2;
  result.ema_decay = options.ema_decay;
  result.memory = options.memory;
  result.lookahead_k = options.lookahead.k;
  result.lookahead_alpha = options.lookahead.alpha;
  result.scales_loss = options.precision == Precision::fp16;
  result.accumulation = options.accumulate > 1 ? Accumulation::apply : Accumulation::none;
  return result;
}

std::string normalization_name(const Model::Impl& model, size_t input, const char* what) {
  const std::string prefix = input == 0 ? "" : "." + model.inputs[input].name;
  return "normalization" + prefix + "." + what;
}

StepGraph make_step_graph(const Model& model, const StepGraphOptions& options) {
  const Model::Impl& from = model.impl();
  if (options.batch < 1) {
    fail(Code::invalid_argument, "the batch must be at least 1, got {}", options.batch);
  }
  if (options.is_training && from.losses.empty()) {
    fail(Code::invalid_argument, "model \"{}\" has no loss, so it cannot be trained", from.name);
  }
  StepGraph step;
  Graph& graph = step.graph;
  std::vector<ValueId> here(from.graph.values.size(), kNoValue);  // the model's values, in `graph`

  for (size_t i = 0; i < from.inputs.size(); ++i) {
    step.inputs.push_back(add_input(graph, from, i, options, here));
  }
  for (size_t i = 0; i < from.graph.values.size(); ++i) {
    const Value& value = from.graph.values[i];
    if (value.kind == ValueKind::parameter || value.kind == ValueKind::constant ||
        value.kind == ValueKind::state) {
      here[i] = graph.add_value(value);
    }
  }
  for (size_t i = 0; i < from.losses.size(); ++i) {
    Value target = from.graph.value(from.losses[i].target);
    target.dtype = options.targets[i];
    target.shape = with_batch(target_shape(from, from.losses[i], target.dtype), options.batch);
    here[static_cast<size_t>(from.losses[i].target)] = graph.add_value(target);
  }

  std::vector<Node> mutations;  // of running statistics
  for (const Node& node : from.graph.nodes) {
    std::vector<ValueId> in;
    for (ValueId id : node.in) {
      in.push_back(id == kNoValue ? kNoValue : here[static_cast<size_t>(id)]);
    }
    if (!options.is_training && op_def(node.kind).identity_in_evaluation) {
      here[static_cast<size_t>(node.out.front())] = in.front();
      continue;
    }
    const OpDef& op = op_def(node.kind);
    std::vector<ValueId> out;
    if (op.lower != nullptr) {
      LoweredNode context(graph, node, std::move(in), options.is_training, mutations);
      out = op.lower(context);
    } else {
      out = graph.add_node(node.kind, node.layer, node.phase, in, node.params);
    }
    for (size_t i = 0; i < std::min(out.size(), node.out.size()); ++i) {
      if (node.out[i] == kNoValue || out[i] == kNoValue) continue;
      here[static_cast<size_t>(node.out[i])] = out[i];
      graph.value(out[i]).name = from.graph.value(node.out[i]).name;
    }
  }
  std::vector<ValueId> kept;
  const auto keep = [&](ValueId id) {
    graph.value(id).keep = true;
    kept.push_back(id);
  };
  for (const Model::Impl::Loss& loss : from.losses) {
    const auto place = [&](ValueId id) { return here[static_cast<size_t>(id)]; };
    step.losses.push_back({place(loss.x), place(loss.target), place(loss.loss), place(loss.stats)});
    keep(step.losses.back().loss);
    keep(step.losses.back().stats);
    if (!options.is_training) keep(step.losses.back().x);
  }
  for (const Model::Impl::Port& output : from.outputs) {
    step.outputs.push_back(here[static_cast<size_t>(output.value)]);
    if (!options.is_training) keep(step.outputs.back());
  }
  if (options.keep_layers) {
    for (StepGraph::Layer& layer : layers_of(graph)) {
      keep(layer.x);
      keep(layer.y);
      step.layers.push_back(std::move(layer));
    }
  }
  drop_unread_nodes(graph, mutations);
  step.fused = fuse(graph, kept);
  if (options.keep_layers) find_nodes(graph, step.layers);

  if (options.is_training) {
    const bool is_sum = follows_sum(from, from.losses.front());
    std::vector<ValueId> parameters;  // kNoValue where frozen
    std::vector<ValueId> penalised;
    for (size_t i = 0; i < from.parameter_values.size(); ++i) {
      const ParameterInfo& info = from.parameters[i];
      const bool is_frozen = is_frozen_by(options.groups, info.name);
      const ValueId id = here[static_cast<size_t>(from.parameter_values[i])];
      parameters.push_back(is_frozen ? kNoValue : id);
      if (!is_frozen && decays(options, info)) penalised.push_back(id);
    }
    const ValueId loss_scale = options.scales_loss ? add_loss_scale(graph) : kNoValue;
    std::vector<std::pair<ValueId, ValueId>> seeds;
    for (size_t i = 0; i < step.losses.size(); ++i) {
      seeds.emplace_back(step.losses[i].loss, add_seed(graph, "d_" + from.losses[i].layer,
                                                       from.losses[i].weight, loss_scale));
    }
    if ((options.l1 > 0 || options.l2 > 0) && !penalised.empty()) {
      step.penalty = graph
                         .add_node(OpKind::penalty_fwd, "penalty", Phase::loss, penalised,
                                   Params::of(PenaltyParams{static_cast<float>(options.l1),
                                                            static_cast<float>(options.l2)}))
                         .front();
      graph.value(step.penalty).keep = true;
      // Means of micro-batches each have the penalty in them; to a sum it comes once, with the last.
      if (!(is_sum && options.accumulation == Accumulation::gather)) {
        seeds.emplace_back(step.penalty, add_seed(graph, "d_penalty", 1, loss_scale));
      }
    }
    const std::vector<ValueId> gradients = gradients_of(graph, seeds, parameters);
    step.remade = recompute(graph, options.keeping ? *options.keeping : default_keeping(graph));
    append_optimizer(graph, from, parameters, gradients, options, std::move(mutations),
                     {step.losses.front().stats, is_sum}, loss_scale);
  }
  drop_unread_outputs(graph);
  if (options.resident_samples > 0) take_from_data_set(step, from, options);
  return step;
}

}  // namespace tanul
