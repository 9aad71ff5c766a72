// SPDX-License-Identifier: Apache-2.0
// What the steps of all losses have in common.
//
//   <loss>_fwd  in: x, target, …   out: loss, stats [4] = {sum, divisor, correct, counted}
//               loss is [1], or with Reduction::none one number for each loss that is added up
//   <loss>_bwd  in: x, target, …, dloss (of the shape of loss), …   out: dx (may lie over x)
//
//   sum      of all losses; divisor: what their mean divides by (N with Reduction::batch_mean). Both
//            are the same for every reduction: the trainer adds them up and reports sum / divisor.
//   correct  of `counted` predictions; what a prediction is stands with each loss. Losses without
//            predictions count 0 of N. As float, counts are exact up to 2^24.
//
//   loss = sum / divisor (mean, batch_mean), sum (sum), each (none)
//
// Targets are values (f32, the shape of x [N, C, ...]) or class indices (i32, the shape of x without
// its axis C), as each loss says. A class index outside [0, C) that is not ignored makes the loss NaN
// and the gradient NaN at its position.
#pragma once

#include <cstdint>

#include "tanul/loss.h"

namespace tanul {

// The first member of the parameters of every loss.
struct LossParams {
  Reduction reduction;
  int32_t has_ignore_index;
  int32_t ignore_index;  // only read where has_ignore_index
};

}  // namespace tanul
