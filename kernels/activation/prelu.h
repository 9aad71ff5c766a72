// SPDX-License-Identifier: Apache-2.0
// prelu: y = x where x > 0, else slope x, with one learned slope, or one a channel (axis 1).
//
//   prelu_fwd  in: x [N, C, …], slope [1] or [C]  out: y    y may lie over x where that is not kept
//   prelu_bwd  in: dy, x, slope                   out: dx?, dslope?
//     dx = dy where x > 0, else slope dy   dslope[c] = Σ dy x over the elements with x <= 0
//
// The gradient at 0 is the slope. Source: K. He et al., "Delving Deep into Rectifiers", ICCV 2015,
// which starts at 0.25 and leaves slopes out of weight decay.
#pragma once

#include <cstdint>

namespace tanul {

struct PreluParams {
  int32_t wanted;  // prelu_bwd: bit 0: dx, bit 1: dslope
};

}  // namespace tanul
