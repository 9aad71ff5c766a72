// SPDX-License-Identifier: Apache-2.0
// What a Model holds: the forward graph for a batch of one, and what the parameters are.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "tanul/model.h"

namespace tanul {

struct Model::Impl {
  std::string name;
  Graph graph;  // forward and loss nodes, N = 1
  ValueId input = kNoValue;
  ValueId output = kNoValue;  // of the last layer: the loss's input where there is a loss
  ValueId target = kNoValue;
  ValueId loss = kNoValue;
  ValueId stats = kNoValue;  // {sum, divisor, correct, counted}
  LossKind loss_kind = LossKind::none;
  std::vector<ParameterInfo> parameters;
  std::vector<ValueId> parameter_values;            // parallel to `parameters`
  std::map<std::string, std::string> descriptions;  // of layers: "conv2d 5x5 /1 +2"

  // While building.
  Init default_init;
  std::map<std::string, int> counters;
  std::set<std::string> names;
};

}  // namespace tanul
