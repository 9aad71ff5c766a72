// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/format.h"
#include "metrics/class_counts.h"
#include "metrics/inputs.h"
#include "tanul/metrics_regression.h"

namespace tanul {

namespace {

constexpr const char* kWho = "RegressionErrors";
constexpr const char* kMedian = "MedianAbsoluteError";
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kEpsilon = std::numeric_limits<double>::epsilon();  // 2^-52

void check_values(const char* who, const double* values, int64_t outputs, int64_t sample = 0) {
  for (int64_t o = 0; o < outputs; ++o) {
    if (std::isfinite(values[o])) continue;
    fail(Code::invalid_argument, "{}: targets and predictions must be finite, got {} at sample {}",
         who, values[o], sample);
  }
}

void check_output(const char* who, int64_t output, int64_t outputs) {
  if (output >= 0 && output < outputs) return;
  fail(Code::invalid_argument, "{} of {} outputs: there is no output {}", who, outputs, output);
}

// Checks a batch as a whole, then hands each sample to `count(targets, predictions, weight)`.
template <typename Count>
void add_batch(const char* who, const Tensor& targets, const Tensor& predictions,
               const Tensor& weights, int64_t outputs, Count count) {
  const Tensor target = metrics::read_numbers(who, "targets", targets);
  const Tensor prediction = metrics::read_numbers(who, "predictions", predictions);
  const Shape& shape = target.shape();
  if (shape.rank() < 1 || shape.elems_from(1) != outputs || shape != prediction.shape()) {
    fail(
        Code::invalid_argument,
        "{}: targets and predictions must be [N, …] with outputs = {} numbers a sample, got {} and "
        "{}",
        who, outputs, shape.str(), prediction.shape().str());
  }
  const int64_t n = shape[0];
  const Tensor weight = metrics::read_weights(who, weights, n);
  const double* t = target.data<double>();
  const double* p = prediction.data<double>();
  for (int64_t i = 0; i < n; ++i) {
    check_values(who, t + i * outputs, outputs, i);
    check_values(who, p + i * outputs, outputs, i);
  }
  for (int64_t i = 0; i < n; ++i) {
    count(t + i * outputs, p + i * outputs, weight.empty() ? 1 : weight.data<double>()[i]);
  }
}

template <typename Count>
void add_one(const char* who, const std::vector<double>& targets,
             const std::vector<double>& predictions, double weight, int64_t outputs, Count count) {
  metrics::check_count(who, "targets", static_cast<int64_t>(targets.size()), outputs);
  metrics::check_count(who, "predictions", static_cast<int64_t>(predictions.size()), outputs);
  check_values(who, targets.data(), outputs);
  check_values(who, predictions.data(), outputs);
  metrics::check_weight(who, weight);
  count(targets.data(), predictions.data(), weight);
}

// 1 - part / whole, where 0/0 is 1 and anything else over 0 is 0.
double explained(double part, double whole) {
  if (whole == 0) return part == 0 ? 1 : 0;
  return 1 - part / whole;
}

}  // namespace

void RegressionErrors::Spread::add(double x, double w) {
  weight += w;
  const double before = x - mean;
  mean += before * (w / weight);
  squares.add(w * before * (x - mean));
}

void RegressionErrors::Spread::merge(const Spread& other) {
  if (other.weight == 0) return;
  const double apart = other.mean - mean;
  const double all = weight + other.weight;
  squares.add(other.squares);
  squares.add(apart * apart * (weight * (other.weight / all)));
  mean += apart * (other.weight / all);
  weight = all;
}

RegressionErrors::RegressionErrors(int64_t outputs) {
  metrics::check_size(kWho, "the number of outputs", outputs, 1);
  sums_.resize(static_cast<size_t>(outputs));
}

void RegressionErrors::add(double target, double prediction, double weight) {
  add(std::vector<double>{target}, std::vector<double>{prediction}, weight);
}

void RegressionErrors::add(const std::vector<double>& targets,
                           const std::vector<double>& predictions, double weight) {
  add_one(kWho, targets, predictions, weight, outputs(),
          [&](const double* t, const double* p, double w) { add_sample(t, p, w); });
}

void RegressionErrors::add(const Tensor& targets, const Tensor& predictions,
                           const Tensor& weights) {
  add_batch(kWho, targets, predictions, weights, outputs(),
            [&](const double* t, const double* p, double w) { add_sample(t, p, w); });
}

void RegressionErrors::add_sample(const double* targets, const double* predictions, double weight) {
  if (weight == 0) return;
  ++samples_;
  for (size_t o = 0; o < sums_.size(); ++o) {
    Sums& sums = sums_[o];
    const double error = targets[o] - predictions[o];
    const double size = std::abs(error);
    sums.weight.add(weight);
    sums.squared.add(weight * error * error);
    sums.absolute.add(weight * size);
    sums.relative.add(weight * (size / std::max(std::abs(targets[o]), kEpsilon)));
    sums.largest = std::max(sums.largest, size);
    sums.target.add(targets[o], weight);
    sums.error.add(error, weight);
  }
}

void RegressionErrors::merge(const RegressionErrors& other) {
  metrics::check_same(kWho, outputs() == other.outputs());
  const std::vector<Sums> more = other.sums_;  // `other` may be this one
  samples_ += other.samples_;
  for (size_t o = 0; o < sums_.size(); ++o) {
    sums_[o].weight.add(more[o].weight);
    sums_[o].squared.add(more[o].squared);
    sums_[o].absolute.add(more[o].absolute);
    sums_[o].relative.add(more[o].relative);
    sums_[o].largest = std::max(sums_[o].largest, more[o].largest);
    sums_[o].target.merge(more[o].target);
    sums_[o].error.merge(more[o].error);
  }
}

void RegressionErrors::reset() {
  sums_.assign(sums_.size(), {});
  samples_ = 0;
}

const RegressionErrors::Sums& RegressionErrors::of(int64_t output) const {
  check_output(kWho, output, outputs());
  return sums_[static_cast<size_t>(output)];
}

double RegressionErrors::mse(int64_t output) const {
  return of(output).squared.value() / of(output).weight.value();
}
double RegressionErrors::rmse(int64_t output) const { return std::sqrt(mse(output)); }
double RegressionErrors::mae(int64_t output) const {
  return of(output).absolute.value() / of(output).weight.value();
}
double RegressionErrors::mape(int64_t output) const {
  return of(output).relative.value() / of(output).weight.value();
}
double RegressionErrors::max_error(int64_t output) const {
  const Sums& sums = of(output);
  return samples_ == 0 ? kNan : sums.largest;
}
double RegressionErrors::r2(int64_t output) const {
  const Sums& sums = of(output);
  return samples_ < 2 ? kNan : explained(sums.squared.value(), sums.target.squares.value());
}
double RegressionErrors::explained_variance(int64_t output) const {
  const Sums& sums = of(output);
  return samples_ < 1 ? kNan : explained(sums.error.squares.value(), sums.target.squares.value());
}

template <typename Value>
double RegressionErrors::mean_of(Value value) const {
  std::vector<double> values;
  for (int64_t o = 0; o < outputs(); ++o) values.push_back(value(o));
  return metrics::mean(values);
}

double RegressionErrors::mse() const {
  return mean_of([&](int64_t o) { return mse(o); });
}
double RegressionErrors::rmse() const {
  return mean_of([&](int64_t o) { return rmse(o); });
}
double RegressionErrors::mae() const {
  return mean_of([&](int64_t o) { return mae(o); });
}
double RegressionErrors::mape() const {
  return mean_of([&](int64_t o) { return mape(o); });
}
double RegressionErrors::max_error() const { return outputs() == 1 ? max_error(0) : kNan; }
double RegressionErrors::r2() const {
  return mean_of([&](int64_t o) { return r2(o); });
}
double RegressionErrors::explained_variance() const {
  return mean_of([&](int64_t o) { return explained_variance(o); });
}

MedianAbsoluteError::MedianAbsoluteError(int64_t outputs) : outputs_(outputs) {
  metrics::check_size(kMedian, "the number of outputs", outputs, 1);
}

void MedianAbsoluteError::add(double target, double prediction, double weight) {
  add(std::vector<double>{target}, std::vector<double>{prediction}, weight);
}

void MedianAbsoluteError::add(const std::vector<double>& targets,
                              const std::vector<double>& predictions, double weight) {
  add_one(kMedian, targets, predictions, weight, outputs_,
          [&](const double* t, const double* p, double w) { add_sample(t, p, w); });
}

void MedianAbsoluteError::add(const Tensor& targets, const Tensor& predictions,
                              const Tensor& weights) {
  add_batch(kMedian, targets, predictions, weights, outputs_,
            [&](const double* t, const double* p, double w) { add_sample(t, p, w); });
}

void MedianAbsoluteError::add_sample(const double* targets, const double* predictions,
                                     double weight) {
  if (weight == 0) return;
  metrics::append_weight(weights_, samples(), weight);
  for (int64_t o = 0; o < outputs_; ++o) errors_.push_back(std::abs(targets[o] - predictions[o]));
}

void MedianAbsoluteError::merge(const MedianAbsoluteError& other) {
  metrics::check_same(kMedian, outputs_ == other.outputs_);
  const MedianAbsoluteError more = other;  // `other` may be this one
  metrics::append_weights(weights_, samples(), more.weights_, more.samples());
  errors_.insert(errors_.end(), more.errors_.begin(), more.errors_.end());
}

void MedianAbsoluteError::reset() {
  errors_.clear();
  weights_.clear();
}

double MedianAbsoluteError::value(int64_t output) const {
  check_output(kMedian, output, outputs_);
  struct Weighted {
    double size, weight;
  };
  std::vector<Weighted> errors;
  CompensatedSum all;
  for (int64_t i = 0; i < samples(); ++i) {
    const double weight = weights_.empty() ? 1 : weights_[static_cast<size_t>(i)];
    errors.push_back({errors_[static_cast<size_t>(i * outputs_ + output)], weight});
    all.add(weight);
  }
  std::sort(errors.begin(), errors.end(),
            [](const Weighted& a, const Weighted& b) { return a.size < b.size; });
  const double total = all.value();
  CompensatedSum up_to;
  for (size_t i = 0; i < errors.size(); ++i) {
    up_to.add(errors[i].weight);
    const double above = up_to.value() - total / 2;
    if (above < -kEpsilon * total) continue;
    if (above > kEpsilon * total || i + 1 == errors.size()) return errors[i].size;
    return (errors[i].size + errors[i + 1].size) / 2;
  }
  return kNan;
}

double MedianAbsoluteError::value() const {
  std::vector<double> values;
  for (int64_t o = 0; o < outputs_; ++o) values.push_back(value(o));
  return metrics::mean(values);
}

}  // namespace tanul
