// SPDX-License-Identifier: Apache-2.0
// Runs one implementation of one step on guarded, poisoned memory.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "kernels/backend_abi.h"
#include "support/reference.h"
#include "support/test_device.h"

namespace tanul::test {

// A step with its operands: what a plan would hand to a kernel.
struct Step {
  OpKind kind;
  Params params;
  std::vector<RefTensor> in;
  std::vector<RefTensor> want;  // shapes and types of the outputs; values from the reference
  RefContext context;
};

struct RunOptions {
  TestDevice* device = nullptr;  // null: the CPU
  int threads = 1;
  std::vector<std::pair<int, int>> in_place;  // {in, out} that share memory
  int absent_out = -1;                        // an optional output that is left out
};

struct RunResult {
  std::string failure;  // why the implementation refused or broke a rule; empty: it ran cleanly
  bool is_refused = false;
  std::vector<std::vector<std::byte>> out;  // bytes of each output, empty where absent
};

// Launches on the CPU with BLAS set to one thread, as a device does while a step runs.
int launch_step(const Implementation& implementation, Stream* stream, const StepArgs& args);

// Guards round every output and the workspace, which has exactly the size asked for; outputs and
// workspace are poisoned with NaN; inputs must keep their bytes unless they are written in place.
RunResult run_step(const Implementation& implementation, const Step& step,
                   const RunOptions& options);

// The elements of a tensor as its dtype (f32, i32, u8) in memory.
void store(const RefTensor& t, std::byte* to);

// The elements of one output as doubles.
RefTensor to_ref(const RefTensor& like, const std::vector<std::byte>& bytes);

// The first element of a float output that is further from `want` than its bound (a bound of 0: not
// the correctly rounded result), as one line of text; empty where all are within.
std::string first_error(const RefTensor& got, const RefTensor& want,
                        const std::vector<double>& bound);

}  // namespace tanul::test
