// SPDX-License-Identifier: Apache-2.0
// layer_norm, rms_norm, group_norm, instance_norm: shape inference, gradients and cost.
#include <cmath>

#include "kernels/groupnorm/groupnorm.h"
#include "kernels/op.h"

namespace tanul {

namespace {

void check_f32(const InferContext& context, int i, const char* name, const Shape& shape) {
  if (!context.has(i)) return;
  if (context.dtype(i) != DType::f32 || context.shape(i) != shape) {
    context.reject("{} is f32 {}, got {} {}", name, shape.str(), dtype_name(context.dtype(i)),
                   context.shape(i).str());
  }
}

// What the forward steps share: types, eps, gamma, beta and the outputs; `groups` of `n` values.
void infer_common(InferContext& context, const Shape& affine, int64_t groups, int64_t n,
                  bool has_mean) {
  GroupNormParams& p = context.params<GroupNormParams>();
  const Shape& x = context.shape(0);
  if (!(p.eps > 0) || !std::isfinite(p.eps)) context.reject("eps is above 0, got {}", p.eps);
  if (has_mean && n < 2) {
    context.reject("x {} has groups of one value, which would all become 0", x.str());
  }
  check_f32(context, 1, "gamma", affine);
  check_f32(context, 2, "beta", affine);
  p.has_beta = context.has(2);
  context.add_out(x);
  if (has_mean) {
    context.add_out({groups});
  } else {
    context.add_no_out();
  }
  context.add_out({groups});
}

void check_x(const InferContext& context, int least_rank, const char* wanted) {
  const Shape& x = context.shape(0);
  if (context.dtype(0) != DType::f32 || x.rank() < least_rank || x.elems() < 1) {
    context.reject("x is f32 {} with at least one element, got {} {}", wanted,
                   dtype_name(context.dtype(0)), x.str());
  }
}

template <bool kMean>
void infer_layer(InferContext& context) {
  check_x(context, 2, "[N, ...]");
  const GroupNormParams& p = context.params<GroupNormParams>();
  const Shape& x = context.shape(0);
  if (p.axes < 1 || p.axes >= x.rank()) {
    context.reject(
        "axes, the number of last axes that are normalised, lies in 1 to {} for x {}, got {}",
        x.rank() - 1, x.str(), p.axes);
  }
  if (!kMean && context.has(2)) context.reject("there is no beta in RMS normalisation");
  const Shape affine = x.tail(x.rank() - p.axes);
  const int64_t n = affine.elems();
  infer_common(context, affine, x.elems() / n, n, kMean);
}

template <bool kInstance>
void infer_group(InferContext& context) {
  check_x(context, kInstance ? 3 : 2, kInstance ? "[N, C, L], [N, C, H, W], ..." : "[N, C, ...]");
  GroupNormParams& p = context.params<GroupNormParams>();
  const Shape& x = context.shape(0);
  if (kInstance) p.groups = static_cast<int32_t>(x[1]);
  if (p.groups < 1 || x[1] % p.groups != 0) {
    context.reject("groups must divide the {} channels of x {}, got {}", x[1], x.str(), p.groups);
  }
  const int64_t groups = x[0] * p.groups;
  infer_common(context, {x[1]}, groups, x.elems() / groups, true);
}

void infer_bwd(InferContext& context, const Shape& affine, int64_t groups) {
  const Shape& x = context.shape(1);
  check_f32(context, 0, "dy", x);
  check_f32(context, 2, "gamma", affine);
  check_f32(context, 3, "mean", {groups});
  check_f32(context, 4, "inv_std", {groups});
  context.add_out(x);
  if (context.has(2)) {
    context.add_out(affine);
  } else {
    context.add_no_out();
  }
  if (context.params<GroupNormParams>().has_beta != 0) {
    context.add_out(affine);
  } else {
    context.add_no_out();
  }
}

void infer_layer_bwd(InferContext& context) {
  const Shape& x = context.shape(1);
  const Shape affine = x.tail(x.rank() - context.params<GroupNormParams>().axes);
  infer_bwd(context, affine, x.elems() / affine.elems());
}

void infer_group_bwd(InferContext& context) {
  const Shape& x = context.shape(1);
  infer_bwd(context, {x[1]}, x[0] * context.params<GroupNormParams>().groups);
}

template <OpKind kBackward>
void grad(GradContext& context) {
  const ValueId gamma = context.node().in.size() > 1 ? context.in(1) : kNoValue;
  const std::vector<ValueId> outs = context.emit(
      kBackward, {context.grad_out(0), context.in(0), gamma, context.out(1), context.out(2)},
      context.node().params);
  for (int i = 0; i < 3; ++i) context.set_grad(i, outs[static_cast<size_t>(i)]);
}

double flops_fwd(const StepArgs& args) { return 7.0 * static_cast<double>(args.in[0].elems()); }
double flops_bwd(const StepArgs& args) { return 12.0 * static_cast<double>(args.in[1].elems()); }

}  // namespace

const OpDef op_layer_norm_fwd{
    .doc = "y = gamma (x - mean) / sqrt(var + eps) + beta over the last axes of each sample",
    .infer = infer_layer<true>,
    .grad = grad<OpKind::layer_norm_bwd>,
    .flops = flops_fwd,
    .in_place = {{0, 0}, {-1, -1}},
    .optional_outputs = 0b110,
    .onnx = "LayerNormalization",
};

const OpDef op_rms_norm_fwd{
    .doc = "y = gamma x / sqrt(mean of x^2 + eps) over the last axes of each sample",
    .infer = infer_layer<false>,
    .grad = grad<OpKind::layer_norm_bwd>,
    .flops = flops_fwd,
    .in_place = {{0, 0}, {-1, -1}},
    .optional_outputs = 0b110,
    .onnx = "RMSNormalization",
};

const OpDef op_layer_norm_bwd{
    .doc = "dx = inv_std (dy gamma - its mean - x_hat times the mean of dy gamma x_hat)",
    .infer = infer_layer_bwd,
    .flops = flops_bwd,
    .in_place = {{0, 0}, {1, 0}},
    .optional_outputs = 0b111,
};

const OpDef op_group_norm_fwd{
    .doc = "y = gamma (x - mean) / sqrt(var + eps) + beta over groups of channels of each sample",
    .infer = infer_group<false>,
    .grad = grad<OpKind::group_norm_bwd>,
    .flops = flops_fwd,
    .in_place = {{0, 0}, {-1, -1}},
    .optional_outputs = 0b110,
    .onnx = "GroupNormalization",
};

const OpDef op_instance_norm_fwd{
    .doc = "y = gamma (x - mean) / sqrt(var + eps) + beta over each channel of each sample",
    .infer = infer_group<true>,
    .grad = grad<OpKind::group_norm_bwd>,
    .flops = flops_fwd,
    .in_place = {{0, 0}, {-1, -1}},
    .optional_outputs = 0b110,
    .onnx = "InstanceNormalization",
};

const OpDef op_group_norm_bwd{
    .doc = "dx = inv_std (dy gamma - its mean - x_hat times the mean of dy gamma x_hat)",
    .infer = infer_group_bwd,
    .flops = flops_bwd,
    .in_place = {{0, 0}, {1, 0}},
    .optional_outputs = 0b111,
};

}  // namespace tanul
