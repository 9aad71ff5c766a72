// SPDX-License-Identifier: Apache-2.0
// Fully connected layer: y = act(x w^T + b).
//   x [N, C]   w [K, C]   b [K]   y [N, K]
//
//   linear_fwd          in: x, w, b?  out: y
//   linear_bwd_data     in: dy, w     out: dx = dy w          (dy is before the activation)
//   linear_bwd_weights  in: x, dy     out: dw = dy^T x, db? = column sums of dy
//   linear_bwd_weights_sgd  in: x, dy, w, v?  out: w, v?, db?   linear_bwd_weights and sgd_update (optim.h) of
//                           its dw in one step, in place: dw never lies in memory. The same bits as the two.
#pragma once

#include "kernels/activation/activation.h"
#include "kernels/optim/optim.h"

namespace tanul {

struct LinearParams {
  int32_t has_bias;           // linear_bwd_weights: is db wanted?
  ActivationKind activation;  // fused into the write-back of linear_fwd
};

struct LinearSgdParams {
  int32_t has_bias;  // is db wanted?
  SgdParams sgd;
};

}  // namespace tanul
