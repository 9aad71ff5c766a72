// SPDX-License-Identifier: Apache-2.0
// The sum of the squares of all elements of many tensors on the CPU: in double, eight sums side by side in
// a tile of kElementwiseTile elements, tiles in order, so that threads do not matter. Memory bound.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/backend_abi.h"
#include "kernels/cpu/parallel.h"

namespace tanul::cpu {

inline double sum_squares(const float* g, int64_t n) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int lane = 0; lane < 8; ++lane) {
      const double value = static_cast<double>(g[i + lane]);
      sums[lane] += value * value;
    }
  }
  double sum = 0;
  for (double part : sums) sum += part;
  for (; i < n; ++i) sum += static_cast<double>(g[i]) * static_cast<double>(g[i]);
  return sum;
}

// The inputs from place `first` on.
inline int64_t square_tiles(const StepArgs& args, int first) {
  int64_t tiles = 0;
  for (int i = first; i < args.in_count; ++i) {
    tiles += ceil_div(args.in[i].elems(), kElementwiseTile);
  }
  return tiles;
}

template <int kFirst>
int64_t workspace_squares(const StepArgs& args, int) {
  return square_tiles(args, kFirst) * static_cast<int64_t>(sizeof(double));
}

template <int kFirst>
double sum_of_squares(Stream* stream, const StepArgs& args) {
  double* sums = static_cast<double*>(args.workspace);  // [tiles], those of in[kFirst] first
  const int64_t tiles = square_tiles(args, kFirst);
  parallel_for(stream, tiles, [&](int64_t tile, int) {
    int64_t begin = tile;
    int i = kFirst;
    for (int64_t of_i; begin >= (of_i = ceil_div(args.in[i].elems(), kElementwiseTile)); ++i) {
      begin -= of_i;
    }
    begin *= kElementwiseTile;
    sums[tile] = sum_squares(args.in[i].as<float>() + begin,
                             std::min(args.in[i].elems() - begin, kElementwiseTile));
  });
  double sum = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) sum += sums[tile];
  return sum;
}

}  // namespace tanul::cpu
