// SPDX-License-Identifier: Apache-2.0
// Two sums for each channel of x [N, C, inner], over samples and planes, in double.
//
//   planes   inner >= 8: a block takes one channel of some samples, or a piece of its plane; its threads
//            form rows of a power of two, as wide as a plane needs
//   columns  inner < 8: a block takes 32 neighbouring columns of [N, C inner] and some rows of it, so that
//            a warp reads one contiguous piece of a row; a channel then has `inner` sums
//
// Each block leaves its sums in `sums`, [parts, C] or [parts, C inner]; channel_total adds up those of a
// channel. How the work is cut follows from the shape alone, so the order of additions does. Memory
// bound: every element is read once.
#pragma once

#include <algorithm>

#include "kernels/cuda/divide.h"
#include "kernels/cuda/reduce.h"

namespace tanul::cuda {

struct ChannelTiling {
  static constexpr int64_t kColumns = kWarp;
  static constexpr int64_t kRows = kBlockThreads / kColumns;
  // Blocks that keep a large GPU busy, and elements that a block is worth.
  static constexpr int64_t kBlocksWanted = 2048;
  static constexpr int64_t kElemsOfBlock = 4 * kBlockThreads;

  int64_t N, C, inner;
  bool is_columns;
  int64_t part_samples, sample_parts;
  int64_t piece, pieces;  // of a plane
  Divider by_inner;
  uint32_t log2_width;

  ChannelTiling(int64_t samples, int64_t channels, int64_t plane)
      : N(samples),
        C(channels),
        inner(plane),
        is_columns(plane < 8),
        piece(plane),
        pieces(1),
        by_inner(plane),
        log2_width(0) {
    const int64_t columns = is_columns ? C * inner : C;
    const int64_t elems = N * (is_columns ? kColumns : inner);  // of all parts of a block's columns
    const int64_t blocks = is_columns ? ceil_div(columns, kColumns) : columns;
    const int64_t wanted =
        std::clamp<int64_t>(ceil_div(kBlocksWanted, blocks), 1, ceil_div(elems, kElemsOfBlock));
    part_samples = ceil_div(N, wanted);
    sample_parts = ceil_div(N, part_samples);
    if (!is_columns && wanted > N) {
      piece = ceil_div(ceil_div(inner, ceil_div(wanted, N)), kWarp) * kWarp;
      pieces = ceil_div(inner, piece);
    }
    while ((1u << log2_width) < kBlockThreads && (int64_t{1} << log2_width) < piece) ++log2_width;
  }
  __host__ __device__ int64_t parts() const { return sample_parts * pieces; }
  // Sums of a channel in one part.
  __host__ __device__ int64_t fold() const { return is_columns ? inner : 1; }
  int64_t sums() const { return parts() * C * fold(); }
  Dim3 grid() const {
    const int64_t blocks = is_columns ? ceil_div(C * inner, kColumns) : C;
    return {static_cast<uint32_t>(blocks), static_cast<uint32_t>(parts()), 1};
  }
};

// `terms(at, n, c)` gives the two terms of element `at` = (n C + c) inner + i.
template <typename Terms>
__global__ void channel_sums_planes_kernel(ChannelTiling t, Terms terms, Pair* sums) {
  const int64_t c = blockIdx.x;
  const int64_t sample_part = blockIdx.y / t.pieces;
  const int64_t begin = blockIdx.y % t.pieces * t.piece;
  const int64_t end = std::min(t.inner, begin + t.piece);
  const int64_t last = std::min(t.N, (sample_part + 1) * t.part_samples);
  const int64_t width = int64_t{1} << t.log2_width;
  Pair own{0, 0};
  for (int64_t n = sample_part * t.part_samples + (threadIdx.x >> t.log2_width); n < last;
       n += kBlockThreads >> t.log2_width) {
    const int64_t plane = (n * t.C + c) * t.inner;
    for (int64_t i = begin + (threadIdx.x & (width - 1)); i < end; i += width) {
      own = own + terms(plane + i, n, c);
    }
  }
  const Pair sum = block_sum(own);
  if (threadIdx.x == 0) sums[blockIdx.y * t.C + c] = sum;
}

template <typename Terms>
__global__ void channel_sums_columns_kernel(ChannelTiling t, Terms terms, Pair* sums) {
  TANUL_SHARED(Pair, rows, kBlockThreads);  // [kRows, kColumns]
  const int64_t columns = t.C * t.inner;
  const int64_t column = blockIdx.x * ChannelTiling::kColumns + threadIdx.x % kWarp;
  const int64_t last = std::min(t.N, (blockIdx.y + 1) * t.part_samples);
  Pair own{0, 0};
  if (column < columns) {
    const int64_t c = t.by_inner.quotient(column);
    for (int64_t n = blockIdx.y * t.part_samples + threadIdx.x / kWarp; n < last;
         n += ChannelTiling::kRows) {
      own = own + terms(n * columns + column, n, c);
    }
  }
  rows[threadIdx.x] = own;
  __syncthreads();
  if (threadIdx.x >= kWarp || column >= columns) return;
  for (uint32_t row = 1; row < ChannelTiling::kRows; ++row) {
    const Pair other = rows[row * kWarp + threadIdx.x];
    own = own + other;
  }
  sums[blockIdx.y * columns + column] = own;
}

// The sums of channel c, for every thread of a team.
template <typename Team>
__device__ Pair channel_total(const ChannelTiling& t, const Pair* sums, int64_t c) {
  const int64_t fold = t.fold(), columns = t.C * fold;
  Pair own{0, 0};
  for (int64_t i = Team::rank(); i < t.parts() * fold; i += Team::kThreads) {
    own = own + sums[i / fold * columns + c * fold + i % fold];
  }
  return Team::sum(own);
}
// Calls body(team) with the team that adds up a channel: a thread where there is little to add.
template <typename Body>
auto with_channel_team(const ChannelTiling& t, const Body& body) {
  return t.parts() * t.fold() <= 8 ? body(ThreadTeam()) : body(WarpTeam());
}

template <typename Terms>
int launch_channel_sums(Stream* stream, const ChannelTiling& t, const Terms& terms, Pair* sums) {
  return launch(
      stream, t.is_columns ? channel_sums_columns_kernel<Terms> : channel_sums_planes_kernel<Terms>,
      t.grid(), kBlockThreads, t, terms, sums);
}

}  // namespace tanul::cuda
