// SPDX-License-Identifier: Apache-2.0
// The end of a training graph: what is done with the gradients. Those of micro-batches are brought
// together, then clipping, then one update per parameter, placed so that gradients die early; lookahead
// and averages behind it. Describes; computes nothing.
#pragma once

#include <string>
#include <vector>

#include "graph/model.h"
#include "graph/step_graph.h"

namespace tanul {

// The first group that matches a parameter, or null.
const ParameterGroup* group_of(const std::vector<ParameterGroup>& groups, const std::string& name);
bool is_frozen_by(const std::vector<ParameterGroup>& groups, const std::string& name);
// Do weight decay and penalties reach a parameter?
bool decays(const StepGraphOptions& options, const ParameterInfo& info);

// The loss that gradients of micro-batches are weighted by.
struct AccumulatedLoss {
  ValueId stats = kNoValue;
  bool is_sum = false;  // training follows its sum, not its mean
};

// `parameters` and `gradients` are parallel to model.parameters; kNoValue for a gradient that is not
// there. `mutations` are other nodes that write persistent values (running statistics): each is placed
// behind the last reader of what it touches. `loss` is read for accumulation. `loss_scale`: the state of loss
// scaling (kernels/optim/loss_scale.h), by which the gradients are scaled.
void append_optimizer(Graph& graph, const Model::Impl& model,
                      const std::vector<ValueId>& parameters, std::vector<ValueId> gradients,
                      const StepGraphOptions& options, std::vector<Node> mutations,
                      const AccumulatedLoss& loss = {}, ValueId loss_scale = kNoValue);

}  // namespace tanul
