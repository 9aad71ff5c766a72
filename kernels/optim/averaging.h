// SPDX-License-Identifier: Apache-2.0
// Averages round the optimizer: of weights over steps, and of gradients over the micro-batches of one
// step.
//
//   ema_update        in: avg, w, clip?    out: avg;   avg = decay avg + (1 - decay) w
//   lookahead_update  in: slow, w, clip?   out: slow, w;   every k-th step slow += alpha (w - slow), w = slow
//                     M. Zhang, J. Lucas, G. Hinton and J. Ba, "Lookahead optimizer", 2019
//
// clip [4] is that of a scaled loss: nothing happens where it leaves the step out, and steps that were do not
// count (optim.h).
//
// A loss is a mean: its sum over a divisor (the samples, or their weights) that may differ between
// micro-batches. The gradient of the large batch is therefore the mean of the micro-batches' gradients
// weighted by their divisors d = stats[1] (stats as the loss steps write them). Where training follows
// the sum of a loss (is_sum) it is the plain sum of the gradients. total = the sum of the divisors so
// far; 0 means: nothing is accumulated yet, and acc is not read.
//
//   accumulate_add    in: acc, g, stats, total   out: acc;    acc += d g;  is_sum: acc += g
//   accumulate_mean   in: g, acc, stats, total   out: g';     g' = (acc + d g) / (total + d), 0 for 0/0;  is_sum: g' = acc + g
//   accumulate_total  in: total, stats           out: total;  total += d, or total = 0 with `reset`
#pragma once

#include <cstdint>

namespace tanul {

struct EmaParams {
  float decay;
};

struct LookaheadParams {
  int32_t k;
  float alpha;
};

struct AccumulateParams {
  int32_t is_sum;
};

struct AccumulateTotalParams {
  int32_t reset;
};

}  // namespace tanul
