// SPDX-License-Identifier: Apache-2.0
// One ranking of samples, and several of them side by side: a label each.
#include <algorithm>
#include <limits>
#include <numeric>

#include "core/format.h"
#include "metrics/class_counts.h"
#include "metrics/inputs.h"
#include "metrics/ranked.h"
#include "tanul/metrics_curves.h"

namespace tanul {

namespace {

constexpr const char* kWho = "BinaryCurve";
constexpr const char* kLabels = "MultilabelCurve";
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<metrics::Scored> scored(const std::vector<double>& scores,
                                    const std::vector<uint8_t>& truths,
                                    const std::vector<double>& weights) {
  std::vector<metrics::Scored> samples;
  samples.reserve(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    const double weight = weights.empty() ? 1 : weights[i];
    if (weight > 0) samples.push_back({scores[i], weight, truths[i] != 0});
  }
  return samples;
}

void check_k(int64_t k) {
  if (k < 1) fail(Code::invalid_argument, "{}: k must be at least 1, got {}", kWho, k);
}

}  // namespace

void BinaryCurve::add(int64_t truth, double score, double weight) {
  metrics::check_truth(kWho, truth, 2);
  metrics::check_scores(kWho, &score, 1, ScoreKind::logits);
  metrics::check_weight(kWho, weight);
  keep(truth, score, weight);
}

void BinaryCurve::add(const Tensor& truths, const Tensor& scores, const Tensor& weights) {
  const auto batch =
      metrics::RowBatch::of_classes(kWho, truths, scores, weights, 1, ScoreKind::logits);
  for (int64_t i = 0; i < batch.size; ++i) keep(*batch.truth(i), *batch.row(i), batch.weight(i));
}

void BinaryCurve::keep(int64_t truth, double score, double weight) {
  metrics::append_weight(weights_, samples(), weight);
  scores_.push_back(score);
  truths_.push_back(static_cast<uint8_t>(truth));
}

void BinaryCurve::merge(const BinaryCurve& other) {
  const BinaryCurve more = other;  // `other` may be this one
  metrics::append_weights(weights_, samples(), more.weights_, more.samples());
  scores_.insert(scores_.end(), more.scores_.begin(), more.scores_.end());
  truths_.insert(truths_.end(), more.truths_.begin(), more.truths_.end());
}

void BinaryCurve::reset() { *this = {}; }

RocCurve BinaryCurve::roc() const { return metrics::roc_of(scored(scores_, truths_, weights_)); }

double BinaryCurve::auc() const { return metrics::auc_of(scored(scores_, truths_, weights_)); }

PrecisionRecallCurve BinaryCurve::precision_recall() const {
  return metrics::precision_recall_of(scored(scores_, truths_, weights_));
}

double BinaryCurve::average_precision() const {
  return metrics::average_precision_of(scored(scores_, truths_, weights_));
}

std::vector<int64_t> BinaryCurve::ranking() const {
  std::vector<int64_t> order(scores_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return scores_[static_cast<size_t>(a)] > scores_[static_cast<size_t>(b)];
  });
  return order;
}

int64_t BinaryCurve::positives_among(int64_t k) const {
  const std::vector<int64_t> order = ranking();
  int64_t positives = 0;
  for (int64_t i = 0; i < std::min(k, samples()); ++i) {
    positives += truths_[static_cast<size_t>(order[static_cast<size_t>(i)])];
  }
  return positives;
}

double BinaryCurve::precision_at(int64_t k) const {
  check_k(k);
  return static_cast<double>(positives_among(k)) / static_cast<double>(k);
}

double BinaryCurve::recall_at(int64_t k) const {
  check_k(k);
  const auto all = std::count(truths_.begin(), truths_.end(), 1);
  return all == 0 ? kNan : static_cast<double>(positives_among(k)) / static_cast<double>(all);
}

double BinaryCurve::positive_weight() const {
  CompensatedSum sum;
  for (size_t i = 0; i < truths_.size(); ++i) {
    if (truths_[i] != 0) sum.add(weights_.empty() ? 1 : weights_[i]);
  }
  return sum.value();
}

MultilabelCurve::MultilabelCurve(int64_t labels) {
  metrics::check_size(kLabels, "the number of labels", labels, 1);
  curves_.resize(static_cast<size_t>(labels));
}

void MultilabelCurve::add(const std::vector<int64_t>& truth, const std::vector<double>& scores,
                          double weight) {
  metrics::check_count(kLabels, "labels", static_cast<int64_t>(truth.size()), labels());
  metrics::check_count(kLabels, "scores", static_cast<int64_t>(scores.size()), labels());
  for (const int64_t t : truth) metrics::check_truth(kLabels, t, 2);
  metrics::check_scores(kLabels, scores.data(), labels(), ScoreKind::logits);
  metrics::check_weight(kLabels, weight);
  for (size_t c = 0; c < curves_.size(); ++c) curves_[c].add(truth[c], scores[c], weight);
}

void MultilabelCurve::add(const Tensor& truths, const Tensor& scores, const Tensor& weights) {
  const auto batch = metrics::RowBatch::of_labels(kLabels, truths, scores, weights, labels());
  for (int64_t i = 0; i < batch.size; ++i) {
    for (int64_t c = 0; c < labels(); ++c) {
      curves_[static_cast<size_t>(c)].add(batch.labels(i)[c], batch.row(i)[c], batch.weight(i));
    }
  }
}

void MultilabelCurve::merge(const MultilabelCurve& other) {
  metrics::check_same(kLabels, labels() == other.labels());
  for (size_t c = 0; c < curves_.size(); ++c) curves_[c].merge(other.curves_[c]);
}

void MultilabelCurve::reset() {
  for (BinaryCurve& curve : curves_) curve.reset();
}

const BinaryCurve& MultilabelCurve::curve(int64_t label) const {
  if (label < 0 || label >= labels()) {
    fail(Code::invalid_argument, "{} of {} labels: there is no label {}", kLabels, labels(), label);
  }
  return curves_[static_cast<size_t>(label)];
}

double MultilabelCurve::auc(Average how) const {
  metrics::check_no_samples_average(kLabels, how);
  if (how == Average::micro) return pooled().auc();
  std::vector<double> values;
  std::vector<double> support;
  for (const BinaryCurve& c : curves_) {
    values.push_back(c.auc());
    support.push_back(c.positive_weight());
  }
  return how == Average::macro ? metrics::mean(values) : metrics::support_weighted(values, support);
}

double MultilabelCurve::average_precision(Average how) const {
  metrics::check_no_samples_average(kLabels, how);
  if (how == Average::micro) return pooled().average_precision();
  std::vector<double> values;
  std::vector<double> support;
  for (const BinaryCurve& c : curves_) {
    support.push_back(c.positive_weight());
    values.push_back(support.back() > 0 ? c.average_precision() : 0);
  }
  return how == Average::macro ? metrics::mean(values) : metrics::support_weighted(values, support);
}

double MultilabelCurve::mean_average_precision() const {
  std::vector<double> values;
  for (const BinaryCurve& c : curves_) {
    if (c.positive_weight() > 0) values.push_back(c.average_precision());
  }
  return metrics::mean(values);
}

BinaryCurve MultilabelCurve::pooled() const {
  BinaryCurve all;
  for (const BinaryCurve& c : curves_) all.merge(c);
  return all;
}

}  // namespace tanul
