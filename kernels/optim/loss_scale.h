// SPDX-License-Identifier: Apache-2.0
// Dynamic loss scaling, for products in fp16: gradients below 6e-8 would vanish in its five bits of exponent.
// The gradient of the loss is multiplied by a scale S, a power of two, and those of the weights are divided
// by it again where they are used; neither rounds. A step whose gradients are not finite is left out and S
// halved; after `interval` steps without such a one S is doubled (P. Micikevicius et al., "Mixed precision
// training", 2018). All of it is on the device: the host decides nothing, so that a recorded step goes on
// by itself.
//
//   loss_scale_seed    in: state             out: d [1] = weight S, the gradient that a loss begins with
//   loss_scale_check   in: state, g0, g1, …  out: clip [4] = {norm, factor, is_finite, left out before}
//   loss_scale_update  in: state, clip       out: state
//
// state [3] = {S, steps since S changed or a step was left out, steps left out}
// norm: of all gradients together and without S, accumulated in double in a fixed order. It is finite
// where all elements are, since the square of a float fits a double. factor = c / S with
// c = min(1, max_norm / (norm + 1e-6)), or 1 with max_norm 0; 0 where the norm is not finite.
// optim.h says what updates make of clip.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/host_device.h"

namespace tanul {

constexpr int64_t kLossScaleStates = 3;

struct LossScaleSeedParams {
  float weight;
};

struct LossScaleCheckParams {
  float max_norm;  // 0: no clipping
};

// As in torch.amp.GradScaler; S starts at 65536 there and here.
struct LossScaleParams {
  float growth = 2;
  float backoff = 0.5f;
  int32_t interval = 2000;
  float smallest = 0x1p-24f;  // S is not lowered below it
};
constexpr float kFirstLossScale = 65536;

namespace loss_scale {

TANUL_HOST_DEVICE inline void check(double sum_of_squares, double max_norm, const float* state,
                                    float* clip) {
  const double scale = static_cast<double>(state[0]);
  const double norm = sqrt(sum_of_squares) / scale;
  const double wanted = max_norm / (norm + 1e-6);
  const double c = max_norm > 0 && wanted < 1 ? wanted : 1;
  const bool is_finite = sum_of_squares - sum_of_squares == 0;
  clip[0] = static_cast<float>(norm);
  clip[1] = is_finite ? static_cast<float>(c / scale) : 0.0f;
  clip[2] = is_finite ? 1.0f : 0.0f;
  clip[3] = state[2];
}

TANUL_HOST_DEVICE inline void update(const LossScaleParams& p, const float* clip, float* state) {
  if (clip[2] == 0) {
    const float lower = state[0] * p.backoff;
    state[0] = lower < p.smallest ? p.smallest : lower;
    state[1] = 0;
    state[2] += 1;
    return;
  }
  state[1] += 1;
  if (state[1] < static_cast<float>(p.interval)) return;
  const float higher = state[0] * p.growth;
  if (higher - higher == 0) state[0] = higher;
  state[1] = 0;
}

}  // namespace loss_scale

}  // namespace tanul
