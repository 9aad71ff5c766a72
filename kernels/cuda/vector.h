// SPDX-License-Identifier: Apache-2.0
// Four floats at once: one instruction of 16 bytes. `i` counts floats; base and i are multiples of 4. The
// same functions take shared arrays.
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

}  // namespace tanul::cuda
