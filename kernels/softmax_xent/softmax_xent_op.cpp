// SPDX-License-Identifier: Apache-2.0
// softmax_xent: shape inference, gradient and cost.
#include "kernels/loss/loss_op.h"
#include "kernels/softmax_xent/softmax_xent.h"

namespace tanul {

namespace {

void check_operands(InferContext& context) {
  check_scores(context, "logits");
  check_reduction(context);
  if (context.dtype(1) == DType::f32 && context.shape(1) != context.shape(0)) {
    context.reject("target probabilities have the shape of the logits {}, got {}",
                   context.shape(0).str(), context.shape(1).str());
  }
  if (context.dtype(1) != DType::f32) check_class_indices(context);
  check_class_weights(context, 2);
  const float smoothing = context.params<SoftmaxXentParams>().label_smoothing;
  if (!(smoothing >= 0 && smoothing <= 1)) {
    context.reject("label_smoothing lies in 0 to 1, got {}", smoothing);
  }
}

void infer_fwd(InferContext& context) {
  check_operands(context);
  add_loss_outs(context, shape_of_positions(context.shape(0)));
}

void infer_bwd(InferContext& context) {
  check_operands(context);
  check_dloss(context, 3, shape_of_positions(context.shape(0)));
  check_stats(context, 4);
  context.add_out(context.shape(0));
}

void grad(GradContext& context) {
  if (!context.wants(0) || context.grad_out(0) == kNoValue) return;
  context.set_grad(0, context.emit(OpKind::softmax_xent_bwd,
                                   {context.in(0), context.in(1), operand_or_none(context, 2),
                                    context.grad_out(0), context.out(1)},
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
    .onnx = "SoftmaxCrossEntropyLoss",
    .lower = lower_loss,
};

const OpDef op_softmax_xent_bwd{
    .doc = "dz = dloss / divisor (sum(q) softmax(z) - q)",
    .infer = infer_bwd,
    .flops = flops_bwd,
    .in_place = {{0, 0}, {-1, -1}},
};

}  // namespace tanul
