// SPDX-License-Identifier: Apache-2.0
// Which values share a buffer, and from which node to which node each buffer is alive.
#pragma once

#include <vector>

#include "graph/graph.h"
#include "plan/pack.h"

namespace tanul {

constexpr int32_t kNoBuffer = -1;

struct Liveness {
  // Of each value: its buffer in the arena, or kNoBuffer where it lives outside (inputs, parameters,
  // state, constants, and views of those) or is never made.
  std::vector<int32_t> buffer;
  // Of each value: the value whose memory it shares outside the arena (itself, but for views).
  std::vector<ValueId> root;
  std::vector<Lifetime> lifetimes;   // of each buffer, in nodes
  std::vector<ValueId> first_value;  // of each buffer: for its name
};

// Views share their input's buffer; a step that may work in place does so where nobody reads the
// input afterwards. Kept values live to the last node.
Liveness find_liveness(const Graph& graph);

}  // namespace tanul
