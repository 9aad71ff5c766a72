// SPDX-License-Identifier: Apache-2.0
// Packing buffers with known lifetimes into one arena.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace tanul {

// A buffer that is alive from step `first` to step `last`, both included.
struct Lifetime {
  int32_t first;
  int32_t last;
  int64_t bytes;
};

struct Packing {
  std::vector<int64_t> offsets;  // parallel to the lifetimes, each a multiple of kPackAlignment
  int64_t bytes = 0;             // of the arena
  int64_t lower_bound = 0;       // largest sum of (aligned) bytes alive at one step
  int32_t peak_step = 0;         // where that is
};

constexpr int64_t kPackAlignment = 64;

// The largest sum of (aligned) bytes alive at one step, and the first step that has it.
struct PackLowerBound {
  int64_t bytes = 0;
  int32_t step = 0;
};
PackLowerBound pack_lower_bound(const std::vector<Lifetime>& lifetimes);

// Offsets such that no two buffers whose lifetimes meet overlap. Places the buffers one after another
// in several orders (by size, by size times duration, by start), each at the lowest gap that fits,
// and keeps the smallest result. Deterministic. (Greedy by size: Y. Pisarchyk and J. Lee, "Efficient
// memory management for deep neural net inference", 2020.) Where none of the orders gives less than
// `worth_below`, `bytes` is that and there are no offsets to use.
Packing pack(const std::vector<Lifetime>& lifetimes,
             int64_t worth_below = std::numeric_limits<int64_t>::max());

}  // namespace tanul
