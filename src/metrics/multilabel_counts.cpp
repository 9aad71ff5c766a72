// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <tuple>

#include "core/format.h"
#include "metrics/class_counts.h"
#include "metrics/inputs.h"
#include "tanul/metrics_counts.h"

namespace tanul {

namespace {

constexpr const char* kWho = "MultilabelCounts";

// Each score on its own: the probabilities of a sample's labels may all be 0.
void check_each(const char* who, const Tensor& scores, ScoreKind kind) {
  const int64_t a_sample = std::max<int64_t>(1, scores.shape().elems_from(1));
  for (int64_t i = 0; i < scores.elems(); ++i) {
    metrics::check_scores(who, scores.data<double>() + i, 1, kind, i / a_sample);
  }
}

}  // namespace

MultilabelCounts::MultilabelCounts(int64_t labels, ScoreKind kind, double threshold)
    : kind_(kind), threshold_(threshold) {
  metrics::check_size(kWho, "the number of labels", labels, 1);
  if (!(threshold > 0 && threshold < 1)) {
    fail(Code::invalid_argument, "{}: the threshold must be between 0 and 1, got {}", kWho,
         threshold);
  }
  counts_.resize(static_cast<size_t>(labels));
}

void MultilabelCounts::add(const std::vector<int64_t>& truth,
                           const std::vector<int64_t>& prediction, double weight) {
  metrics::check_count(kWho, "labels", static_cast<int64_t>(truth.size()), labels());
  metrics::check_count(kWho, "predictions", static_cast<int64_t>(prediction.size()), labels());
  for (const int64_t t : truth) metrics::check_truth(kWho, t, 2);
  for (const int64_t p : prediction) metrics::check_truth(kWho, p, 2);
  metrics::check_weight(kWho, weight);
  add_sample(truth.data(), prediction.data(), weight);
}

void MultilabelCounts::add(const Tensor& truths, const Tensor& predictions, const Tensor& weights) {
  const bool are_scores = predictions.dtype() == DType::f32 || predictions.dtype() == DType::f64;
  const Tensor truth = metrics::read_integers(kWho, "truths", truths);
  const Tensor predicted = are_scores ? labels_of(predictions)
                                      : metrics::read_integers(kWho, "predictions", predictions);
  if (truth.shape().rank() != 2 || truth.shape()[1] != labels() ||
      truth.shape() != predicted.shape()) {
    fail(Code::invalid_argument, "{}: truths and predictions must be [N, {}], got {} and {}", kWho,
         labels(), truth.shape().str(), predicted.shape().str());
  }
  const int64_t n = truth.shape()[0];
  const Tensor weight = metrics::read_weights(kWho, weights, n);
  const int64_t* t = truth.data<int64_t>();
  const int64_t* p = predicted.data<int64_t>();
  for (int64_t i = 0; i < n * labels(); ++i) {
    metrics::check_truth(kWho, t[i], 2, i / labels());
    metrics::check_truth(kWho, p[i], 2, i / labels());
  }
  for (int64_t i = 0; i < n; ++i) {
    add_sample(t + i * labels(), p + i * labels(), weight.empty() ? 1 : weight.data<double>()[i]);
  }
}

Tensor MultilabelCounts::labels_of(const Tensor& scores) const {
  Tensor read = metrics::read_numbers(kWho, "scores", scores);
  check_each(kWho, read, kind_);
  if (kind_ == ScoreKind::logits) {
    double* score = read.data<double>();
    for (int64_t i = 0; i < read.elems(); ++i) score[i] = metrics::sigmoid(score[i]);
  }
  return predicted_labels(read, threshold_);
}

void MultilabelCounts::add_sample(const int64_t* truth, const int64_t* prediction, double weight) {
  if (weight == 0) return;
  Pattern pattern{0, 0, 0, {}};
  for (size_t c = 0; c < counts_.size(); ++c) {
    LabelSums& label = counts_[c];
    if (truth[c] != 0) {
      (prediction[c] != 0 ? label.tp : label.fn).add(weight);
      ++(prediction[c] != 0 ? pattern.tp : pattern.fn);
    } else {
      (prediction[c] != 0 ? label.fp : label.tn).add(weight);
      if (prediction[c] != 0) ++pattern.fp;
    }
  }
  pattern.weight.add(weight);
  add_pattern(pattern);
}

void MultilabelCounts::add_pattern(const Pattern& pattern) {
  const auto key = [](const Pattern& p) { return std::tuple(p.tp, p.fp, p.fn); };
  const auto at =
      std::lower_bound(patterns_.begin(), patterns_.end(), pattern,
                       [&](const Pattern& a, const Pattern& b) { return key(a) < key(b); });
  if (at != patterns_.end() && key(*at) == key(pattern)) {
    at->weight.add(pattern.weight);
  } else {
    patterns_.insert(at, pattern);
  }
}

void MultilabelCounts::merge(const MultilabelCounts& other) {
  metrics::check_same(
      kWho, labels() == other.labels() && kind_ == other.kind_ && threshold_ == other.threshold_);
  for (size_t c = 0; c < counts_.size(); ++c) {
    counts_[c].tp.add(other.counts_[c].tp);
    counts_[c].fp.add(other.counts_[c].fp);
    counts_[c].fn.add(other.counts_[c].fn);
    counts_[c].tn.add(other.counts_[c].tn);
  }
  const std::vector<Pattern> more = other.patterns_;  // `other` may be this one
  for (const Pattern& pattern : more) add_pattern(pattern);
}

void MultilabelCounts::reset() {
  counts_.assign(counts_.size(), {});
  patterns_.clear();
}

double MultilabelCounts::subset_accuracy() const {
  CompensatedSum right;
  CompensatedSum all;
  for (const Pattern& p : patterns_) {
    all.add(p.weight);
    if (p.fp == 0 && p.fn == 0) right.add(p.weight);
  }
  return right.value() / all.value();
}

double MultilabelCounts::hamming_loss() const {
  CompensatedSum wrong;
  CompensatedSum all;
  for (const LabelSums& label : counts_) {
    wrong.add(label.fp);
    wrong.add(label.fn);
    for (const CompensatedSum& part : {label.tp, label.fp, label.fn, label.tn}) all.add(part);
  }
  return wrong.value() / all.value();
}

ClassCounts MultilabelCounts::counts(int64_t label) const {
  if (label < 0 || label >= labels()) {
    fail(Code::invalid_argument, "{} of {} labels: there is no label {}", kWho, labels(), label);
  }
  const LabelSums& sums = counts_[static_cast<size_t>(label)];
  return {sums.tp.value(), sums.fp.value(), sums.fn.value(), sums.tn.value()};
}

std::vector<ClassCounts> MultilabelCounts::label_counts() const {
  std::vector<ClassCounts> all;
  for (int64_t c = 0; c < labels(); ++c) all.push_back(counts(c));
  return all;
}

template <typename Ratio>
double MultilabelCounts::average(Average how, Ratio ratio) const {
  if (how != Average::samples) return metrics::average_of(label_counts(), how, ratio);
  CompensatedSum sum;
  CompensatedSum all;
  for (const Pattern& p : patterns_) {
    const double weight = p.weight.value();
    sum.add(weight * ratio(ClassCounts{static_cast<double>(p.tp), static_cast<double>(p.fp),
                                       static_cast<double>(p.fn), 0}));
    all.add(weight);
  }
  return sum.value() / all.value();
}

double MultilabelCounts::precision(Average how, double zd) const {
  return average(how, [&](const ClassCounts& c) { return c.precision(zd); });
}
double MultilabelCounts::recall(Average how, double zd) const {
  return average(how, [&](const ClassCounts& c) { return c.recall(zd); });
}
double MultilabelCounts::f_beta(Average how, double beta, double zd) const {
  return average(how, [&](const ClassCounts& c) { return c.f_beta(beta, zd); });
}
double MultilabelCounts::f1(Average how, double zd) const { return f_beta(how, 1, zd); }
double MultilabelCounts::jaccard(Average how, double zd) const {
  return average(how, [&](const ClassCounts& c) { return c.jaccard(zd); });
}

Tensor predicted_classes(const Tensor& scores) {
  constexpr const char* who = "predicted_classes";
  const Tensor read = metrics::read_numbers(who, "scores", scores);
  if (read.shape().rank() != 2 || read.shape()[1] < 1) {
    fail(Code::invalid_argument, "{}: the scores must be [N, C], got {}", who, read.shape().str());
  }
  const int64_t n = read.shape()[0];
  const int64_t columns = read.shape()[1];
  Tensor classes({n}, DType::i64);
  for (int64_t i = 0; i < n; ++i) {
    const double* row = read.data<double>() + i * columns;
    metrics::check_scores(who, row, columns, ScoreKind::logits, i);
    classes.data<int64_t>()[i] = metrics::argmax(row, columns);
  }
  return classes;
}

Tensor predicted_labels(const Tensor& scores, double threshold) {
  constexpr const char* who = "predicted_labels";
  const Tensor read = metrics::read_numbers(who, "scores", scores);
  check_each(who, read, ScoreKind::logits);
  Tensor labels(read.shape(), DType::i64);
  for (int64_t i = 0; i < read.elems(); ++i) {
    labels.data<int64_t>()[i] = read.data<double>()[i] >= threshold ? 1 : 0;
  }
  return labels;
}

}  // namespace tanul
