// SPDX-License-Identifier: Apache-2.0
// clip_scale, clip_value, sgd_update, adam_update: validation and cost. The updates write into values
// that exist (Graph::add_mutation), so `infer` declares no outputs for them.
#include "kernels/optim/optim.h"
#include "kernels/optim/optim_checks.h"

namespace tanul {

namespace {

using namespace optim;

void infer_clip(InferContext& context) {
  const float max_norm = context.params<ClipParams>().max_norm;
  if (!(max_norm > 0)) context.reject("max_norm is above 0, got {}", max_norm);
  if (context.in_count() < 1) context.reject("there is no gradient to clip");
  for (int i = 0; i < context.in_count(); ++i) {
    if (context.dtype(i) != DType::f32) {
      context.reject("gradients are f32, gradient {} is {}", i, dtype_name(context.dtype(i)));
    }
  }
  context.add_out({2});
}

void infer_clip_value(InferContext& context) {
  const float max_value = context.params<ClipValueParams>().max_value;
  if (!(max_value > 0)) context.reject("max_value is above 0, got {}", max_value);
  if (context.dtype(0) != DType::f32) {
    context.reject("gradients are f32, got {}", dtype_name(context.dtype(0)));
  }
  if (context.has(1)) check_loss_scale(context, 1);
  context.add_out(context.shape(0));
}

void infer_sgd(InferContext& context) {
  const SgdParams& params = context.params<SgdParams>();
  check_common(context, params.weight_decay, params.lr_scale);
  check_like_weights(context, 1, "the gradient");
  if (context.has(2)) check_like_weights(context, 2, "the velocity");
  check_clip(context, 3);
  check_sgd(context, params, context.has(2));
}

void infer_adam(InferContext& context) {
  const AdamParams& params = context.params<AdamParams>();
  check_common(context, params.weight_decay, params.lr_scale);
  check_like_weights(context, 1, "the gradient");
  check_like_weights(context, 2, "the first moment");
  check_like_weights(context, 3, "the second moment");
  check_clip(context, 4);
  if (context.has(5)) check_like_weights(context, 5, "the largest second moment");
  check_betas(context, params.beta1, params.beta2);
  check_eps(context, params.eps);
}

double flops_clip(const StepArgs& args) {
  double elems = 0;
  for (int i = 0; i < args.in_count; ++i) elems += static_cast<double>(args.in[i].elems());
  return 2 * elems;
}
}  // namespace

const OpDef op_clip_scale{
    .doc = "clip = {norm of all gradients, min(1, max_norm / (norm + 1e-6))}",
    .infer = infer_clip,
    .flops = flops_clip,
};

const OpDef op_clip_value{
    .doc = "every element of a gradient brought into ±max_value",
    .infer = infer_clip_value,
    .flops = flops_update<2>,
    .in_place = {{0, 0}, {-1, -1}},
};

const OpDef op_sgd_update{
    .doc = "v = momentum v + (1 - dampening) (g + weight_decay w);  w -= lr v",
    .infer = infer_sgd,
    .flops = flops_update<7>,
    .in_place = {{0, 0}, {2, 1}},
};

const OpDef op_adam_update{
    .doc = "m, v = moving averages of g, g^2;  w -= lr m' / (sqrt(v') + eps)",
    .infer = infer_adam,
    .flops = flops_update<14>,
};

}  // namespace tanul
