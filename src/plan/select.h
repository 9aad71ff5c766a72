// SPDX-License-Identifier: Apache-2.0
// Which implementation runs a node, and what the node costs.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"
#include "kernels/backend_abi.h"
#include "plan/plan.h"

namespace tanul {

struct StepCost {
  int64_t workspace_bytes = 0;
  double flops = 0;
  double bytes = 0;  // that must move at least once
};

struct Selection {
  const Implementation* implementation = nullptr;
  std::vector<std::string> refused;  // "winograd: kernel 5x5, only 3x3": earlier ones of the list
  std::string tuned;                 // see StepInfo
  StepCost cost;
};

int64_t value_bytes(const Value& value);

// Without data. Throws Error{unsupported} where the tensor has too many extents for a step.
Operand operand_of(const Graph& graph, ValueId id);

// The first of the list that supports `args`, the arguments of `node`, and that the options allow; with a
// tuner the quickest of those.
// Throws Error{unsupported} where there is none, Error{device} where the device cannot prepare it.
Selection select_implementation(const Graph& graph, const Node& node, const StepArgs& args,
                                const PlanOptions& options);

}  // namespace tanul
