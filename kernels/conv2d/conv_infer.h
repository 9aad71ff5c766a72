// SPDX-License-Identifier: Apache-2.0
// Shape inference and gradients that convolutions share, whatever their number of dimensions: every
// spatial axis obeys the same formula. Conv2dParams serve [N, C, L] and [N, C, H, W], Conv3dParams
// [N, C, D, H, W].
#pragma once

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "kernels/activation/activation_op.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/conv3d/conv3d.h"

namespace tanul::conv {

// One spatial axis of the window: its numbers as the messages name them, and where infer puts the
// extents that it resolves.
struct Axis {
  const char* name;  // "height"
  int32_t kernel, stride, pad_begin, pad_end, dilation, output_pad;
  int32_t& in;   // extent of x
  int32_t& out;  // extent of y, 0: as many as fit

  int64_t span() const { return int64_t{dilation} * (kernel - 1) + 1; }
};

// How an op is called and what its operands look like.
struct Names {
  const char* layer;         // "conv2d"
  const char* transposed;    // "conv_transpose2d"
  const char* x;             // "[N, C, H, W]"
  const char* y;             // "[N, K, P, Q]"
  const char* w;             // "[K, C/groups, R, S]"
  const char* w_transposed;  // "[C, K/groups, R, S]"
  int axes;
};

inline Names names_of(int axes) {
  switch (axes) {
    case 1:
      return {"conv1d",
              "conv_transpose1d",
              "[N, C, L]",
              "[N, K, Q]",
              "[K, C/groups, S]",
              "[C, K/groups, S]",
              1};
    case 3:
      return {"conv3d",
              "conv_transpose3d",
              "[N, C, D, H, W]",
              "[N, K, Z, P, Q]",
              "[K, C/groups, T, R, S]",
              "[C, K/groups, T, R, S]",
              3};
    default:
      return {"conv2d",
              "conv_transpose2d",
              "[N, C, H, W]",
              "[N, K, P, Q]",
              "[K, C/groups, R, S]",
              "[C, K/groups, R, S]",
              2};
  }
}

// What a family of parameters supplies: its axes, and the numbers that do not depend on them.
inline Conv2dParams& plane_of(Conv2dParams& params) { return params; }
inline std::vector<Axis> axes_of(Conv2dParams& p, int axes) {
  const Axis width{axes == 1 ? "length" : "width",
                   p.kernel_w,
                   p.stride_w,
                   p.pad_left,
                   p.pad_right,
                   p.dilation_w,
                   p.output_pad_w,
                   p.in_w,
                   p.out_w};
  if (axes == 1) return {width};
  return {{"height", p.kernel_h, p.stride_h, p.pad_top, p.pad_bottom, p.dilation_h, p.output_pad_h,
           p.in_h, p.out_h},
          width};
}
// A signal is an image of height 1.
inline void settle(Conv2dParams& p, int axes) {
  if (axes != 1) return;
  p.kernel_h = p.stride_h = p.dilation_h = p.in_h = 1;
  p.pad_top = p.pad_bottom = p.output_pad_h = p.out_h = 0;
}

inline Conv2dParams& plane_of(Conv3dParams& params) { return params.plane; }
inline std::vector<Axis> axes_of(Conv3dParams& p, int) {
  std::vector<Axis> axes{{"depth", p.kernel_d, p.stride_d, p.pad_front, p.pad_back, p.dilation_d,
                          p.output_pad_d, p.in_d, p.out_d}};
  for (const Axis& axis : axes_of(p.plane, 2)) axes.push_back(axis);
  return axes;
}
inline void settle(Conv3dParams&, int) {}

// The spatial axes of operand 0, whose rank must be one of `ranks`.
inline int spatial_axes(const InferContext& context, const char* name, bool is_output, int least,
                        int most) {
  const int axes = context.shape(0).rank() - 2;
  if (axes >= least && axes <= most) return axes;
  std::string possible;
  for (int i = most; i >= least; --i) {
    const Names names = names_of(i);
    possible += (possible.empty() ? "" : " or ") + std::string(is_output ? names.y : names.x);
  }
  context.reject("{} must be {}, got {}", name, possible, context.shape(0).str());
}

inline void check_tensor(const InferContext& context, int i, const char* name, int axes,
                         const char* rule) {
  const Shape& shape = context.shape(i);
  if (shape.rank() != axes + 2) context.reject("{} must be {}, got {}", name, rule, shape.str());
  if (context.dtype(i) != DType::f32) {
    context.reject("{} must be f32, got {}", name, dtype_name(context.dtype(i)));
  }
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] < 1) context.reject("{} must not be empty, got {}", name, shape.str());
    if (shape[axis] > std::numeric_limits<int32_t>::max()) {
      context.reject("each extent of {} must be below 2^31, got {}", name, shape.str());
    }
  }
}

inline void check_axis(const InferContext& context, const Axis& axis) {
  const auto at_least_1 = [&](const char* what, int64_t value) {
    if (value < 1) context.reject("{} {} must be at least 1, got {}", what, axis.name, value);
  };
  at_least_1("kernel", axis.kernel);
  at_least_1("stride", axis.stride);
  at_least_1("dilation", axis.dilation);
  if (axis.pad_begin < 0 || axis.pad_end < 0) {
    context.reject("padding must not be negative, got {} and {} ({})", axis.pad_begin, axis.pad_end,
                   axis.name);
  }
}

// The extent of y from that of x.
inline int64_t out_extent(const InferContext& context, const Axis& axis, int64_t in) {
  check_axis(context, axis);
  const int64_t padded = in + axis.pad_begin + axis.pad_end;
  if (padded < axis.span()) {
    context.reject(
        "kernel {} {} with dilation {} spans {} elements but the padded input has {} ({} + {} + "
        "{})",
        axis.name, axis.kernel, axis.dilation, axis.span(), padded, in, axis.pad_begin,
        axis.pad_end);
  }
  const int64_t fits = (padded - axis.span()) / axis.stride + 1;
  if (axis.out == 0) return fits;
  if (axis.out < 0 || axis.out > fits) {
    context.reject("an output {} of {} is asked for, {} fit", axis.name, axis.out, fits);
  }
  return axis.out;
}

// The extent that a transposed convolution makes of `in`; the axis gets both.
inline void resolve_transposed(const InferContext& context, const Axis& axis, int64_t in) {
  check_axis(context, axis);
  const int64_t most = std::max(axis.stride, axis.dilation) - 1;
  if (axis.output_pad < 0 || axis.output_pad > most) {
    context.reject(
        "output_padding {} must be 0 to {}, below the larger of stride {} and dilation {}, got {}",
        axis.name, most, axis.stride, axis.dilation, axis.output_pad);
  }
  const int64_t out =
      (in - 1) * axis.stride - axis.pad_begin - axis.pad_end + axis.span() + axis.output_pad;
  if (out < 1 || out > std::numeric_limits<int32_t>::max()) {
    context.reject("the output {} would be {} = ({} - 1) {} + {} + {} - {} - {}; check pad",
                   axis.name, out, in, axis.stride, axis.span(), axis.output_pad, axis.pad_begin,
                   axis.pad_end);
  }
  axis.in = static_cast<int32_t>(out);
  axis.out = static_cast<int32_t>(in);
}

// "3x5", "4"
inline std::string kernel_text(const std::vector<Axis>& axes) {
  std::string text;
  for (const Axis& axis : axes) text += (text.empty() ? "" : "x") + std::to_string(axis.kernel);
  return text;
}

// w against the parameters. `channels`: "output", or "input" where the convolution is transposed.
inline void check_weights(const InferContext& context, const std::vector<Axis>& axes, int groups,
                          const char* channels) {
  const Shape& w = context.shape(1);
  if (groups < 1) context.reject("groups must be at least 1, got {}", groups);
  for (size_t i = 0; i < axes.size(); ++i) {
    if (w[static_cast<int>(i) + 2] == axes[i].kernel) continue;
    context.reject("w {} does not have the kernel {}", w.str(), kernel_text(axes));
  }
  if (w[0] % groups != 0) {
    context.reject("the {} {} channels cannot be cut into {} groups (w {}); check {}", w[0],
                   channels, groups, w.str(), channels[0] == 'o' ? "out_channels" : "in_channels");
  }
}

// y of x and the parameters, which get the extents of x.
template <typename P>
Shape out_shape(const InferContext& context, P& params, const Shape& x, int64_t K) {
  std::vector<int64_t> y{x[0], K};
  const int axes = x.rank() - 2;
  for (const Axis& axis : axes_of(params, axes)) {
    const int64_t in = x[static_cast<int>(y.size())];
    axis.in = static_cast<int32_t>(in);
    y.push_back(out_extent(context, axis, in));
  }
  return Shape(y);
}

inline void check_dy(const InferContext& context, const Shape& dy, const Shape& expected) {
  for (int i = 2; i < dy.rank(); ++i) {
    if (dy[i] == expected[i]) continue;
    context.reject("dy {} does not have the output's extents {}", dy.str(),
                   expected.tail(2).str_x());
  }
}

template <typename P, int kLeast, int kMost>
void infer_fwd(InferContext& context) {
  auto& params = context.params<P>();
  context.set_user_name(names_of(std::clamp(context.shape(0).rank() - 2, kLeast, kMost)).layer);
  const int axes = spatial_axes(context, "x", false, kLeast, kMost);
  const Names names = names_of(axes);
  settle(params, axes);
  check_tensor(context, 0, "x", axes, names.x);
  check_tensor(context, 1, "w", axes, names.w);
  const Shape& x = context.shape(0);
  const Shape& w = context.shape(1);
  const int groups = plane_of(params).groups;
  check_weights(context, axes_of(params, axes), groups, "output");
  if (x[1] % groups != 0) {
    context.reject("the {} channels of x cannot be cut into {} groups (x {})", x[1], groups,
                   x.str());
  }
  if (x[1] != w[1] * groups) {
    context.reject("x has {} channels but w expects {} (x {}, w {}); check in_channels", x[1],
                   w[1] * groups, x.str(), w.str());
  }
  if (context.has(2)) {
    if (context.shape(2) != Shape{w[0]}) {
      context.reject("b must be [{}], one value for each output channel, got {}", w[0],
                     context.shape(2).str());
    }
    if (context.dtype(2) != DType::f32) {
      context.reject("b must be f32, got {}", dtype_name(context.dtype(2)));
    }
  }
  context.add_out(out_shape(context, params, x, w[0]));
}

// dx of dy; or, transposed, y of x.
template <typename P, int kLeast, int kMost>
void infer_bwd_data(InferContext& context) {
  auto& params = context.params<P>();
  const bool is_transposed = plane_of(params).is_transposed != 0;
  if (is_transposed) {
    context.set_user_name(
        names_of(std::clamp(context.shape(0).rank() - 2, kLeast, kMost)).transposed);
  }
  const char* name = is_transposed ? "x" : "dy";
  const int axes = spatial_axes(context, name, !is_transposed, kLeast, kMost);
  const Names names = names_of(axes);
  settle(params, axes);
  check_tensor(context, 0, name, axes, is_transposed ? names.x : names.y);
  check_tensor(context, 1, "w", axes, is_transposed ? names.w_transposed : names.w);
  const Shape& dy = context.shape(0);
  const Shape& w = context.shape(1);
  const int groups = plane_of(params).groups;
  const std::vector<Axis> all = axes_of(params, axes);
  check_weights(context, all, groups, is_transposed ? "input" : "output");
  if (dy[1] != w[0]) {
    if (is_transposed) {
      context.reject("x has {} channels but w expects {} (x {}, w {}); check in_channels", dy[1],
                     w[0], dy.str(), w.str());
    }
    context.reject("dy has {} channels but w makes {} (dy {}, w {})", dy[1], w[0], dy.str(),
                   w.str());
  }
  std::vector<int64_t> dx{dy[0], w[1] * groups};
  for (const Axis& axis : all) {
    if (is_transposed) resolve_transposed(context, axis, dy[static_cast<int>(dx.size())]);
    dx.push_back(axis.in);
  }
  check_dy(context, dy, out_shape(context, params, Shape(dx), dy[1]));
  context.add_out(Shape(dx));
}

template <typename P, int kLeast, int kMost>
void infer_bwd_weights(InferContext& context) {
  auto& params = context.params<P>();
  const int axes = spatial_axes(context, "x", false, kLeast, kMost);
  const Names names = names_of(axes);
  settle(params, axes);
  check_tensor(context, 0, "x", axes, names.x);
  check_tensor(context, 1, "dy", axes, names.y);
  const Shape& x = context.shape(0);
  const Shape& dy = context.shape(1);
  const int groups = plane_of(params).groups;
  if (x[0] != dy[0]) {
    context.reject("x has {} images but dy has {} (x {}, dy {})", x[0], dy[0], x.str(), dy.str());
  }
  if (groups < 1 || x[1] % groups != 0 || dy[1] % groups != 0) {
    context.reject("{} and {} channels cannot be cut into {} groups (x {}, dy {})", x[1], dy[1],
                   groups, x.str(), dy.str());
  }
  check_dy(context, dy, out_shape(context, params, x, dy[1]));
  std::vector<int64_t> dw{dy[1], x[1] / groups};
  for (const Axis& axis : axes_of(params, axes)) dw.push_back(axis.kernel);
  context.add_out(Shape(dw));
  if (plane_of(params).has_bias != 0) {
    context.add_out({dy[1]});
  } else {
    context.add_no_out();
  }
}

// The kinds of steps of a convolution.
struct Kinds {
  OpKind fwd, bwd_data, bwd_weights;
};

template <typename P>
void grad_fwd(GradContext& context, const Kinds& kinds) {
  P params = context.node().params.as<P>();
  Conv2dParams& plane = plane_of(params);
  const ValueId dy = grad_before_activation(context, plane.activation);
  plane.activation = ActivationKind::none;
  plane.has_bias = context.wants(2) ? 1 : 0;
  const Params backward = Params::of(params);
  if (context.wants(1) || context.wants(2)) {
    const auto grads = context.emit(kinds.bwd_weights, {context.in(0), dy}, backward);
    if (context.wants(1)) context.set_grad(1, grads[0]);
    if (context.wants(2)) context.set_grad(2, grads[1]);
  }
  if (context.wants(0)) {
    context.set_grad(0, context.emit(kinds.bwd_data, {dy, context.in(1)}, backward)[0]);
  }
}

// bwd_data is linear in dy and in w: with g the gradient of its output,
//   d(dy) = fwd(g, w),   dw = bwd_weights(x = g, dy).
template <typename P>
void grad_bwd_data(GradContext& context, const Kinds& kinds) {
  P params = context.node().params.as<P>();
  plane_of(params).is_transposed = 0;
  plane_of(params).has_bias = 0;
  const Params backward = Params::of(params);
  const ValueId g = context.grad_out(0);
  if (context.wants(1)) {
    context.set_grad(1, context.emit(kinds.bwd_weights, {g, context.in(0)}, backward)[0]);
  }
  if (context.wants(0)) {
    context.set_grad(0, context.emit(kinds.fwd, {g, context.in(1)}, backward)[0]);
  }
}

// Multiply-adds: each element of y (or dy) meets C/groups weights for each tap of the kernel.
inline double product_flops(const Operand& y, int64_t channels, int64_t groups, double taps) {
  return 2.0 * static_cast<double>(y.elems()) * static_cast<double>(channels / groups) * taps;
}

}  // namespace tanul::conv
