// SPDX-License-Identifier: Apache-2.0
// Two-dimensional convolution: definitions. Formulas and operands are in conv2d.h.
#include <limits>

#include "kernels/activation/activation_op.h"
#include "kernels/conv2d/conv2d.h"

namespace tanul {

namespace {

void check_tensor(const InferContext& context, int i, const char* name, const char* rule) {
  const Shape& shape = context.shape(i);
  if (shape.rank() != 4) context.reject("{} must be {}, got {}", name, rule, shape.str());
  if (context.dtype(i) != DType::f32) {
    context.reject("{} must be f32, got {}", name, dtype_name(context.dtype(i)));
  }
  for (int axis = 0; axis < 4; ++axis) {
    if (shape[axis] < 1) context.reject("{} must not be empty, got {}", name, shape.str());
    if (shape[axis] > std::numeric_limits<int32_t>::max()) {
      context.reject("each extent of {} must be below 2^31, got {}", name, shape.str());
    }
  }
}

// One spatial axis, named as the messages name it.
struct ConvAxis {
  const char* name;  // "height"
  int64_t in;
  int64_t kernel, stride, pad_begin, pad_end, dilation;
};

int64_t out_extent(const InferContext& context, const ConvAxis& axis) {
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
  const int64_t span = axis.dilation * (axis.kernel - 1) + 1;
  const int64_t padded = axis.in + axis.pad_begin + axis.pad_end;
  if (padded < span) {
    context.reject(
        "kernel {} {} with dilation {} spans {} elements but the padded input has {} ({} + {} + "
        "{})",
        axis.name, axis.kernel, axis.dilation, span, padded, axis.in, axis.pad_begin, axis.pad_end);
  }
  return (padded - span) / axis.stride + 1;
}

struct Extents {
  int64_t P, Q;
};
Extents out_extents(const InferContext& context, const Conv2dParams& params, int64_t H, int64_t W) {
  return {out_extent(context, {"height", H, params.kernel_h, params.stride_h, params.pad_top,
                               params.pad_bottom, params.dilation_h}),
          out_extent(context, {"width", W, params.kernel_w, params.stride_w, params.pad_left,
                               params.pad_right, params.dilation_w})};
}

// w against the parameters and the number of input channels.
void check_weights(const InferContext& context, const Conv2dParams& params, const Shape& w,
                   int64_t groups) {
  if (groups < 1) context.reject("groups must be at least 1, got {}", groups);
  if (w[2] != params.kernel_h || w[3] != params.kernel_w) {
    context.reject("w {} does not have the kernel {}x{}", w.str(), params.kernel_h,
                   params.kernel_w);
  }
  if (w[0] % groups != 0) {
    context.reject("the {} output channels cannot be cut into {} groups (w {}); check out_channels",
                   w[0], groups, w.str());
  }
}

void infer_conv2d_fwd(InferContext& context) {
  check_tensor(context, 0, "x", "[N, C, H, W]");
  check_tensor(context, 1, "w", "[K, C/groups, R, S]");
  auto& params = context.params<Conv2dParams>();
  const Shape& x = context.shape(0);
  const Shape& w = context.shape(1);
  check_weights(context, params, w, params.groups);
  if (x[1] % params.groups != 0) {
    context.reject("the {} channels of x cannot be cut into {} groups (x {})", x[1], params.groups,
                   x.str());
  }
  if (x[1] != w[1] * params.groups) {
    context.reject("x has {} channels but w expects {} (x {}, w {}); check in_channels", x[1],
                   w[1] * params.groups, x.str(), w.str());
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
  params.in_h = static_cast<int32_t>(x[2]);
  params.in_w = static_cast<int32_t>(x[3]);
  const Extents out = out_extents(context, params, x[2], x[3]);
  context.add_out({x[0], w[0], out.P, out.Q});
}

void check_dy(const InferContext& context, const Shape& dy, const Extents& expected) {
  if (dy[2] != expected.P || dy[3] != expected.Q) {
    context.reject("dy {} does not have the output's extents {}x{}", dy.str(), expected.P,
                   expected.Q);
  }
}

void infer_conv2d_bwd_data(InferContext& context) {
  check_tensor(context, 0, "dy", "[N, K, P, Q]");
  check_tensor(context, 1, "w", "[K, C/groups, R, S]");
  const auto& params = context.params<Conv2dParams>();
  const Shape& dy = context.shape(0);
  const Shape& w = context.shape(1);
  check_weights(context, params, w, params.groups);
  if (dy[1] != w[0]) {
    context.reject("dy has {} channels but w makes {} (dy {}, w {})", dy[1], w[0], dy.str(),
                   w.str());
  }
  check_dy(context, dy, out_extents(context, params, params.in_h, params.in_w));
  context.add_out({dy[0], w[1] * params.groups, params.in_h, params.in_w});
}

void infer_conv2d_bwd_weights(InferContext& context) {
  check_tensor(context, 0, "x", "[N, C, H, W]");
  check_tensor(context, 1, "dy", "[N, K, P, Q]");
  auto& params = context.params<Conv2dParams>();
  const Shape& x = context.shape(0);
  const Shape& dy = context.shape(1);
  if (x[0] != dy[0]) {
    context.reject("x has {} images but dy has {} (x {}, dy {})", x[0], dy[0], x.str(), dy.str());
  }
  if (params.groups < 1 || x[1] % params.groups != 0 || dy[1] % params.groups != 0) {
    context.reject("{} and {} channels cannot be cut into {} groups (x {}, dy {})", x[1], dy[1],
                   params.groups, x.str(), dy.str());
  }
  params.in_h = static_cast<int32_t>(x[2]);
  params.in_w = static_cast<int32_t>(x[3]);
  check_dy(context, dy, out_extents(context, params, x[2], x[3]));
  context.add_out({dy[1], x[1] / params.groups, params.kernel_h, params.kernel_w});
  if (params.has_bias != 0) {
    context.add_out({dy[1]});
  } else {
    context.add_no_out();
  }
}

void grad_conv2d(GradContext& context) {
  Conv2dParams params = context.node().params.as<Conv2dParams>();
  const ValueId dy = grad_before_activation(context, params.activation);
  params.activation = ActivationKind::none;
  params.has_bias = context.wants(2) ? 1 : 0;
  const Params backward = Params::of(params);
  if (context.wants(1) || context.wants(2)) {
    const auto grads = context.emit(OpKind::conv2d_bwd_weights, {context.in(0), dy}, backward);
    if (context.wants(1)) context.set_grad(1, grads[0]);
    if (context.wants(2)) context.set_grad(2, grads[1]);
  }
  if (context.wants(0)) {
    context.set_grad(0, context.emit(OpKind::conv2d_bwd_data, {dy, context.in(1)}, backward)[0]);
  }
}

// Multiply-adds of the convolution: each element of y (or dy) meets C/groups R S weights.
double product_flops(const Operand& y, int64_t channels, const Conv2dParams& params) {
  return 2.0 * static_cast<double>(y.elems()) *
         (static_cast<double>(channels / params.groups) * params.kernel_h * params.kernel_w);
}
double flops_conv2d_fwd(const StepArgs& args) {
  return product_flops(args.out[0], args.in[0].dims[1], args.params_as<Conv2dParams>()) +
         static_cast<double>(args.out[0].elems());
}
double flops_conv2d_bwd_data(const StepArgs& args) {
  return product_flops(args.in[0], args.out[0].dims[1], args.params_as<Conv2dParams>());
}
double flops_conv2d_bwd_weights(const StepArgs& args) {
  return product_flops(args.in[1], args.in[0].dims[1], args.params_as<Conv2dParams>()) +
         static_cast<double>(args.in[1].elems());
}

}  // namespace

const OpDef op_conv2d_fwd = {
    .doc = "y[n,k,p,q] = act(b[k] + sum over c, r, s of x[n,c,h,w] w[k,c,r,s])",
    .infer = infer_conv2d_fwd,
    .grad = grad_conv2d,
    .flops = flops_conv2d_fwd,
    .onnx = "Conv",
};

const OpDef op_conv2d_bwd_data = {
    .doc = "dx[n,c,h,w] = sum over k, r, s of dy[n,k,p,q] w[k,c,r,s]",
    .infer = infer_conv2d_bwd_data,
    .flops = flops_conv2d_bwd_data,
};

const OpDef op_conv2d_bwd_weights = {
    .doc = "dw[k,c,r,s] = sum over n, p, q of dy[n,k,p,q] x[n,c,h,w], db[k] = sum of dy[n,k,p,q]",
    .infer = infer_conv2d_bwd_weights,
    .flops = flops_conv2d_bwd_weights,
};

}  // namespace tanul
