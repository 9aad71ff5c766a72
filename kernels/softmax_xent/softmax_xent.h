// SPDX-License-Identifier: Apache-2.0
// Softmax followed by cross-entropy, from logits, mean over the samples that count.
//
//   p = softmax(z_n), t = target[n], s = label smoothing, v = class weights (1 where left out)
//   loss_n = -(1 - s) v[t] log p[t] - s/C sum_c v[c] log p[c]         0 where t = ignore_index
//   divisor = sum of v[t] over the samples that are not ignored
//   loss = sum_n loss_n / divisor            (NaN where all are ignored; the gradient is then 0)
//   dz[n,c] = dloss / divisor ((sum_j q[j]) p[c] - q[c]),  q[c] = v[c] ((1 - s) [c = t] + s/C)
//   log p is computed as z - max - log(sum exp(z - max)): finite for logits of any finite size.
//   A target outside [0, C) that is not ignored makes the loss NaN and its gradient row NaN.
//
//   softmax_xent_fwd  in: z [N, C], target i32 [N], v? [C]
//                     out: loss [1], stats [4] = {sum of loss_n, divisor, correct, counted}
//                     correct counts arg max z = t (ties: the lowest class), counted = not ignored
//   softmax_xent_bwd  in: z, target, v?, dloss [1], stats   out: dz (may lie over z)
#pragma once

#include <cstdint>

namespace tanul {

struct SoftmaxXentParams {
  float label_smoothing;  // 0 <= s <= 1
  int32_t ignore_index;   // only read where has_ignore_index
  int32_t has_ignore_index;
};

}  // namespace tanul
