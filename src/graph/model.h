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
  // Places where data goes in and comes out; at most kMostPorts of each.
  struct Port {
    std::string name;
    ValueId value;
  };
  struct Loss {
    LossKind kind;
    std::string layer;
    ValueId x;  // what is compared with the target: an output of the network
    ValueId target;
    ValueId loss;
    ValueId stats;  // {sum, divisor, correct, counted}
    double weight;  // of this loss in the sum that is trained
  };
  std::vector<Port> inputs;
  std::vector<Port> outputs;  // those that were asked for; filled in by build() where none was
  std::vector<Loss> losses;
  ValueId last = kNoValue;  // of the last layer
  std::vector<ParameterInfo> parameters;
  std::vector<ValueId> parameter_values;            // parallel to `parameters`
  std::map<std::string, std::string> descriptions;  // of layers: "conv2d 5x5 /1 +2"

  // While building.
  Init default_init;
  std::map<std::string, int> counters;
  std::set<std::string> names;
};

}  // namespace tanul
