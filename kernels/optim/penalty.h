// SPDX-License-Identifier: Apache-2.0
// Penalties on weights, as a part of the loss.
//
//   penalty_fwd   in: w0, w1, …   out: penalty [1] = sum over all elements of l1 |w| + l2/2 w^2
//   penalty_bwd   in: w, d        out: dw = d (l1 sign(w) + l2 w);   d [1], sign(0) = 0
#pragma once

namespace tanul {

struct PenaltyParams {
  float l1;
  float l2;
};

}  // namespace tanul
