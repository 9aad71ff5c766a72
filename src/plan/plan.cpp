// SPDX-License-Identifier: Apache-2.0
#include "plan/plan.h"

#include <algorithm>
#include <map>

#include "core/format.h"
#include "graph/model.h"
#include "kernels/op.h"
#include "plan/low_memory.h"
#include "plan/select.h"
#include "plan/tuner.h"

namespace tanul {

namespace {

constexpr int64_t align64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

bool is_persistent(const Value& value) {
  return value.kind == ValueKind::parameter || value.kind == ValueKind::state ||
         value.kind == ValueKind::constant;
}

const char* phase_name(Phase phase) {
  switch (phase) {
    case Phase::load: return "load";
    case Phase::forward: return "forward";
    case Phase::loss: return "loss";
    case Phase::backward: return "backward";
    case Phase::update: return "update";
  }
  return "";
}

std::string list_names(const ImplementationList& list) {
  std::string text;
  for (int i = 0; i < list.count; ++i) text += (i ? ", " : "") + std::string(list.items[i].name);
  return text;
}

// A `force` entry that names no step kind, or no implementation of it, is a mistake worth a word.
void check_force(const PlanOptions& options) {
  for (const auto& [op, name] : options.force) {
    bool is_known = false;
    for (int k = 0; k < kOpKinds; ++k) {
      const auto kind = static_cast<OpKind>(k);
      if (op != op_name(kind) || op_is_view(kind)) continue;
      const ImplementationList& list = options.implementations(kind);
      is_known = std::any_of(list.items, list.items + list.count,
                             [&](const Implementation& i) { return name == i.name; });
      if (!is_known) {
        fail(Code::invalid_argument, "force: {} has no implementation \"{}\"; it has {}", op, name,
             list_names(list));
      }
    }
    if (!is_known) {
      fail(Code::invalid_argument,
           "force: there is no step kind \"{}\"; `tanul plan --steps` lists them", op);
    }
  }
}

}  // namespace

Plan::Plan(const Model& model, const StepGraphOptions& graph_options, const PlanOptions& options)
    : keeping_(graph_options.keeping) {
  check_force(options);
  StepGraphOptions chosen = graph_options;
  std::optional<LowMemory> low;
  if (chosen.is_training && chosen.memory == Memory::low && !keeping_) {
    low = find_low_memory(model, graph_options, options);
    keeping_ = std::move(low->keeping);
    chosen.keeping = keeping_;
  }
  step_ = make_step_graph(model, chosen);
  select(options);
  if (options.tuner != nullptr) options.tuner->save();
  lay_out();
  info_.device = options.device;
  info_.precision = options.precision;
  info_.is_deterministic = options.is_deterministic;
  explain(model, graph_options);
  info_.normal_flops = low ? low->normal_flops : info_.flops;
  info_.normal_total_bytes = info_.total_bytes;
  if (low) info_.normal_total_bytes += low->normal_activation_bytes - info_.activation_bytes;
}

void Plan::select(const PlanOptions& options) {
  const Graph& graph = step_.graph;
  size_t operand_count = 0;
  for (const Node& node : graph.nodes) operand_count += node.in.size() + node.out.size();
  operands_.reserve(operand_count);  // steps point into it
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (op_is_view(node.kind)) continue;
    StepArgs args{};
    args.in_count = static_cast<int32_t>(node.in.size());
    args.out_count = static_cast<int32_t>(node.out.size());
    args.in = operands_.data() + operands_.size();
    for (ValueId id : node.in) operands_.push_back(operand_of(graph, id));
    args.out = operands_.data() + operands_.size();
    for (ValueId id : node.out) operands_.push_back(operand_of(graph, id));
    args.params = node.params.data();

    StepInfo info;
    info.layer = node.layer;
    info.op = op_name(node.kind);
    info.phase = phase_name(node.phase);
    Selection selection = select_implementation(graph, node, args, options);
    info.implementation = selection.implementation->name;
    info.is_product = op_def(node.kind).is_product;
    info.multiplies_in = selection.implementation->multiplies_in;
    info.is_deterministic = selection.implementation->is_deterministic;
    info.refused = std::move(selection.refused);
    info.tuned = std::move(selection.tuned);
    info.workspace_bytes = selection.cost.workspace_bytes;
    info.flops = selection.cost.flops;
    info.bytes = selection.cost.bytes;
    args.workspace_bytes = info.workspace_bytes;
    workspace_bytes_.push_back(info.workspace_bytes);
    for (ValueId id : node.out) {
      if (id == kNoValue) continue;
      info.output = graph.value(id).shape;
      break;
    }
    steps_.push_back({selection.implementation->launch, args, static_cast<int32_t>(n)});
    info_.steps.push_back(std::move(info));
  }
}

void Plan::lay_out() {
  const Graph& graph = step_.graph;
  live_ = find_liveness(graph);
  input_offsets_.assign(graph.values.size(), -1);
  for (size_t i = 0; i < graph.values.size(); ++i) {
    if (graph.values[i].kind != ValueKind::input) continue;
    input_offsets_[i] = input_bytes_;
    input_bytes_ += align64(value_bytes(graph.values[i]));
  }
  std::vector<Lifetime> lifetimes = live_.lifetimes;
  for (size_t s = 0; s < steps_.size(); ++s) {
    if (workspace_bytes_[s] <= 0) {
      workspace_buffer_.push_back(kNoBuffer);
      continue;
    }
    workspace_buffer_.push_back(static_cast<int32_t>(lifetimes.size()));
    lifetimes.push_back({steps_[s].node, steps_[s].node, workspace_bytes_[s]});
  }
  packing_ = pack(lifetimes);
  scratch_bytes_ = input_bytes_ + packing_.bytes;

  info_.activation_bytes = packing_.bytes;
  info_.activation_lower_bound_bytes = packing_.lower_bound;
  info_.input_bytes = input_bytes_;
  const int32_t peak = packing_.peak_step;
  for (size_t b = 0; b < lifetimes.size(); ++b) {
    const Lifetime& life = lifetimes[b];
    if (life.first > peak || life.last < peak) continue;
    std::string name;
    if (b < live_.first_value.size()) {
      name = graph.value(live_.first_value[b]).name;
    } else {
      name = graph.nodes[static_cast<size_t>(peak)].layer + " workspace";
    }
    info_.alive_at_peak.push_back({std::move(name), life.bytes});
  }
  std::stable_sort(info_.alive_at_peak.begin(), info_.alive_at_peak.end(),
                   [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  if (!graph.nodes.empty()) {
    const Node& node = graph.nodes[static_cast<size_t>(peak)];
    info_.peak_step = node.layer + " " + op_name(node.kind);
  }
}

void Plan::explain(const Model& model, const StepGraphOptions& graph_options) {
  const Graph& graph = step_.graph;
  const Model::Impl& source = model.impl();
  info_.model = source.name;
  info_.batch = graph_options.batch;
  info_.is_training = graph_options.is_training;
  for (const Value& value : graph.values) {
    if (!is_persistent(value)) continue;
    int64_t& total = value.kind == ValueKind::parameter ? info_.parameter_bytes : info_.state_bytes;
    total += align64(value_bytes(value));
  }
  info_.state_bytes += align64(sizeof(StepBlock));
  info_.total_bytes = info_.parameter_bytes + info_.state_bytes + scratch_bytes_;

  std::map<std::string, size_t> row;  // of a layer in info_.layers
  const auto add_row = [&](const std::string& layer) -> LayerInfo& {
    row[layer] = info_.layers.size();
    LayerInfo info;
    info.name = layer;
    const auto text = source.descriptions.find(layer);
    if (text != source.descriptions.end()) info.description = text->second;
    info_.layers.push_back(std::move(info));
    return info_.layers.back();
  };
  // Rows in the user's order: those of the model, input_load in front.
  for (const Model::Impl::Port& port : source.inputs) {
    add_row(port.name).description = "load and normalise";
  }
  for (const Node& node : source.graph.nodes) {
    LayerInfo& info = add_row(node.layer);
    const auto into = step_.fused.find(node.layer);
    if (into != step_.fused.end()) info.fused_into = into->second;
    Shape shape = source.graph.value(node.out.front()).shape;
    if (node.phase == Phase::forward && shape.rank() > 0) shape[0] = graph_options.batch;
    info.output = shape;
    for (const ParameterInfo& parameter : source.parameters) {
      if (parameter.name.rfind(node.layer + ".", 0) == 0 &&
          parameter.name.find('.', node.layer.size() + 1) == std::string::npos) {
        info.parameters += parameter.shape.elems();
      }
    }
  }
  for (const StepInfo& step : info_.steps) {
    info_.flops += step.flops;
    info_.products += step.is_product ? 1 : 0;
    if (step.is_product && step.multiplies_in == info_.precision) ++info_.products_in_precision;
    info_.nondeterministic_steps += step.is_deterministic ? 0 : 1;
    const auto found = row.find(step.layer);
    if (found == row.end()) continue;
    LayerInfo& layer = info_.layers[found->second];
    layer.step_flops += step.flops;
    if (step.phase != "load" && step.phase != "forward" && step.phase != "loss") continue;
    layer.output = step.output;
    layer.flops += step.flops;
    layer.bytes += step.bytes;
    layer.implementation = step.implementation;
    layer.multiplies_in = step.multiplies_in;
    layer.refused = step.refused;
    layer.tuned = step.tuned;
    layer.output_bytes = step.output.elems() * 4;
  }
}

std::vector<ValueId> Plan::persistent_values() const {
  std::vector<ValueId> values;
  for (size_t i = 0; i < step_.graph.values.size(); ++i) {
    if (is_persistent(step_.graph.values[i])) values.push_back(static_cast<ValueId>(i));
  }
  return values;
}

void Plan::bind(const std::function<std::byte*(const std::string& name)>& persistent,
                std::byte* scratch, const StepBlock* block,
                const std::function<std::byte*(ValueId)>& data_set) {
  const Graph& graph = step_.graph;
  std::byte* arena = scratch + input_bytes_;
  addresses_.assign(graph.values.size(), nullptr);
  runs_.recording.reset();  // it holds the old addresses
  const auto place = [&](size_t i) -> std::byte* {
    const Value& value = graph.values[i];
    if (is_persistent(value)) return persistent(value.name);
    if (value.kind == ValueKind::data_set) return data_set(static_cast<ValueId>(i));
    if (input_offsets_[i] >= 0) return scratch + input_offsets_[i];
    const int32_t buffer = live_.buffer[i];
    if (buffer == kNoBuffer) return nullptr;
    return arena + packing_.offsets[static_cast<size_t>(buffer)];
  };
  for (size_t i = 0; i < graph.values.size(); ++i) {
    addresses_[i] = place(static_cast<size_t>(live_.root[i]));
  }
  size_t next = 0;
  for (size_t s = 0; s < steps_.size(); ++s) {
    StepArgs& args = steps_[s].args;
    const Node& node = graph.nodes[static_cast<size_t>(steps_[s].node)];
    for (const std::vector<ValueId>* ids : {&node.in, &node.out}) {
      for (ValueId id : *ids) {
        operands_[next++].data = id == kNoValue ? nullptr : address(id);
      }
    }
    args.params = node.params.data();
    const int32_t buffer = workspace_buffer_[s];
    args.workspace =
        buffer == kNoBuffer ? nullptr : arena + packing_.offsets[static_cast<size_t>(buffer)];
    args.block = block;
  }
}

}  // namespace tanul
