// SPDX-License-Identifier: Apache-2.0
// Tensor cores in the main loop of gemm.h (compute capability 8.0 and up): operands are fp32 in memory
// and are rounded to TF32 or bf16 on their way from shared memory into registers, sums are fp32.
//
//   launch_gemm<TensorTile, TensorFragment<TensorTile, MmaTf32>>(stream, problem, schedule, workspace)
//
// A warp computes kWarpRows x kWarpColumns of a block's tile by mma.sync instructions of 16 x 8. How the
// elements of an instruction's operands lie in the lanes is PTX's: "Matrix Fragments for mma.m16n8k8"
// (.tf32) and "for mma.m16n8k16" (.bf16), with group = lane / 4 and member = lane % 4.
//
// Numerics: each operand is off by up to 2^-11 (TF32) or 2^-8 (bf16) of itself, products are exact.
// No implementation of a list uses them yet: plans compute in fp32.
#pragma once

#include "kernels/cuda/gemm.h"

#ifdef TANUL_EMULATE_CUDA
#include "emulation/mma.h"
#endif

// Older devices have no such instructions; whoever launches these kernels refuses them.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define TANUL_HAS_TENSOR_CORES 1
#else
#define TANUL_HAS_TENSOR_CORES 0
#endif

namespace tanul::cuda::gemm {

// 10 bits behind the point, ties away from 0.
__device__ inline uint32_t to_tf32(float x) {
#ifdef TANUL_EMULATE_CUDA
  return emulation::to_tf32(x);
#elif TANUL_HAS_TENSOR_CORES
  uint32_t word;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(x));
  return word;
#else
  return 0;
#endif
}

// Two bf16, ties to even; `low` in the lower half.
__device__ inline uint32_t to_bf16x2(float low, float high) {
#ifdef TANUL_EMULATE_CUDA
  return emulation::to_bf16(low) | emulation::to_bf16(high) << 16;
#elif TANUL_HAS_TENSOR_CORES
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
#else
  return 0;
#endif
}

// sums [16, 8] += a [16, 8] b [8, 8]
struct MmaTf32 {
  static constexpr int kDepth = 8;

  // The word that steps `member` (+ 4 for the second half) of a row of the operand make, which lies in
  // shared memory from `at` on, a step every `stride` floats.
  template <typename Shared>
  __device__ static uint32_t word(Shared& shared, int at, int stride, int member, int half) {
    const float x = shared[at + (member + half * 4) * stride];
    return to_tf32(x);
  }
  __device__ static void multiply(const uint32_t (&a)[4], const uint32_t (&b)[2],
                                  float (&sums)[4]) {
#ifdef TANUL_EMULATE_CUDA
    emulation::mma_tf32(a, b, sums);
#elif TANUL_HAS_TENSOR_CORES
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
  }
};

// sums [16, 8] += a [16, 16] b [16, 8]
struct MmaBf16 {
  static constexpr int kDepth = 16;

  // Steps 2 member and the next (+ 8 for the second half).
  template <typename Shared>
  __device__ static uint32_t word(Shared& shared, int at, int stride, int member, int half) {
    const int first = at + (2 * member + half * 8) * stride;
    const float low = shared[first], high = shared[first + stride];
    return to_bf16x2(low, high);
  }
  __device__ static void multiply(const uint32_t (&a)[4], const uint32_t (&b)[2],
                                  float (&sums)[4]) {
#ifdef TANUL_EMULATE_CUDA
    emulation::mma_bf16(a, b, sums);
#elif TANUL_HAS_TENSOR_CORES
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
  }
};

// 8 warps, 2 below and 4 beside each other.
using TensorTile = Tile<128, 128, 16, 8, 8, 2>;

// What a lane holds of its warp's part of the tile.
template <class Tile, class Mma>
struct TensorFragment {
  static constexpr int kSkew = 8;  // the lanes of a group and those beside it read all 32 banks
  static constexpr int kWarpRows = 64, kWarpColumns = 32;
  static constexpr int kWarpsBeside = Tile::kColumns / kWarpColumns;
  static constexpr int kBelow = kWarpRows / 16, kBeside = kWarpColumns / 8;  // instructions
  static_assert(Tile::kDepth % Mma::kDepth == 0);
  static_assert(Tile::kThreads / 32 == kWarpsBeside * (Tile::kRows / kWarpRows));

  float sums[kBelow][kBeside][4] = {};

  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static int first_row() {
    return static_cast<int>(threadIdx.x) / 32 / kWarpsBeside * kWarpRows;
  }
  __device__ static int first_column() {
    return static_cast<int>(threadIdx.x) / 32 % kWarpsBeside * kWarpColumns;
  }

  template <typename SharedA, typename SharedB>
  __device__ void accumulate(SharedA& a, SharedB& b, int half) {
    constexpr int kStrideA = Tile::kRows + kSkew, kStrideB = Tile::kColumns + kSkew;
    const int group = lane() / 4, member = lane() % 4;
    const int at_a = half * Tile::kDepth * kStrideA + first_row() + group;
    const int at_b = half * Tile::kDepth * kStrideB + first_column() + group;
#pragma unroll
    for (int d = 0; d < Tile::kDepth; d += Mma::kDepth) {
      uint32_t columns[kBeside][2];
#pragma unroll
      for (int j = 0; j < kBeside; ++j) {
#pragma unroll
        for (int part = 0; part < 2; ++part) {
          columns[j][part] = Mma::word(b, at_b + d * kStrideB + j * 8, kStrideB, member, part);
        }
      }
#pragma unroll
      for (int i = 0; i < kBelow; ++i) {
        const int at = at_a + d * kStrideA + i * 16;
        const uint32_t rows[4] = {
            Mma::word(a, at, kStrideA, member, 0), Mma::word(a, at + 8, kStrideA, member, 0),
            Mma::word(a, at, kStrideA, member, 1), Mma::word(a, at + 8, kStrideA, member, 1)};
#pragma unroll
        for (int j = 0; j < kBeside; ++j) Mma::multiply(rows, columns[j], sums[i][j]);
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
