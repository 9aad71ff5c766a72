// SPDX-License-Identifier: Apache-2.0
// Updates that look at a whole tensor at a time (lars, lamb, muon): validation and cost.
#include <algorithm>

#include "kernels/optim/optim.h"
#include "kernels/optim/optim_checks.h"

namespace tanul {

namespace {

using namespace optim;

void infer_lars(InferContext& context) {
  const auto& p = context.params<LarsParams>();
  check_common(context, p.weight_decay, p.lr_scale);
  check_like_weights(context, 1, "the gradient");
  check_like_weights(context, 2, "the velocity");
  check_clip(context, 3);
  check_share(context, "momentum", p.momentum);
  if (!(p.trust_coefficient > 0 && std::isfinite(p.trust_coefficient))) {
    context.reject("trust_coefficient is above 0, got {}", p.trust_coefficient);
  }
}

void infer_lamb(InferContext& context) {
  const auto& p = context.params<LambParams>();
  check_common(context, p.weight_decay, p.lr_scale);
  check_like_weights(context, 1, "the gradient");
  check_like_weights(context, 2, "the first moment");
  check_like_weights(context, 3, "the second moment");
  check_clip(context, 4);
  check_betas(context, p.beta1, p.beta2);
  check_eps(context, p.eps);
}

void infer_muon(InferContext& context) {
  const auto& p = context.params<MuonParams>();
  check_common(context, p.weight_decay, p.lr_scale);
  check_like_weights(context, 1, "the gradient");
  check_like_weights(context, 2, "the momentum");
  check_clip(context, 3);
  check_share(context, "momentum", p.momentum);
  check_eps(context, p.eps);
  if (context.shape(0).rank() < 2) {
    context.reject("weights are matrices or filters, of rank 2 or more, got {}",
                   context.shape(0).str());
  }
  if (p.ns_steps < 1 || p.ns_steps > 100) {
    context.reject("ns_steps lies in 1 to 100, got {}", p.ns_steps);
  }
}

double flops_muon(const StepArgs& args) {
  const auto elems = static_cast<double>(args.in[0].elems());
  const auto rows = static_cast<double>(args.in[0].dims[0]);
  const double r = std::min(rows, elems / rows);
  // A = X X^T, A A and B X
  const double one = 2 * r * elems + 2 * r * r * r + 2 * r * elems;
  return one * args.params_as<MuonParams>().ns_steps + 12 * elems;
}

}  // namespace

const OpDef op_lars_update{
    .doc = "v = momentum v + lr trust (g + weight_decay w);  w -= v;  trust ~ |w| / |g|",
    .infer = infer_lars,
    .flops = flops_update<11>,
    .user_name = "lars",
};

const OpDef op_lamb_update{
    .doc = "u = Adam's step + weight_decay w;  w -= lr |w| / |u| u",
    .infer = infer_lamb,
    .flops = flops_update<34>,
    .user_name = "lamb",
};

const OpDef op_muon_update{
    .doc = "m = moving average of g;  w -= lr s (m with singular values near 1)",
    .infer = infer_muon,
    .flops = flops_muon,
    .user_name = "muon",
};

}  // namespace tanul
