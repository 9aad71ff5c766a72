// SPDX-License-Identifier: Apache-2.0
// cp.async of a thread on the host: the target holds garbage from the call on, and gets what was copied at
// the last moment possible, when the thread waits for it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "emulation/cuda.h"

namespace tanul::cuda::emulation {

using PendingCopies = std::vector<std::function<void()>>;

// Of the thread that runs. Those of a block before are dropped.
inline PendingCopies& pending_copies() {
  static PendingCopies pending[1024];
  static uint64_t block = 0;
  if (block != current.first_epoch) {
    block = current.first_epoch;
    for (PendingCopies& of_thread : pending) of_thread.clear();
  }
  return pending[current.id];
}

template <int64_t kCount>
void copy_async(SharedArray<uint32_t, kCount>& array, int64_t at, const uint32_t* from,
                bool is_there) {
  std::array<uint32_t, 4> words{};
  for (int i = 0; i < 4; ++i) {
    if (is_there) words[static_cast<size_t>(i)] = from[i];
    array[at + i] = 0xffffffffu;
  }
  if (at % 4 != 0) fault("copies to %s[%lld]", array.name(), static_cast<long long>(at));
  pending_copies().push_back([&array, at, words] {
    for (int i = 0; i < 4; ++i) array[at + i] = words[static_cast<size_t>(i)];
  });
}

inline void wait_for_copies() {
  for (const auto& copy : pending_copies()) copy();
  pending_copies().clear();
}

}  // namespace tanul::cuda::emulation
