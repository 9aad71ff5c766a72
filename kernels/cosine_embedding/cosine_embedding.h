// SPDX-License-Identifier: Apache-2.0
// Pairs of vectors that belong together (t = 1) are turned towards each other, others (t = -1) apart.
//
//   cos_n  = a_n b_n / (|a_n| |b_n|), |v|^2 = v v + 1e-12
//   loss_n = 1 - cos_n (t = 1), max(0, cos_n - margin) (t = -1); any other t makes it NaN
//   divisor = N; correct counts 0 of N
//   dcos/da = b / (|a| |b|) - cos a / |a|^2, dcos/db likewise; at the margin 0
//
//   cosine_embedding_fwd  in: a [N, D], target f32 [N], b [N, D]
//                         out: loss [1] or (Reduction::none) [N], stats, see kernels/loss/loss.h
//   cosine_embedding_bwd  in: a, target, b, dloss   out: da?, db?
#pragma once

#include "kernels/loss/loss.h"

namespace tanul {

struct CosineEmbeddingParams {
  LossParams loss;
  float margin;    // -1 … 1
  int32_t wanted;  // backward: 1 = da, 2 = db
};

}  // namespace tanul
