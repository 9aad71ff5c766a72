// SPDX-License-Identifier: Apache-2.0
// softmax_xent: shape inference, gradient and cost.
#include "kernels/op.h"
#include "kernels/softmax_xent/softmax_xent.h"

namespace tanul {

namespace {

void check_operands(InferContext& context) {
  const SoftmaxXentParams& params = context.params<SoftmaxXentParams>();
  const Shape& z = context.shape(0);
  if (context.dtype(0) != DType::f32 || z.rank() != 2) {
    context.reject("logits are f32 [N, C], got {} {}; flatten them first",
                   dtype_name(context.dtype(0)), z.str());
  }
  if (z[0] < 1 || z[1] < 1) {
    context.reject("logits need at least one sample and one class, got {}", z.str());
  }
  if (context.dtype(1) != DType::i32 || context.shape(1) != Shape{z[0]}) {
    context.reject("targets are class indices i32 [{}], one per row of the logits {}, got {} {}",
                   z[0], z.str(), dtype_name(context.dtype(1)), context.shape(1).str());
  }
  if (context.has(2) && (context.dtype(2) != DType::f32 || context.shape(2) != Shape{z[1]})) {
    context.reject("class weights are f32 [{}], one per class of the logits {}, got {} {}", z[1],
                   z.str(), dtype_name(context.dtype(2)), context.shape(2).str());
  }
  if (!(params.label_smoothing >= 0 && params.label_smoothing <= 1)) {
    context.reject("label_smoothing lies in 0 to 1, got {}", params.label_smoothing);
  }
}

void infer_fwd(InferContext& context) {
  check_operands(context);
  context.add_out({1});
  context.add_out({4});
}

void infer_bwd(InferContext& context) {
  check_operands(context);
  if (context.dtype(3) != DType::f32 || context.shape(3) != Shape{1}) {
    context.reject("the gradient of the loss is f32 [1], got {} {}", dtype_name(context.dtype(3)),
                   context.shape(3).str());
  }
  if (context.dtype(4) != DType::f32 || context.shape(4) != Shape{4}) {
    context.reject("the statistics of the forward step are f32 [4], got {} {}",
                   dtype_name(context.dtype(4)), context.shape(4).str());
  }
  context.add_out(context.shape(0));
}

void grad(GradContext& context) {
  if (!context.wants(0) || context.grad_out(0) == kNoValue) return;
  const ValueId weights = context.node().in.size() > 2 ? context.in(2) : kNoValue;
  context.set_grad(
      0, context.emit(OpKind::softmax_xent_bwd,
                      {context.in(0), context.in(1), weights, context.grad_out(0), context.out(1)},
                      context.node().params)[0]);
}

// An exponential counts ten.
double flops_fwd(const StepArgs& args) { return 14.0 * static_cast<double>(args.in[0].elems()); }
double flops_bwd(const StepArgs& args) { return 16.0 * static_cast<double>(args.in[0].elems()); }

}  // namespace

const OpDef op_softmax_xent_fwd{
    .doc = "loss = mean of -log softmax(z)[target], smoothed and weighted by class on request",
    .infer = infer_fwd,
    .grad = grad,
    .flops = flops_fwd,
    .user_name = "softmax_cross_entropy",
};

const OpDef op_softmax_xent_bwd{
    .doc = "dz = dloss / divisor (sum(q) softmax(z) - q)",
    .infer = infer_bwd,
    .flops = flops_bwd,
    .in_place = {{0, 0}, {-1, -1}},
};

}  // namespace tanul
