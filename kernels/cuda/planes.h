// SPDX-License-Identifier: Apache-2.0
// Threads over planes of contiguous elements, where each plane has coefficients of its own: a block's
// threads form rows of a power of two, as wide as a plane needs, and each row takes one plane or a part
// of it. Neighbouring threads touch neighbouring addresses also where a plane is one element.
//
//   const int64_t plane = planes.plane();
//   if (plane >= planes.count) return;
//   for (int64_t i = planes.begin(); i < planes.end(); i += planes.step()) y[plane * planes.inner + i] = …
#pragma once

#include <algorithm>

#include "kernels/cuda/kernel.h"

namespace tanul::cuda {

struct Planes {
  int64_t count, inner;
  int64_t part;         // elements of a plane that one row of threads takes
  uint32_t log2_width;  // of a row of threads

  Planes(int64_t planes, int64_t elems) : count(planes), inner(elems), log2_width(0) {
    constexpr int64_t kPartElems = 8 * kBlockThreads;
    while ((1 << log2_width) < inner && (1u << log2_width) < kBlockThreads) ++log2_width;
    const int64_t parts = std::min<int64_t>(65535, ceil_div(inner, kPartElems));
    part = ceil_div(ceil_div(inner, parts), kWarp) * kWarp;
  }
  Dim3 grid() const {
    return {static_cast<uint32_t>(ceil_div(count, kBlockThreads >> log2_width)),
            static_cast<uint32_t>(ceil_div(inner, part)), 1};
  }

  __device__ int64_t plane() const {
    return (blockIdx.x * static_cast<int64_t>(kBlockThreads) + threadIdx.x) >> log2_width;
  }
  __device__ int64_t begin() const {
    return blockIdx.y * part + (threadIdx.x & ((1u << log2_width) - 1));
  }
  __device__ int64_t end() const { return std::min(inner, (blockIdx.y + 1) * part); }
  __device__ int64_t step() const { return int64_t{1} << log2_width; }
};

}  // namespace tanul::cuda
