// SPDX-License-Identifier: Apache-2.0
// Log loss, Brier score, calibration error: sums over samples of what one row of scores says about
// one truth.
#include <algorithm>
#include <cmath>
#include <limits>

#include "metrics/inputs.h"
#include "tanul/metrics_probability.h"

namespace tanul {

namespace {

using metrics::RowBatch;

constexpr const char* kLogLoss = "LogLoss";
constexpr const char* kBrier = "BrierScore";
constexpr const char* kCalibration = "CalibrationError";
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Checks one sample's row and hands it to `count(truth, row, weight)`.
template <typename Count>
void add_one(const char* who, int64_t truth, const std::vector<double>& scores, double weight,
             int64_t columns, ScoreKind kind, Count count) {
  metrics::check_count(who, "scores", static_cast<int64_t>(scores.size()), columns);
  metrics::check_truth(who, truth, columns == 1 ? 2 : columns);
  metrics::check_scores(who, scores.data(), columns, kind);
  metrics::check_weight(who, weight);
  count(truth, scores.data(), weight);
}

template <typename Count>
void add_batch(const RowBatch& batch, Count count) {
  for (int64_t i = 0; i < batch.size; ++i) count(*batch.truth(i), batch.row(i), batch.weight(i));
}

double sum_of(const double* row, int64_t columns) {
  CompensatedSum sum;
  for (int64_t c = 0; c < columns; ++c) sum.add(row[c]);
  return sum.value();
}

// ln(1 + e^z)
double softplus(double z) { return std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z))); }

// -ln of the share of `truth` in the softmax of a row. Beside the largest term the others are added
// in a logarithm of their own, so that a loss near 0 keeps its digits.
double cross_entropy(int64_t truth, const double* logits, int64_t columns) {
  const int64_t largest = metrics::argmax(logits, columns);
  double others = 0;
  for (int64_t c = 0; c < columns; ++c) {
    if (c != largest) others += std::exp(logits[c] - logits[largest]);
  }
  return (logits[largest] - logits[truth]) + std::log1p(others);
}

double log_loss(int64_t truth, const double* row, int64_t columns, ScoreKind kind) {
  if (kind == ScoreKind::logits) {
    return columns > 1 ? cross_entropy(truth, row, columns)
                       : softplus(truth == 1 ? -row[0] : row[0]);
  }
  constexpr double kLeast = std::numeric_limits<double>::epsilon();  // 2^-52
  if (columns > 1)
    return -std::log(std::clamp(row[truth] / sum_of(row, columns), kLeast, 1 - kLeast));
  const double p = std::clamp(row[0], kLeast, 1 - kLeast);
  return truth == 1 ? -std::log(p) : -std::log1p(-p);
}

double squared_error(int64_t truth, const double* row, int64_t columns, ScoreKind kind) {
  if (columns == 1) {
    const double p = kind == ScoreKind::logits ? metrics::sigmoid(row[0]) : row[0];
    const double error = p - static_cast<double>(truth);
    return error * error;
  }
  std::vector<double> p(row, row + columns);
  if (kind == ScoreKind::logits) metrics::softmax(row, columns, p.data());
  const double sum = kind == ScoreKind::logits ? 1 : sum_of(row, columns);
  CompensatedSum squares;
  for (int64_t c = 0; c < columns; ++c) {
    const double error = p[static_cast<size_t>(c)] / sum - (c == truth ? 1 : 0);
    squares.add(error * error);
  }
  return squares.value();
}

// The probability of the predicted class, or the score of class 1.
double confidence_of(const double* row, int64_t columns, ScoreKind kind) {
  if (columns == 1) return kind == ScoreKind::logits ? metrics::sigmoid(row[0]) : row[0];
  if (kind == ScoreKind::probabilities) return row[metrics::argmax(row, columns)];
  std::vector<double> p(static_cast<size_t>(columns));
  metrics::softmax(row, columns, p.data());
  return *std::max_element(p.begin(), p.end());
}

}  // namespace

LogLoss::LogLoss(int64_t classes, ScoreKind kind) : classes_(classes), kind_(kind) {
  metrics::check_size(kLogLoss, "the number of scores", classes, 1);
}

void LogLoss::count(int64_t truth, const double* row, double weight) {
  sum_.add(weight * log_loss(truth, row, classes_, kind_));
  weight_.add(weight);
}

void LogLoss::add(int64_t truth, const std::vector<double>& scores, double weight) {
  add_one(kLogLoss, truth, scores, weight, classes_, kind_,
          [&](int64_t t, const double* row, double w) { count(t, row, w); });
}

void LogLoss::add(const Tensor& truths, const Tensor& scores, const Tensor& weights) {
  add_batch(RowBatch::of_classes(kLogLoss, truths, scores, weights, classes_, kind_),
            [&](int64_t t, const double* row, double w) { count(t, row, w); });
}

void LogLoss::merge(const LogLoss& other) {
  metrics::check_same(kLogLoss, classes_ == other.classes_ && kind_ == other.kind_);
  sum_.add(other.sum_);
  weight_.add(other.weight_);
}

void LogLoss::reset() { *this = LogLoss(classes_, kind_); }

double LogLoss::value() const { return sum_.value() / weight_.value(); }

BrierScore::BrierScore(int64_t classes, ScoreKind kind) : classes_(classes), kind_(kind) {
  metrics::check_size(kBrier, "the number of scores", classes, 1);
}

void BrierScore::count(int64_t truth, const double* row, double weight) {
  sum_.add(weight * squared_error(truth, row, classes_, kind_));
  weight_.add(weight);
}

void BrierScore::add(int64_t truth, const std::vector<double>& scores, double weight) {
  add_one(kBrier, truth, scores, weight, classes_, kind_,
          [&](int64_t t, const double* row, double w) { count(t, row, w); });
}

void BrierScore::add(const Tensor& truths, const Tensor& scores, const Tensor& weights) {
  add_batch(RowBatch::of_classes(kBrier, truths, scores, weights, classes_, kind_),
            [&](int64_t t, const double* row, double w) { count(t, row, w); });
}

void BrierScore::merge(const BrierScore& other) {
  metrics::check_same(kBrier, classes_ == other.classes_ && kind_ == other.kind_);
  sum_.add(other.sum_);
  weight_.add(other.weight_);
}

void BrierScore::reset() { *this = BrierScore(classes_, kind_); }

double BrierScore::value() const { return sum_.value() / weight_.value(); }

CalibrationError::CalibrationError(int64_t classes, ScoreKind kind, int64_t bins)
    : classes_(classes), kind_(kind) {
  metrics::check_size(kCalibration, "the number of scores", classes, 1);
  metrics::check_size(kCalibration, "the number of bins", bins, 1);
  sums_.resize(static_cast<size_t>(bins));
}

void CalibrationError::count(int64_t truth, const double* row, double weight) {
  const double confidence = confidence_of(row, classes_, kind_);
  const bool is_right = (classes_ == 1 ? 1 : metrics::argmax(row, classes_)) == truth;
  const auto bins = static_cast<double>(sums_.size());
  const double bin = std::clamp(std::ceil(confidence * bins) - 1, 0.0, bins - 1);
  Sums& sums = sums_[static_cast<size_t>(bin)];
  sums.weight.add(weight);
  sums.confidence.add(weight * confidence);
  if (is_right) sums.right.add(weight);
}

void CalibrationError::add(int64_t truth, const std::vector<double>& scores, double weight) {
  add_one(kCalibration, truth, scores, weight, classes_, kind_,
          [&](int64_t t, const double* row, double w) { count(t, row, w); });
}

void CalibrationError::add(const Tensor& truths, const Tensor& scores, const Tensor& weights) {
  add_batch(RowBatch::of_classes(kCalibration, truths, scores, weights, classes_, kind_),
            [&](int64_t t, const double* row, double w) { count(t, row, w); });
}

void CalibrationError::merge(const CalibrationError& other) {
  metrics::check_same(kCalibration, classes_ == other.classes_ && kind_ == other.kind_ &&
                                        sums_.size() == other.sums_.size());
  for (size_t b = 0; b < sums_.size(); ++b) {
    sums_[b].weight.add(other.sums_[b].weight);
    sums_[b].right.add(other.sums_[b].right);
    sums_[b].confidence.add(other.sums_[b].confidence);
  }
}

void CalibrationError::reset() { sums_.assign(sums_.size(), {}); }

std::vector<CalibrationError::Bin> CalibrationError::bins() const {
  const auto count = static_cast<double>(sums_.size());
  std::vector<Bin> bins;
  for (const Sums& sums : sums_) {
    const auto b = static_cast<double>(bins.size());
    const double weight = sums.weight.value();
    bins.push_back({b / count, (b + 1) / count, weight, sums.right.value() / weight,
                    sums.confidence.value() / weight});
  }
  return bins;
}

double CalibrationError::expected() const {
  CompensatedSum gaps;
  CompensatedSum all;
  for (const Bin& bin : bins()) {
    if (bin.weight == 0) continue;
    gaps.add(bin.weight * std::abs(bin.accuracy - bin.confidence));
    all.add(bin.weight);
  }
  return gaps.value() / all.value();
}

double CalibrationError::maximum() const {
  double largest = kNan;
  for (const Bin& bin : bins()) {
    if (bin.weight > 0) largest = std::fmax(largest, std::abs(bin.accuracy - bin.confidence));
  }
  return largest;
}

}  // namespace tanul
