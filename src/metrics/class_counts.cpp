// SPDX-License-Identifier: Apache-2.0
#include "metrics/class_counts.h"

#include <cmath>
#include <limits>

#include "core/format.h"

namespace tanul {

namespace {

double ratio(double part, double whole, double zero_division) {
  if (zero_division != 0 && zero_division != 1) {
    fail(Code::invalid_argument, "zero_division must be 0 or 1, got {}", zero_division);
  }
  return whole == 0 ? zero_division : part / whole;
}

}  // namespace

double ClassCounts::precision(double zd) const { return ratio(tp, tp + fp, zd); }
double ClassCounts::recall(double zd) const { return ratio(tp, tp + fn, zd); }
double ClassCounts::specificity(double zd) const { return ratio(tn, tn + fp, zd); }
double ClassCounts::type_i_rate(double zd) const { return ratio(fp, fp + tn, zd); }
double ClassCounts::type_ii_rate(double zd) const { return ratio(fn, fn + tp, zd); }
double ClassCounts::jaccard(double zd) const { return ratio(tp, tp + fp + fn, zd); }

double ClassCounts::f_beta(double beta, double zd) const {
  if (!(beta >= 0) || !std::isfinite(beta)) {
    fail(Code::invalid_argument, "f_beta: beta must be finite and not negative, got {}", beta);
  }
  const double b2 = beta * beta;
  return ratio((1 + b2) * tp, (1 + b2) * tp + b2 * fn + fp, zd);
}

namespace metrics {

double mean(const std::vector<double>& values) {
  CompensatedSum sum;
  for (const double v : values) sum.add(v);
  return sum.value() / static_cast<double>(values.size());
}

double weighted_mean(const std::vector<double>& values, const std::vector<double>& weights) {
  CompensatedSum sum;
  CompensatedSum weight;
  for (size_t i = 0; i < values.size(); ++i) {
    sum.add(values[i] * weights[i]);
    weight.add(weights[i]);
  }
  return weight.value() == 0 ? mean(values) : sum.value() / weight.value();
}

}  // namespace metrics

}  // namespace tanul
