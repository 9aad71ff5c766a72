// SPDX-License-Identifier: Apache-2.0
// Mean squared error over all elements: loss = sum (x - t)^2 / elems.
//
//   mse_fwd  in: x [N, ...], target f32 of the same shape, or i32 [N] (x [N, C]: class indices, read
//            as one-hot rows; an index outside [0, C) makes the loss NaN)
//            out: loss [1], stats [4] = {sum of squares, elems, correct, N}
//            correct counts arg max x = t for class indices, 0 otherwise
//   mse_bwd  in: x, target, dloss [1]  out: dx = dloss 2 (x - t) / elems (may lie over x)
#pragma once

namespace tanul {

struct MseParams {
  int unused;
};

}  // namespace tanul
