// SPDX-License-Identifier: Apache-2.0
// Maximum and average pooling: definitions. Formulas and operands are in pool.h.
//
// Padding must be smaller than the kernel, so that every window holds at least one element of the
// input. (PyTorch asks for at most half the kernel; other frameworks and ONNX files use more.)
#include <limits>

#include "kernels/op.h"
#include "kernels/pool/pool.h"

namespace tanul {

namespace {

// One spatial axis of the window: the extents as the messages name them.
struct PoolAxis {
  const char* name;  // "height"
  int64_t in;
  int64_t kernel, stride, pad_begin, pad_end;
};

void check_axis(const InferContext& context, const PoolAxis& axis) {
  if (axis.kernel < 1)
    context.reject("kernel {} must be at least 1, got {}", axis.name, axis.kernel);
  if (axis.stride < 1)
    context.reject("stride {} must be at least 1, got {}", axis.name, axis.stride);
  if (axis.pad_begin < 0 || axis.pad_end < 0) {
    context.reject("padding must not be negative, got {} and {} ({})", axis.pad_begin, axis.pad_end,
                   axis.name);
  }
  if (axis.pad_begin >= axis.kernel || axis.pad_end >= axis.kernel) {
    context.reject(
        "padding {} and {} ({}) must be smaller than the kernel {}; a window would see padding "
        "only",
        axis.pad_begin, axis.pad_end, axis.name, axis.kernel);
  }
  if (axis.in + axis.pad_begin + axis.pad_end < axis.kernel) {
    context.reject("kernel {} {} is larger than the padded input {} (x {})", axis.name, axis.kernel,
                   axis.in + axis.pad_begin + axis.pad_end, context.shape(0).str());
  }
}

int64_t out_extent(const PoolAxis& axis, bool ceil_mode) {
  const int64_t room = axis.in + axis.pad_begin + axis.pad_end - axis.kernel;
  int64_t windows = room / axis.stride + 1;
  if (ceil_mode && room % axis.stride != 0 && windows * axis.stride < axis.in + axis.pad_begin) {
    ++windows;  // the partial window starts inside the input or the padding before it
  }
  return windows;
}

Shape infer_pool(InferContext& context) {
  const Shape& x = context.shape(0);
  if (x.rank() != 4) context.reject("x must be [N, C, H, W], got {}", x.str());
  if (context.dtype(0) != DType::f32) {
    context.reject("x must be f32, got {}", dtype_name(context.dtype(0)));
  }
  for (int i = 0; i < 4; ++i) {
    if (x[i] < 1) context.reject("x must not be empty, got {}", x.str());
  }
  constexpr int64_t kMaxPlane = std::numeric_limits<int32_t>::max();
  if (x[2] > kMaxPlane / x[3]) {
    context.reject("a plane of x must have fewer than 2^31 elements, got {}", x.str());
  }
  auto& params = context.params<Pool2dParams>();
  params.in_h = static_cast<int32_t>(x[2]);
  params.in_w = static_cast<int32_t>(x[3]);
  if (params.global != 0) {
    params.kernel_h = params.in_h;
    params.kernel_w = params.in_w;
    params.stride_h = params.stride_w = 1;
    params.pad_top = params.pad_left = params.pad_bottom = params.pad_right = 0;
  }
  const PoolAxis height{"height",        x[2],           params.kernel_h,
                        params.stride_h, params.pad_top, params.pad_bottom};
  const PoolAxis width{"width",         x[3], params.kernel_w, params.stride_w, params.pad_left,
                       params.pad_right};
  check_axis(context, height);
  check_axis(context, width);
  const bool ceil_mode = params.ceil_mode != 0;
  return {x[0], x[1], out_extent(height, ceil_mode), out_extent(width, ceil_mode)};
}

void infer_max_pool2d(InferContext& context) {
  const Shape y = infer_pool(context);
  context.add_out(y);
  context.add_out(y, DType::i32);
}

void infer_avg_pool2d(InferContext& context) { context.add_out(infer_pool(context)); }

// The backward steps get params that the forward step's infer has resolved.
void infer_pool_bwd(InferContext& context) {
  const Shape& dy = context.shape(0);
  if (dy.rank() != 4) context.reject("dy must be [N, C, P, Q], got {}", dy.str());
  if (context.in_count() > 1 && context.shape(1) != dy) {
    context.reject("argmax {} must have the shape of dy {}", context.shape(1).str(), dy.str());
  }
  const auto& params = context.params<Pool2dParams>();
  context.add_out({dy[0], dy[1], params.in_h, params.in_w});
}

void grad_max_pool2d(GradContext& context) {
  if (!context.wants(0)) return;
  context.set_grad(0, context.emit(OpKind::max_pool2d_bwd, {context.grad_out(0), context.out(1)},
                                   context.node().params)[0]);
}

void grad_avg_pool2d(GradContext& context) {
  if (!context.wants(0)) return;
  context.set_grad(
      0, context.emit(OpKind::avg_pool2d_bwd, {context.grad_out(0)}, context.node().params)[0]);
}

// One comparison or addition for each element of each window.
double flops_window(const StepArgs& args) {
  const auto& params = args.params_as<Pool2dParams>();
  const double windows = static_cast<double>(
      args.in[0].elems() < args.out[0].elems() ? args.in[0].elems() : args.out[0].elems());
  return windows * params.kernel_h * params.kernel_w;
}

// One addition for each window.
double flops_max_bwd(const StepArgs& args) { return static_cast<double>(args.in[0].elems()); }

}  // namespace

const OpDef op_max_pool2d_fwd = {
    .doc = "y[n,c,p,q] = maximum of x[n,c,h,w] over window (p, q)",
    .infer = infer_max_pool2d,
    .grad = grad_max_pool2d,
    .flops = flops_window,
    .optional_outputs = 1u << 1,
    .onnx = "MaxPool",
};

const OpDef op_max_pool2d_bwd = {
    .doc = "dx[n,c,argmax[n,c,p,q]] += dy[n,c,p,q]",
    .infer = infer_pool_bwd,
    .flops = flops_max_bwd,
};

const OpDef op_avg_pool2d_fwd = {
    .doc = "y[n,c,p,q] = mean of x[n,c,h,w] over window (p, q)",
    .infer = infer_avg_pool2d,
    .grad = grad_avg_pool2d,
    .flops = flops_window,
    .onnx = "AveragePool",
};

const OpDef op_avg_pool2d_bwd = {
    .doc = "dx[n,c,h,w] = sum of dy[n,c,p,q] / divisor over the windows that hold (h, w)",
    .infer = infer_pool_bwd,
    .flops = flops_window,
};

}  // namespace tanul
