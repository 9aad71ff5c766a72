// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "core/format.h"
#include "metrics/class_counts.h"
#include "metrics/inputs.h"
#include "metrics/ranked.h"
#include "tanul/metrics_curves.h"

namespace tanul {

namespace {

constexpr const char* kWho = "MulticlassCurve";
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

MulticlassCurve::MulticlassCurve(int64_t classes, ScoreKind kind) : classes_(classes), kind_(kind) {
  metrics::check_size(kWho, "the number of classes", classes, 2);
}

void MulticlassCurve::add(int64_t truth, const std::vector<double>& scores, double weight) {
  metrics::check_count(kWho, "scores", static_cast<int64_t>(scores.size()), classes_);
  metrics::check_truth(kWho, truth, classes_);
  metrics::check_scores(kWho, scores.data(), classes_, kind_);
  metrics::check_weight(kWho, weight);
  keep(truth, scores.data(), weight);
}

void MulticlassCurve::add(const Tensor& truths, const Tensor& scores, const Tensor& weights) {
  const auto batch = metrics::RowBatch::of_classes(kWho, truths, scores, weights, classes_, kind_);
  for (int64_t i = 0; i < batch.size; ++i) keep(*batch.truth(i), batch.row(i), batch.weight(i));
}

void MulticlassCurve::keep(int64_t truth, const double* scores, double weight) {
  metrics::append_weight(weights_, samples(), weight);
  truths_.push_back(truth);
  scores_.insert(scores_.end(), scores, scores + classes_);
  double* row = scores_.data() + scores_.size() - classes_;
  if (kind_ == ScoreKind::logits) metrics::softmax(row, classes_, row);
}

void MulticlassCurve::merge(const MulticlassCurve& other) {
  metrics::check_same(kWho, classes_ == other.classes_ && kind_ == other.kind_);
  const MulticlassCurve more = other;  // `other` may be this one
  metrics::append_weights(weights_, samples(), more.weights_, more.samples());
  scores_.insert(scores_.end(), more.scores_.begin(), more.scores_.end());
  truths_.insert(truths_.end(), more.truths_.begin(), more.truths_.end());
}

void MulticlassCurve::reset() {
  scores_.clear();
  truths_.clear();
  weights_.clear();
}

BinaryCurve MulticlassCurve::curve(int64_t of_class) const {
  if (of_class < 0 || of_class >= classes_) {
    fail(Code::invalid_argument, "{} of {} classes: there is no class {}", kWho, classes_,
         of_class);
  }
  BinaryCurve curve;
  for (int64_t i = 0; i < samples(); ++i) {
    curve.add(truths_[static_cast<size_t>(i)] == of_class ? 1 : 0,
              scores_[static_cast<size_t>(i * classes_ + of_class)], weight(i));
  }
  return curve;
}

std::vector<double> MulticlassCurve::support() const {
  std::vector<CompensatedSum> sums(static_cast<size_t>(classes_));
  for (int64_t i = 0; i < samples(); ++i) {
    sums[static_cast<size_t>(truths_[static_cast<size_t>(i)])].add(weight(i));
  }
  std::vector<double> support;
  for (const CompensatedSum& s : sums) support.push_back(s.value());
  return support;
}

double MulticlassCurve::auc(Pairing pairing, Average how) const {
  metrics::check_no_samples_average(kWho, how);
  if (pairing == Pairing::one_vs_one) {
    if (how == Average::micro) {
      fail(Code::invalid_argument, "{}: one_vs_one is averaged macro or weighted, not micro", kWho);
    }
    return weights_.empty() ? pair_auc(how) : kNan;
  }
  const std::vector<double> row_sums = sums_of_rows();
  std::vector<metrics::Scored> samples_of_class;
  std::vector<double> values;
  for (int64_t c = 0; c < classes_; ++c) {
    if (how != Average::micro) samples_of_class.clear();
    for (int64_t i = 0; i < samples(); ++i) {
      if (weight(i) == 0) continue;
      samples_of_class.push_back(
          {scores_[static_cast<size_t>(i * classes_ + c)] / row_sums[static_cast<size_t>(i)],
           weight(i), truths_[static_cast<size_t>(i)] == c});
    }
    if (how != Average::micro) values.push_back(metrics::auc_of(samples_of_class));
  }
  if (how == Average::micro) return metrics::auc_of(std::move(samples_of_class));
  return how == Average::macro ? metrics::mean(values)
                               : metrics::support_weighted(values, support());
}

std::vector<double> MulticlassCurve::sums_of_rows() const {
  std::vector<double> sums;
  sums.reserve(truths_.size());
  for (auto row = scores_.begin(); row != scores_.end(); row += classes_) {
    CompensatedSum sum;
    for (int64_t c = 0; c < classes_; ++c) sum.add(row[c]);
    sums.push_back(sum.value());
  }
  return sums;
}

// Each pair of classes that occur: how well its two columns tell its samples apart.
double MulticlassCurve::pair_auc(Average how) const {
  const std::vector<double> row_sums = sums_of_rows();
  std::vector<std::vector<size_t>> of_class(static_cast<size_t>(classes_));
  for (size_t i = 0; i < truths_.size(); ++i)
    of_class[static_cast<size_t>(truths_[i])].push_back(i);
  std::vector<metrics::Scored> list;
  const auto auc = [&](size_t positive, size_t negative) {
    list.clear();
    for (const size_t c : {positive, negative}) {
      for (const size_t i : of_class[c]) {
        const double score = scores_[i * static_cast<size_t>(classes_) + positive];
        list.push_back({score / row_sums[i], 1, c == positive});
      }
    }
    return metrics::auc_of(list);
  };
  std::vector<double> values;
  std::vector<double> shares;
  for (size_t a = 0; a < of_class.size(); ++a) {
    for (size_t b = a + 1; b < of_class.size(); ++b) {
      if (of_class[a].empty() || of_class[b].empty()) continue;
      values.push_back((auc(a, b) + auc(b, a)) / 2);
      shares.push_back(static_cast<double>(of_class[a].size() + of_class[b].size()));
    }
  }
  return how == Average::macro ? metrics::mean(values) : metrics::weighted_mean(values, shares);
}

double MulticlassCurve::average_precision(Average how) const {
  metrics::check_no_samples_average(kWho, how);
  if (how == Average::micro) {
    BinaryCurve all;
    for (int64_t c = 0; c < classes_; ++c) all.merge(curve(c));
    return all.average_precision();
  }
  const std::vector<double> occurs = support();
  std::vector<double> values;
  for (int64_t c = 0; c < classes_; ++c) {
    values.push_back(occurs[static_cast<size_t>(c)] > 0 ? average_precision(c) : 0);
  }
  return how == Average::macro ? metrics::mean(values) : metrics::support_weighted(values, occurs);
}

double MulticlassCurve::mean_average_precision() const {
  const std::vector<double> occurs = support();
  std::vector<double> values;
  for (int64_t c = 0; c < classes_; ++c) {
    if (occurs[static_cast<size_t>(c)] > 0) values.push_back(average_precision(c));
  }
  return metrics::mean(values);
}

}  // namespace tanul
