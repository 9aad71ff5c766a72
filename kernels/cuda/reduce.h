// SPDX-License-Identifier: Apache-2.0
// Sums and maxima over the threads of a warp, a block, or a team of either size. The order is fixed by
// the number of threads alone, and every thread gets the same bits: the butterfly adds the same two
// numbers on both sides, and a + b = b + a.
//
// A team is the threads that work on one row together: one thread, a warp, or a block. Kernels are
// templates over it and walk rows and elements as
//
//   for (int64_t row = first_row<Team>(); row < rows; row += row_step<Team>())
//     for (int64_t i = Team::rank(); i < n; i += Team::kThreads) …
//   const double all = Team::sum(own);
//
// so that all threads of a team make the same calls. Blocks have kBlockThreads threads.
#pragma once

#include <algorithm>

#include "kernels/cuda/kernel.h"

namespace tanul::cuda {

constexpr uint32_t kFullMask = 0xffffffffu;

// Two sums that are taken together.
struct Pair {
  double a, b;
};
__device__ inline Pair operator+(Pair x, Pair y) { return {x.a + y.a, x.b + y.b}; }

// The element with the largest value, the first of equal ones; at = -1: none yet. NaN is never larger.
struct Best {
  float value;
  int64_t at;
};
__device__ inline Best better(Best x, Best y) {
  if (y.at < 0) return x;
  if (x.at < 0 || y.value > x.value || (y.value == x.value && y.at < x.at)) return y;
  return x;
}

template <typename T>
__device__ T shuffle_xor(T v, int lanes) {
  return __shfl_xor_sync(kFullMask, v, lanes);
}
__device__ inline Pair shuffle_xor(Pair v, int lanes) {
  return {shuffle_xor(v.a, lanes), shuffle_xor(v.b, lanes)};
}
__device__ inline Best shuffle_xor(Best v, int lanes) {
  return {shuffle_xor(v.value, lanes), shuffle_xor(v.at, lanes)};
}

struct Plus {
  template <typename T>
  __device__ T operator()(T x, T y) const {
    return x + y;
  }
};
struct Larger {
  template <typename T>
  __device__ T operator()(T x, T y) const {
    return y > x ? y : x;
  }
};
struct Better {
  __device__ Best operator()(Best x, Best y) const { return better(x, y); }
};

template <typename T, typename Combine>
__device__ T warp_reduce(T v, Combine combine) {
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) v = combine(v, shuffle_xor(v, lanes));
  return v;
}

// All threads of the block call it; the number of them is a multiple of a warp's.
template <typename T, typename Combine>
__device__ T block_reduce(T v, Combine combine) {
  TANUL_SHARED(T, parts, 32);  // one a warp
  v = warp_reduce(v, combine);
  __syncthreads();  // `parts` may still be read for the call before
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = v;
  __syncthreads();
  T all = parts[0];
  for (uint32_t warp = 1; warp < blockDim.x / kWarp; ++warp) {
    const T part = parts[warp];
    all = combine(all, part);
  }
  return all;
}

template <typename T>
__device__ T warp_sum(T v) {
  return warp_reduce(v, Plus());
}
template <typename T>
__device__ T block_sum(T v) {
  return block_reduce(v, Plus());
}

struct ThreadTeam {
  static constexpr uint32_t kThreads = 1;
  __device__ static uint32_t rank() { return 0; }
  template <typename T, typename Combine>
  __device__ static T reduce(T v, Combine) {
    return v;
  }
  template <typename T>
  __device__ static T sum(T v) {
    return v;
  }
};
struct WarpTeam {
  static constexpr uint32_t kThreads = kWarp;
  __device__ static uint32_t rank() { return threadIdx.x % kWarp; }
  template <typename T, typename Combine>
  __device__ static T reduce(T v, Combine combine) {
    return warp_reduce(v, combine);
  }
  template <typename T>
  __device__ static T sum(T v) {
    return warp_sum(v);
  }
};
struct BlockTeam {
  static constexpr uint32_t kThreads = kBlockThreads;
  __device__ static uint32_t rank() { return threadIdx.x; }
  template <typename T, typename Combine>
  __device__ static T reduce(T v, Combine combine) {
    return block_reduce(v, combine);
  }
  template <typename T>
  __device__ static T sum(T v) {
    return block_sum(v);
  }
};

template <typename Team>
constexpr int64_t kTeamsOfBlock = kBlockThreads / Team::kThreads;

template <typename Team>
__device__ int64_t first_row() {
  return blockIdx.x * kTeamsOfBlock<Team> + threadIdx.x / Team::kThreads;
}
template <typename Team>
__device__ int64_t row_step() {
  return gridDim.x * kTeamsOfBlock<Team>;
}
// The grid that gives each row a team, up to `most_blocks`.
template <typename Team>
Dim3 grid_for_rows(int64_t rows, int64_t most_blocks = 65535) {
  const int64_t blocks = ceil_div(rows, kTeamsOfBlock<Team>);
  return {static_cast<uint32_t>(std::clamp<int64_t>(blocks, 1, most_blocks)), 1, 1};
}

// Calls body(team) with the team for rows of n contiguous elements.
constexpr int64_t kLongRow = 2048;
template <typename Body>
auto with_row_team(int64_t n, const Body& body) {
  return n < kLongRow ? body(WarpTeam()) : body(BlockTeam());
}
// The same where elements lie `stride` apart: neighbouring threads read neighbouring addresses.
template <typename Body>
auto with_team(int64_t n, int64_t stride, const Body& body) {
  return stride > 1 ? body(ThreadTeam()) : with_row_team(n, body);
}

}  // namespace tanul::cuda
