// SPDX-License-Identifier: Apache-2.0
// lrn: shape inference, gradient and cost.
#include <cmath>

#include "kernels/lrn/lrn.h"
#include "kernels/op.h"

namespace tanul {

namespace {

void check(InferContext& context, int i) {
  const LrnParams& p = context.params<LrnParams>();
  const Shape& x = context.shape(i);
  if (context.dtype(i) != DType::f32 || x.rank() < 3 || x.rank() > 5 || x.elems() < 1) {
    context.reject("x is f32 [N, C, L], [N, C, H, W] or [N, C, D, H, W], got {} {}",
                   dtype_name(context.dtype(i)), x.str());
  }
  if (p.size < 1) context.reject("size, the channels of a window, is at least 1, got {}", p.size);
  if (!(p.alpha >= 0) || !std::isfinite(p.alpha)) {
    context.reject("alpha is at least 0, got {}", p.alpha);
  }
  if (!std::isfinite(p.beta)) context.reject("beta is a finite number, got {}", p.beta);
  if (!(p.k > 0) || !std::isfinite(p.k)) {
    context.reject("k is above 0, so that nothing is divided by 0, got {}", p.k);
  }
}

void infer_fwd(InferContext& context) {
  check(context, 0);
  context.add_out(context.shape(0));
}

void infer_bwd(InferContext& context) {
  check(context, 1);
  if (context.shape(0) != context.shape(1)) {
    context.reject("dy {} and x {} must have one shape", context.shape(0).str(),
                   context.shape(1).str());
  }
  context.add_out(context.shape(1));
}

void grad(GradContext& context) {
  if (!context.wants(0)) return;
  context.set_grad(0, context.emit(OpKind::lrn_bwd, {context.grad_out(0), context.in(0)},
                                   context.node().params)[0]);
}

double flops_fwd(const StepArgs& args) {
  return (2.0 * args.params_as<LrnParams>().size + 7) * static_cast<double>(args.in[0].elems());
}
double flops_bwd(const StepArgs& args) {
  return (3.0 * args.params_as<LrnParams>().size + 13) * static_cast<double>(args.in[0].elems());
}

}  // namespace

const OpDef op_lrn_fwd{
    .doc = "y = x / (k + a sum over neighbouring channels of x^2)^beta",
    .infer = infer_fwd,
    .grad = grad,
    .flops = flops_fwd,
    .user_name = "local_response_norm",
    .onnx = "LRN",
};

const OpDef op_lrn_bwd{
    .doc = "dx = dy t^-beta - 2 a beta x sum of dy x t^(-beta - 1) over neighbouring channels",
    .infer = infer_bwd,
    .flops = flops_bwd,
    .in_place = {{0, 0}, {1, 0}},
};

}  // namespace tanul
