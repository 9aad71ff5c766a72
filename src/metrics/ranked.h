// SPDX-License-Identifier: Apache-2.0
// Curves of scored samples: one walk over the samples by falling score, equal scores together.
#pragma once

#include <cstdint>
#include <vector>

#include "tanul/metrics_curves.h"

namespace tanul::metrics {

// Samples of weight 0 are left out by whoever fills a list of these.
struct Scored {
  double score;
  double weight;
  bool is_positive;
};

RocCurve roc_of(std::vector<Scored> samples);
PrecisionRecallCurve precision_recall_of(std::vector<Scored> samples);
double auc_of(std::vector<Scored> samples);                // NaN without positives or negatives
double average_precision_of(std::vector<Scored> samples);  // NaN without positives

// Values of classes averaged as scikit-learn does: weighted with their support, where a class
// without support counts nothing even if its value is NaN; 0 where no class has any.
double support_weighted(const std::vector<double>& values, const std::vector<double>& support);

}  // namespace tanul::metrics
