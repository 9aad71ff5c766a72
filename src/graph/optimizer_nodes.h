// SPDX-License-Identifier: Apache-2.0
// The end of a training graph: what is done with the gradients. Clipping, then one update per
// parameter, placed so that gradients die early. Describes; computes nothing.
#pragma once

#include <vector>

#include "graph/model.h"
#include "graph/step_graph.h"

namespace tanul {

// `parameters` and `gradients` are parallel to model.parameters; kNoValue for a gradient that is not
// there. `mutations` are other nodes that write persistent values (running statistics): each is placed
// behind the last reader of what it touches.
void append_optimizer(Graph& graph, const Model::Impl& model,
                      const std::vector<ValueId>& parameters, std::vector<ValueId> gradients,
                      const StepGraphOptions& options, std::vector<Node> mutations);

}  // namespace tanul
