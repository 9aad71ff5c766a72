// SPDX-License-Identifier: Apache-2.0
// Copies from memory to shared memory that pass by the registers (compute capability 8.0 and up). The words
// of the target are undefined from the call on until the thread has waited; other threads need a barrier
// behind that.
#pragma once

#include "kernels/cuda/mma.h"

#ifdef TANUL_EMULATE_CUDA
#include "emulation/async_copy.h"
#endif

namespace tanul::cuda {

// 16 bytes from `from`, or zeros, to the 4 words from shared[at] on; both are aligned to 16 bytes.
template <typename Shared>
__device__ inline void copy_async(Shared& shared, int at, const uint32_t* from, bool is_there) {
#ifdef TANUL_EMULATE_CUDA
  emulation::check_aligned(from, 16);
  emulation::copy_async(shared, at, from, is_there);
#elif TANUL_HAS_TENSOR_CORES
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared + at));
  const int bytes = is_there ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
#endif
}

// For all of this thread's.
__device__ inline void wait_for_copies() {
#ifdef TANUL_EMULATE_CUDA
  emulation::wait_for_copies();
#elif TANUL_HAS_TENSOR_CORES
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

}  // namespace tanul::cuda
