// SPDX-License-Identifier: Apache-2.0
// Metrics of predicted numbers. Several outputs a sample are kept apart; a value without an output
// named is the plain mean of theirs, as in scikit-learn 1.9 (uniform average).
#pragma once

#include <cstdint>
#include <vector>

#include "tanul/export.h"
#include "tanul/metrics_types.h"
#include "tanul/tensor.h"

namespace tanul {

// e = target - prediction; means are over the weights. Memory: a few numbers an output. All values
// are NaN where nothing was added.
class TANUL_API RegressionErrors {
 public:
  explicit RegressionErrors(int64_t outputs = 1);  // at least 1

  void add(double target, double prediction, double weight = 1);  // one output
  void add(const std::vector<double>& targets, const std::vector<double>& predictions,
           double weight = 1);
  // targets and predictions [N, …] (f32 or f64) with `outputs` numbers a sample, weights [N] or
  // none. Throws Error{invalid_argument} for other shapes and for NaN and infinity; nothing of the
  // batch counts then.
  void add(const Tensor& targets, const Tensor& predictions, const Tensor& weights = {});
  void merge(const RegressionErrors& other);
  void reset();

  int64_t outputs() const { return static_cast<int64_t>(sums_.size()); }
  int64_t samples() const { return samples_; }

  double mse(int64_t output) const;        // mean e²
  double rmse(int64_t output) const;       // √ mean e²
  double mae(int64_t output) const;        // mean |e|
  double mape(int64_t output) const;       // mean |e| / max(|target|, 2^-52)
  double max_error(int64_t output) const;  // max |e|, whatever its weight but 0
  // R² = 1 - Σ e² / Σ (target - mean)². Where all targets are equal: 1 if every e is 0, else 0. NaN
  // below two samples.
  double r2(int64_t output) const;
  // 1 - Var e / Var target: R² without the offset. Where all targets are equal: 1 if all e are
  // equal, else 0.
  double explained_variance(int64_t output) const;

  // Means over the outputs. rmse is the mean of the roots. max_error is NaN for more than one
  // output, as scikit-learn has none.
  double mse() const;
  double rmse() const;
  double mae() const;
  double mape() const;
  double max_error() const;
  double r2() const;
  double explained_variance() const;

 private:
  // Weighted mean and sum of squared deviations of a stream (B. Welford 1962; merging: T. Chan et
  // al. 1979).
  struct Spread {
    double weight = 0;
    double mean = 0;
    CompensatedSum squares;
    void add(double x, double w);
    void merge(const Spread& other);
  };
  struct Sums {
    CompensatedSum weight, squared, absolute, relative;
    double largest = 0;
    Spread target, error;
  };
  void add_sample(const double* targets, const double* predictions, double weight);
  const Sums& of(int64_t output) const;
  template <typename Value>
  double mean_of(Value value) const;

  int64_t samples_ = 0;
  std::vector<Sums> sums_;
};

// The median of |e|, mean over the outputs. Of an even count the mean of the two in the middle;
// with weights the smallest error up to which half of the weight lies (the mean with the next where
// that is exactly half). Keeps every error: 8 bytes an output and sample, 8 more a sample with
// weights.
class TANUL_API MedianAbsoluteError {
 public:
  explicit MedianAbsoluteError(int64_t outputs = 1);

  void add(double target, double prediction, double weight = 1);
  void add(const std::vector<double>& targets, const std::vector<double>& predictions,
           double weight = 1);
  void add(const Tensor& targets, const Tensor& predictions, const Tensor& weights = {});
  void merge(const MedianAbsoluteError& other);
  void reset();

  double value() const;  // NaN where nothing was added
  double value(int64_t output) const;

 private:
  int64_t samples() const { return static_cast<int64_t>(errors_.size()) / outputs_; }
  void add_sample(const double* targets, const double* predictions, double weight);

  int64_t outputs_;
  std::vector<double> errors_;   // [N, outputs]
  std::vector<double> weights_;  // [N]; empty while all are 1
};

}  // namespace tanul
