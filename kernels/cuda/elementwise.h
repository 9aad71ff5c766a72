// SPDX-License-Identifier: Apache-2.0
// y[i] = f(x0[i], x1[i], …): four elements a thread at once where all operands lie at multiples of 16
// bytes, one by one at the end and elsewhere. A thread reads its elements before it writes them, so y may
// lie over any x. Memory bound unless f is slow.
#pragma once

#include "kernels/cuda/kernel.h"
#include "kernels/cuda/vector.h"

namespace tanul::cuda {

template <typename F, typename... V>
__device__ inline float4 map4(const F& f, V... v) {
  return make_float4(f(v.x...), f(v.y...), f(v.z...), f(v.w...));
}

template <typename F, typename... X>
__global__ void map_kernel(F f, int64_t n, int64_t quads, float* y, X... x) {
  const int64_t first = grid_thread(), step = grid_threads();
  for (int64_t i = first; i < quads; i += step) store4(y, 4 * i, map4(f, load4(x, 4 * i)...));
  for (int64_t i = 4 * quads + first; i < n; i += step) y[i] = f(x[i]...);
}

inline bool is_aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// f is an object with `__device__ float operator()(float, …) const`.
template <typename F, typename... X>
int launch_map(Stream* stream, const F& f, int64_t n, float* y, X... x) {
  const bool has_quads = is_aligned16(y) && (is_aligned16(x) && ...);
  const int64_t quads = has_quads ? n / 4 : 0;
  return launch(stream, map_kernel<F, X...>, blocks_for(has_quads ? ceil_div(n, 4) : n),
                kBlockThreads, f, n, quads, y, x...);
}

}  // namespace tanul::cuda
