// SPDX-License-Identifier: Apache-2.0
// The matrix product of gemm.h on tensor cores: operands are fp32 in memory and are rounded to TF32, bf16
// or fp16 (a Format of mma.h) on their way into shared memory, sums are fp32.
//
//   with_tensor_tile<Bf16>(rows, columns, depth, batches, [&](auto tile) {
//     using Tile = decltype(tile);
//     return launch_gemm<Tile, TensorFragment<Tile, Bf16>>(stream, problem, schedule, workspace);
//   });
//
// A block computes a tile, a warp kWarpRows x kWarpColumns of it by instructions of 16 x 8 x 8 words. In
// shared memory a row of an operand's tile is kWords words of the depth, 64 bytes. A lane reads its four
// of a row by one instruction, words 4 member … 4 member + 3: the first two serve as words `member` and
// member + 4 of one mma.sync, the others of a second one. Which step of the depth stands where does not
// matter to a sum of products, as long as it is the same for both operands.
//
// Pieces of 16 bytes are permuted (place(), below), so that all 32 banks are hit by 8 lanes that
//   read the pieces of two neighbouring rows                    (fragments),
//   write pieces of the same steps in 8 neighbouring rows       (operands walked by Walk::row_lanes),
//   write the pieces of two rows that are 1 or 4 apart          (Walk::depth; Walk::rows and blocks).
//
// Numerics: each operand is rounded once, see mma.h. Products are added in the order of the rounds, and
// within an instruction in an order and with a truncation that are the hardware's; splits as in gemm.h.
// Deterministic.
// 2 rows columns depth flops. From shared memory a warp of 64 x 32 reads 6 KiB for 64 x 32 x 16 words:
// 48 of the 128 bytes that a multiprocessor reads in each cycle of its tensor cores at their peak rate.
#pragma once

#include "kernels/cuda/async_copy.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/mma.h"

namespace tanul::cuda::gemm {

constexpr int kWords = 16;  // of the depth, in shared memory

// kBlocks as in Tile: what leaves room for the sums and for what is on its way, without spills.
template <class Format, int kRows_, int kColumns_, int kWarpRows_, int kWarpColumns_, int kBlocks_>
struct TensorTile {
  static constexpr int kRows = kRows_, kColumns = kColumns_;
  static constexpr int kWarpRows = kWarpRows_, kWarpColumns = kWarpColumns_;
  static constexpr int kDepth = kWords * Format::kSteps;
  static constexpr int kBlocks = kBlocks_;
  static constexpr int kThreads = (kRows / kWarpRows) * (kColumns / kWarpColumns) * 32;
};

template <class Format>
using TensorTile128x128 = TensorTile<Format, 128, 128, 64, 32, 1>;
template <class Format>
using TensorTile64x64 = TensorTile<Format, 64, 64, 32, 32, 3>;

// Calls body(tile) with the tile that suits the products of a batch.
template <class Format, typename Body>
auto with_tensor_tile(int64_t rows, int64_t columns, int64_t depth, int64_t batches,
                      const Body& body) {
  return why_not_large_tiles(rows, columns, depth, batches) == nullptr
             ? body(TensorTile128x128<Format>())
             : body(TensorTile64x64<Format>());
}

// Where word `word` of a row lies in a tile; `word` is a multiple of 4, or of 2 in the middle of a piece.
// Two rows make a line of 8 pieces.
__device__ inline int place(int row, int word) {
  const int line = row / 2;
  const int permutation = (line & 3) ^ (line & 2) << 1;
  return line * 2 * kWords + ((row % 2 * 4 + word / 4) ^ permutation) * 4 + word % 4;
}

// The way of one operand into shared memory. A thread loads units of kUnitRows rows by kUnitSteps steps,
// all of them at the same steps.
template <class Tile, class Format, int kRows, class Operand, typename Index>
struct TensorFeeder {
  static constexpr int kHalf = kRows * kWords;                          // of the buffer
  static constexpr int kShare = kRows * Tile::kDepth / Tile::kThreads;  // elements of a thread
  static constexpr bool kIsByLane = Operand::kWalk == Walk::row_lanes;
  static constexpr bool kHasBlocks = Operand::kWalk == Walk::blocks;
  static constexpr int kUnitRows = Operand::kWalk == Walk::rows || kHasBlocks ? 4 : 1;
  static constexpr int kUnitSteps = kIsByLane ? kShare : kUnitRows == 4 ? 2 * Format::kSteps : 4;
  static constexpr int kUnitWords = kUnitSteps / Format::kSteps;
  static constexpr int kUnits = kShare / (kUnitRows * kUnitSteps);
  static constexpr int kUnitsBeside = Tile::kDepth / kUnitSteps;
  static_assert(kUnits * kUnitRows * kUnitSteps == kShare, "whole units");
  static_assert(kUnitWords == 2 || kUnitWords % 4 == 0);
  static_assert(Tile::kThreads % (kIsByLane ? kRows : kUnitsBeside) == 0);

  const Operand& operand;
  typename Operand::Cursor cursors[kUnits];
  float values[kUnits][kUnitRows][kUnitSteps];

  // Of unit i of this thread, within the tile.
  __device__ static int row(int i) {
    const int thread = static_cast<int>(threadIdx.x);
    if constexpr (kIsByLane) return thread % kRows;
    return (i * (Tile::kThreads / kUnitsBeside) + thread / kUnitsBeside) * kUnitRows;
  }
  __device__ static int depth() {
    const int thread = static_cast<int>(threadIdx.x);
    return (kIsByLane ? thread / kRows : thread % kUnitsBeside) * kUnitSteps;
  }

  __device__ TensorFeeder(const Operand& from, Index first_row) : operand(from) {
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      cursors[i] = operand.start(first_row + static_cast<Index>(row(i)));
    }
  }
  template <typename Shared>
  __device__ void load(Index first_depth, Shared&, int) {
    const Index first = first_depth + static_cast<Index>(depth());
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      if constexpr (kHasBlocks) {
        operand.load(cursors[i], first, values[i]);
      } else if constexpr (kUnitRows == 4) {
#pragma unroll
        for (int step = 0; step < kUnitSteps; ++step) {
          float v[4];
          operand.load(cursors[i], first + static_cast<Index>(step), v);
#pragma unroll
          for (int j = 0; j < 4; ++j) values[i][j][step] = v[j];
        }
      } else {
        operand.load(cursors[i], first, values[i][0]);
      }
    }
  }
  template <typename Shared>
  __device__ void store(Shared& shared, int half) const {
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
#pragma unroll
      for (int j = 0; j < kUnitRows; ++j) {
        uint32_t words[kUnitWords];
#pragma unroll
        for (int w = 0; w < kUnitWords; ++w) {
          words[w] = Format::word(values[i][j] + w * Format::kSteps);
        }
        const int first = depth() / Format::kSteps;
        if constexpr (kUnitWords == 2) {
          store2(shared, half * kHalf + place(row(i) + j, first), make_uint2(words[0], words[1]));
        } else {
#pragma unroll
          for (int w = 0; w < kUnitWords; w += 4) {
            store4(shared, half * kHalf + place(row(i) + j, first + w),
                   make_uint4(words[w], words[w + 1], words[w + 2], words[w + 3]));
          }
        }
      }
    }
  }
};

// The same of an operand that lies in memory in words already: it is copied beside the multiplications.
template <class Tile, int kRows, class Operand, typename Index>
struct PackedFeeder {
  static constexpr int kHalf = kRows * kWords;
  static constexpr int kPieces = kRows * kWords / 4 / Tile::kThreads;  // of a thread
  static constexpr int kSteps = Tile::kDepth / kWords;
  static_assert(kPieces * 4 * Tile::kThreads == kHalf, "pieces for all threads");

  const Operand& operand;
  typename Operand::Cursor cursors[kPieces];

  __device__ static int row(int i) {
    return (i * Tile::kThreads + static_cast<int>(threadIdx.x)) / (kWords / 4);
  }
  __device__ static int first_word() { return static_cast<int>(threadIdx.x) % (kWords / 4) * 4; }

  __device__ PackedFeeder(const Operand& from, Index first_row) : operand(from) {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      cursors[i] = operand.start(first_row + static_cast<Index>(row(i)));
    }
  }
  // The barrier in front of it is behind the last read of this half.
  template <typename Shared>
  __device__ void load(Index first_depth, Shared& shared, int half) {
    const Index first = first_depth + static_cast<Index>(first_word() * kSteps);
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const uint32_t* from = operand.find(cursors[i], first);
      copy_async(shared, half * kHalf + place(row(i), first_word()),
                 from != nullptr ? from : operand.data, from != nullptr);
    }
  }
  template <typename Shared>
  __device__ void store(Shared&, int) const {
    wait_for_copies();
  }
};

// What a lane holds of its warp's part of the tile.
template <class Tile, class Format>
struct TensorFragment {
  using Shared = uint32_t;
  template <int kRows, class Operand, typename Index>
  using Feeder =
      std::conditional_t<Operand::kWalk == Walk::words, PackedFeeder<Tile, kRows, Operand, Index>,
                         TensorFeeder<Tile, Format, kRows, Operand, Index>>;
  static constexpr bool kCanBeIdle = true;  // whole warps
  static constexpr int kWarpsBeside = Tile::kColumns / Tile::kWarpColumns;
  // Instructions below and beside each other.
  static constexpr int kBelow = Tile::kWarpRows / 16, kBeside = Tile::kWarpColumns / 8;

  float sums[kBelow][kBeside][4] = {};

  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static int warp() { return static_cast<int>(threadIdx.x) / 32; }
  __device__ static int first_row() { return warp() / kWarpsBeside * Tile::kWarpRows; }
  __device__ static int first_column() { return warp() % kWarpsBeside * Tile::kWarpColumns; }

  template <typename SharedA, typename SharedB>
  __device__ void accumulate(SharedA& a, SharedB& b, int half) {
    const int group = lane() / 4, member = lane() % 4;
    // Rows 8 apart are permuted alike.
    const int at_a = half * Tile::kRows * kWords + place(first_row() + group, member * 4);
    const int at_b = half * Tile::kColumns * kWords + place(first_column() + group, member * 4);
    uint4 columns[kBeside];
#pragma unroll
    for (int j = 0; j < kBeside; ++j) columns[j] = load4(b, at_b + j * 8 * kWords);
#pragma unroll
    for (int i = 0; i < kBelow; ++i) {
      const uint4 upper = load4(a, at_a + i * 16 * kWords);
      const uint4 lower = load4(a, at_a + (i * 16 + 8) * kWords);
      const uint32_t first[4] = {upper.x, lower.x, upper.y, lower.y};
      const uint32_t second[4] = {upper.z, lower.z, upper.w, lower.w};
#pragma unroll
      for (int j = 0; j < kBeside; ++j) {
        Format::multiply(first, {columns[j].x, columns[j].y}, sums[i][j]);
      }
#pragma unroll
      for (int j = 0; j < kBeside; ++j) {
        Format::multiply(second, {columns[j].z, columns[j].w}, sums[i][j]);
      }
    }
  }

  // A lane holds columns 2 member and the next of rows `group` and group + 8. Lanes exchange what makes
  // each of them 4 columns of one row: even members of the first, odd members of the second.
  template <class Out, typename Index>
  __device__ void store(const Out& out, Index row0, Index column0) const {
    const int group = lane() / 4, member = lane() % 4;
    const bool is_odd = member % 2 != 0;
    const int row = first_row() + group + (is_odd ? 8 : 0);
    const int column = first_column() + member / 2 * 4;
#pragma unroll
    for (int i = 0; i < kBelow; ++i) {
#pragma unroll
      for (int j = 0; j < kBeside; ++j) {
        const float(&v)[4] = sums[i][j];
        const float other0 = __shfl_xor_sync(0xffffffffu, is_odd ? v[0] : v[2], 1);
        const float other1 = __shfl_xor_sync(0xffffffffu, is_odd ? v[1] : v[3], 1);
        out.store(row0 + static_cast<Index>(row + i * 16),
                  column0 + static_cast<Index>(column + j * 8),
                  is_odd ? make_float4(other0, other1, v[2], v[3])
                         : make_float4(v[0], v[1], other0, other1));
      }
    }
  }
};

}  // namespace tanul::cuda::gemm
