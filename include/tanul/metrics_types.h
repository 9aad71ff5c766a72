// SPDX-License-Identifier: Apache-2.0
// What all metrics share: how scores are given, how classes are averaged, sums that do not depend
// on the order of their terms.
#pragma once

#include <cmath>

#include "tanul/export.h"

namespace tanul {

// What the numbers are that a metric gets as scores. Metrics that only rank (TopK, BinaryCurve)
// need not know and take any finite numbers.
enum class ScoreKind {
  logits,  // any finite number: the metric takes the softmax of a row, the sigmoid of a score
  probabilities,  // in [0, 1]; a row need not sum to exactly 1
};

// How the results of several classes become one number.
enum class Average {
  micro,     // counts or samples of all classes together, as if they were one
  macro,     // plain mean over all classes, those that never occur included
  weighted,  // mean weighted with the support of each class: how often it is true
  samples,   // mean over samples; several labels a sample only
};

// A sum of doubles that carries the rounding errors of its additions along (A. Neumaier,
// Rundungsfehler- analyse einiger Verfahren zur Summation endlicher Summen, ZAMM 54, 1974): what
// value() rounds away is about n · 2^-106 · Σ|terms|, so the order of the terms does not show.
class CompensatedSum {
 public:
  void add(double term) {
    const double sum = sum_ + term;
    lost_ += std::abs(sum_) >= std::abs(term) ? (sum_ - sum) + term : (term - sum) + sum_;
    sum_ = sum;
  }
  void add(const CompensatedSum& other) {
    add(other.sum_);
    lost_ += other.lost_;
  }
  double value() const { return std::isfinite(sum_) ? sum_ + lost_ : sum_; }

 private:
  double sum_ = 0;
  double lost_ = 0;
};

}  // namespace tanul
