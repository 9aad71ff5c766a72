// SPDX-License-Identifier: Apache-2.0
#include "graph/step_graph.h"

#include <algorithm>
#include <utility>

#include "core/format.h"
#include "graph/autodiff.h"
#include "graph/fuse.h"
#include "graph/optimizer_nodes.h"
#include "kernels/input_load/input_load.h"
#include "kernels/op.h"

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

}  // namespace

StepGraph make_step_graph(const Model& model, const StepGraphOptions& options) {
  const Model::Impl& from = model.impl();
  if (options.batch < 1) {
    fail(Code::invalid_argument, "the batch must be at least 1, got {}", options.batch);
  }
  if (options.is_training && from.loss_kind == LossKind::none) {
    fail(Code::invalid_argument, "model \"{}\" has no loss, so it cannot be trained", from.name);
  }
  StepGraph step;
  Graph& graph = step.graph;
  std::vector<ValueId> here(from.graph.values.size(), kNoValue);  // the model's values, in `graph`

  // Inputs: samples as they lie in the data set, normalised by the first step.
  const Value& input = from.graph.value(from.input);
  Value samples;
  samples.name = "samples";
  samples.shape = with_batch(input.shape, options.batch);
  samples.dtype = options.sample_dtype;
  samples.kind = ValueKind::input;
  step.samples = graph.add_value(samples);
  const int64_t channels = input.shape.rank() > 2 ? input.shape[1] : 1;
  for (ValueId* id : {&step.mean, &step.deviation}) {
    Value value;
    value.name = id == &step.mean ? "normalization.mean" : "normalization.deviation";
    value.shape = Shape{channels};
    value.kind = ValueKind::state;
    value.is_of_model = true;
    *id = graph.add_value(value);
  }
  here[static_cast<size_t>(from.input)] =
      graph
          .add_node(OpKind::input_load, "input", Phase::load,
                    {step.samples, step.mean, step.deviation}, Params::of(InputLoadParams{}))
          .front();

  for (size_t i = 0; i < from.graph.values.size(); ++i) {
    const Value& value = from.graph.values[i];
    if (value.kind == ValueKind::parameter || value.kind == ValueKind::constant ||
        value.kind == ValueKind::state) {
      here[i] = graph.add_value(value);
    }
  }
  if (from.target != kNoValue) {
    Value target = from.graph.value(from.target);
    target.dtype = options.target_dtype;
    target.shape = options.target_dtype == DType::i32 ? Shape{options.batch}
                                                      : with_batch(target.shape, options.batch);
    step.target = here[static_cast<size_t>(from.target)] = graph.add_value(target);
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
  step.output = here[static_cast<size_t>(from.output)];
  if (from.loss != kNoValue) {
    step.loss = here[static_cast<size_t>(from.loss)];
    step.stats = here[static_cast<size_t>(from.stats)];
    graph.value(step.loss).keep = true;
    graph.value(step.stats).keep = true;
  }
  graph.value(step.output).keep = !options.is_training;
  step.fused = fuse(graph, {step.output, step.loss});

  if (options.is_training) {
    std::vector<ValueId> parameters;
    for (ValueId id : from.parameter_values) parameters.push_back(here[static_cast<size_t>(id)]);
    const std::vector<ValueId> gradients = differentiate(graph, step.loss, parameters);
    append_optimizer(graph, from, parameters, gradients, options, std::move(mutations));
  }
  drop_unread_outputs(graph);
  return step;
}

}  // namespace tanul
