// SPDX-License-Identifier: Apache-2.0
#include "plan/pack.h"

#include <algorithm>
#include <numeric>

namespace tanul {

namespace {

int64_t aligned(int64_t bytes) {
  return (std::max<int64_t>(bytes, 1) + kPackAlignment - 1) / kPackAlignment * kPackAlignment;
}

bool meet(const Lifetime& a, const Lifetime& b) { return a.first <= b.last && b.first <= a.last; }

// Places the buffers in this order, each in the lowest gap among those already placed that are alive
// with it. Returns the size of the arena, or that of a part where this is `worth_below` or more.
int64_t place(const std::vector<Lifetime>& lifetimes, const std::vector<size_t>& order,
              int64_t worth_below, std::vector<int64_t>& offsets) {
  std::vector<size_t> by_offset;  // placed buffers, lowest first
  int64_t arena = 0;
  for (size_t i : order) {
    const int64_t bytes = aligned(lifetimes[i].bytes);
    int64_t at = 0;
    for (size_t other : by_offset) {
      if (!meet(lifetimes[i], lifetimes[other])) continue;
      if (offsets[other] - at >= bytes) break;
      at = std::max(at, offsets[other] + aligned(lifetimes[other].bytes));
    }
    offsets[i] = at;
    arena = std::max(arena, at + bytes);
    if (arena >= worth_below) return arena;
    const auto where =
        std::upper_bound(by_offset.begin(), by_offset.end(), at,
                         [&](int64_t value, size_t other) { return value < offsets[other]; });
    by_offset.insert(where, i);
  }
  return arena;
}

}  // namespace

PackLowerBound pack_lower_bound(const std::vector<Lifetime>& lifetimes) {
  PackLowerBound bound;
  int32_t steps = 0;
  for (const Lifetime& life : lifetimes) steps = std::max(steps, life.last + 1);
  std::vector<int64_t> change(static_cast<size_t>(steps) + 1, 0);
  for (const Lifetime& life : lifetimes) {
    change[static_cast<size_t>(life.first)] += aligned(life.bytes);
    change[static_cast<size_t>(life.last) + 1] -= aligned(life.bytes);
  }
  int64_t alive = 0;
  for (int32_t step = 0; step < steps; ++step) {
    alive += change[static_cast<size_t>(step)];
    if (alive > bound.bytes) bound = {alive, step};
  }
  return bound;
}

Packing pack(const std::vector<Lifetime>& lifetimes, int64_t worth_below) {
  Packing best;
  best.offsets.assign(lifetimes.size(), 0);
  if (lifetimes.empty()) return best;
  const PackLowerBound bound = pack_lower_bound(lifetimes);
  best.lower_bound = bound.bytes;
  best.peak_step = bound.step;

  const auto duration = [&](size_t i) {
    return static_cast<int64_t>(lifetimes[i].last - lifetimes[i].first + 1);
  };
  best.bytes = worth_below;
  for (int rule = 0; rule < 3 && best.bytes > best.lower_bound; ++rule) {
    std::vector<size_t> order(lifetimes.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      switch (rule) {
        case 0: return lifetimes[a].bytes > lifetimes[b].bytes;
        case 1: return lifetimes[a].bytes * duration(a) > lifetimes[b].bytes * duration(b);
        default: return lifetimes[a].first < lifetimes[b].first;
      }
    });
    std::vector<int64_t> offsets(lifetimes.size(), 0);
    const int64_t bytes = place(lifetimes, order, best.bytes, offsets);
    if (bytes < best.bytes) {
      best.bytes = bytes;
      best.offsets = std::move(offsets);
    }
  }
  return best;
}

}  // namespace tanul
