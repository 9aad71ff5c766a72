// SPDX-License-Identifier: Apache-2.0
// A few nodes with their gradients, run in float by the CPU's kernels: for golden numbers, where an
// operation of another framework may be several nodes here.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "support/reference.h"

namespace tanul::test {

class OpProgram {
 public:
  Graph graph;

  // An input of the graph that holds `tensor`; f64 becomes f32, i64 becomes i32. kNoValue for an
  // absent one.
  ValueId feed(const RefTensor& tensor, const std::string& name);
  // A forward node; all its outputs.
  std::vector<ValueId> add(OpKind kind, const std::vector<ValueId>& in, const Params& params = {});
  // Appends the gradients of sum(dy · y) with respect to `wrt`; kNoValue where y does not depend on one.
  std::vector<ValueId> gradients(ValueId y, const RefTensor& dy, const std::vector<ValueId>& wrt);

  // How many choices of implementations there are: the longest list of a node.
  int choices() const;
  // Runs every node with the implementation at place `choice` of its list (or the nearest behind it, else
  // the last, that supports it): all values that the nodes made or changed. Throws where a launch fails.
  std::map<ValueId, RefTensor> run(int choice, int threads = 2) const;
  // The names of the implementations that run(choice) takes: "conv2d_fwd:im2col_gemm …".
  std::string names(int choice) const;

 private:
  std::map<ValueId, RefTensor> fed_;
};

}  // namespace tanul::test
