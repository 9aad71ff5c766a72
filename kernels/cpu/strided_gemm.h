// SPDX-License-Identifier: Apache-2.0
// A single-threaded product of small matrices for kernels that lay out their operands themselves:
//
//   C[i, j] (+)= sum over t of  a[i a_row + t a_step] * b[panel(j) + t b_step + j mod 2 lanes]
//
// i < rows, j < vectors lanes, panel(j) = floor(j / 2 lanes) b_panel; one of a_row and a_step is 1.
// Columns come in whole vectors: a panel is two of them side by side, the last one may be a single
// vector. Each element is one chain of fused multiply-adds in the order of t, whatever its place.
//
// A product keeps the memory idle: what the next one will read can be fetched in step with it.
#pragma once

#include <cstdint>

namespace tanul::cpu {

// `rows` runs of `floats`, `row` floats apart, that are wanted in the second-level cache.
struct Upcoming {
  const float* data;
  int64_t rows, row, floats;
  bool is_written = false;
};
constexpr int kMostUpcoming = 3;

struct StridedGemm {
  int64_t rows, vectors, depth;
  const float* a;
  int64_t a_row, a_step;
  const float* b;
  int64_t b_panel, b_step;
  float* c;
  int64_t c_row;    // floats from a row of C to the next; columns lie side by side
  bool accumulate;  // C += instead of C =
  Upcoming upcoming[kMostUpcoming] = {};  // rows == 0: nothing
};

void strided_gemm(const StridedGemm& gemm);

// Floats of a vector here: those of the machine's widest, at most 16.
int strided_gemm_lanes();

}  // namespace tanul::cpu
