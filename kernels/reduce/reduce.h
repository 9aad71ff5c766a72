// SPDX-License-Identifier: Apache-2.0
// Sums and means over some axes.
//
//   reduce_sum_fwd   in: x   out: y = Σ x over the axes; they vanish, or stay as extents of 1
//   reduce_mean_fwd  in: x   out: y = the same divided by the number of summands
//   reduce_bwd       in: dy  out: dx = dy / divisor, repeated over the axes
#pragma once

#include <cstdint>

namespace tanul {

struct ReduceParams {
  int32_t axes;       // bit i: axis i is summed over
  int32_t keep_dims;  // 1: summed axes stay, with extent 1
  int32_t is_mean;    // set by infer
  int32_t in_rank;
  int64_t in_dims[6];  // of x: set by infer, read by the gradient

  // Number of summands of one output.
  int64_t count() const {
    int64_t n = 1;
    for (int i = 0; i < in_rank; ++i) n *= (axes >> i & 1) != 0 ? in_dims[i] : 1;
    return n;
  }
};

}  // namespace tanul
