// SPDX-License-Identifier: Apache-2.0
// scale_shift: y = gamma[c] x + beta[c], one factor and one summand a channel (axis 1), either of which
// may be left out. Without gamma it is the bias of a layer.
//
//   scale_shift_fwd  in: x [N, C, …], gamma? [C], beta? [C]  out: y    y may lie over x
//   scale_shift_bwd  in: dy, x?, gamma?                      out: dx?, dgamma?, dbeta?
//     dx = gamma[c] dy   dgamma[c] = Σ dy x   dbeta[c] = Σ dy, over all but the channel
//
// x is read for dgamma, gamma for dx. Without gamma, dx is dy itself.
#pragma once

#include <cstdint>

namespace tanul {

struct ScaleShiftParams {
  int32_t wanted;  // scale_shift_bwd: bit 0: dx, 1: dgamma, 2: dbeta
};

}  // namespace tanul
