// SPDX-License-Identifier: Apache-2.0
// slice: y = x[begin : begin + size] along every axis. Its gradient is a padding with zeros (pad.h).
//   slice_fwd  in: x  out: y
#pragma once

#include <cstdint>

namespace tanul {

struct SliceParams {
  int32_t rank;
  int32_t begin[6];
  int32_t size[6];     // 0: to the end, however long x is (the samples of a batch)
  int32_t in_dims[6];  // set by infer, read by the gradient
};

}  // namespace tanul
