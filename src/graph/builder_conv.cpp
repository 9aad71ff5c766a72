// SPDX-License-Identifier: Apache-2.0
// ModelBuilder: convolution and linear layers.
#include "graph/builder.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/linear/linear.h"

namespace tanul {

using namespace build;

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
                    o.weight_init, Role::weight);
  const ValueId b =
      o.bias ? add_parameter(*impl_, layer + ".bias", {out}, o.bias_init, Role::bias) : kNoValue;
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
  const ValueId w =
      add_parameter(*impl_, layer + ".weight", {out, features}, o.weight_init, Role::weight);
  const ValueId b =
      o.bias ? add_parameter(*impl_, layer + ".bias", {out}, o.bias_init, Role::bias) : kNoValue;
  return add_layer(*impl_, OpKind::linear_fwd, layer, {x.id, w, b}, Params::of(p),
                   fmt::format("linear {}", out));
}

}  // namespace tanul
