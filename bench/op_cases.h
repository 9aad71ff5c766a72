// SPDX-License-Identifier: Apache-2.0
// What `tanul-bench ops` runs: every step of the training graphs of well-known networks, and of small
// models that bring in the rest of the vocabulary, each kind with each set of shapes once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "graph/step_graph.h"

namespace tanul::bench {

// A training graph that steps are taken from.
struct OpSource {
  std::string name;  // "resnet18"
  Model model;
  StepGraphOptions options;
};

// What --shapes may name.
struct OpShapes {
  const char* name;
  const char* about;
  std::vector<OpSource> (*sources)(int64_t batch);  // batch 0: what suits the network
};
const std::vector<OpShapes>& op_shapes();

// A node of a training graph: a step with the values that it reads and writes.
struct OpCase {
  std::string source;
  std::shared_ptr<const Graph> graph;
  size_t at;  // among the nodes
  // Arithmetic, and bytes that have to move at least once.
  double flops;
  double bytes;

  const Node& node() const { return graph->nodes[at]; }
  std::string op() const;      // "conv2d_fwd"
  std::string shapes() const;  // "8x64x56x56 64x64x3x3 -> 8x64x56x56"
  std::string name() const;    // both
};

// The steps of the sources whose name matches the pattern, in the order in which they come, those with the
// same kind, parameters and shapes once.
std::vector<OpCase> op_cases(const std::vector<OpSource>& sources, const std::string& pattern);

// An order for little time: every kind once, then every kind twice …, each time with the least work in front.
std::vector<size_t> cheap_first(const std::vector<OpCase>& cases);

}  // namespace tanul::bench
