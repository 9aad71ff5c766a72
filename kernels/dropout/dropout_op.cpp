// SPDX-License-Identifier: Apache-2.0
// dropout: shape inference, gradient and cost.
#include "kernels/dropout/dropout.h"
#include "kernels/op.h"

namespace tanul {

namespace {

void infer(InferContext& context) {
  const DropoutParams& params = context.params<DropoutParams>();
  if (!(params.p >= 0 && params.p < 1)) {
    context.reject("the share p of dropped elements is at least 0 and below 1, got {}", params.p);
  }
  if (context.dtype(0) != DType::f32) {
    context.reject("x is f32, got {}", dtype_name(context.dtype(0)));
  }
  if (params.is_spatial != 0 && context.shape(0).rank() < 3) {
    context.reject("whole channels are dropped of x [N, C, …] with axes behind C, got {}",
                   context.shape(0).str());
  }
  context.add_out(context.shape(0));
}

void grad(GradContext& context) {
  if (!context.wants(0) || context.grad_out(0) == kNoValue) return;
  context.set_grad(
      0, context.emit(OpKind::dropout_bwd, {context.grad_out(0)}, context.node().params)[0]);
}

// Ten Philox rounds of about ten operations make four numbers.
double flops(const StepArgs& args) { return 26.0 * static_cast<double>(args.out[0].elems()); }

}  // namespace

const OpDef op_dropout_fwd{
    .doc = "y = x m / (1 - p), m = 1 with probability 1 - p",
    .infer = infer,
    .grad = grad,
    .flops = flops,
    .in_place = {{0, 0}, {-1, -1}},
    .identity_in_evaluation = true,
    .onnx = "Dropout",
};

const OpDef op_dropout_bwd{
    .doc = "dx = dy m / (1 - p) with the mask of the forward step",
    .infer = infer,
    .flops = flops,
    .in_place = {{0, 0}, {-1, -1}},
    .identity_in_evaluation = true,
};

}  // namespace tanul
