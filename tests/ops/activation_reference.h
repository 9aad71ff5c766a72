// SPDX-License-Identifier: Apache-2.0
// The maths of the activations, in long double, for the rules of activation_cases.cpp and the sweep of
// activation_test.cpp.
#pragma once

#include <string>
#include <vector>

#include "kernels/activation/definition.h"

namespace tanul::test {

using Real = long double;

struct ActivationReference {
  OpKind kind;  // the forward step
  Real (*value)(Real x, const double* p);
  Real (*slope)(Real x, const double* p);  // dy/dx
  // Nothing rounds: the result is the input, a parameter or 0.
  bool is_exact = false;
  // Parameters beside the defaults that cases are made with.
  std::vector<ActivationParams> more = {};
};

const std::vector<ActivationReference>& activation_references();
const ActivationReference& activation_reference(OpKind forward);

// At infinities the limits; NaN stays NaN.
Real value_at(const ActivationReference& reference, Real x, const double* p);
Real slope_at(const ActivationReference& reference, Real x, const double* p);

// The defaults, then `more`.
std::vector<ActivationParams> parameter_sets(const ActivationReference& reference);
// "softplus(1, inf)"
std::string activation_text(const ActivationReference& reference, const ActivationParams& params);

}  // namespace tanul::test
