// SPDX-License-Identifier: Apache-2.0
#include "data/loader.h"

#include <numeric>
#include <utility>

#include "core/philox.h"

namespace tanul {

void epoch_order(std::vector<int64_t>& order, uint64_t seed, uint32_t epoch) {
  std::iota(order.begin(), order.end(), int64_t{0});
  const Philox random{seed, philox_stream("shuffle"), epoch};
  for (size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[random.below(i - 1, i)]);
  }
}

std::vector<int64_t> epoch_order(int64_t count, uint64_t seed, uint32_t epoch) {
  std::vector<int64_t> order(static_cast<size_t>(count > 0 ? count : 0));
  epoch_order(order, seed, epoch);
  return order;
}

}  // namespace tanul
