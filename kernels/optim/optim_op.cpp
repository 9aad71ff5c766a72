// SPDX-License-Identifier: Apache-2.0
// clip_scale, sgd_update, adam_update: validation and cost. The updates write into values that exist
// (Graph::add_mutation), so `infer` declares no outputs for them.
#include "kernels/op.h"

#include <cmath>

#include "kernels/optim/optim.h"

namespace tanul {

namespace {

// Written so that NaN fails.
bool is_at_least_zero(float value) { return value >= 0 && std::isfinite(value); }
bool is_share(float value) { return value >= 0 && value < 1; }

void check_like_weights(const InferContext& context, int i, const char* name) {
  if (context.dtype(i) != DType::f32 || context.shape(i) != context.shape(0)) {
    context.reject("{} is f32 of the shape of the weights {}, got {} {}", name,
                   context.shape(0).str(), dtype_name(context.dtype(i)), context.shape(i).str());
  }
}

void check_clip(const InferContext& context, int i) {
  if (context.has(i) && (context.dtype(i) != DType::f32 || context.shape(i) != Shape{2})) {
    context.reject("the clip scale is f32 [2], got {} {}", dtype_name(context.dtype(i)),
                   context.shape(i).str());
  }
}

void check_common(const InferContext& context, float weight_decay, float lr_scale) {
  if (context.dtype(0) != DType::f32) {
    context.reject("weights are f32, got {}", dtype_name(context.dtype(0)));
  }
  if (!is_at_least_zero(weight_decay)) {
    context.reject("weight_decay is at least 0, got {}", weight_decay);
  }
  if (!is_at_least_zero(lr_scale)) {
    context.reject("the scale of the learning rate is at least 0, got {}", lr_scale);
  }
}

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

void infer_sgd(InferContext& context) {
  const SgdParams& params = context.params<SgdParams>();
  check_common(context, params.weight_decay, params.lr_scale);
  check_like_weights(context, 1, "the gradient");
  if (context.has(2)) check_like_weights(context, 2, "the velocity");
  check_clip(context, 3);
  if (!is_share(params.momentum)) {
    context.reject("momentum is at least 0 and below 1, got {}", params.momentum);
  }
  if (!(params.dampening >= 0 && params.dampening <= 1)) {
    context.reject("dampening lies in 0 to 1, got {}", params.dampening);
  }
  if (params.momentum > 0 && !context.has(2)) {
    context.reject("momentum {} needs a velocity", params.momentum);
  }
  if (params.nesterov != 0 && (params.momentum <= 0 || params.dampening > 0)) {
    context.reject("nesterov needs momentum above 0 and dampening 0, got momentum {}, dampening {}",
                   params.momentum, params.dampening);
  }
}

void infer_adam(InferContext& context) {
  const AdamParams& params = context.params<AdamParams>();
  check_common(context, params.weight_decay, params.lr_scale);
  check_like_weights(context, 1, "the gradient");
  check_like_weights(context, 2, "the first moment");
  check_like_weights(context, 3, "the second moment");
  check_clip(context, 4);
  if (!is_share(params.beta1) || !is_share(params.beta2)) {
    context.reject("beta1 and beta2 are at least 0 and below 1, got {} and {}", params.beta1,
                   params.beta2);
  }
  if (!(params.eps > 0)) context.reject("eps is above 0, got {}", params.eps);
}

double flops_clip(const StepArgs& args) {
  double elems = 0;
  for (int i = 0; i < args.in_count; ++i) elems += static_cast<double>(args.in[i].elems());
  return 2 * elems;
}
double flops_sgd(const StepArgs& args) { return 7.0 * static_cast<double>(args.in[0].elems()); }
double flops_adam(const StepArgs& args) { return 14.0 * static_cast<double>(args.in[0].elems()); }

}  // namespace

const OpDef op_clip_scale{
    .doc = "clip = {norm of all gradients, min(1, max_norm / (norm + 1e-6))}",
    .infer = infer_clip,
    .flops = flops_clip,
};

const OpDef op_sgd_update{
    .doc = "v = momentum v + (1 - dampening) (g + weight_decay w);  w -= lr v",
    .infer = infer_sgd,
    .flops = flops_sgd,
    .in_place = {{0, 0}, {2, 1}},
};

const OpDef op_adam_update{
    .doc = "m, v = moving averages of g, g^2;  w -= lr m' / (sqrt(v') + eps)",
    .infer = infer_adam,
    .flops = flops_adam,
};

}  // namespace tanul
