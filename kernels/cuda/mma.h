// SPDX-License-Identifier: Apache-2.0
// What tensor cores multiply (compute capability 8.0 and up): the formats of operands, and mma.sync of a
// warp, sums [16, 8] += a [16, depth] b [depth, 8] with sums in fp32.
//
// Operands are handed over in words of 32 bits: one step of the depth in TF32, two in bf16 and fp16, the
// first in the lower half. In words all three instructions are the same, 8 deep: PTX's "Matrix Fragments
// for mma.m16n8k8" (.tf32) and "for mma.m16n8k16" (.bf16, .f16) say, with group = lane / 4 and
// member = lane % 4, that a lane holds
//
//   a[0…3]     word `member` of rows `group` and group + 8, then word member + 4 of both
//   b[0…1]     words `member` and member + 4 of column `group`
//   sums[0…3]  columns 2 member and the next of row `group`, then of row group + 8
//
// Numerics: a rounded operand is off by up to 2^-11 (TF32, fp16) or 2^-8 (bf16) of itself, in fp16 by
// 2^-25 where that is more, and infinite from 65520 on; products are exact.
#pragma once

#include <bit>

#include "kernels/backend_abi.h"
#include "kernels/cuda/kernel.h"

#ifdef TANUL_EMULATE_CUDA
#include "emulation/mma.h"
#endif

// Older devices have no such instructions: implementations that need them say so (least_architecture).
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define TANUL_HAS_TENSOR_CORES 1
#else
#define TANUL_HAS_TENSOR_CORES 0
#endif

namespace tanul::cuda {

constexpr int32_t kTensorCoreArchitecture = 80;

struct Tf32 {
  static constexpr Precision kPrecision = Precision::tf32;
  static constexpr int kSteps = 1;  // of depth in a word

  // 10 bits behind the point, ties away from 0.
  __device__ static uint32_t word(const float* steps) {
#ifdef TANUL_EMULATE_CUDA
    return emulation::to_tf32(steps[0]);
#elif TANUL_HAS_TENSOR_CORES
    uint32_t word;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(steps[0]));
    return word;
#else
    return 0;
#endif
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

struct Bf16 {
  static constexpr Precision kPrecision = Precision::bf16;
  static constexpr int kSteps = 2;

  // Exact.
  __device__ static float number(uint16_t half) {
    return std::bit_cast<float>(uint32_t{half} << 16);
  }

  // 7 bits behind the point, ties to even.
  __device__ static uint32_t word(const float* steps) {
#ifdef TANUL_EMULATE_CUDA
    return emulation::to_bf16(steps[0]) | emulation::to_bf16(steps[1]) << 16;
#elif TANUL_HAS_TENSOR_CORES
    uint32_t word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(steps[1]), "f"(steps[0]));
    return word;
#else
    return 0;
#endif
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

struct Fp16 {
  static constexpr Precision kPrecision = Precision::fp16;
  static constexpr int kSteps = 2;

  // Exact.
  __device__ static float number(uint16_t half) {
#ifdef TANUL_EMULATE_CUDA
    return emulation::from_fp16(half);
#else
    float number;
    asm("cvt.f32.f16 %0, %1;" : "=f"(number) : "h"(half));
    return number;
#endif
  }

  // 10 bits behind the point, ties to even; multiples of 2^-24 below 2^-14.
  __device__ static uint32_t word(const float* steps) {
#ifdef TANUL_EMULATE_CUDA
    return emulation::to_fp16(steps[0]) | emulation::to_fp16(steps[1]) << 16;
#elif TANUL_HAS_TENSOR_CORES
    uint32_t word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(steps[1]), "f"(steps[0]));
    return word;
#else
    return 0;
#endif
  }
  __device__ static void multiply(const uint32_t (&a)[4], const uint32_t (&b)[2],
                                  float (&sums)[4]) {
#ifdef TANUL_EMULATE_CUDA
    emulation::mma_fp16(a, b, sums);
#elif TANUL_HAS_TENSOR_CORES
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
  }
};

}  // namespace tanul::cuda
