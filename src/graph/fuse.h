// SPDX-License-Identifier: Apache-2.0
// Fusion on the forward graph, before differentiation: the gradient rules then see the fused form
// and keep only what it needs.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace tanul {

// Lets convolution and linear layers apply the activation that alone reads their output. Values in
// `kept` are never fused away. Returns which layer went into which: {"relu1", "conv1"}.
std::map<std::string, std::string> fuse(Graph& graph, const std::vector<ValueId>& kept);

}  // namespace tanul
