// SPDX-License-Identifier: Apache-2.0
// The order in which an epoch visits the samples.
#pragma once

#include <cstdint>
#include <vector>

namespace tanul {

// Fills `order` with the positions 0 … order.size()-1 in the order of this epoch: a Fisher-Yates
// shuffle from the Philox stream "shuffle" with the epoch as its step, so a function of
// (count, seed, epoch) alone. Allocates nothing.
void epoch_order(std::vector<int64_t>& order, uint64_t seed, uint32_t epoch);

// The same in a new vector.
std::vector<int64_t> epoch_order(int64_t count, uint64_t seed, uint32_t epoch);

}  // namespace tanul
