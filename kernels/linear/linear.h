// SPDX-License-Identifier: Apache-2.0
// Fully connected layer: y = act(x w^T + b).
//   x [N, C]   w [K, C]   b [K]   y [N, K]
//
//   linear_fwd          in: x, w, b?  out: y
//   linear_bwd_data     in: dy, w     out: dx = dy w          (dy is before the activation)
//   linear_bwd_weights  in: x, dy     out: dw = dy^T x, db? = column sums of dy
#pragma once

#include "kernels/activation/activation.h"

namespace tanul {

struct LinearParams {
  int32_t has_bias;           // linear_bwd_weights: is db wanted?
  ActivationKind activation;  // fused into the write-back of linear_fwd
};

}  // namespace tanul
