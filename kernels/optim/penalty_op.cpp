// SPDX-License-Identifier: Apache-2.0
// penalty_fwd, penalty_bwd: validation, gradient, cost.
#include "kernels/optim/optim_checks.h"
#include "kernels/optim/penalty.h"

namespace tanul {

namespace {

using namespace optim;

void check(const InferContext& context, const PenaltyParams& p, int weights) {
  if (!is_at_least_zero(p.l1) || !is_at_least_zero(p.l2)) {
    context.reject("l1 and l2 are at least 0, got {} and {}", p.l1, p.l2);
  }
  for (int i = 0; i < weights; ++i) {
    if (context.dtype(i) == DType::f32) continue;
    context.reject("weights are f32, weight {} is {}", i, dtype_name(context.dtype(i)));
  }
}

void infer_penalty_fwd(InferContext& context) {
  if (context.in_count() < 1) context.reject("there are no weights");
  check(context, context.params<PenaltyParams>(), context.in_count());
  context.add_out({1});
}

void infer_penalty_bwd(InferContext& context) {
  check(context, context.params<PenaltyParams>(), 1);
  if (context.dtype(1) != DType::f32 || context.shape(1) != Shape{1}) {
    context.reject("the gradient of the penalty is f32 [1], got {} {}",
                   dtype_name(context.dtype(1)), context.shape(1).str());
  }
  context.add_out(context.shape(0));
}

void grad_penalty(GradContext& context) {
  for (int i = 0; i < static_cast<int>(context.node().in.size()); ++i) {
    if (!context.wants(i)) continue;
    context.set_grad(i, context
                            .emit(OpKind::penalty_bwd, {context.in(i), context.grad_out(0)},
                                  context.node().params)
                            .front());
  }
}

double flops_penalty_fwd(const StepArgs& args) {
  double elems = 0;
  for (int i = 0; i < args.in_count; ++i) elems += static_cast<double>(args.in[i].elems());
  return 4 * elems;
}

}  // namespace

const OpDef op_penalty_fwd{
    .doc = "penalty = sum over all weights of l1 |w| + l2/2 w^2",
    .infer = infer_penalty_fwd,
    .grad = grad_penalty,
    .flops = flops_penalty_fwd,
};

const OpDef op_penalty_bwd{
    .doc = "dw = d (l1 sign(w) + l2 w)",
    .infer = infer_penalty_bwd,
    .flops = flops_update<4>,
};

}  // namespace tanul
