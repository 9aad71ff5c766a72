// SPDX-License-Identifier: Apache-2.0
// How long one implementation of a step takes on a device.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "bench/op_memory.h"

namespace tanul::bench {

struct OpTiming {
  std::vector<double> seconds;  // of one launch, each the mean of a repeat
  int64_t launches = 0;         // in a repeat
};

// So many copies of a step's operands that a repeat does not find them in the last-level cache of the
// device, at most a gigabyte.
int copies_past_cache(const Backend& backend, const OpCase& op);

// Warms up with one launch a copy, then makes `repeats` repeats of as many launches as fit into
// `seconds` altogether (at least one each), on the copies in turn. A device that can record replays
// recorded launches, as in training. On the device's own clock.
OpTiming time_op(Backend& backend, OpMemory& memory, const Implementation& implementation,
                 double seconds, int repeats);

}  // namespace tanul::bench
