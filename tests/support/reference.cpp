// SPDX-License-Identifier: Apache-2.0
#include "support/reference.h"

#include <cmath>
#include <limits>

#include "ops/cases.h"

namespace tanul::test {

double activate(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::none: return x;
    case ActivationKind::relu: return x < 0 ? 0 : x;
    case ActivationKind::sigmoid: return 1 / (1 + std::exp(-x));
    case ActivationKind::tanh: return std::tanh(x);
  }
  return std::numeric_limits<double>::quiet_NaN();
}

const Rule* find_rule(OpKind kind) {
  static const std::vector<Rule> all = [] {
    std::vector<Rule> rules;
    for (const Family& family : families()) {
      for (const Rule& rule : family.rules()) rules.push_back(rule);
    }
    return rules;
  }();
  for (const Rule& rule : all) {
    if (rule.kind == kind) return &rule;
  }
  return nullptr;
}

bool has_reference(OpKind kind) { return find_rule(kind) != nullptr; }

std::vector<RefTensor> reference(OpKind kind, const Params& params,
                                 const std::vector<RefTensor>& in, const RefContext& context) {
  return find_rule(kind)->reference(params, in, context);
}

}  // namespace tanul::test
