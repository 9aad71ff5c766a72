// SPDX-License-Identifier: Apache-2.0
// Products of rows summed lane by lane, for one thread: what a weight gradient over few taps is.
//
//   sums[i, j, l] += sum over v < vectors of  a[i a_row + v lanes + l] * b[b_row[j] + v lanes + l]
//
// i < rows, j < columns, l < lanes. Each of them is one chain of fused multiply-adds; add_lanes()
// makes a single number of the lanes in the end. Nothing is transposed and nothing broadcast.
#pragma once

#include <cstdint>

namespace tanul::cpu {

struct LaneSums {
  int64_t rows, columns, vectors;
  const float* a;
  int64_t a_row;
  const float* b;
  const int32_t* b_row;  // [columns]
  float* sums;           // [rows, columns, lanes]
};

void lane_sums(const LaneSums& operands);
// y[i] = sum over l of sums[i, l], count of them, in a fixed order
void add_lanes(const float* sums, int64_t count, float* y);

// Floats of a vector here: those of the machine's widest, at most 16.
int lane_sums_lanes();

}  // namespace tanul::cpu
