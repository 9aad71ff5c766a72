// SPDX-License-Identifier: Apache-2.0
// put: one thread writes the words, which came as the kernel's argument. fetch: a thread a word; pinned
// memory has the same address on the device.
#include <cstring>

#include "kernels/backend_module.h"
#include "kernels/cuda/kernel.h"
#include "kernels/cuda/small_copies.h"

namespace tanul::cuda {

namespace {

constexpr int kWords = kMostSmallBytes / 4;

struct Words {
  uint32_t word[kWords];
};

__global__ void put_kernel(Words words, int32_t count, uint32_t* to) {
#pragma unroll
  for (int i = 0; i < kWords; ++i) {
    if (i < count) to[i] = words.word[i];
  }
}

__global__ void fetch_kernel(const uint32_t* from, int32_t count, uint32_t* to) {
  const auto i = static_cast<int32_t>(threadIdx.x);
  if (i < count) to[i] = from[i];
}

}  // namespace

int launch_put(Stream* stream, void* to, const void* from, int64_t bytes) {
  Words words{};
  std::memcpy(words.word, from, static_cast<size_t>(bytes));
  return launch(stream, put_kernel, Dim3{}, 1u, words, static_cast<int32_t>(bytes / 4),
                static_cast<uint32_t*>(to));
}

int launch_fetch(Stream* stream, void* to, const void* from, int64_t bytes) {
  return launch(stream, fetch_kernel, Dim3{}, kWarp, static_cast<const uint32_t*>(from),
                static_cast<int32_t>(bytes / 4), static_cast<uint32_t*>(to));
}

}  // namespace tanul::cuda
