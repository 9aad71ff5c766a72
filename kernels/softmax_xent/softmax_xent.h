// SPDX-License-Identifier: Apache-2.0
// Softmax over C followed by cross-entropy, from logits z [N, C, ...]: one loss for each sample, or
// for each position behind the classes (pixel).
//
//   p = softmax(z) over C, s = label smoothing, v = class weights (1 where left out)
//   q[c] = v[c] ((1 - s) t[c] + s/C)     t: the target probabilities; of a class index, t[c] = [c = t]
//   loss_n = -sum_c q[c] log p[c]        0 where the index is ignore_index; terms with q[c] = 0 are 0
//   divisor = sum of v[t] over what is not ignored (indices), the number of positions (probabilities)
//   mean: sum_n loss_n / divisor         (NaN where all are ignored; the gradient is then 0)
//   dz[n,c] = dloss_n / divisor ((sum_j q[j]) p[c] - q[c])
//   log p is computed as z - max - log(sum exp(z - max)): finite for logits of any finite size.
//
//   softmax_xent_fwd  in: z [N, C, ...], target i32 [N, ...] or f32 [N, C, ...], v? [C]
//                     out: loss [1] or (Reduction::none) [N, ...], stats, see kernels/loss/loss.h
//                     correct counts arg max z = t (arg max of probabilities; ties: the lowest class),
//                     counted = not ignored
//   softmax_xent_bwd  in: z, target, v?, dloss, stats   out: dz (may lie over z)
#pragma once

#include "kernels/loss/loss.h"

namespace tanul {

struct SoftmaxXentParams {
  LossParams loss;        // ignore_index: only with class indices
  float label_smoothing;  // 0 <= s <= 1
};

}  // namespace tanul
