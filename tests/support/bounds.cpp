// SPDX-License-Identifier: Apache-2.0
#include "support/bounds.h"

#include <cmath>
#include <string_view>

#include "ops/cases.h"

namespace tanul::test {

Tensors absolute(const Tensors& in) {
  Tensors out = in;
  for (RefTensor& t : out) {
    for (double& value : t.v) value = std::abs(value);
  }
  return out;
}

std::vector<double> sum_bound(const RefTensor& T, double n) {
  std::vector<double> bound;
  for (double value : T.v) bound.push_back((2 + n) * kU * value + kSmallest);
  return bound;
}

std::vector<double> relative(const RefTensor& want, double units) {
  std::vector<double> bound;
  for (double value : want.v) bound.push_back(units * kU * std::abs(value) + kSmallest);
  return bound;
}

std::vector<double> exact(const RefTensor& want) {
  return std::vector<double>(static_cast<size_t>(want.elems()), 0.0);
}

std::vector<double> through(ActivationKind kind, std::vector<double> bound, const RefTensor& y) {
  if (kind == ActivationKind::none || kind == ActivationKind::relu) return bound;
  const double slope = kind == ActivationKind::sigmoid ? 0.25 : 1;
  for (size_t i = 0; i < bound.size(); ++i) {
    bound[i] = slope * bound[i] + kTranscendental * std::abs(y.v[i]);
  }
  return bound;
}

const ImplementationRule* Rule::find(const char* implementation) const {
  for (const ImplementationRule& own : implementations) {
    if (std::string_view(own.implementation) == implementation) return &own;
  }
  return nullptr;
}

std::vector<std::vector<double>> error_bounds(OpKind kind, const Params& params,
                                              const std::vector<RefTensor>& in,
                                              const std::vector<RefTensor>& want,
                                              const RefContext& context,
                                              const char* implementation) {
  const Rule* rule = find_rule(kind);
  const ImplementationRule* own = rule->find(implementation);
  const auto bounds_of = own != nullptr ? own->bounds : rule->bounds;
  if (bounds_of != nullptr) return bounds_of({params, in, want, context});
  // Moves, maxima and single additions: the correctly rounded result.
  Bounds bounds;
  for (const RefTensor& t : want) bounds.push_back(exact(t));
  return bounds;
}

bool is_exact_on_integers(OpKind kind, const Params& params, const char* implementation) {
  const Rule* rule = find_rule(kind);
  const ImplementationRule* own = rule->find(implementation);
  const auto is_exact = own != nullptr ? own->is_exact_on_integers : rule->is_exact_on_integers;
  return is_exact != nullptr && is_exact(params);
}

}  // namespace tanul::test
