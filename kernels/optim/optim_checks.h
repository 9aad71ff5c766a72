// SPDX-License-Identifier: Apache-2.0
// What `infer` of every optimizer step looks at.
#pragma once

#include <cmath>

#include "kernels/op.h"
#include "kernels/optim/loss_scale.h"
#include "kernels/optim/optim.h"

namespace tanul::optim {

// Written so that NaN fails.
inline bool is_at_least_zero(float value) { return value >= 0 && std::isfinite(value); }
inline bool is_share(float value) { return value >= 0 && value < 1; }

inline void check_like_weights(const InferContext& context, int i, const char* name) {
  if (context.dtype(i) != DType::f32 || context.shape(i) != context.shape(0)) {
    context.reject("{} is f32 of the shape of the weights {}, got {} {}", name,
                   context.shape(0).str(), dtype_name(context.dtype(i)), context.shape(i).str());
  }
}

// [4] with loss scaling.
inline void check_clip(const InferContext& context, int i) {
  if (!context.has(i)) return;
  const bool has_shape = context.shape(i) == Shape{2} || context.shape(i) == Shape{4};
  if (context.dtype(i) != DType::f32 || !has_shape) {
    context.reject("the clip scale is f32 [2] or [4], got {} {}", dtype_name(context.dtype(i)),
                   context.shape(i).str());
  }
}

// What tells whether a step is left out, where nothing is scaled.
inline void check_left_out(const InferContext& context, int i) {
  if (context.has(i) && (context.dtype(i) != DType::f32 || context.shape(i) != Shape{4})) {
    context.reject("what the check of the gradients found is f32 [4], got {} {}",
                   dtype_name(context.dtype(i)), context.shape(i).str());
  }
}

inline void check_loss_scale(const InferContext& context, int i) {
  if (context.dtype(i) != DType::f32 || context.shape(i) != Shape{kLossScaleStates}) {
    context.reject("the state of the loss scale is f32 [{}], got {} {}", kLossScaleStates,
                   dtype_name(context.dtype(i)), context.shape(i).str());
  }
}

inline void check_decay_and_scale(const InferContext& context, float weight_decay, float lr_scale) {
  if (!is_at_least_zero(weight_decay)) {
    context.reject("weight_decay is at least 0, got {}", weight_decay);
  }
  if (!is_at_least_zero(lr_scale)) {
    context.reject("the scale of the learning rate is at least 0, got {}", lr_scale);
  }
}

inline void check_common(const InferContext& context, float weight_decay, float lr_scale) {
  if (context.dtype(0) != DType::f32) {
    context.reject("weights are f32, got {}", dtype_name(context.dtype(0)));
  }
  check_decay_and_scale(context, weight_decay, lr_scale);
}

inline void check_share(const InferContext& context, const char* name, float value) {
  if (!is_share(value)) context.reject("{} is at least 0 and below 1, got {}", name, value);
}

inline void check_betas(const InferContext& context, float beta1, float beta2) {
  if (!is_share(beta1) || !is_share(beta2)) {
    context.reject("beta1 and beta2 are at least 0 and below 1, got {} and {}", beta1, beta2);
  }
}

inline void check_eps(const InferContext& context, float eps) {
  if (!(eps > 0)) context.reject("eps is above 0, got {}", eps);
}

inline void check_sgd(const InferContext& context, const SgdParams& params, bool has_velocity) {
  check_share(context, "momentum", params.momentum);
  if (!(params.dampening >= 0 && params.dampening <= 1)) {
    context.reject("dampening lies in 0 to 1, got {}", params.dampening);
  }
  if (params.momentum > 0 && !has_velocity) {
    context.reject("momentum {} needs a velocity", params.momentum);
  }
  if (params.nesterov != 0 && (params.momentum <= 0 || params.dampening > 0)) {
    context.reject("nesterov needs momentum above 0 and dampening 0, got momentum {}, dampening {}",
                   params.momentum, params.dampening);
  }
}

// Operations an element.
template <int PerElement>
double flops_update(const StepArgs& args) {
  return static_cast<double>(PerElement) * static_cast<double>(args.in[0].elems());
}

}  // namespace tanul::optim
