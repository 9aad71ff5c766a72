// SPDX-License-Identifier: Apache-2.0
// A case as a graph of one forward node and what its grad rule emits, and an interpreter that runs
// any graph in double with the reference maths.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "ops/cases.h"
#include "support/reference.h"

namespace tanul::test {

// The elements of an operand: the same for the same (case name, operand number), rounded to what the
// operand's type holds.
RefTensor make_values(const In& in, const std::string& case_name, int operand);

struct OpGraph {
  Graph graph;
  std::vector<ValueId> in;    // kNoValue where left out
  std::vector<ValueId> out;   // of the forward node
  std::vector<ValueId> dy;    // made up gradients of the outputs, kNoValue where there is none
  std::vector<ValueId> grad;  // of the inputs: kNoValue where the rule gave none

  // Adds the forward node, and the nodes that its grad rule emits for the inputs in `wanted`.
  OpGraph(const OpCase& op_case, const std::vector<int>& wanted);
  explicit OpGraph(const OpCase& op_case) : OpGraph(op_case, op_case.differentiable) {}
};

// Evaluates values of a graph on demand and keeps them.
class RefInterpreter {
 public:
  RefInterpreter(const Graph& graph, const RefContext& context)
      : graph_(graph), context_(context) {}

  void feed(ValueId value, RefTensor tensor) { known_[value] = std::move(tensor); }
  const RefTensor& eval(ValueId value);
  // The operands of a node, left out ones absent.
  std::vector<RefTensor> operands(const Node& node);

 private:
  const Graph& graph_;
  RefContext context_;
  std::map<ValueId, RefTensor> known_;
};

// Feeds the case's inputs (with `fill` in place of the f32 fills where it is not null) and, for each
// gradient that arrives, random weights.
void feed_case(RefInterpreter& interpreter, const OpGraph& graph, const OpCase& op_case,
               const Fill* fill = nullptr);

}  // namespace tanul::test
