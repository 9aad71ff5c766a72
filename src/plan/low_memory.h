// SPDX-License-Identifier: Apache-2.0
// Memory::low: which values of the forward pass to keep for the backward pass, found by a search over
// keepings (graph/recompute.h). Each candidate is costed as the plan would be: its graph is made, its
// workspaces are asked for, and its buffers are packed. Deterministic; runs nothing.
#pragma once

#include "graph/step_graph.h"
#include "plan/plan.h"

namespace tanul {

struct LowMemory {
  Keeping keeping;
  // Of the default keeping:
  int64_t normal_activation_bytes = 0;
  double normal_flops = 0;
};

// The smallest arena found with at most one more forward pass of arithmetic. Three stages:
//   segments  Candidates keep what crosses the borders between segments of the forward pass (1 to 64
//             of about equal memory; borders anywhere, where one value crosses, or behind products), or
//             keep what is dear to make again by the byte, down to different prices.
//   peak      From the best of these: one value at a time among those that are alive at the peak is
//             kept, remade or fleeting instead, while the arena shrinks.
//   price     What is dear to make again is kept after all, where a step's memory grows by at most 1 %.
LowMemory find_low_memory(const Model& model, const StepGraphOptions& graph_options,
                          const PlanOptions& options);

}  // namespace tanul
