// SPDX-License-Identifier: Apache-2.0
// Initial weights drawn by several threads: the public `initialize` with somebody to run its parts.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tanul/init.h"

namespace tanul {

// Calls body(0) … body(count - 1), in any order.
using ForEach = std::function<void(int64_t count, const std::function<void(int64_t)>& body)>;

// The same bits whoever runs the parts: each number comes from its own counter.
void initialize(Tensor& weights, const Init& init, uint64_t seed, const std::string& name,
                double following_gain, const ForEach& for_each);

}  // namespace tanul
