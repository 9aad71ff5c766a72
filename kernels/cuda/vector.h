// SPDX-License-Identifier: Apache-2.0
// Four floats or words at once: one instruction of 16 bytes. `i` counts elements; base and i are multiples
// of 4. The same functions take shared arrays; store2 stores two.
#pragma once

#include "kernels/cuda/kernel.h"

namespace tanul::cuda {

__device__ inline float4 load4(const float* base, int64_t i) {
#ifdef TANUL_EMULATE_CUDA
  emulation::check_aligned(base + i, sizeof(float4));
#endif
  return *reinterpret_cast<const float4*>(base + i);
}

__device__ inline void store4(float* base, int64_t i, float4 v) {
#ifdef TANUL_EMULATE_CUDA
  emulation::check_aligned(base + i, sizeof(float4));
#endif
  *reinterpret_cast<float4*>(base + i) = v;
}

__device__ inline uint4 load4(const uint32_t* base, int64_t i) {
#ifdef TANUL_EMULATE_CUDA
  emulation::check_aligned(base + i, sizeof(uint4));
#endif
  return *reinterpret_cast<const uint4*>(base + i);
}
__device__ inline void store4(uint32_t* base, int64_t i, uint4 v) {
#ifdef TANUL_EMULATE_CUDA
  emulation::check_aligned(base + i, sizeof(uint4));
#endif
  *reinterpret_cast<uint4*>(base + i) = v;
}
__device__ inline void store2(uint32_t* base, int64_t i, uint2 v) {
#ifdef TANUL_EMULATE_CUDA
  emulation::check_aligned(base + i, sizeof(uint2));
#endif
  *reinterpret_cast<uint2*>(base + i) = v;
}

}  // namespace tanul::cuda
