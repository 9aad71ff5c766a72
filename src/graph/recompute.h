// SPDX-License-Identifier: Apache-2.0
// Memory for time: which values of the forward pass outlive it, and the nodes that make the others
// again, with the same bits, in front of the first backward node that reads them. (T. Chen, B. Xu,
// C. Zhang, C. Guestrin, "Training deep nets with sublinear memory cost", 2016.)
// Runs behind differentiation, on a graph whose nodes stand in the order in which they run, and before
// the optimizer is appended: parameters and running statistics are still those of the forward pass.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "graph/graph.h"

namespace tanul {

enum class Keep : uint8_t {
  kept,     // alive until its last reader of the backward pass
  remade,   // made again once, for every backward node and for what is made again from it
  fleeting  // made again twice: for what is made again from it, and later for the backward nodes
};

// Of each value of the forward pass, by ValueId; those behind the end are kept. Of a view, what it is a
// view of counts. Inputs, parameters, state, constants and what the loss makes are always kept, and so
// are outputs behind the first of an op that has a `recompute` rule (batch statistics).
using Keeping = std::vector<Keep>;

// What costs next to nothing: an output that its op can make again from what the backward pass keeps
// alive anyway (OpDef::recompute: batch norm with the ReLU behind it) is remade, all else is kept.
Keeping default_keeping(const Graph& graph);

// Each node of the forward pass gets at most one copy for what is remade, two for what is fleeting.
// Returns {the copy, the value of the forward pass}.
std::vector<std::pair<ValueId, ValueId>> recompute(Graph& graph, const Keeping& keeping);

}  // namespace tanul
