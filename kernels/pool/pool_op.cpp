// SPDX-License-Identifier: Apache-2.0
// Maximum and average pooling: definitions. Formulas and operands are in pool.h.
//
// Padding must be smaller than the window, so that every window holds at least one element of the
// input. (PyTorch asks for at most half of it; other frameworks and ONNX files use more.)
#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/op.h"
#include "kernels/pool/pool.h"

namespace tanul {

namespace {

// What users call a pooling of one, two or three axes.
using Names = const char* const[3];
constexpr Names kMax = {"max_pool1d", "max_pool2d", "max_pool3d"};
constexpr Names kAverage = {"avg_pool1d", "avg_pool2d", "avg_pool3d"};

// x [N, C, 1 to 3 spatial axes], f32, not empty. Returns the number of spatial axes.
int check_input(const InferContext& context) {
  const Shape& x = context.shape(0);
  if (x.rank() < 3 || x.rank() > 5) {
    context.reject("x must be [N, C, L], [N, C, H, W] or [N, C, D, H, W], got {}", x.str());
  }
  if (context.dtype(0) != DType::f32) {
    context.reject("x must be f32, got {}", dtype_name(context.dtype(0)));
  }
  for (int64_t extent : x) {
    if (extent < 1) context.reject("x must not be empty, got {}", x.str());
  }
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  int64_t volume = 1;
  for (int i = 2; i < x.rank(); ++i) {
    if (x[i] > kMost / volume) {
      context.reject("a channel of x must have fewer than 2^31 elements, got {}", x.str());
    }
    volume *= x[i];
  }
  return x.rank() - 2;
}

// Axis `axis` of depth, height, width, as the messages name it where there are `axes` of them.
const char* axis_name(int axis, int axes) {
  constexpr const char* kNames[] = {"depth", "height", "width"};
  return axes == 1 ? "length" : kNames[axis];
}

// One spatial axis of the window.
struct PoolAxis {
  const char* name;  // "height"
  int64_t in;
  int64_t kernel, stride, pad_begin, pad_end, dilation;

  int64_t span() const { return dilation * (kernel - 1) + 1; }
};

void check_axis(const InferContext& context, const PoolAxis& axis) {
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
  if (axis.pad_begin >= axis.span() || axis.pad_end >= axis.span()) {
    context.reject(
        "padding {} and {} ({}) must be smaller than the window's {}; a window would see padding "
        "only",
        axis.pad_begin, axis.pad_end, axis.name, axis.span());
  }
  if (axis.in + axis.pad_begin + axis.pad_end < axis.span()) {
    context.reject("kernel {} {} is larger than the padded input {} (x {})", axis.name, axis.span(),
                   axis.in + axis.pad_begin + axis.pad_end, context.shape(0).str());
  }
}

int64_t out_extent(const InferContext& context, const PoolAxis& axis, bool ceil_mode) {
  check_axis(context, axis);
  const int64_t room = axis.in + axis.pad_begin + axis.pad_end - axis.span();
  int64_t windows = room / axis.stride + 1;
  if (ceil_mode && room % axis.stride != 0 && windows * axis.stride < axis.in + axis.pad_begin) {
    ++windows;  // the partial window starts inside the input or the padding before it
  }
  // The taps of a dilated window may lie on both sides of a short input.
  for (int64_t i = 0; axis.dilation > 1 && i < windows; ++i) {
    int64_t tap = i * axis.stride - axis.pad_begin;
    if (tap < 0) tap += (-tap + axis.dilation - 1) / axis.dilation * axis.dilation;
    if (tap >= axis.in) {
      context.reject("window {} ({}) would see padding only: no tap of it lies inside x {}", i,
                     axis.name, context.shape(0).str());
    }
  }
  return windows;
}

// y, with the parameters settled.
Shape infer_pool(InferContext& context, const Names& names, const char* global_name) {
  auto& params = context.params<PoolParams>();
  const int rank = context.shape(0).rank();
  context.set_user_name(params.global != 0 ? global_name
                                           : names[std::min(2, std::max(0, rank - 3))]);
  const int axes = check_input(context);
  const Shape& x = context.shape(0);
  std::vector<int64_t> y{x[0], x[1]};
  for (int axis = 0; axis < 3; ++axis) {
    const bool exists = axis >= 3 - axes;
    params.in[axis] = exists ? static_cast<int32_t>(x[axis - 1 + axes]) : 1;
    if (!exists || params.global != 0) {
      params.kernel[axis] = params.in[axis];
      params.stride[axis] = params.dilation[axis] = 1;
      params.pad_begin[axis] = params.pad_end[axis] = 0;
    }
    if (!exists) continue;
    const PoolAxis window{axis_name(axis, axes), params.in[axis],        params.kernel[axis],
                          params.stride[axis],   params.pad_begin[axis], params.pad_end[axis],
                          params.dilation[axis]};
    y.push_back(out_extent(context, window, params.ceil_mode != 0));
  }
  return Shape(y);
}

void infer_max_pool(InferContext& context) {
  const Shape y = infer_pool(context, kMax, "global_max_pool");
  context.add_out(y);
  context.add_out(y, DType::i32);
}

void infer_avg_pool(InferContext& context) {
  const Shape y = infer_pool(context, kAverage, "global_avg_pool");
  for (int32_t dilation : context.params<PoolParams>().dilation) {
    if (dilation != 1)
      context.reject("the windows of an average have no dilation, got {}", dilation);
  }
  context.add_out(y);
}

Shape infer_adaptive(InferContext& context) {
  auto& params = context.params<AdaptivePoolParams>();
  const int axes = check_input(context);
  const Shape& x = context.shape(0);
  std::vector<int64_t> y{x[0], x[1]};
  for (int axis = 0; axis < 3; ++axis) {
    const bool exists = axis >= 3 - axes;
    params.in[axis] = exists ? static_cast<int32_t>(x[axis - 1 + axes]) : 1;
    if (!exists) params.out[axis] = 1;
    if (params.out[axis] < 1) {
      context.reject("output {} must be at least 1, got {}", axis_name(axis, axes),
                     params.out[axis]);
    }
    if (exists) y.push_back(params.out[axis]);
  }
  return Shape(y);
}

void infer_adaptive_max_pool(InferContext& context) {
  const Shape y = infer_adaptive(context);
  context.add_out(y);
  context.add_out(y, DType::i32);
}

void infer_adaptive_avg_pool(InferContext& context) { context.add_out(infer_adaptive(context)); }

// The backward steps get params that the forward step's infer has resolved.
template <typename P>
void infer_pool_bwd(InferContext& context) {
  const Shape& dy = context.shape(0);
  if (dy.rank() < 3 || dy.rank() > 5) {
    context.reject("dy must be [N, C, Q], [N, C, P, Q] or [N, C, Z, P, Q], got {}", dy.str());
  }
  if (context.in_count() > 1 && context.shape(1) != dy) {
    context.reject("argmax {} must have the shape of dy {}", context.shape(1).str(), dy.str());
  }
  const auto& params = context.params<P>();
  std::vector<int64_t> dx{dy[0], dy[1]};
  for (int axis = 5 - dy.rank(); axis < 3; ++axis) dx.push_back(params.in[axis]);
  context.add_out(Shape(dx));
}

void grad_max_pool(GradContext& context) {
  if (!context.wants(0)) return;
  context.set_grad(0, context.emit(OpKind::max_pool_bwd, {context.grad_out(0), context.out(1)},
                                   context.node().params)[0]);
}

void grad_adaptive_max_pool(GradContext& context) {
  if (!context.wants(0)) return;
  PoolParams params{};
  for (int axis = 0; axis < 3; ++axis) {
    params.in[axis] = context.node().params.as<AdaptivePoolParams>().in[axis];
  }
  context.set_grad(0, context.emit(OpKind::max_pool_bwd, {context.grad_out(0), context.out(1)},
                                   Params::of(params))[0]);
}

template <OpKind kBackward>
void grad_average(GradContext& context) {
  if (!context.wants(0)) return;
  context.set_grad(0, context.emit(kBackward, {context.grad_out(0)}, context.node().params)[0]);
}

// One comparison or addition for each element of each window.
double flops_window(const StepArgs& args) {
  const auto& params = args.params_as<PoolParams>();
  const double windows = static_cast<double>(std::min(args.in[0].elems(), args.out[0].elems()));
  return windows * params.kernel[0] * params.kernel[1] * params.kernel[2];
}

// The windows of an adaptive pooling hold each element about once.
double flops_larger(const StepArgs& args) {
  return static_cast<double>(std::max(args.in[0].elems(), args.out[0].elems()));
}

// One addition for each window.
double flops_max_bwd(const StepArgs& args) { return static_cast<double>(args.in[0].elems()); }

}  // namespace

const OpDef op_max_pool_fwd = {
    .doc = "y[n,c,z,p,q] = maximum of x[n,c,d,h,w] over window (z, p, q)",
    .infer = infer_max_pool,
    .grad = grad_max_pool,
    .flops = flops_window,
    .optional_outputs = 1u << 1,
    .onnx = "MaxPool",
};

const OpDef op_max_pool_bwd = {
    .doc = "dx[n,c,argmax[n,c,z,p,q]] += dy[n,c,z,p,q]",
    .infer = infer_pool_bwd<PoolParams>,
    .flops = flops_max_bwd,
};

const OpDef op_avg_pool_fwd = {
    .doc = "y[n,c,z,p,q] = mean of x[n,c,d,h,w] over window (z, p, q)",
    .infer = infer_avg_pool,
    .grad = grad_average<OpKind::avg_pool_bwd>,
    .flops = flops_window,
    .onnx = "AveragePool",
};

const OpDef op_avg_pool_bwd = {
    .doc = "dx[n,c,d,h,w] = sum of dy[n,c,z,p,q] / divisor over the windows that hold (d, h, w)",
    .infer = infer_pool_bwd<PoolParams>,
    .flops = flops_window,
};

const OpDef op_adaptive_max_pool_fwd = {
    .doc =
        "y[n,c,z,p,q] = maximum of x[n,c,d,h,w], window i of an axis: floor(i in / out) … "
        "ceil((i + 1) in / out)",
    .infer = infer_adaptive_max_pool,
    .grad = grad_adaptive_max_pool,
    .flops = flops_larger,
    .optional_outputs = 1u << 1,
};

const OpDef op_adaptive_avg_pool_fwd = {
    .doc =
        "y[n,c,z,p,q] = mean of x[n,c,d,h,w], window i of an axis: floor(i in / out) … "
        "ceil((i + 1) in / out)",
    .infer = infer_adaptive_avg_pool,
    .grad = grad_average<OpKind::adaptive_avg_pool_bwd>,
    .flops = flops_larger,
};

const OpDef op_adaptive_avg_pool_bwd = {
    .doc = "dx[n,c,d,h,w] = sum of dy[n,c,z,p,q] / divisor over the windows that hold (d, h, w)",
    .infer = infer_pool_bwd<AdaptivePoolParams>,
    .flops = flops_larger,
};

}  // namespace tanul
