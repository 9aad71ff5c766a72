// SPDX-License-Identifier: Apache-2.0
// ModelBuilder: turns the user's layers into forward nodes. Validation of shapes is the ops' (their
// `infer`); only what is needed to make a parameter's shape is looked at here.
#include "graph/model.h"

#include <cmath>
#include <limits>

#include "core/format.h"
#include "core/philox.h"
#include "kernels/concat/concat.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/dropout/dropout.h"
#include "kernels/layout/reshape.h"
#include "kernels/linear/linear.h"
#include "kernels/mse/mse.h"
#include "kernels/op.h"
#include "kernels/pool/pool.h"
#include "kernels/softmax_xent/softmax_xent.h"

namespace tanul {

namespace {

constexpr int64_t kMostPerDimension = int64_t{1} << 24;

// A size that fits the kernels' 32-bit parameters.
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

// A valid name for a layer: the one that was asked for, or the next number of its kind.
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
  if (model.loss_kind != LossKind::none) {
    fail(Code::invalid_argument, "{}: the loss ends the network, no layer can follow it", op);
  }
  return model.graph.value(x.id);
}

void check_rank(const std::string& where, const Value& x, int rank, const char* wanted) {
  if (x.shape.rank() == rank) return;
  fail(Code::invalid_argument, "{}: x has the shape {} a sample, {} is expected{}", where,
       x.shape.tail(1).str(), wanted, rank == 2 ? "; put a flatten in front" : "");
}

// Declares a trained tensor and returns its value.
ValueId add_parameter(Model::Impl& model, const std::string& name, const Shape& shape,
                      const Init& init, bool is_bias) {
  Value value;
  value.name = name;
  value.shape = shape;
  value.kind = ValueKind::parameter;
  const ValueId id = model.graph.add_value(value);
  ParameterInfo info;
  info.name = name;
  info.shape = shape;
  info.init = init;
  info.is_bias = is_bias;
  model.parameters.push_back(info);
  model.parameter_values.push_back(id);
  return id;
}

// Appends a forward node and returns its first output.
Var add_layer(Model::Impl& model, OpKind kind, const std::string& layer, std::vector<ValueId> in,
              const Params& params, const std::string& description) {
  const ValueId out =
      model.graph.add_node(kind, layer, Phase::forward, std::move(in), params).front();
  model.graph.value(out).name = layer;
  model.descriptions[layer] = description;
  model.output = out;
  return Var{out};
}

std::string pair_text(int64_t a, int64_t b) {
  return a == b ? std::to_string(a) : fmt::format("{}x{}", a, b);
}

std::string window_text(const char* op, int64_t r, int64_t s, Extent2 stride, const Padding2& pad) {
  std::string text = fmt::format("{} {}x{} /{}", op, r, s, pair_text(stride.h, stride.w));
  if (pad.top != 0 || pad.left != 0 || pad.bottom != 0 || pad.right != 0) {
    text += pad.top == pad.bottom && pad.left == pad.right
                ? " +" + pair_text(pad.top, pad.left)
                : fmt::format(" +{},{},{},{}", pad.top, pad.left, pad.bottom, pad.right);
  }
  return text;
}

// sqrt(2), 5/3, 1: the gain of the activation that reads `value`; 0 where none does.
// Source: He et al. 2015 for ReLU; the others as PyTorch's calculate_gain has them.
double following_gain(const Graph& graph, ValueId value) {
  for (const Node& node : graph.nodes) {
    for (ValueId in : node.in) {
      if (in != value) continue;
      switch (node.kind) {
        case OpKind::relu_fwd: return std::sqrt(2.0);
        case OpKind::tanh_fwd: return 5.0 / 3.0;
        case OpKind::sigmoid_fwd: return 1.0;
        // These leave an activation behind them as good as next to the layer.
        case OpKind::max_pool2d_fwd:
        case OpKind::avg_pool2d_fwd:
        case OpKind::dropout_fwd:
        case OpKind::reshape: return following_gain(graph, node.out.front());
        default: return 0;
      }
    }
  }
  return 0;
}

// Replaces `automatic` by what suits the activation behind the layer.
void resolve_inits(Model::Impl& model) {
  for (size_t i = 0; i < model.parameters.size(); ++i) {
    ParameterInfo& info = model.parameters[i];
    double gain = 0;
    for (const Node& node : model.graph.nodes) {
      for (ValueId in : node.in) {
        if (in == model.parameter_values[i]) gain = following_gain(model.graph, node.out.front());
      }
    }
    info.following_gain = gain > 0 ? gain : 1.0;
    if (info.init.kind != Init::Kind::automatic) continue;
    if (info.is_bias) {
      info.init = Init::constant(0);
    } else if (model.default_init.kind != Init::Kind::automatic) {
      info.init = model.default_init;
    } else {
      info.init = gain == std::sqrt(2.0) ? Init::he_normal() : Init::glorot_uniform();
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

Var ModelBuilder::input(const Shape& shape) {
  if (impl_->input != kNoValue) {
    fail(Code::invalid_argument, "input: a model has one input, and this one has it already");
  }
  if (shape.rank() < 1 || shape.rank() > 4) {
    fail(Code::invalid_argument,
         "input: a sample has 1 to 4 extents, got {}; images are {{C, H, W}}", shape.str());
  }
  std::vector<int64_t> extents{1};
  for (int64_t extent : shape) {
    extents.push_back(checked("input", "an extent", extent, 1));
  }
  Value value;
  value.name = "input";
  value.shape = Shape(extents);
  value.kind = ValueKind::input;
  impl_->input = impl_->output = impl_->graph.add_value(value);
  return Var{impl_->input};
}

Var ModelBuilder::conv2d(Var x, const Conv2dOptions& o) {
  const Value& in = checked_input(*impl_, "conv2d", x);
  const std::string layer = take_name(*impl_, o.name, "conv", "conv2d");
  const std::string where = quoted("conv2d", layer);
  check_rank(where, in, 4, "{C, H, W}");
  const int64_t channels = in.shape[1];
  Conv2dParams p{};
  const int32_t out = checked(where, "out", o.out, 1);
  p.kernel_h = checked(where, "kernel", o.kernel.h, 1);
  p.kernel_w = checked(where, "kernel", o.kernel.w, 1);
  p.stride_h = checked(where, "stride", o.stride.h, 1);
  p.stride_w = checked(where, "stride", o.stride.w, 1);
  p.pad_top = checked(where, "pad", o.pad.top, 0);
  p.pad_left = checked(where, "pad", o.pad.left, 0);
  p.pad_bottom = checked(where, "pad", o.pad.bottom, 0);
  p.pad_right = checked(where, "pad", o.pad.right, 0);
  p.dilation_h = checked(where, "dilation", o.dilation.h, 1);
  p.dilation_w = checked(where, "dilation", o.dilation.w, 1);
  p.groups = checked(where, "groups", o.groups, 1);
  p.has_bias = o.bias;
  if (channels % p.groups != 0 || out % p.groups != 0) {
    fail(
        Code::invalid_argument,
        "{}: groups must divide the input channels and the output channels; {} divides not both {} "
        "and {}",
        where, p.groups, channels, out);
  }
  const ValueId w =
      add_parameter(*impl_, layer + ".weight", {out, channels / p.groups, p.kernel_h, p.kernel_w},
                    o.weight_init, false);
  const ValueId b =
      o.bias ? add_parameter(*impl_, layer + ".bias", {out}, o.bias_init, true) : kNoValue;
  std::string text = window_text("conv2d", p.kernel_h, p.kernel_w, o.stride, o.pad);
  if (p.dilation_h != 1 || p.dilation_w != 1) text += " d" + pair_text(p.dilation_h, p.dilation_w);
  if (p.groups != 1) text += fmt::format(" g{}", p.groups);
  return add_layer(*impl_, OpKind::conv2d_fwd, layer, {x.id, w, b}, Params::of(p), text);
}

Var ModelBuilder::linear(Var x, const LinearOptions& o) {
  const Value& in = checked_input(*impl_, "linear", x);
  const std::string layer = take_name(*impl_, o.name, "linear", "linear");
  const std::string where = quoted("linear", layer);
  check_rank(where, in, 2, "{F}");
  const int64_t features = in.shape[1];
  const int32_t out = checked(where, "out", o.out, 1);
  LinearParams p{};
  p.has_bias = o.bias;
  const ValueId w = add_parameter(*impl_, layer + ".weight", {out, features}, o.weight_init, false);
  const ValueId b =
      o.bias ? add_parameter(*impl_, layer + ".bias", {out}, o.bias_init, true) : kNoValue;
  return add_layer(*impl_, OpKind::linear_fwd, layer, {x.id, w, b}, Params::of(p),
                   fmt::format("linear {}", out));
}

namespace {

Var add_pool(Model::Impl& model, OpKind kind, const char* op, Var x, const Pool2dOptions& o,
             bool global) {
  const Value& in = checked_input(model, op, x);
  const std::string layer = take_name(model, o.name, "pool", op);
  const std::string where = quoted(op, layer);
  check_rank(where, in, 4, "{C, H, W}");
  Pool2dParams p{};
  p.global = global;
  std::string text = op;
  if (!global) {
    const Extent2 stride = o.stride.value_or(o.kernel);
    p.kernel_h = checked(where, "kernel", o.kernel.h, 1);
    p.kernel_w = checked(where, "kernel", o.kernel.w, 1);
    p.stride_h = checked(where, "stride", stride.h, 1);
    p.stride_w = checked(where, "stride", stride.w, 1);
    p.pad_top = checked(where, "pad", o.pad.top, 0);
    p.pad_left = checked(where, "pad", o.pad.left, 0);
    p.pad_bottom = checked(where, "pad", o.pad.bottom, 0);
    p.pad_right = checked(where, "pad", o.pad.right, 0);
    p.ceil_mode = o.ceil_mode;
    p.count_include_pad = o.count_include_pad;
    text = window_text(op, p.kernel_h, p.kernel_w, stride, o.pad);
    if (o.ceil_mode) text += " ceil";
  }
  return add_layer(model, kind, layer, {x.id}, Params::of(p), text);
}

Var add_activation(Model::Impl& model, OpKind kind, const char* op, Var x,
                   const std::string& name) {
  checked_input(model, op, x);
  const std::string layer = take_name(model, name, op, op);
  return add_layer(model, kind, layer, {x.id}, Params{}, op);
}

}  // namespace

Var ModelBuilder::max_pool2d(Var x, const Pool2dOptions& o) {
  return add_pool(*impl_, OpKind::max_pool2d_fwd, "max_pool2d", x, o, false);
}
Var ModelBuilder::avg_pool2d(Var x, const Pool2dOptions& o) {
  return add_pool(*impl_, OpKind::avg_pool2d_fwd, "avg_pool2d", x, o, false);
}
Var ModelBuilder::global_avg_pool2d(Var x, const std::string& name) {
  Pool2dOptions o;
  o.name = name;
  return add_pool(*impl_, OpKind::avg_pool2d_fwd, "global_avg_pool2d", x, o, true);
}
Var ModelBuilder::relu(Var x, const std::string& name) {
  return add_activation(*impl_, OpKind::relu_fwd, "relu", x, name);
}
Var ModelBuilder::sigmoid(Var x, const std::string& name) {
  return add_activation(*impl_, OpKind::sigmoid_fwd, "sigmoid", x, name);
}
Var ModelBuilder::tanh(Var x, const std::string& name) {
  return add_activation(*impl_, OpKind::tanh_fwd, "tanh", x, name);
}

Var ModelBuilder::flatten(Var x, const std::string& name) {
  checked_input(*impl_, "flatten", x);
  const std::string layer = take_name(*impl_, name, "flatten", "flatten");
  ReshapeParams p{};
  p.flatten = 1;
  p.rank = 2;
  return add_layer(*impl_, OpKind::reshape, layer, {x.id}, Params::of(p), "flatten");
}

Var ModelBuilder::add(Var a, Var b, const std::string& name) {
  checked_input(*impl_, "add", a);
  checked_input(*impl_, "add", b);
  const std::string layer = take_name(*impl_, name, "add", "add");
  return add_layer(*impl_, OpKind::add_fwd, layer, {a.id, b.id}, Params{}, "add");
}

Var ModelBuilder::concat(const std::vector<Var>& xs, int axis, const std::string& name) {
  const std::string layer = take_name(*impl_, name, "concat", "concat");
  std::vector<ValueId> in;
  for (Var x : xs) {
    checked_input(*impl_, "concat", x);
    in.push_back(x.id);
  }
  if (xs.empty() || xs.size() > kMaxConcatInputs) {
    fail(Code::invalid_argument, "{}: 1 to {} inputs are possible, got {}", quoted("concat", layer),
         kMaxConcatInputs, xs.size());
  }
  ConcatParams p{};
  p.axis = checked(quoted("concat", layer), "axis", axis, 0) + 1;  // N is axis 0 inside
  p.count = static_cast<int32_t>(xs.size());
  return add_layer(*impl_, OpKind::concat_fwd, layer, std::move(in), Params::of(p),
                   fmt::format("concat axis {}", axis));
}

Var ModelBuilder::dropout(Var x, const DropoutOptions& o) {
  checked_input(*impl_, "dropout", x);
  const std::string layer = take_name(*impl_, o.name, "dropout", "dropout");
  DropoutParams p{};
  p.p = static_cast<float>(o.p);
  p.stream = philox_stream(layer);
  return add_layer(*impl_, OpKind::dropout_fwd, layer, {x.id}, Params::of(p),
                   fmt::format("dropout {:g}", o.p));
}

void ModelBuilder::softmax_cross_entropy(Var logits, const SoftmaxCrossEntropyOptions& o) {
  const Value& in = checked_input(*impl_, "softmax_cross_entropy", logits);
  const std::string layer =
      take_name(*impl_, o.name.empty() ? "loss" : o.name, "loss", "softmax_cross_entropy");
  const std::string where = quoted("softmax_cross_entropy", layer);
  check_rank(where, in, 2, "{classes}");
  SoftmaxXentParams p{};
  p.label_smoothing = static_cast<float>(o.label_smoothing);
  p.has_ignore_index = o.ignore_index.has_value();
  p.ignore_index = o.ignore_index.value_or(0);
  Value target;
  target.name = "target";
  target.shape = Shape{1};
  target.dtype = DType::i32;
  target.kind = ValueKind::input;
  impl_->target = impl_->graph.add_value(target);
  ValueId weights = kNoValue;
  if (!o.class_weights.empty()) {
    Value value;
    value.name = layer + ".class_weights";
    value.shape = Shape{static_cast<int64_t>(o.class_weights.size())};
    value.kind = ValueKind::constant;
    value.constant = o.class_weights;
    for (float weight : o.class_weights) {
      if (!(weight >= 0) || weight > std::numeric_limits<float>::max()) {
        fail(Code::invalid_argument, "{}: class weights are finite and 0 or more, got {}", where,
             weight);
      }
    }
    weights = impl_->graph.add_value(value);
  }
  const auto outs = impl_->graph.add_node(OpKind::softmax_xent_fwd, layer, Phase::loss,
                                          {logits.id, impl_->target, weights}, Params::of(p));
  impl_->descriptions[layer] = "softmax_cross_entropy";
  impl_->output = logits.id;
  impl_->loss = outs[0];
  impl_->stats = outs[1];
  impl_->loss_kind = LossKind::softmax_cross_entropy;
}

void ModelBuilder::mean_squared_error(Var x, const std::string& name) {
  const Value& in = checked_input(*impl_, "mean_squared_error", x);
  const Shape shape = in.shape;
  const std::string layer =
      take_name(*impl_, name.empty() ? "loss" : name, "loss", "mean_squared_error");
  Value target;
  target.name = "target";
  target.shape = shape;
  target.kind = ValueKind::input;
  impl_->target = impl_->graph.add_value(target);
  const auto outs = impl_->graph.add_node(OpKind::mse_fwd, layer, Phase::loss,
                                          {x.id, impl_->target}, Params::of(MseParams{}));
  impl_->descriptions[layer] = "mean_squared_error";
  impl_->output = x.id;
  impl_->loss = outs[0];
  impl_->stats = outs[1];
  impl_->loss_kind = LossKind::mean_squared_error;
}

void ModelBuilder::default_init(const Init& init) { impl_->default_init = init; }

Shape ModelBuilder::shape(Var x) const { return checked_input(*impl_, "shape", x).shape.tail(1); }

Model ModelBuilder::build() {
  if (impl_->input == kNoValue) {
    fail(Code::invalid_argument, "model \"{}\" has no input: call input({{C, H, W}}) first",
         impl_->name);
  }
  if (impl_->graph.nodes.empty()) {
    fail(Code::invalid_argument, "model \"{}\" has no layers", impl_->name);
  }
  resolve_inits(*impl_);
  Model model;
  model.impl_ = std::move(impl_);
  impl_ = std::make_unique<Model::Impl>();
  return model;
}

const Model::Impl& Model::impl() const {
  if (!impl_)
    fail(Code::invalid_argument, "this model is empty: make it with ModelBuilder::build()");
  return *impl_;
}
const std::string& Model::name() const { return impl().name; }
Shape Model::input_shape() const { return impl().graph.value(impl().input).shape.tail(1); }
Shape Model::output_shape() const { return impl().graph.value(impl().output).shape.tail(1); }
LossKind Model::loss() const { return impl().loss_kind; }
const std::vector<ParameterInfo>& Model::parameters() const { return impl().parameters; }
int64_t Model::parameter_count() const {
  int64_t count = 0;
  for (const ParameterInfo& info : impl().parameters) count += info.shape.elems();
  return count;
}

}  // namespace tanul
