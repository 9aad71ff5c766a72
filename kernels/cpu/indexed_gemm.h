// SPDX-License-Identifier: Apache-2.0
// A single-threaded GEMM whose operands are found through tables of offsets, so that a convolution
// can read its input where it lies instead of copying it into columns first:
//
//   C[i, v, l] (+)= sum over t of  a[a_row[i] + a_step[t]] * b[b_vector[v] + b_step[t] + l]
//   C[i, v, l]   = max(0, C[i, v, l] + bias[i])      where there is a bias, where is_relu
//
// with C[i, v, l] = c[i c_row + c_vector[v] + l], i < rows, v < vectors, l < lanes, t < depth. Each
// element is one chain of fused multiply-adds in the order of t: its bits depend on neither rows,
// vectors nor lanes. Vectors of C may overlap where they get the same values (and not when
// accumulating). Source of the idea: M. Dukhan, "The Indirect Convolution Algorithm", 2019.
#pragma once

#include <cstdint>

namespace tanul::cpu {

struct IndexedGemm {
  int64_t rows, vectors, depth;
  int lanes;  // of a vector: one of indexed_gemm_lanes()
  const float* a;
  const int32_t* a_row;   // [rows]
  const int32_t* a_step;  // [depth]
  const float* b;
  const int32_t* b_vector;  // [vectors]
  const int32_t* b_step;    // [depth]
  float* c;
  int64_t c_row;
  const int32_t* c_vector;      // [vectors]
  bool accumulate;              // C += instead of C =
  const float* bias = nullptr;  // [rows]
  bool is_relu = false;         // NaN stays
};

void indexed_gemm(const IndexedGemm& gemm);

// Rows are computed in panels of at most this many; a panel reads its a[...] for one t together, so
// rows of a panel should lie side by side. row_panels() says how a number of rows is cut.
constexpr int64_t kPanelRows = 6;

// `count` panels; the first `longer` of them have `rows` + 1 rows, the others `rows`.
struct RowPanels {
  int64_t count, rows, longer;
  int64_t begin(int64_t panel) const { return panel * rows + (panel < longer ? panel : longer); }
};
inline RowPanels row_panels(int64_t rows) {
  const int64_t count = (rows + kPanelRows - 1) / kPanelRows;
  return count == 0 ? RowPanels{0, 0, 0} : RowPanels{count, rows / count, rows % count};
}

// The widest vector of the machine.
int indexed_gemm_max_lanes();

// The vector width that covers `extent` elements with the fewest vectors, the narrower of equals;
// at most `limit` lanes. 0 where every width is too wide.
int indexed_gemm_lanes(int64_t extent, int64_t limit);

}  // namespace tanul::cpu
