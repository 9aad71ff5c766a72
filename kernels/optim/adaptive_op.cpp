// SPDX-License-Identifier: Apache-2.0
// Updates that look at one element at a time (adagrad, adadelta, rmsprop, adamax, nadam, radam, lion):
// validation and cost.
#include "kernels/optim/optim.h"
#include "kernels/optim/optim_checks.h"

namespace tanul {

namespace {

using namespace optim;

void infer_adagrad(InferContext& context) {
  const auto& p = context.params<AdagradParams>();
  check_common(context, p.weight_decay, p.lr_scale);
  check_like_weights(context, 1, "the gradient");
  check_like_weights(context, 2, "the sum of squares");
  check_clip(context, 3);
  if (!is_at_least_zero(p.lr_decay)) {
    context.reject("lr_decay is at least 0, got {}", p.lr_decay);
  }
  check_eps(context, p.eps);
}

void infer_adadelta(InferContext& context) {
  const auto& p = context.params<AdadeltaParams>();
  check_common(context, p.weight_decay, p.lr_scale);
  check_like_weights(context, 1, "the gradient");
  check_like_weights(context, 2, "the average of squared gradients");
  check_like_weights(context, 3, "the average of squared updates");
  check_clip(context, 4);
  check_share(context, "rho", p.rho);
  check_eps(context, p.eps);
}

void infer_rmsprop(InferContext& context) {
  const auto& p = context.params<RmsPropParams>();
  check_common(context, p.weight_decay, p.lr_scale);
  check_like_weights(context, 1, "the gradient");
  check_like_weights(context, 2, "the second moment");
  if (context.has(3)) check_like_weights(context, 3, "the mean gradient");
  if (context.has(4)) check_like_weights(context, 4, "the momentum buffer");
  check_clip(context, 5);
  check_share(context, "alpha", p.alpha);
  check_share(context, "momentum", p.momentum);
  if (p.momentum > 0 && !context.has(4)) {
    context.reject("momentum {} needs a buffer", p.momentum);
  }
  check_eps(context, p.eps);
}

// The Adam-like ones: first and second moment, betas, eps.
template <typename P>
void infer_moments(InferContext& context) {
  const auto& p = context.params<P>();
  check_common(context, p.weight_decay, p.lr_scale);
  check_like_weights(context, 1, "the gradient");
  check_like_weights(context, 2, "the first moment");
  check_like_weights(context, 3, "the second moment");
  check_clip(context, 4);
  check_betas(context, p.beta1, p.beta2);
  check_eps(context, p.eps);
}

void infer_nadam(InferContext& context) {
  infer_moments<NAdamParams>(context);
  const float decay = context.params<NAdamParams>().momentum_decay;
  if (!is_at_least_zero(decay)) context.reject("momentum_decay is at least 0, got {}", decay);
}

void infer_lion(InferContext& context) {
  const auto& p = context.params<LionParams>();
  check_common(context, p.weight_decay, p.lr_scale);
  check_like_weights(context, 1, "the gradient");
  check_like_weights(context, 2, "the momentum");
  check_clip(context, 3);
  check_betas(context, p.beta1, p.beta2);
}

}  // namespace

const OpDef op_adagrad_update{
    .doc = "s += g^2;  w -= lr g / (sqrt(s) + eps)",
    .infer = infer_adagrad,
    .flops = flops_update<7>,
    .user_name = "adagrad",
};

const OpDef op_adadelta_update{
    .doc = "s, d = moving averages of g^2, u^2;  u = sqrt(d + eps) / sqrt(s + eps) g;  w -= lr u",
    .infer = infer_adadelta,
    .flops = flops_update<14>,
    .user_name = "adadelta",
};

const OpDef op_rmsprop_update{
    .doc = "v = moving average of g^2;  w -= lr g / (sqrt(v) + eps)",
    .infer = infer_rmsprop,
    .flops = flops_update<12>,
    .user_name = "rmsprop",
};

const OpDef op_adamax_update{
    .doc = "m = moving average of g, u = max(beta2 u, |g| + eps);  w -= lr m' / u",
    .infer = infer_moments<AdamaxParams>,
    .flops = flops_update<10>,
    .user_name = "adamax",
};

const OpDef op_nadam_update{
    .doc = "Adam with Nesterov's look ahead and a momentum that rises",
    .infer = infer_nadam,
    .flops = flops_update<16>,
    .user_name = "nadam",
};

const OpDef op_radam_update{
    .doc = "Adam whose second moment counts once its variance is bounded",
    .infer = infer_moments<RAdamParams>,
    .flops = flops_update<14>,
    .user_name = "radam",
};

const OpDef op_lion_update{
    .doc = "w -= lr sign(beta1 m + (1 - beta1) g);  m = beta2 m + (1 - beta2) g",
    .infer = infer_lion,
    .flops = flops_update<10>,
    .user_name = "lion",
};

}  // namespace tanul
