// SPDX-License-Identifier: Apache-2.0
// Losses against class indices: shape inference, gradient and cost.
#include <cmath>

#include "kernels/label_loss/label_loss.h"
#include "kernels/loss/loss_op.h"

namespace tanul {

namespace {

void check_operands(InferContext& context) {
  check_scores(context, "scores");
  check_reduction(context);
  check_class_indices(context);
  check_class_weights(context, 2);
}

void check_margin(InferContext& context) {
  const LabelLossParams& params = context.params<LabelLossParams>();
  if (params.power != 1 && params.power != 2) {
    context.reject("the power is 1 or 2, got {}", params.power);
  }
  if (!std::isfinite(params.margin)) {
    context.reject("the margin must be finite, got {}", params.margin);
  }
}

template <bool kHasMargin>
void infer_fwd(InferContext& context) {
  check_operands(context);
  if (kHasMargin) check_margin(context);
  add_loss_outs(context, shape_of_positions(context.shape(0)));
}

template <bool kHasMargin>
void infer_bwd(InferContext& context) {
  check_operands(context);
  if (kHasMargin) check_margin(context);
  check_dloss(context, 3, shape_of_positions(context.shape(0)));
  check_stats(context, 4);
  context.add_out(context.shape(0));
}

template <OpKind kBackward>
void grad(GradContext& context) {
  if (!context.wants(0) || context.grad_out(0) == kNoValue) return;
  context.set_grad(0, context.emit(kBackward,
                                   {context.in(0), context.in(1), operand_or_none(context, 2),
                                    context.grad_out(0), context.out(1)},
                                   context.node().params)[0]);
}

template <int kFlops>
double flops(const StepArgs& args) {
  return kFlops * static_cast<double>(args.in[0].elems());
}

}  // namespace

const OpDef op_nll_fwd{
    .doc = "loss = mean of -x[target], x the logarithms of probabilities, weighted on request",
    .infer = infer_fwd<false>,
    .grad = grad<OpKind::nll_bwd>,
    .flops = flops<1>,
    .user_name = "negative_log_likelihood",
    .onnx = "NegativeLogLikelihoodLoss",
    .lower = lower_loss,
};

const OpDef op_nll_bwd{
    .doc = "dx = -dloss / divisor v[target] at the target, else 0",
    .infer = infer_bwd<false>,
    .in_place = {{0, 0}, {-1, -1}},
};

const OpDef op_multi_margin_fwd{
    .doc = "loss = mean of sum_j max(0, margin - x[target] + x[j])^power / C, j not the target",
    .infer = infer_fwd<true>,
    .grad = grad<OpKind::multi_margin_bwd>,
    .flops = flops<6>,
    .user_name = "multi_margin",
    .onnx = "",
    .lower = lower_loss,
};

const OpDef op_multi_margin_bwd{
    .doc = "dx[j] = dloss / divisor v/C power max(0, margin - x[target] + x[j])^(power-1)",
    .infer = infer_bwd<true>,
    .flops = flops<6>,
    .in_place = {{0, 0}, {-1, -1}},
};

}  // namespace tanul
