// SPDX-License-Identifier: Apache-2.0
// softmax and log_softmax over one axis.
//
//   softmax_fwd      in: x      out: y = e^x / Σ e^x          may be in place
//   softmax_bwd      in: dy, y  out: dx = y (dy − Σ dy y)     may lie over dy
//   log_softmax_fwd  in: x      out: y = x − log Σ e^x        may be in place
//   log_softmax_bwd  in: dy, y  out: dx = dy − e^y Σ dy       may lie over dy
//
// x is shifted by its largest element first, so that nothing overflows.
#pragma once

#include <cstdint>

namespace tanul {

struct SoftmaxParams {
  int32_t axis;
};

}  // namespace tanul
