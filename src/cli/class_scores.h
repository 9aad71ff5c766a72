// SPDX-License-Identifier: Apache-2.0
// What `eval` says of a classifier's scores beyond the classes that it names: how well they rank,
// and how near its probabilities are to the truth.
#pragma once

#include <cstdint>
#include <vector>

#include "tanul/metrics.h"
#include "tanul/tensor.h"

namespace tanul::cli {

// Values that are not defined are NaN: without scores, while a class never occurs (see
// docs/METRICS.md), …
struct ScoreMetrics {
  double top_5 = 0;                        // more than five classes only
  double auc_macro = 0, auc_weighted = 0;  // one class against the rest
  double mean_average_precision = 0;
  std::vector<double> auc, average_precision;  // of each class; empty without curves
  double log_loss = 0;
  double brier = 0;
  double ece = 0, mce = 0;  // 15 bins
};

// Collects the logits of an evaluation. Curves keep every score, so they are left out above
// kMostScores.
class ClassScores {
 public:
  static constexpr int64_t kMostScores = int64_t{1} << 25;  // 256 MiB

  // `samples`: how many will come.
  ClassScores(int64_t classes, int64_t samples);

  // truths [n], logits [n, C]. A batch with NaN or infinity in it ends the collection.
  void add(const Tensor& truths, const Tensor& logits);
  ScoreMetrics values() const;

 private:
  bool is_finite_ = true;
  bool has_curves_;
  TopK top_;
  LogLoss log_loss_;
  BrierScore brier_;
  CalibrationError calibration_;
  MulticlassCurve curve_;
};

}  // namespace tanul::cli
