// SPDX-License-Identifier: Apache-2.0
// Reverse-mode differentiation: appends backward nodes to a graph.
#pragma once

#include <utility>
#include <vector>

#include "graph/graph.h"

namespace tanul {

// Appends the nodes that compute d loss / d v for each v of `wrt`, and returns those gradients in
// the same order; kNoValue where the loss does not depend on v. `loss` is a scalar [1] made by a
// node of the graph. Gradients that arrive from several readers are added.
// Throws Error{unsupported} where an op on the way has no gradient.
std::vector<ValueId> differentiate(Graph& graph, ValueId loss, const std::vector<ValueId>& wrt);
// The same for sum over seeds of <gradient, value>: any values {value, its gradient} to start from.
std::vector<ValueId> differentiate(Graph& graph,
                                   const std::vector<std::pair<ValueId, ValueId>>& seeds,
                                   const std::vector<ValueId>& wrt);

}  // namespace tanul
