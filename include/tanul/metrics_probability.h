// SPDX-License-Identifier: Apache-2.0
// Metrics of predicted probabilities: are they near the truth, are they honest? Their memory does
// not grow with the number of samples. `classes` is the number of scores a sample: C >= 2 for a
// choice of one class, 1 for one score, which is that of class 1 of the classes 0 and 1.
#pragma once

#include <cstdint>
#include <vector>

#include "tanul/export.h"
#include "tanul/metrics_types.h"
#include "tanul/tensor.h"

namespace tanul {

// Cross-entropy, -ln p(truth), mean over the weights. Rows of probabilities are divided by their
// sum, and p is kept within [2^-52, 1 - 2^-52] as in scikit-learn; of logits the exact value is
// taken.
class TANUL_API LogLoss {
 public:
  explicit LogLoss(int64_t classes, ScoreKind kind = ScoreKind::probabilities);

  void add(int64_t truth, const std::vector<double>& scores, double weight = 1);
  // truths [N] (i32, i64 or u8), scores [N, classes] ([N] too where that is 1; f32 or f64), weights
  // [N] or none. Throws Error{invalid_argument}, and then nothing of the batch counts.
  void add(const Tensor& truths, const Tensor& scores, const Tensor& weights = {});
  void merge(const LogLoss& other);
  void reset();

  double value() const;  // in nats; NaN where nothing was added

 private:
  void count(int64_t truth, const double* row, double weight);

  int64_t classes_;
  ScoreKind kind_;
  CompensatedSum sum_, weight_;
};

// Squared error of probabilities (G. Brier, Monthly Weather Review 78, 1950), mean over the
// weights: Σ over classes (p - [is truth])², 0 … 2, for several classes (rows divided by their sum
// first); (p - truth)², 0 … 1, for one score.
class TANUL_API BrierScore {
 public:
  explicit BrierScore(int64_t classes, ScoreKind kind = ScoreKind::probabilities);

  void add(int64_t truth, const std::vector<double>& scores, double weight = 1);
  void add(const Tensor& truths, const Tensor& scores, const Tensor& weights = {});
  void merge(const BrierScore& other);
  void reset();

  double value() const;  // NaN where nothing was added

 private:
  void count(int64_t truth, const double* row, double weight);

  int64_t classes_;
  ScoreKind kind_;
  CompensatedSum sum_, weight_;
};

// Does a confidence of 80 % mean right in 80 of 100 cases? Confidences fall into bins of equal
// width, (a, b], 0 into the first (C. Guo et al., On Calibration of Modern Neural Networks, 2017).
// Several classes: confidence is the largest probability, right is whether its class (the lowest
// among equal ones) is true. One score: the score, and whether class 1 is true.
class TANUL_API CalibrationError {
 public:
  explicit CalibrationError(int64_t classes, ScoreKind kind = ScoreKind::probabilities,
                            int64_t bins = 15);

  void add(int64_t truth, const std::vector<double>& scores, double weight = 1);
  void add(const Tensor& truths, const Tensor& scores, const Tensor& weights = {});
  void merge(const CalibrationError& other);
  void reset();

  double expected() const;  // ECE = Σ share of the bin · |accuracy - mean confidence|; NaN if empty
  double maximum() const;  // MCE: the largest such gap of a bin that holds samples; NaN if empty

  // The reliability diagram. accuracy and confidence are NaN in a bin without samples.
  struct Bin {
    double from, to;  // (from, to]
    double weight;
    double accuracy;
    double confidence;  // mean
  };
  std::vector<Bin> bins() const;

 private:
  struct Sums {
    CompensatedSum weight, right, confidence;
  };
  void count(int64_t truth, const double* row, double weight);

  int64_t classes_;
  ScoreKind kind_;
  std::vector<Sums> sums_;
};

}  // namespace tanul
