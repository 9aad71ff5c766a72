// SPDX-License-Identifier: Apache-2.0
// ModelBuilder: input, build and what its layers share (builder.h); Model.
#include "graph/model.h"

#include <algorithm>
#include <cmath>

#include "graph/builder.h"
#include "kernels/activation/definition.h"

namespace tanul {

namespace build {

namespace {

constexpr int64_t kMostPerDimension = int64_t{1} << 24;

}  // namespace

int32_t checked(const std::string& where, const char* what, int64_t value, int64_t least) {
  if (value < least || value > kMostPerDimension) {
    fail(Code::invalid_argument, "{}: {} must be between {} and {}, got {}", where, what, least,
         kMostPerDimension, value);
  }
  return static_cast<int32_t>(value);
}

std::string quoted(const char* op, const std::string& layer) {
  return fmt::format("{} \"{}\"", op, layer);
}

std::string take_name(Model::Impl& model, const std::string& wanted, const char* kind,
                      const char* op) {
  std::string name = wanted;
  if (name.empty()) {
    do {
      name = kind + std::to_string(++model.counters[kind]);
    } while (model.names.count(name) != 0);
  }
  if (!model.names.insert(name).second) {
    fail(Code::invalid_argument, "{}: there is a layer of that name already; names are unique",
         quoted(op, name));
  }
  return name;
}

const Value& checked_input(const Model::Impl& model, const char* op, Var x) {
  const auto count = static_cast<int32_t>(model.graph.values.size());
  if (x.id < 0 || x.id >= count) {
    fail(Code::invalid_argument, "{}: its input is no layer of this builder", op);
  }
  for (const Model::Impl::Loss& loss : model.losses) {
    if (x.id == loss.loss || x.id == loss.stats || x.id == loss.target) {
      fail(Code::invalid_argument, "{}: its input is no layer of this builder", op);
    }
  }
  return model.graph.value(x.id);
}

void check_rank(const std::string& where, const Value& x, int rank, const char* wanted) {
  if (x.shape.rank() == rank) return;
  fail(Code::invalid_argument, "{}: x has the shape {} a sample, {} is expected{}", where,
       x.shape.tail(1).str(), wanted, rank == 2 ? "; put a flatten in front" : "");
}

ValueId add_parameter(Model::Impl& model, const std::string& name, const Shape& shape,
                      const Init& init, Role role) {
  Value value;
  value.name = name;
  value.shape = shape;
  value.kind = ValueKind::parameter;
  const ValueId id = model.graph.add_value(value);
  ParameterInfo info;
  info.name = name;
  info.shape = shape;
  info.init = init;
  info.is_bias = role == Role::bias;
  info.is_norm = role == Role::norm;
  model.parameters.push_back(info);
  model.parameter_values.push_back(id);
  return id;
}

ValueId add_state(Model::Impl& model, const std::string& name, const Shape& shape, float fill) {
  Value value;
  value.name = name;
  value.shape = shape;
  value.kind = ValueKind::state;
  value.constant = {fill};
  value.is_of_model = true;
  return model.graph.add_value(value);
}

Var add_layer(Model::Impl& model, OpKind kind, const std::string& layer, std::vector<ValueId> in,
              const Params& params, const std::string& description) {
  const ValueId out =
      model.graph.add_node(kind, layer, Phase::forward, std::move(in), params).front();
  model.graph.value(out).name = layer;
  model.descriptions[layer] = description;
  model.last = out;
  return Var{out};
}

void add_loss(Model::Impl& model, LossKind kind, const std::string& layer, Var x, ValueId target,
              const std::vector<ValueId>& outs, double weight) {
  if (model.losses.size() >= kMostPorts) {
    fail(Code::invalid_argument, "loss \"{}\": a model has at most {} losses", layer, kMostPorts);
  }
  if (!(weight >= 0) || !std::isfinite(weight)) {
    fail(Code::invalid_argument, "loss \"{}\": the weight must be finite and 0 or more, got {}",
         layer, weight);
  }
  model.losses.push_back({kind, layer, x.id, target, outs.at(0), outs.at(1), weight});
}

}  // namespace build

namespace {

using namespace build;

// What the activation that reads `value` says: none has a gain of 0.
struct Following {
  double gain = 0;
  bool is_rectifier = false;  // keeps about half of what it gets: He et al. 2015
  bool is_selu = false;       // wants LeCun's variance: Klambauer et al. 2017
};

Following following(const Graph& graph, ValueId value) {
  for (const Node& node : graph.nodes) {
    for (ValueId in : node.in) {
      if (in != value) continue;
      if (const ActivationInfo* info = find_activation(node.kind)) {
        const double* p = node.params.as<ActivationParams>().values;
        return {info->def->gain == nullptr ? 1.0 : info->def->gain(p), info->def->is_rectifier,
                node.kind == OpKind::selu_fwd};
      }
      switch (node.kind) {
        case OpKind::prelu_fwd: return {rectifier_gain(0.25), true, false};
        // These leave an activation behind them as good as next to the layer.
        case OpKind::scale_shift_fwd:
        case OpKind::max_pool_fwd:
        case OpKind::avg_pool_fwd:
        case OpKind::adaptive_max_pool_fwd:
        case OpKind::adaptive_avg_pool_fwd:
        case OpKind::dropout_fwd:
        case OpKind::batchnorm_eval_fwd:
        case OpKind::layer_norm_fwd:
        case OpKind::rms_norm_fwd:
        case OpKind::group_norm_fwd:
        case OpKind::instance_norm_fwd:
        case OpKind::lrn_fwd:
        case OpKind::slice_fwd:
        case OpKind::pad_fwd:
        case OpKind::transpose_fwd:
        case OpKind::upsample_fwd:
        case OpKind::reshape: return following(graph, node.out.front());
        default: return {};
      }
    }
  }
  return {};
}

// Replaces `automatic` by what suits the activation behind the layer.
void resolve_inits(Model::Impl& model) {
  for (size_t i = 0; i < model.parameters.size(); ++i) {
    ParameterInfo& info = model.parameters[i];
    Following behind;
    for (const Node& node : model.graph.nodes) {
      for (ValueId in : node.in) {
        // of shared weights, the first layer decides
        if (in != model.parameter_values[i] || behind.gain > 0) continue;
        behind = following(model.graph, node.out.front());
      }
    }
    info.following_gain = behind.gain > 0 ? behind.gain : 1.0;
    if (info.init.kind != Init::Kind::automatic) continue;
    if (info.is_bias) {
      info.init = Init::constant(0);
    } else if (model.default_init.kind != Init::Kind::automatic) {
      info.init = model.default_init;
    } else {
      info.init = behind.is_rectifier ? Init::he_normal()
                  : behind.is_selu    ? Init::lecun_normal()
                                      : Init::glorot_uniform();
    }
  }
}

}  // namespace

ModelBuilder::ModelBuilder(std::string name) : impl_(std::make_unique<Model::Impl>()) {
  impl_->name = std::move(name);
}
ModelBuilder::~ModelBuilder() = default;
ModelBuilder::ModelBuilder(ModelBuilder&&) noexcept = default;
ModelBuilder& ModelBuilder::operator=(ModelBuilder&&) noexcept = default;

Var ModelBuilder::input(const Shape& shape, const std::string& wanted) {
  if (impl_->inputs.size() >= kMostPorts) {
    fail(Code::invalid_argument, "input: a model has at most {} inputs", kMostPorts);
  }
  if (shape.rank() < 1 || shape.rank() > 4) {
    fail(Code::invalid_argument,
         "input: a sample has 1 to 4 extents, got {}; images are {{C, H, W}}", shape.str());
  }
  std::vector<int64_t> extents{1};
  for (int64_t extent : shape) {
    extents.push_back(checked("input", "an extent", extent, 1));
  }
  std::string name = wanted;
  if (name.empty()) {
    name = impl_->inputs.empty() ? "input" : "input" + std::to_string(impl_->inputs.size() + 1);
  }
  if (!impl_->names.insert(name).second) {
    fail(Code::invalid_argument,
         "input \"{}\": there is a layer of that name already; names are unique", name);
  }
  Value value;
  value.name = name;
  value.shape = Shape(extents);
  value.kind = ValueKind::input;
  const ValueId id = impl_->graph.add_value(value);
  impl_->inputs.push_back({name, id});
  if (impl_->last == kNoValue) impl_->last = id;
  return Var{id};
}

void ModelBuilder::output(Var x, const std::string& wanted) {
  const Value& value = checked_input(*impl_, "output", x);
  const std::string name = wanted.empty() ? value.name : wanted;
  for (const Model::Impl::Port& port : impl_->outputs) {
    if (port.name == name) {
      fail(Code::invalid_argument, "output \"{}\": there is an output of that name already", name);
    }
  }
  if (impl_->outputs.size() >= kMostPorts) {
    fail(Code::invalid_argument, "output \"{}\": a model has at most {} outputs", name, kMostPorts);
  }
  impl_->outputs.push_back({name, x.id});
}

void ModelBuilder::default_init(const Init& init) { impl_->default_init = init; }

Shape ModelBuilder::shape(Var x) const { return checked_input(*impl_, "shape", x).shape.tail(1); }

Model ModelBuilder::build() {
  if (impl_->inputs.empty()) {
    fail(Code::invalid_argument, "model \"{}\" has no input: call input({{C, H, W}}) first",
         impl_->name);
  }
  if (impl_->graph.nodes.empty()) {
    fail(Code::invalid_argument, "model \"{}\" has no layers", impl_->name);
  }
  resolve_inits(*impl_);
  // What is not asked for is what the losses look at, or the last layer.
  std::vector<Model::Impl::Port>& outputs = impl_->outputs;
  if (outputs.empty()) {
    for (const Model::Impl::Loss& loss : impl_->losses) {
      const auto is_there = [&](const Model::Impl::Port& port) { return port.value == loss.x; };
      if (std::none_of(outputs.begin(), outputs.end(), is_there)) {
        outputs.push_back({impl_->graph.value(loss.x).name, loss.x});
      }
    }
  }
  if (outputs.empty()) outputs.push_back({impl_->graph.value(impl_->last).name, impl_->last});
  Model model;
  model.impl_ = std::move(impl_);
  impl_ = std::make_unique<Model::Impl>();
  return model;
}

namespace {

std::vector<PortInfo> ports(const Model::Impl& model, const std::vector<Model::Impl::Port>& from) {
  std::vector<PortInfo> infos;
  for (const Model::Impl::Port& port : from) {
    infos.push_back({port.name, model.graph.value(port.value).shape.tail(1)});
  }
  return infos;
}

}  // namespace

const Model::Impl& Model::impl() const {
  if (!impl_)
    fail(Code::invalid_argument, "this model is empty: make it with ModelBuilder::build()");
  return *impl_;
}
const std::string& Model::name() const { return impl().name; }
Shape Model::input_shape() const { return inputs().front().shape; }
Shape Model::output_shape() const { return outputs().front().shape; }
LossKind Model::loss() const {
  return impl().losses.empty() ? LossKind::none : impl().losses.front().kind;
}
std::vector<PortInfo> Model::inputs() const { return ports(impl(), impl().inputs); }
std::vector<PortInfo> Model::outputs() const { return ports(impl(), impl().outputs); }
std::vector<LossInfo> Model::losses() const {
  std::vector<LossInfo> infos;
  for (const Model::Impl::Loss& loss : impl().losses) {
    const Value& x = impl().graph.value(loss.x);
    infos.push_back({loss.layer, loss.kind, x.name, x.shape.tail(1), loss.weight});
  }
  return infos;
}
const std::vector<ParameterInfo>& Model::parameters() const { return impl().parameters; }
int64_t Model::parameter_count() const {
  int64_t count = 0;
  for (const ParameterInfo& info : impl().parameters) count += info.shape.elems();
  return count;
}

}  // namespace tanul
