// SPDX-License-Identifier: Apache-2.0
// Networks drawn from a fixed sequence, for promises that hold for any network.
#pragma once

#include "core/philox.h"
#include "tanul/model.h"

namespace tanul::test {

// Draws from a fixed sequence.
class Draw {
 public:
  explicit Draw(uint32_t which) : random_{11, philox_stream("plan_test"), which} {}
  int64_t below(int64_t bound) {
    return static_cast<int64_t>(random_.below(2 * next_++, static_cast<uint64_t>(bound)));
  }

 private:
  Philox random_;
  uint64_t next_ = 0;
};

// A network of 3 to 20 random layers with residual connections and concatenations.
Model random_model(uint32_t which);

}  // namespace tanul::test
