// SPDX-License-Identifier: Apache-2.0
// A ratio of class counts over several classes.
#pragma once

#include <vector>

#include "tanul/metrics_counts.h"

namespace tanul::metrics {

double mean(const std::vector<double>& values);  // NaN of none
// Σ w v / Σ w; the plain mean where Σ w is 0.
double weighted_mean(const std::vector<double>& values, const std::vector<double>& weights);

// `ratio(counts)` of one class, averaged; Average::samples is not for classes.
template <typename Ratio>
double average_of(const std::vector<ClassCounts>& classes, Average how, Ratio ratio) {
  if (how == Average::micro) {
    ClassCounts all;
    for (const ClassCounts& c : classes) {
      all.tp += c.tp;
      all.fp += c.fp;
      all.fn += c.fn;
      all.tn += c.tn;
    }
    return ratio(all);
  }
  std::vector<double> values;
  std::vector<double> support;
  for (const ClassCounts& c : classes) {
    values.push_back(ratio(c));
    support.push_back(c.support());
  }
  return how == Average::macro ? mean(values) : weighted_mean(values, support);
}

}  // namespace tanul::metrics
