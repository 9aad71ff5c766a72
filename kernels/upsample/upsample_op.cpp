// SPDX-License-Identifier: Apache-2.0
// upsample: shape inference, gradient and cost.
#include <cmath>

#include "kernels/op.h"
#include "kernels/upsample/upsample.h"

namespace tanul {

namespace {

constexpr double kMostPerAxis = 1 << 24;

void infer_fwd(InferContext& context) {
  UpsampleParams& params = context.params<UpsampleParams>();
  const Shape& x = context.shape(0);
  if (context.dtype(0) != DType::f32) {
    context.reject("x must be f32, got {}", dtype_name(context.dtype(0)));
  }
  if (x.rank() < 3 || x.rank() > 5) {
    context.reject("x has one to three spatial axes, [N, C, …], got {}", x.str());
  }
  if (params.align_corners != 0 && params.mode != Resize::linear && params.mode != Resize::cubic) {
    context.reject("align_corners belongs to the modes linear and cubic");
  }
  params.axes = x.rank() - 2;
  Shape y = x;
  for (int i = 0; i < params.axes; ++i) {
    params.in[i] = static_cast<int32_t>(x[i + 2]);
    const double scale = params.scale[i];
    if (params.out[i] == 0) {
      const double size = std::floor(scale * static_cast<double>(x[i + 2]));
      if (!(scale > 0 && size >= 1 && size <= kMostPerAxis)) {
        context.reject(
            "spatial axis {} of x {}: a size of at least 1 or a scale that leaves one is needed, "
            "got the scale {}",
            i, x.str(), scale);
      }
      params.out[i] = static_cast<int32_t>(size);
    }
    if (params.out[i] < 1) {
      context.reject("spatial axis {}: the size is at least 1, got {}", i, params.out[i]);
    }
    y[i + 2] = params.out[i];
  }
  context.add_out(y);
}

void infer_bwd(InferContext& context) {
  const UpsampleParams& params = context.params<UpsampleParams>();
  Shape dx = context.shape(0);
  for (int i = 0; i < params.axes; ++i) dx[i + 2] = params.in[i];
  context.add_out(dx);
}

void grad(GradContext& context) {
  if (!context.wants(0) || context.grad_out(0) == kNoValue) return;
  context.set_grad(
      0, context.emit(OpKind::upsample_bwd, {context.grad_out(0)}, context.node().params)[0]);
}

// Two operations for each element that takes part.
double flops(const StepArgs& args) {
  const UpsampleParams& params = args.params_as<UpsampleParams>();
  if (params.mode == Resize::nearest || params.mode == Resize::nearest_exact) return 0;
  double elems = static_cast<double>(args.in[0].dims[0] * args.in[0].dims[1]);
  for (int i = 0; i < params.axes; ++i) elems *= params.out[i];
  return 2 * elems * std::pow(params.mode == Resize::cubic ? 4 : 2, params.axes);
}

}  // namespace

const OpDef op_upsample_fwd{
    .doc = "y = x with other spatial sizes, by the nearest element or interpolated",
    .infer = infer_fwd,
    .grad = grad,
    .flops = flops,
    .onnx = "Resize",
};

const OpDef op_upsample_bwd{
    .doc = "dx = the transposed map of dy",
    .infer = infer_bwd,
    .flops = flops,
};

}  // namespace tanul
