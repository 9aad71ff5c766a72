// SPDX-License-Identifier: Apache-2.0
// ModelBuilder: convolution, transposed convolution and linear layers.
#include <algorithm>

#include "graph/builder.h"
#include "graph/window.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/linear/linear.h"

namespace tanul {

using namespace build;

namespace {

// The options of a convolution, whatever its number of axes.
struct Conv {
  const char* op;  // "conv2d"
  bool is_transposed = false;
  Window window;
  Axes output_pad{0, 0, 0};
  int64_t out, groups;
  bool has_bias;
  const Init& weight_init;
  const Init& bias_init;
  const std::string& name;
  const std::string& share;
};

template <typename Options>
Conv conv_of(const char* op, const Options& o) {
  return {op,     false,         make_window(o.kernel, o.stride, o.pad, o.dilation),
          {},     o.out,         o.groups,
          o.bias, o.weight_init, o.bias_init,
          o.name, o.share};
}
template <typename Options>
Conv transposed_conv_of(const char* op, const Options& o) {
  Conv conv = conv_of(op, o);
  conv.is_transposed = true;
  conv.output_pad = axes_of(o.output_padding, 0);
  return conv;
}

int32_t narrow(int64_t value) { return static_cast<int32_t>(value); }  // behind check_window

Params params_of(const Conv& conv) {
  const Window& w = conv.window;
  Conv3dParams p{};
  Conv2dParams& plane = p.plane;
  plane.kernel_h = narrow(w.kernel[1]);
  plane.kernel_w = narrow(w.kernel[2]);
  plane.stride_h = narrow(w.stride[1]);
  plane.stride_w = narrow(w.stride[2]);
  plane.pad_top = narrow(w.begin[1]);
  plane.pad_left = narrow(w.begin[2]);
  plane.pad_bottom = narrow(w.end[1]);
  plane.pad_right = narrow(w.end[2]);
  plane.dilation_h = narrow(w.dilation[1]);
  plane.dilation_w = narrow(w.dilation[2]);
  plane.groups = narrow(conv.groups);
  plane.has_bias = conv.has_bias;
  plane.is_transposed = conv.is_transposed;
  plane.output_pad_h = narrow(conv.output_pad[1]);
  plane.output_pad_w = narrow(conv.output_pad[2]);
  if (w.axes < 3) return Params::of(plane);
  p.kernel_d = narrow(w.kernel[0]);
  p.stride_d = narrow(w.stride[0]);
  p.pad_front = narrow(w.begin[0]);
  p.pad_back = narrow(w.end[0]);
  p.dilation_d = narrow(w.dilation[0]);
  p.output_pad_d = narrow(conv.output_pad[0]);
  return Params::of(p);
}

// The values of a layer's weight and bias.
struct Weights {
  ValueId w = kNoValue;
  ValueId b = kNoValue;
};

// What the two layers must agree in.
struct Wanted {
  OpKind kind;
  const char* op;
  Shape shape;  // of the weight
  bool has_bias;
};

// Those of an earlier layer.
Weights shared_weights(const Model::Impl& model, const std::string& where, const std::string& share,
                       const Wanted& wanted) {
  const Node* layer = nullptr;
  ValueId b = kNoValue;
  for (const Node& node : model.graph.nodes) {
    if (node.layer != share || node.phase != Phase::forward) continue;
    if (layer == nullptr) layer = &node;
    if (node.kind == OpKind::scale_shift_fwd) b = node.in[2];  // of a transposed convolution
  }
  if (layer == nullptr) {
    fail(Code::invalid_argument, "{}: share: there is no layer \"{}\" before it", where, share);
  }
  const Shape& shape = layer->in.size() > 1 ? model.graph.value(layer->in[1]).shape : Shape{};
  if (layer->kind != wanted.kind || shape.rank() != wanted.shape.rank()) {
    fail(Code::invalid_argument, "{}: share: \"{}\" ({}) is no {} layer", where, share,
         model.descriptions.at(share), wanted.op);
  }
  if (shape != wanted.shape) {
    fail(Code::invalid_argument, "{}: share: \"{}\" has the weight {}, but {} is needed here",
         where, share, shape.str(), wanted.shape.str());
  }
  if (layer->in.size() > 2) b = layer->in[2];
  if ((b != kNoValue) != wanted.has_bias) {
    fail(Code::invalid_argument, "{}: share: \"{}\" has {} bias, and this layer wants {}", where,
         share, b == kNoValue ? "no" : "a", wanted.has_bias ? "one" : "none");
  }
  return {layer->in[1], b};
}

// New ones, or those of the layer that is named.
Weights make_weights(Model::Impl& model, const std::string& where, const std::string& layer,
                     const std::string& share, const Wanted& wanted, int64_t out,
                     const Init& weight_init, const Init& bias_init) {
  if (!share.empty()) {
    const auto is_given = [](const Init& init) { return init.kind != Init::Kind::automatic; };
    if (is_given(weight_init) || is_given(bias_init)) {
      fail(Code::invalid_argument,
           "{}: share: the initialisers stand at \"{}\", whose weights these are", where, share);
    }
    return shared_weights(model, where, share, wanted);
  }
  Weights weights;
  weights.w = add_parameter(model, layer + ".weight", wanted.shape, weight_init, Role::weight);
  if (wanted.has_bias) {
    weights.b = add_parameter(model, layer + ".bias", {out}, bias_init, Role::bias);
  }
  return weights;
}

Var add_conv(Model::Impl& model, Var x, Conv conv) {
  const Shape in = checked_input(model, conv.op, x).shape;
  const std::string layer =
      take_name(model, conv.name, conv.is_transposed ? "conv_transpose" : "conv", conv.op);
  const std::string where = quoted(conv.op, layer);
  Window& window = conv.window;
  check_spatial(where, in, window.axes);
  const int32_t out = checked(where, "out", conv.out, 1);
  check_window(where, window);
  for (int64_t pad : conv.output_pad) checked(where, "output_padding", pad, 0);
  if (conv.is_transposed && window.same != Same::no) {
    fail(Code::invalid_argument,
         "{}: pad: same is for convolution and pooling; give a transposed convolution numbers",
         where);
  }
  resolve_same(window, in.tail(1));
  const int64_t channels = in[1];
  const int32_t groups = checked(where, "groups", conv.groups, 1);
  if (channels % groups != 0 || out % groups != 0) {
    fail(
        Code::invalid_argument,
        "{}: groups must divide the input channels and the output channels; {} divides not both {} "
        "and {}",
        where, groups, channels, out);
  }
  std::vector<int64_t> shape = conv.is_transposed ? std::vector<int64_t>{channels, out / groups}
                                                  : std::vector<int64_t>{out, channels / groups};
  shape.insert(shape.end(), window.kernel.begin() + window.first(), window.kernel.end());
  const bool is_volume = window.axes == 3;
  OpKind kind = is_volume ? OpKind::conv3d_fwd : OpKind::conv2d_fwd;
  if (conv.is_transposed) kind = is_volume ? OpKind::conv3d_bwd_data : OpKind::conv2d_bwd_data;
  const Weights weights =
      make_weights(model, where, layer, conv.share, {kind, conv.op, Shape(shape), conv.has_bias},
                   out, conv.weight_init, conv.bias_init);

  std::string text = window_text(conv.op, window);
  if (conv.output_pad != Axes{0, 0, 0}) text += " o" + axes_text(window, conv.output_pad, true);
  if (groups != 1) text += fmt::format(" g{}", groups);
  if (!conv.share.empty()) text += " as " + conv.share;
  const Params params = params_of(conv);
  if (!conv.is_transposed) {
    return add_layer(model, kind, layer, {x.id, weights.w, weights.b}, params, text);
  }
  if (!conv.has_bias) return add_layer(model, kind, layer, {x.id, weights.w}, params, text);
  const ValueId sums =
      model.graph.add_node(kind, layer, Phase::forward, {x.id, weights.w}, params).front();
  return add_layer(model, OpKind::scale_shift_fwd, layer, {sums, kNoValue, weights.b}, {}, text);
}

}  // namespace

Var ModelBuilder::conv1d(Var x, const Conv1dOptions& o) {
  return add_conv(*impl_, x, conv_of("conv1d", o));
}
Var ModelBuilder::conv2d(Var x, const Conv2dOptions& o) {
  return add_conv(*impl_, x, conv_of("conv2d", o));
}
Var ModelBuilder::conv3d(Var x, const Conv3dOptions& o) {
  return add_conv(*impl_, x, conv_of("conv3d", o));
}
Var ModelBuilder::conv_transpose1d(Var x, const ConvTranspose1dOptions& o) {
  return add_conv(*impl_, x, transposed_conv_of("conv_transpose1d", o));
}
Var ModelBuilder::conv_transpose2d(Var x, const ConvTranspose2dOptions& o) {
  return add_conv(*impl_, x, transposed_conv_of("conv_transpose2d", o));
}
Var ModelBuilder::conv_transpose3d(Var x, const ConvTranspose3dOptions& o) {
  return add_conv(*impl_, x, transposed_conv_of("conv_transpose3d", o));
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
  const Weights weights = make_weights(*impl_, where, layer, o.share,
                                       {OpKind::linear_fwd, "linear", Shape{out, features}, o.bias},
                                       out, o.weight_init, o.bias_init);
  std::string text = fmt::format("linear {}", out);
  if (!o.share.empty()) text += " as " + o.share;
  return add_layer(*impl_, OpKind::linear_fwd, layer, {x.id, weights.w, weights.b}, Params::of(p),
                   text);
}

}  // namespace tanul
