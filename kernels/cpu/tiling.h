// SPDX-License-Identifier: Apache-2.0
// How work is cut into tiles. Everything here is a function of shapes alone, never of the number of
// threads: that is what makes results the same for any number of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/parallel.h"

namespace tanul::cpu {

// Enough for 16 threads with some balance, few enough that the tiles stay large.
constexpr int64_t kTilesWanted = 32;

// [0, extent) in `count` blocks of `size`, the last one shorter.
struct Blocks {
  int64_t extent, size, count;

  int64_t begin(int64_t block) const { return block * size; }
  int64_t length(int64_t block) const { return std::min(size, extent - begin(block)); }
};

inline Blocks blocks_of_size(int64_t extent, int64_t size) {
  size = std::clamp<int64_t>(size, 1, std::max<int64_t>(1, extent));
  return {extent, size, ceil_div(extent, size)};
}
// About `wanted` blocks, at most as many, whose size is a multiple of `multiple`.
inline Blocks blocks_about(int64_t extent, int64_t wanted, int64_t multiple) {
  const int64_t size = ceil_div(extent, std::max<int64_t>(1, wanted));
  return blocks_of_size(extent, ceil_div(size, multiple) * multiple);
}

// The product C [m, n] = A [m, k] B [k, n] cut into rectangles of C that are as square as they can
// be (what a tile reads goes with its rim, what it computes with its area).
struct GemmTiles {
  Blocks rows, columns;
  int64_t count() const { return rows.count * columns.count; }
};

inline GemmTiles gemm_tiles(int64_t m, int64_t n, int64_t k) {
  // Below this the copies and the calls of a small GEMM cost more than its arithmetic.
  constexpr double kFlopsPerTile = 2e6;
  const double flops =
      2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  const double tiles = std::clamp(flops / kFlopsPerTile, 1.0, static_cast<double>(kTilesWanted));
  const double row_blocks = std::sqrt(tiles * static_cast<double>(m) / static_cast<double>(n));
  GemmTiles cut;
  cut.rows = blocks_about(m, std::max<int64_t>(1, std::llround(row_blocks)), 8);
  cut.columns = blocks_about(n, std::llround(tiles / static_cast<double>(cut.rows.count)), 16);
  return cut;
}

}  // namespace tanul::cpu
