// SPDX-License-Identifier: Apache-2.0
// What is done with gradients: clipping, and optimizer updates in place on a parameter and its state.
// Formulas and sources of the updates stand in include/tanul/optim.h; below are their operands.
//
//   clip_scale      in: g0, g1, …   out: clip [2] = {norm, min(1, max_norm / (norm + 1e-6))}, norm over all
//                   elements of all inputs together, accumulated in double in a fixed order
//   clip_value      in: g, loss scale?   out: g with every element brought into ±max_value; NaN stays.
//                   With a loss scale S (state of loss_scale.h) into ±S max_value, and what is not finite
//                   becomes NaN, so that the check behind it sees it
//   sgd_update      in: w, g, v?, clip?                out: w, v?;   v is not read in step 0
//   adam_update     in: w, g, m, v, clip?, v_max?      out: w, m, v, v_max?;  v_max: AMSGrad
//   adagrad_update  in: w, g, s, clip?                 out: w, s
//   adadelta_update in: w, g, s, d, clip?              out: w, s, d
//   rmsprop_update  in: w, g, v, m?, b?, clip?         out: w, v, m?, b?;  m: centred, b: momentum
//   adamax_update   in: w, g, m, u, clip?              out: w, m, u
//   nadam_update    in: w, g, m, v, clip?              out: w, m, v
//   radam_update    in: w, g, m, v, clip?              out: w, m, v
//   lion_update     in: w, g, m, clip?                 out: w, m
//   lars_update     in: w, g, v, clip?                 out: w, v
//   lamb_update     in: w, g, m, v, clip?              out: w, m, v
//   muon_update     in: w, g, m, clip?                 out: w, m;   w of rank 2 or more
//
// All g are first scaled by clip[1]. With loss scaling clip is f32 [4] (loss_scale.h): where clip[2] is 0 the
// step is left out, w and the states keep their bits; t does not count the clip[3] steps that were left
// out before, and step 0 is the first that was not. lr = StepBlock.lr * lr_scale; t = StepBlock.step + 1. Where
// StepBlock.momentum is above 0 it takes the place of `momentum` (if that is above 0) or beta1 of all
// but nadam_update.
#pragma once

#include <cstdint>

namespace tanul {

struct ClipParams {
  float max_norm;
};

struct SgdParams {
  float momentum;
  float dampening;
  float weight_decay;
  float lr_scale;
  int32_t nesterov;
};

struct ClipValueParams {
  float max_value;
};

struct AdamParams {
  float beta1, beta2, eps;
  float weight_decay;
  float lr_scale;
  int32_t decoupled;
};

struct AdagradParams {
  float lr_decay, eps;
  float weight_decay;
  float lr_scale;
};

struct AdadeltaParams {
  float rho, eps;
  float weight_decay;
  float lr_scale;
};

struct RmsPropParams {
  float alpha, eps, momentum;
  float weight_decay;
  float lr_scale;
};

struct AdamaxParams {
  float beta1, beta2, eps;
  float weight_decay;
  float lr_scale;
};

struct NAdamParams {
  float beta1, beta2, eps, momentum_decay;
  float weight_decay;
  float lr_scale;
  int32_t decoupled;
};

struct RAdamParams {
  float beta1, beta2, eps;
  float weight_decay;
  float lr_scale;
  int32_t decoupled;
};

struct LionParams {
  float beta1, beta2;
  float weight_decay;
  float lr_scale;
};

struct LarsParams {
  float momentum, trust_coefficient;
  float weight_decay;
  float lr_scale;
};

struct LambParams {
  float beta1, beta2, eps;
  float weight_decay;
  float lr_scale;
};

struct MuonParams {
  float momentum, eps;
  float weight_decay;
  float lr_scale;
  int32_t ns_steps;
  int32_t nesterov;
  int32_t match_rms_adamw;
};

}  // namespace tanul
