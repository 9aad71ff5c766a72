// SPDX-License-Identifier: Apache-2.0
// Matrix product in fp32: the main loop that linear layers and convolutions (as implicit GEMM) share.
//
//   out[row, column] = sum over depth of a[row, depth] b[column, depth]
//
// A block of threads computes a tile of the result, Tile::kRows x Tile::kColumns, and a thread
// kThreadRows x kThreadColumns of it in registers. kDepth steps of both operands lie in shared memory,
// twice: while one half is multiplied, the next steps are on their way from global memory into
// registers, and from there into the other half, so that one barrier a round is enough. An operand is
// kept with its rows (or columns) along memory, 4 floats apart from a multiple of 32: stores from
// lanes that walk along the depth hit different banks.
//
// What is multiplied is told by a Problem, an object that the kernel gets by value:
//
//   struct Problem {
//     using Index = int32_t;                       // of rows, columns and depth
//     __device__ Index columns(int batch) const;   // of one product of the batch
//     __device__ Index depth(int batch) const;
//     __device__ auto a(int batch) const;          // an Operand
//     __device__ auto b(int batch) const;
//     __device__ auto out(int batch) const;        // store(row, column, values): 4 columns of a row,
//   };                                             // of which it ignores what lies outside
//   struct Operand {
//     static constexpr Walk kWalk = …;             // how threads walk over a tile of it
//     __device__ Cursor start(Index row) const;    // what a thread keeps of the row that it reads
//     __device__ void load(const Cursor& at, Index depth, float (&v)[4]) const;  // 0 outside
//   };
//
// A product with too few tiles for a GPU, or with a very long sum, is split along the depth: partial
// results go to the workspace and finish_kernel adds them in their order, or each split adds to the result
// by itself (see Splits).
//
// Numerics: fused multiply-adds in the order of the depth, float; splits are added in their order.
// Deterministic with Splits::in_order: the splits depend on the shapes only.
// 2 rows columns depth flops; from shared memory a thread of 8 x 8 reads 16 floats for 64 fused
// multiply-adds: bound by arithmetic once all multiprocessors have two blocks.
// Source: V. Volkov, J. Demmel, "Benchmarking GPUs to tune dense linear algebra", SC 2008.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "kernels/cuda/kernel.h"
#include "kernels/cuda/vector.h"

namespace tanul::cuda::gemm {

// How the threads of a block walk over a tile of an operand; a thread loads pieces of 4 elements.
enum class Walk {
  depth,      // lanes and pieces run along the depth: memory is contiguous there
  rows,       // lanes and pieces run along the rows: memory is contiguous there
  row_lanes,  // lanes run along the rows, pieces along the depth: a row costs a thread some state
  // Those of tensor_gemm.h only:
  blocks,  // pieces of 4 rows by some steps: load(at, depth, v) fills v[4][steps]
  words,  // as depth, of words that tensor cores take: find(at, depth) says where 4 of them lie, or null
};

// kBlocks: blocks that a multiprocessor should hold, for the compiler's choice of registers.
template <int kRows_, int kColumns_, int kDepth_, int kThreadRows_, int kThreadColumns_,
          int kBlocks_>
struct Tile {
  static constexpr int kRows = kRows_, kColumns = kColumns_, kDepth = kDepth_;
  static constexpr int kThreadRows = kThreadRows_, kThreadColumns = kThreadColumns_;
  static constexpr int kBlocks = kBlocks_;
  static constexpr int kThreads = (kRows / kThreadRows) * (kColumns / kThreadColumns);
};

using Tile128x128 = Tile<128, 128, 8, 8, 8, 2>;
using Tile64x64 = Tile<64, 64, 8, 8, 4, 4>;
using Tile32x128 = Tile<32, 128, 16, 4, 8, 4>;
using Tile32x32 = Tile<32, 32, 16, 4, 4, 8>;

// How the blocks of a grid share the tiles of a batch of products.
struct Schedule {
  int64_t rows;
  int64_t ld;     // columns of the widest product, rounded up to whole pieces
  int64_t chunk;  // depth of a split, whole rounds
  uint32_t row_tiles, column_tiles, batches, splits;

  uint32_t blocks() const { return row_tiles * column_tiles * batches * splits; }
  int64_t partial_elems() const { return splits > 1 ? int64_t{splits} * batches * rows * ld : 0; }
  int64_t partial_bytes() const { return partial_elems() * static_cast<int64_t>(sizeof(float)); }
};

// `columns` and `depth` of the widest and deepest product of the batch.
template <class Tile>
Schedule make_schedule(int64_t rows, int64_t columns, int64_t depth, int64_t batches) {
  constexpr int64_t kBlocksWanted = 264;           // two for each multiprocessor of an H100
  constexpr int64_t kLeastDepth = 256;             // below, a split costs more than it gains
  constexpr int64_t kMostDepth = 65536;            // of one running sum of floats
  constexpr int64_t kMostPartialElems = 16 << 20;  // 64 MiB
  Schedule s{};
  s.rows = rows;
  s.ld = ceil_div(columns, 4) * 4;
  const int64_t row_tiles = ceil_div(rows, Tile::kRows);
  const int64_t column_tiles = ceil_div(columns, Tile::kColumns);
  const int64_t tiles = row_tiles * column_tiles * batches;
  int64_t splits = std::min(kBlocksWanted / tiles, depth / kLeastDepth);
  splits = std::max(splits, ceil_div(depth, kMostDepth));
  splits = std::min(splits, kMostPartialElems / (batches * rows * s.ld));
  splits = std::max<int64_t>(splits, 1);
  s.chunk = ceil_div(ceil_div(depth, splits), Tile::kDepth) * Tile::kDepth;
  s.splits = s.chunk == 0 ? 1 : static_cast<uint32_t>(ceil_div(depth, s.chunk));
  s.row_tiles = static_cast<uint32_t>(row_tiles);
  s.column_tiles = static_cast<uint32_t>(column_tiles);
  s.batches = static_cast<uint32_t>(batches);
  return s;
}

// The way of one operand into shared memory.
template <class Tile, int kRows, int kSkew, class Operand, typename Index>
struct Feeder {
  static constexpr int kPieces = kRows * Tile::kDepth / 4 / Tile::kThreads;  // of a thread
  static constexpr bool kIsAlongDepth = Operand::kWalk == Walk::depth;
  static constexpr int kCursors = kIsAlongDepth ? kPieces : 1;
  static constexpr int kStride = kRows + kSkew;         // from one step of depth to the next
  static constexpr int kHalf = Tile::kDepth * kStride;  // of the buffer
  static_assert(kPieces * 4 * Tile::kThreads == kRows * Tile::kDepth, "pieces for all threads");
  static_assert(Tile::kThreads % kRows == 0 || kRows % Tile::kThreads == 0, "whole rows");

  const Operand& operand;
  typename Operand::Cursor cursors[kCursors];
  float values[kPieces][4];

  // Of piece i of this thread, within the tile.
  __device__ static int row(int i) {
    const int piece = i * Tile::kThreads + static_cast<int>(threadIdx.x);
    if constexpr (Operand::kWalk == Walk::depth) return piece / (Tile::kDepth / 4);
    if constexpr (Operand::kWalk == Walk::rows) return piece % (kRows / 4) * 4;
    return piece % kRows;
  }
  __device__ static int depth(int i) {
    const int piece = i * Tile::kThreads + static_cast<int>(threadIdx.x);
    if constexpr (Operand::kWalk == Walk::depth) return piece % (Tile::kDepth / 4) * 4;
    if constexpr (Operand::kWalk == Walk::rows) return piece / (kRows / 4);
    return piece / kRows * 4;
  }

  __device__ Feeder(const Operand& from, Index first_row) : operand(from) {
#pragma unroll
    for (int i = 0; i < kCursors; ++i) {
      cursors[i] = operand.start(first_row + static_cast<Index>(row(i)));
    }
  }
  // What is loaded behind one barrier is stored in front of the next one; `shared` and `half` are for
  // feeders that copy at once.
  template <typename Shared>
  __device__ void load(Index first_depth, Shared&, int) {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      operand.load(cursors[kIsAlongDepth ? i : 0], first_depth + static_cast<Index>(depth(i)),
                   values[i]);
    }
  }
  template <typename Shared>
  __device__ void store(Shared& shared, int half) const {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const int at = half * kHalf + depth(i) * kStride + row(i);
      if constexpr (Operand::kWalk == Walk::rows) {
        store4(shared, at, make_float4(values[i][0], values[i][1], values[i][2], values[i][3]));
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) shared[at + j * kStride] = values[i][j];
      }
    }
  }
};

// What a thread holds of the tile. Its rows come in runs of 4, kRows / (kThreadRows / 4) apart, its
// columns likewise; the lanes of a warp lie 4 below and 8 beside each other.
template <class Tile>
struct Fragment {
  static constexpr int kSkew = 4;  // of rows in shared memory beyond a multiple of 32 floats
  using Shared = float;            // what tiles in shared memory consist of
  template <int kRows, class Operand, typename Index>
  using Feeder = gemm::Feeder<Tile, kRows, kSkew, Operand, Index>;
  // Do threads whose part of the tile lies outside only help to load it? (The largest tiles are taken
  // where they are mostly full, and have no register to spare.)
  static constexpr bool kCanBeIdle = Tile::kThreads < 256;
  static constexpr int kRowRuns = Tile::kThreadRows / 4;
  static constexpr int kColumnRuns = Tile::kThreadColumns / 4;
  static constexpr int kRowStep = Tile::kRows / kRowRuns;
  static constexpr int kColumnStep = Tile::kColumns / kColumnRuns;

  float sums[Tile::kThreadRows][Tile::kThreadColumns] = {};

  __device__ static int first_row() {
    constexpr int kWarpsBeside = Tile::kColumns / Tile::kThreadColumns / 8;
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    return (warp / kWarpsBeside * 4 + lane / 8) * 4;
  }
  __device__ static int first_column() {
    constexpr int kWarpsBeside = Tile::kColumns / Tile::kThreadColumns / 8;
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    return (warp % kWarpsBeside * 8 + lane % 8) * 4;
  }

  // kRuns runs of 4 elements, `step` apart.
  template <int kRuns, typename Shared>
  __device__ static void read(Shared& shared, int at, int step, float (&to)[kRuns * 4]) {
#pragma unroll
    for (int run = 0; run < kRuns; ++run) {
      const float4 v = load4(shared, at + run * step);
      to[run * 4] = v.x;
      to[run * 4 + 1] = v.y;
      to[run * 4 + 2] = v.z;
      to[run * 4 + 3] = v.w;
    }
  }

  // Adds the kDepth steps that lie in one half of the buffers.
  template <typename SharedA, typename SharedB>
  __device__ void accumulate(SharedA& a, SharedB& b, int half) {
    constexpr int kStrideA = Tile::kRows + kSkew, kStrideB = Tile::kColumns + kSkew;
    const int at_a = half * Tile::kDepth * kStrideA + first_row();
    const int at_b = half * Tile::kDepth * kStrideB + first_column();
#pragma unroll
    for (int d = 0; d < Tile::kDepth; ++d) {
      float row[Tile::kThreadRows], column[Tile::kThreadColumns];
      read<kRowRuns>(a, at_a + d * kStrideA, kRowStep, row);
      read<kColumnRuns>(b, at_b + d * kStrideB, kColumnStep, column);
#pragma unroll
      for (int i = 0; i < Tile::kThreadRows; ++i) {
#pragma unroll
        for (int j = 0; j < Tile::kThreadColumns; ++j) {
          sums[i][j] += row[i] * column[j];  // fused by the compiler
        }
      }
    }
  }

  template <class Out, typename Index>
  __device__ void store(const Out& out, Index row0, Index column0) const {
#pragma unroll
    for (int i = 0; i < Tile::kThreadRows; ++i) {
      const int row = first_row() + i / 4 * kRowStep + i % 4;
#pragma unroll
      for (int run = 0; run < kColumnRuns; ++run) {
        const int column = first_column() + run * kColumnStep;
        const float* v = sums[i] + run * 4;
        out.store(row0 + static_cast<Index>(row), column0 + static_cast<Index>(column),
                  make_float4(v[0], v[1], v[2], v[3]));
      }
    }
  }
};

// How the splits of a product become one result.
enum class Splits {
  in_order,  // by way of the workspace, finish_kernel adds them: deterministic
  as_they_end,  // each adds to the result, which is 0 before, by atomic operations: no workspace, not deterministic
};

// Where the partial results of a split go: [splits, batches, rows, ld].
struct PartialOut {
  float* data;
  int64_t rows, ld;

  template <typename Index>
  __device__ void store(Index row, Index column, float4 v) const {
    if (row < rows && column < ld) store4(data + row * ld, column, v);
  }
};

// Which tile, of which product and split, a block computes.
template <class Tile, typename Index>
struct Place {
  Index row, column;
  int batch;
  uint32_t split;

  __device__ Place(const Schedule& schedule, uint32_t block) {
    row = static_cast<Index>(block % schedule.row_tiles) * Tile::kRows;
    block /= schedule.row_tiles;
    column = static_cast<Index>(block % schedule.column_tiles) * Tile::kColumns;
    block /= schedule.column_tiles;
    batch = static_cast<int>(block % schedule.batches);
    split = block / schedule.batches;
  }
};

// `place` as it is needed behind the loop. For a Problem with ReadsPlaceAgain it is made of blockIdx.x once
// more, so that it keeps no registers busy across the loop: whether that helps is a matter of the compiler's,
// and bench/registers.py shows it.
template <class Problem, class Place>
__device__ Place place_behind_loop(const Place& place, [[maybe_unused]] const Schedule& schedule) {
#ifdef __CUDA_ARCH__
  if constexpr (requires { typename Problem::ReadsPlaceAgain; }) {
    uint32_t block;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(block));
    return Place(schedule, block);
  }
#endif
  return place;
}

// One block computes one tile of one product of the batch, or of one split of it.
template <class Tile, class Problem, class Part>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    gemm_kernel(const __grid_constant__ Problem problem, const __grid_constant__ Schedule schedule,
                float* partials) {
  using Index = typename Problem::Index;
  const Place<Tile, Index> place(schedule, blockIdx.x);
  const Index row0 = place.row, column0 = place.column;
  const int batch = place.batch;
  if (column0 >= problem.columns(batch)) return;
  const int64_t deep = problem.depth(batch);
  const int64_t first = schedule.chunk * place.split, behind = first + schedule.chunk;
  const Index begin = static_cast<Index>(first < deep ? first : deep);
  const Index end = static_cast<Index>(behind < deep ? behind : deep);

  const auto& operand_a = problem.a(batch);
  const auto& operand_b = problem.b(batch);
  using FeederA =
      typename Part::template Feeder<Tile::kRows, std::remove_cvref_t<decltype(operand_a)>, Index>;
  using FeederB = typename Part::template Feeder<Tile::kColumns,
                                                 std::remove_cvref_t<decltype(operand_b)>, Index>;
  TANUL_SHARED(typename Part::Shared, tile_a, 2 * FeederA::kHalf);
  TANUL_SHARED(typename Part::Shared, tile_b, 2 * FeederB::kHalf);
  FeederA a(operand_a, row0);
  FeederB b(operand_b, column0);
  Part fragment;
  const bool is_idle =
      Part::kCanBeIdle && (row0 + Part::first_row() >= schedule.rows ||
                           column0 + Part::first_column() >= problem.columns(batch));
  if (begin < end) {
    a.load(begin, tile_a, 0);
    b.load(begin, tile_b, 0);
    a.store(tile_a, 0);
    b.store(tile_b, 0);
    __syncthreads();
  }
  int half = 0;
  for (Index depth = begin; depth < end; half ^= 1) {
    depth += Tile::kDepth;
    const bool has_next = depth < end;
    if (has_next) {
      a.load(depth, tile_a, half ^ 1);
      b.load(depth, tile_b, half ^ 1);
    }
    if (!is_idle) fragment.accumulate(tile_a, tile_b, half);
    if (has_next) {
      a.store(tile_a, half ^ 1);
      b.store(tile_b, half ^ 1);
      __syncthreads();
    }
  }
  const auto at = place_behind_loop<Problem>(place, schedule);
  if constexpr (requires { typename Problem::AddsSplits; }) {
    fragment.store(problem.out(at.batch), at.row, at.column);
  } else if (schedule.splits > 1) {
    const int64_t product = int64_t{at.split} * schedule.batches + at.batch;
    const PartialOut out{partials + product * schedule.rows * schedule.ld, schedule.rows,
                         schedule.ld};
    fragment.store(out, at.row, at.column);
  } else {
    fragment.store(problem.out(at.batch), at.row, at.column);
  }
}

// Adds the splits; a thread owns 4 columns of a row.
template <class Problem>
__global__ void finish_kernel(const __grid_constant__ Problem problem,
                              const __grid_constant__ Schedule schedule, const float* partials) {
  using Index = typename Problem::Index;
  const int64_t pieces = schedule.ld / 4;
  const int64_t product = schedule.rows * schedule.ld;
  for (int64_t i = grid_thread(); i < schedule.batches * schedule.rows * pieces;
       i += grid_threads()) {
    const int64_t column = i % pieces * 4;
    const int64_t row = i / pieces % schedule.rows;
    const int batch = static_cast<int>(i / pieces / schedule.rows);
    if (column >= problem.columns(batch)) continue;
    const float* from = partials + batch * product + row * schedule.ld + column;
    float4 sum = load4(from, 0);
    for (uint32_t split = 1; split < schedule.splits; ++split) {
      from += schedule.batches * product;
      const float4 v = load4(from, 0);
      sum = make_float4(sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w);
    }
    problem.out(batch).store(static_cast<Index>(row), static_cast<Index>(column), sum);
  }
}

// A problem whose result can be added to: out().adding() does so where out() writes.
template <class Problem>
struct Adding : Problem {
  using AddsSplits = void;
  __device__ auto out(int batch) const { return Problem::out(batch).adding(); }
};

// Makes the result 0; a thread owns 4 columns of a row.
template <class Problem>
__global__ void clear_kernel(const __grid_constant__ Problem problem,
                             const __grid_constant__ Schedule schedule) {
  using Index = typename Problem::Index;
  const int64_t pieces = schedule.ld / 4;
  for (int64_t i = grid_thread(); i < schedule.batches * schedule.rows * pieces;
       i += grid_threads()) {
    const auto column = static_cast<Index>(i % pieces * 4);
    const auto row = static_cast<Index>(i / pieces % schedule.rows);
    const int batch = static_cast<int>(i / pieces / schedule.rows);
    if (column < problem.columns(batch)) {
      problem.out(batch).store(row, column, make_float4(0.0f, 0.0f, 0.0f, 0.0f));
    }
  }
}

// Splits::as_they_end is for schedules of several splits (why_not_as_they_end).
template <class Tile, class Part = Fragment<Tile>, Splits kSplits = Splits::in_order, class Problem>
int launch_gemm(Stream* stream, const Problem& problem, const Schedule& schedule, void* workspace) {
  float* partials = static_cast<float*>(workspace);
  const Dim3 blocks{schedule.blocks(), 1, 1};
  const Dim3 passes = blocks_for(schedule.batches * schedule.rows * schedule.ld / 4);
  if constexpr (kSplits == Splits::as_they_end) {
    if (int e = launch(stream, clear_kernel<Problem>, passes, kBlockThreads, problem, schedule)) {
      return e;
    }
    return launch(stream, gemm_kernel<Tile, Adding<Problem>, Part>, blocks, Tile::kThreads,
                  Adding<Problem>{problem}, schedule, nullptr);
  } else {
    const int error = launch(stream, gemm_kernel<Tile, Problem, Part>, blocks, Tile::kThreads,
                             problem, schedule, partials);
    if (error != 0 || schedule.splits == 1) return error;
    return launch(stream, finish_kernel<Problem>, passes, kBlockThreads, problem, schedule,
                  partials);
  }
}

// ---- reasons against an implementation ---------------------------------------------------------

// Numbers that have to fit the kernels' Index, with room for a tile beyond them.
inline const char* why_not_32_bit(std::initializer_list<int64_t> numbers) {
  for (int64_t n : numbers) {
    if (n >= (int64_t{1} << 31) - 256) return "an extent needs 64 bits";
  }
  return nullptr;
}

// Of Splits::as_they_end.
inline const char* why_not_as_they_end(const Schedule& schedule) {
  return schedule.splits == 1 ? "the sum is not split" : nullptr;
}

// Of 128 x 128: they need few bytes for each multiplication, and a lot of them to fill a GPU.
inline const char* why_not_large_tiles(int64_t rows, int64_t columns, int64_t depth,
                                       int64_t batches) {
  constexpr int64_t kTilesWanted = 64;
  if (const char* reason = why_not_32_bit({rows, columns, depth})) return reason;
  if (rows < 96 || columns < 96) return "a tile of 128 x 128 would be mostly padding";
  if (ceil_div(rows, 128) * ceil_div(columns, 128) * batches < kTilesWanted) {
    return "too few tiles of 128 x 128 to fill a GPU";
  }
  return nullptr;
}

// ---- operands and results that lie in memory as they are -----------------------------------------

// Can runs of 4 floats of rows `ld` apart be read at once?
inline bool has_vectors(const void* data, int64_t ld) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && ld % 4 == 0;
}

// [rows, depth]
template <typename Index>
struct RowMajor {
  static constexpr Walk kWalk = Walk::depth;
  struct Cursor {
    const float* row;  // null outside
  };

  const float* data;
  Index rows, depth;
  bool is_vectorized;

  __device__ Cursor start(Index row) const {
    return {row < rows ? data + static_cast<int64_t>(row) * depth : nullptr};
  }
  __device__ void load(const Cursor& at, Index d, float (&v)[4]) const {
    if (is_vectorized && at.row != nullptr && d < depth) {
      const float4 four = load4(at.row, d);
      v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = at.row != nullptr && d + i < depth ? at.row[d + i] : 0.0f;
  }
};

// [depth, rows], and a row of ones at `ones`, where that is not negative: its products are the sums of the
// other operand (a bias gradient).
template <typename Index>
struct ColumnMajor {
  static constexpr Walk kWalk = Walk::rows;
  struct Cursor {
    Index row;
  };

  const float* data;
  Index rows, depth;
  Index ones;
  bool is_vectorized;

  __device__ Cursor start(Index row) const { return {row}; }
  __device__ void load(const Cursor& at, Index d, float (&v)[4]) const {
    const float* from = data + static_cast<int64_t>(d) * rows + at.row;
    const Index inside = d < depth ? rows - at.row : 0;
    if (is_vectorized && inside > 0) {
      const float4 four = load4(from, 0);
      v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      v[i] = i < inside ? from[i] : at.row + i == ones && d < depth ? 1.0f : 0.0f;
    }
  }
};

// What becomes of a value at its place in the result. An atomic addition takes what is below 2^-126 for 0.
struct Put {
  __device__ static void one(float* to, float v) { *to = v; }
  __device__ static void four(float* to, float4 v) { store4(to, 0, v); }
};
struct Add {
  __device__ static void one(float* to, float v) { atomicAdd(to, v); }
  __device__ static void four(float* to, float4 v) {
    const float values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) atomicAdd(to + i, values[i]);
  }
};

// [rows, columns]; what stands in column `columns` goes to `last`, where that is not null.
template <typename Index, class How = Put>
struct MatrixOut {
  float* data;
  float* last;  // [rows]
  Index rows, columns;
  bool is_vectorized;

  __device__ auto adding() const {
    return MatrixOut<Index, Add>{data, last, rows, columns, is_vectorized};
  }
  __device__ void store(Index row, Index column, float4 v) const {
    if (row >= rows) return;
    float* to = data + static_cast<int64_t>(row) * columns;
    if (is_vectorized && column < columns) {
      How::four(to + column, v);
      return;
    }
    const float values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (column + i < columns) How::one(to + column + i, values[i]);
      if (column + i == columns && last != nullptr) How::one(last + row, values[i]);
    }
  }
};

}  // namespace tanul::cuda::gemm
