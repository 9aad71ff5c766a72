// SPDX-License-Identifier: Apache-2.0
// reshape: the same elements in the same order under another shape. A view: nothing runs.
#pragma once

#include <cstdint>

namespace tanul {

struct ReshapeParams {
  int32_t rank;        // of the output
  int32_t flatten;     // 1: output [N, all other extents multiplied]; extents are not read
  int64_t extents[6];  // 0: that of x along the same axis (the samples of a batch)
  int32_t in_rank;     // the input's shape: set by infer, read by the gradient
  int32_t reserved;
  int64_t in_extents[6];
};

}  // namespace tanul
