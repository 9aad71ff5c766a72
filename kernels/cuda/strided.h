// SPDX-License-Identifier: Apache-2.0
// Some axes of a tensor as one index: element i of them, in row order, lies at offset(i) in an operand.
// Neighbouring axes that lie the same way are merged, and axes of one element vanish.
#pragma once

#include "kernels/cuda/divide.h"

namespace tanul::cuda {

struct StridedAxes {
  int32_t count = 0;
  int64_t elems = 1;
  Divider extents[kMaxOperandRank];  // from the last axis to the first
  int64_t strides[kMaxOperandRank] = {};

  // Puts an axis before those that are there; its neighbours in the operand lie `stride` apart.
  void add_outer(int64_t extent, int64_t stride) {
    elems *= extent;
    if (extent == 1) return;
    if (count > 0 && stride == strides[count - 1] * extents[count - 1].divisor) {
      extents[count - 1] = Divider(extents[count - 1].divisor * extent);
      return;
    }
    extents[count] = Divider(extent);
    strides[count++] = stride;
  }
  __device__ int64_t offset(int64_t i) const {
    int64_t at = 0;
    for (int32_t axis = 0; axis + 1 < count; ++axis) {
      const auto split = extents[axis].split(i);
      at += split.rest * strides[axis];
      i = split.quotient;
    }
    return count == 0 ? 0 : at + i * strides[count - 1];
  }
};

}  // namespace tanul::cuda
