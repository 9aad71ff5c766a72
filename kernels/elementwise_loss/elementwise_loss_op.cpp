// SPDX-License-Identifier: Apache-2.0
// Element-wise losses: shape inference, gradient and cost.
#include "kernels/elementwise_loss/elementwise_loss.h"
#include "kernels/loss/loss_op.h"

namespace tanul {

namespace {

using Check = void (*)(InferContext& context, const ElementwiseLossParams& params);

void no_options(InferContext&, const ElementwiseLossParams&) {}
void check_smooth_l1(InferContext& context, const ElementwiseLossParams& p) {
  if (!(p.beta >= 0)) context.reject("beta is 0 or more, got {}", p.beta);
}
void check_huber(InferContext& context, const ElementwiseLossParams& p) {
  if (!(p.delta > 0)) context.reject("delta is above 0, got {}", p.delta);
}
void check_focal(InferContext& context, const ElementwiseLossParams& p) {
  if (!(p.gamma >= 0)) context.reject("gamma is 0 or more, got {}", p.gamma);
  if (p.has_alpha != 0 && !(p.alpha >= 0 && p.alpha <= 1)) {
    context.reject("alpha lies in 0 to 1, got {}", p.alpha);
  }
}
// A target of 0 is a logarithm of -infinity there.
void check_kl_div(InferContext& context, const ElementwiseLossParams& p) {
  if (p.log_target != 0 && context.dtype(1) == DType::i32) {
    context.reject("targets are logarithms, f32 of the shape of x, got class indices");
  }
}
void check_poisson_nll(InferContext& context, const ElementwiseLossParams& p) {
  if (context.dtype(1) == DType::i32) {
    context.reject("targets are counts, f32 of the shape of x, got class indices");
  }
  if (!(p.eps >= 0)) context.reject("eps is 0 or more, got {}", p.eps);
}

// f32 of the shape of x, or one number for each class.
void check_weights(InferContext& context, int i, const char* name) {
  if (!context.has(i)) return;
  const Shape& x = context.shape(0);
  const Shape per_class{x.rank() > 1 ? x[1] : 1};
  if (context.dtype(i) == DType::f32 && (context.shape(i) == x || context.shape(i) == per_class)) {
    return;
  }
  context.reject("{} are f32 {}, one per class, or {} as x, got {} {}", name, per_class.str(),
                 x.str(), dtype_name(context.dtype(i)), context.shape(i).str());
}

template <Check kCheck, bool kHasPositiveWeight>
void check_operands(InferContext& context) {
  const Shape& x = context.shape(0);
  if (context.dtype(0) != DType::f32) {
    context.reject("predictions are f32, got {}", dtype_name(context.dtype(0)));
  }
  if (x.rank() < 1 || x.elems() < 1) {
    context.reject("predictions [N, ...] need at least one element, got {}", x.str());
  }
  check_reduction(context);
  kCheck(context, context.params<ElementwiseLossParams>());
  if (context.dtype(1) == DType::i32) {
    if (x.rank() < 2) {
      context.reject("class indices need predictions [N, C, ...], got {}", x.str());
    }
    check_class_indices(context);
  } else if (context.dtype(1) != DType::f32) {
    context.reject("targets are f32 values or i32 class indices, got {}",
                   dtype_name(context.dtype(1)));
  } else if (context.shape(1) != x) {
    context.reject("targets have the shape of the predictions {}, got {}", x.str(),
                   context.shape(1).str());
  }
  check_weights(context, 2, "weights");
  if (!kHasPositiveWeight && context.has(3)) {
    context.reject("only binary cross-entropy of logits has positive weights");
  }
  check_weights(context, 3, "positive weights");
}

template <Check kCheck, bool kHasPositiveWeight>
void infer_fwd(InferContext& context) {
  check_operands<kCheck, kHasPositiveWeight>(context);
  add_loss_outs(context, context.shape(0));
}

template <Check kCheck, bool kHasPositiveWeight>
void infer_bwd(InferContext& context) {
  check_operands<kCheck, kHasPositiveWeight>(context);
  check_dloss(context, 4, context.shape(0));
  context.add_out(context.shape(0));
}

template <OpKind kBackward>
void grad(GradContext& context) {
  if (!context.wants(0) || context.grad_out(0) == kNoValue) return;
  context.set_grad(0, context.emit(kBackward,
                                   {context.in(0), context.in(1), operand_or_none(context, 2),
                                    operand_or_none(context, 3), context.grad_out(0)},
                                   context.node().params)[0]);
}

// An exponential or logarithm counts ten.
template <int kFlops>
double flops(const StepArgs& args) {
  return kFlops * static_cast<double>(args.in[0].elems());
}

// kFlops: of an element, forward; backward is about the same.
template <OpKind kBackward, int kFlops, Check kCheck = no_options, bool kHasPositiveWeight = false>
constexpr OpDef forward(const char* user_name, const char* doc) {
  OpDef op{.doc = doc};
  op.infer = infer_fwd<kCheck, kHasPositiveWeight>;
  op.grad = grad<kBackward>;
  op.flops = flops<kFlops>;
  op.user_name = user_name;
  op.onnx = "";
  op.lower = lower_loss;
  return op;
}

template <int kFlops, Check kCheck = no_options, bool kHasPositiveWeight = false>
constexpr OpDef backward(const char* doc) {
  OpDef op{.doc = doc};
  op.infer = infer_bwd<kCheck, kHasPositiveWeight>;
  op.flops = flops<kFlops>;
  op.in_place[0] = {0, 0};
  return op;
}

}  // namespace

const OpDef op_mse_fwd =
    forward<OpKind::mse_bwd, 3>("mean_squared_error", "loss = mean of (x - t)^2");
const OpDef op_mse_bwd = backward<2>("dx = dloss / divisor w 2 (x - t)");

const OpDef op_mae_fwd =
    forward<OpKind::mae_bwd, 3>("mean_absolute_error", "loss = mean of |x - t|");
const OpDef op_mae_bwd = backward<2>("dx = dloss / divisor w sign(x - t)");

const OpDef op_smooth_l1_fwd = forward<OpKind::smooth_l1_bwd, 5, check_smooth_l1>(
    "smooth_l1", "loss = mean of (x - t)^2 / (2 beta) below beta, |x - t| - beta/2 above");
const OpDef op_smooth_l1_bwd =
    backward<4, check_smooth_l1>("dx = dloss / divisor w clamp((x - t) / beta, -1, 1)");

const OpDef op_huber_fwd = forward<OpKind::huber_bwd, 5, check_huber>(
    "huber", "loss = mean of (x - t)^2 / 2 up to delta, delta (|x - t| - delta/2) above");
const OpDef op_huber_bwd =
    backward<4, check_huber>("dx = dloss / divisor w clamp(x - t, -delta, delta)");

const OpDef op_bce_logits_fwd = forward<OpKind::bce_logits_bwd, 46, no_options, true>(
    "binary_cross_entropy", "loss = mean of -(p t log s(x) + (1 - t) log s(-x)), s the sigmoid");
const OpDef op_bce_logits_bwd =
    backward<26, no_options, true>("dx = dloss / divisor w ((1 - t) s(x) - p t s(-x))");

const OpDef op_bce_fwd = forward<OpKind::bce_bwd, 24>(
    "binary_cross_entropy", "loss = mean of -(t log x + (1 - t) log(1 - x)), logarithms >= -100");
const OpDef op_bce_bwd = backward<6>("dx = dloss / divisor w (x - t) / max(x (1 - x), 1e-12)");

const OpDef op_kl_div_fwd = forward<OpKind::kl_div_bwd, 13, check_kl_div>(
    "kl_divergence", "loss = mean of t (log t - x), x = log q");
const OpDef op_kl_div_bwd = backward<2, check_kl_div>("dx = -dloss / divisor w t");

const OpDef op_hinge_fwd = forward<OpKind::hinge_bwd, 4>(
    "hinge", "loss = mean of max(0, 1 - t x), t = -1 or 1; squared on request");
const OpDef op_hinge_bwd = backward<4>("dx = -dloss / divisor w t where t x < 1, else 0");

const OpDef op_focal_fwd = forward<OpKind::focal_bwd, 68, check_focal>(
    "focal", "loss = mean of -a_t (1 - p_t)^gamma log p_t, p = s(x)");
const OpDef op_focal_bwd =
    backward<110, check_focal>("dx = dloss / divisor w d/dx -a_t (1 - p_t)^gamma log p_t");

const OpDef op_poisson_nll_fwd = forward<OpKind::poisson_nll_bwd, 13, check_poisson_nll>(
    "poisson_nll", "loss = mean of exp(x) - t x, or x - t log(x + eps) for a rate");
const OpDef op_poisson_nll_bwd = backward<12, check_poisson_nll>(
    "dx = dloss / divisor w (exp(x) - t), or (1 - t / (x + eps)) for a rate");

}  // namespace tanul
