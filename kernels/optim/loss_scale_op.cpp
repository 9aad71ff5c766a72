// SPDX-License-Identifier: Apache-2.0
// loss_scale_seed, loss_scale_check, loss_scale_update: validation and cost.
#include "kernels/optim/loss_scale.h"
#include "kernels/optim/optim_checks.h"

namespace tanul {

namespace {

using namespace optim;

void infer_seed(InferContext& context) {
  check_loss_scale(context, 0);
  if (!std::isfinite(context.params<LossScaleSeedParams>().weight)) {
    context.reject("the weight of a loss is finite, got {}",
                   context.params<LossScaleSeedParams>().weight);
  }
  context.add_out({1});
}

void infer_check(InferContext& context) {
  check_loss_scale(context, 0);
  const float max_norm = context.params<LossScaleCheckParams>().max_norm;
  if (!is_at_least_zero(max_norm)) context.reject("max_norm is at least 0, got {}", max_norm);
  if (context.in_count() < 2) context.reject("there is no gradient to look at");
  for (int i = 1; i < context.in_count(); ++i) {
    if (context.dtype(i) != DType::f32) {
      context.reject("gradients are f32, gradient {} is {}", i - 1, dtype_name(context.dtype(i)));
    }
  }
  context.add_out({4});
}

void infer_update(InferContext& context) {
  const auto& p = context.params<LossScaleParams>();
  check_loss_scale(context, 0);
  if (context.dtype(1) != DType::f32 || context.shape(1) != Shape{4}) {
    context.reject("what the check found is f32 [4], got {} {}", dtype_name(context.dtype(1)),
                   context.shape(1).str());
  }
  if (!(p.growth > 1)) context.reject("growth is above 1, got {}", p.growth);
  if (!(p.backoff > 0 && p.backoff < 1)) {
    context.reject("backoff lies between 0 and 1, got {}", p.backoff);
  }
  if (p.interval < 1) context.reject("interval is at least 1, got {}", p.interval);
  if (!(p.smallest > 0)) context.reject("the smallest scale is above 0, got {}", p.smallest);
}

double flops_check(const StepArgs& args) {
  double elems = 0;
  for (int i = 1; i < args.in_count; ++i) elems += static_cast<double>(args.in[i].elems());
  return 2 * elems;
}

}  // namespace

const OpDef op_loss_scale_seed{
    .doc = "d = weight S: what a loss's gradient begins with",
    .infer = infer_seed,
};

const OpDef op_loss_scale_check{
    .doc = "clip = {norm of all g / S, min(1, max_norm / (norm + 1e-6)) / S, is_finite, left out}",
    .infer = infer_check,
    .flops = flops_check,
};

const OpDef op_loss_scale_update{
    .doc = "S = S / 2 where a gradient was not finite, 2 S after `interval` steps without",
    .infer = infer_update,
};

}  // namespace tanul
