// SPDX-License-Identifier: Apache-2.0
// How far a correct float implementation of a step may be from the double reference, derived from
// the formula, the reduction length n and u = 2^-24; never tuned (shared/golden "Tolerances").
#pragma once

#include <vector>

#include "support/reference.h"

namespace tanul::test {

// One bound for each element of each output: |float - reference| <= bound. 0 asks for equal bits.
// `want` is what reference() gave for these operands. `implementation` is the name of what ran.
std::vector<std::vector<double>> error_bounds(OpKind kind, const Params& params,
                                              const std::vector<RefTensor>& in,
                                              const std::vector<RefTensor>& want,
                                              const RefContext& context,
                                              const char* implementation = "");

// Is the step exact on small whole numbers (all sums and products are whole and below 2^24)?
bool is_exact_on_integers(OpKind kind, const Params& params, const char* implementation = "");

}  // namespace tanul::test
