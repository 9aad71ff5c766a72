// SPDX-License-Identifier: Apache-2.0
// Losses of scores x [N, C, ...] against class indices t: one loss for each sample, or for each
// position behind the classes. v are class weights, 1 where left out.
//
//   nll           loss_n = -v[t] x[t]                x: logarithms of probabilities
//                 divisor = sum of v[t] over what is not ignored; all ignored: as softmax_xent
//   multi_margin  loss_n = v[t] / C sum_{j != t} max(0, margin - x[t] + x[j])^power, power 1 or 2
//                 divisor = the number of positions       gradient at the margin 0
//                 Source: Crammer and Singer 2001 in the form of J. Weston and C. Watkins 1999
//
//   <name>_fwd  in: x [N, C, ...], target i32 [N, ...], v? [C]
//               out: loss [1] or (Reduction::none) [N, ...], stats, see kernels/loss/loss.h
//               correct counts arg max x = t (ties: the lowest class), counted = not ignored
//   <name>_bwd  in: x, target, v?, dloss, stats   out: dx (may lie over x)
//
// The index ignore_index has loss 0 and gradient 0 in both.
#pragma once

#include "kernels/loss/loss.h"

namespace tanul {

struct LabelLossParams {
  LossParams loss;
  int32_t power;  // multi_margin: 1 or 2
  float margin;   // multi_margin: finite
};

}  // namespace tanul
