// SPDX-License-Identifier: Apache-2.0
// Inverted dropout: y = x m / (1 - p), m[i] = 1 with probability 1 - p. The mask is a function of
// (seed, stream, step, index): Philox word i of the stream, dropped where uniform24 < p. The backward
// step makes the same mask again, nothing is stored. Identity in evaluation.
// Of whole channels (spatial dropout), i counts the pairs (n, c): neighbouring elements of a feature map
// say nearly the same, so that dropping single ones hides nothing.
// Sources: N. Srivastava et al., "Dropout", JMLR 15, 2014; J. Tompson et al., "Efficient Object
// Localization Using Convolutional Networks", CVPR 2015.
//
//   dropout_fwd  in: x   out: y    may be in place
//   dropout_bwd  in: dy  out: dx   may be in place
#pragma once

#include <cstdint>

namespace tanul {

struct DropoutParams {
  float p;             // probability of zero, 0 <= p < 1
  uint32_t stream;     // philox_stream(layer name)
  int32_t is_spatial;  // 1: whole channels of x [N, C, …]
};

}  // namespace tanul
