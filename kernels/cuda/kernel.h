// SPDX-License-Identifier: Apache-2.0
// What every *_cuda.cu file is written with. The same file is compiled by nvcc for the GPU and, for
// tests, by the host's compiler, where emulation/cuda.h stands in for the language: blocks run one after
// another, the threads of a block as fibers. For that to work
//   - kernels are launched with launch(), never with <<< >>>;
//   - shared memory is declared with TANUL_SHARED and indexed one element at a time (or by load4 and
//     store4), so that the emulation sees each access; there is no dynamic shared memory;
//   - memory of the device is only touched inside kernels.
//
//   __global__ void scale_kernel(const float* x, float* y, int64_t n, float factor) {
//     for (int64_t i = grid_thread(); i < n; i += grid_threads()) y[i] = factor * x[i];
//   }
//   int launch_scale(Stream* stream, const StepArgs& args) {
//     const int64_t n = args.out[0].elems();
//     return launch(stream, scale_kernel, blocks_for(n), kBlockThreads, args.in[0].as<float>(),
//                   args.out[0].as<float>(), n, 2.0f);
//   }
//
// Deterministic: grids depend on shapes only, and floats are added by atomic operations only in
// implementations that say so (Implementation::is_deterministic). The result of a launch function is 0 or
// CUDA's error.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/backend_abi.h"
#include "kernels/cuda/api.h"

#ifdef TANUL_EMULATE_CUDA
#include "emulation/cuda.h"
#else
#include <cuda_runtime.h>
// `T name[count]` in the shared memory of a block, aligned for load4 and store4.
#define TANUL_SHARED(T, name, count) __shared__ __align__(16) T name[count]
#endif

namespace tanul::cuda {

inline const Queue& queue_of(Stream* stream) { return *reinterpret_cast<const Queue*>(stream); }

constexpr uint32_t kWarp = 32;
constexpr uint32_t kBlockThreads = 256;

// Queues a kernel. Arguments are converted to the types of its parameters.
template <typename... P>
int launch(Stream* stream, void (*kernel)(P...), Dim3 grid, Dim3 block,
           std::type_identity_t<P>... args) {
  void* pointers[] = {const_cast<void*>(static_cast<const void*>(&args))..., nullptr};
  const uint32_t bytes[] = {static_cast<uint32_t>(sizeof(P))..., 0};
  KernelLaunch call{};
  call.kernel = reinterpret_cast<const void*>(kernel);
  call.grid = grid;
  call.block = block;
  call.args = pointers;
  call.arg_bytes = bytes;
  call.arg_count = static_cast<int32_t>(sizeof...(P));
#ifdef TANUL_EMULATE_CUDA
  call.invoke = emulation::invoke<P...>;
#endif
  const Queue& queue = queue_of(stream);
  return queue.api->launch(call, queue.stream);
}
template <typename... P>
int launch(Stream* stream, void (*kernel)(P...), Dim3 grid, uint32_t threads,
           std::type_identity_t<P>... args) {
  return launch<P...>(stream, kernel, grid, Dim3{threads, 1, 1}, args...);
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A grid for loops of the form of scale_kernel, above: one element a thread, up to a bound.
inline Dim3 blocks_for(int64_t n) {
  constexpr int64_t kMostBlocks = 65535;
  const int64_t blocks = ceil_div(n, kBlockThreads);
  return {static_cast<uint32_t>(blocks < 1             ? 1
                                : blocks < kMostBlocks ? blocks
                                                       : kMostBlocks),
          1, 1};
}

// Number of this thread in the grid, and of all of them, along x.
__device__ inline int64_t grid_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline int64_t grid_threads() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

}  // namespace tanul::cuda
