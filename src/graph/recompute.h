// SPDX-License-Identifier: Apache-2.0
// Memory for a little time: an output that its op can make again from what the backward pass keeps
// alive anyway (OpDef::recompute: batch norm with the ReLU behind it) is not kept for that pass. It is
// computed a second time in front of the first backward node that reads it, with the same bits.
// Runs behind differentiation, on a graph whose nodes stand in the order in which they run.
#pragma once

#include "graph/graph.h"

namespace tanul {

void recompute(Graph& graph);

}  // namespace tanul
