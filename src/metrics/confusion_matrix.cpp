// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "core/format.h"
#include "metrics/class_counts.h"
#include "metrics/inputs.h"
#include "tanul/metrics_counts.h"

namespace tanul {

namespace {

constexpr const char* kWho = "ConfusionMatrix";

}  // namespace

ConfusionMatrix::ConfusionMatrix(int64_t classes) : classes_(classes) {
  if (classes < 0 || classes > 100000) {
    fail(Code::invalid_argument, "a confusion matrix has 0 to 100000 classes, got {}", classes);
  }
  counts_.assign(static_cast<size_t>(classes * classes), 0);
}

void ConfusionMatrix::add(int64_t truth, int64_t prediction, double weight) {
  if (truth < 0 || truth >= classes_ || prediction < 0 || prediction >= classes_) {
    fail(Code::invalid_argument, "confusion matrix of {} classes: there is no cell ({}, {})",
         classes_, truth, prediction);
  }
  metrics::check_weight(kWho, weight);
  count_sample(truth, prediction, weight);
}

void ConfusionMatrix::count_sample(int64_t truth, int64_t prediction, double weight) {
  if (weight == 0) return;
  const auto cell = static_cast<size_t>(truth * classes_ + prediction);
  if (weight != 1 && weights_.empty()) weights_.assign(counts_.begin(), counts_.end());
  ++counts_[cell];
  ++total_;
  weight_sum_.add(weight);
  if (!weights_.empty()) weights_[cell] += weight;
}

void ConfusionMatrix::add(const Tensor& truths, const Tensor& predictions, const Tensor& weights) {
  const bool are_scores = predictions.dtype() == DType::f32 || predictions.dtype() == DType::f64;
  if (are_scores && !predictions.empty()) {
    if (classes_ < 2) {
      fail(Code::invalid_argument, "{} of {} classes: scores need at least 2", kWho, classes_);
    }
    const auto batch = metrics::RowBatch::of_classes(kWho, truths, predictions, weights, classes_,
                                                     ScoreKind::logits);
    for (int64_t i = 0; i < batch.size; ++i) {
      count_sample(*batch.truth(i), metrics::argmax(batch.row(i), classes_), batch.weight(i));
    }
    return;
  }
  const Tensor truth = metrics::read_integers(kWho, "truths", truths);
  const Tensor predicted = metrics::read_integers(kWho, "predictions", predictions);
  if (truth.shape().rank() != 1 || truth.shape() != predicted.shape()) {
    fail(Code::invalid_argument, "{}: truths and predictions must be [N], got {} and {}", kWho,
         truth.shape().str(), predicted.shape().str());
  }
  const int64_t n = truth.elems();
  const Tensor weight = metrics::read_weights(kWho, weights, n);
  const int64_t* t = truth.data<int64_t>();
  const int64_t* p = predicted.data<int64_t>();
  for (int64_t i = 0; i < n; ++i) {
    metrics::check_truth(kWho, t[i], classes_, i);
    if (p[i] >= 0 && p[i] < classes_) continue;
    fail(Code::invalid_argument,
         "{}: a prediction must be 0 to {} ({} classes), got {} at sample {}", kWho, classes_ - 1,
         classes_, p[i], i);
  }
  for (int64_t i = 0; i < n; ++i) {
    count_sample(t[i], p[i], weight.empty() ? 1 : weight.data<double>()[i]);
  }
}

void ConfusionMatrix::merge(const ConfusionMatrix& other) {
  metrics::check_same(kWho, classes_ == other.classes_);
  if (weights_.empty() && !other.weights_.empty()) weights_.assign(counts_.begin(), counts_.end());
  for (size_t i = 0; i < counts_.size(); ++i) {
    if (!weights_.empty()) {
      weights_[i] +=
          other.weights_.empty() ? static_cast<double>(other.counts_[i]) : other.weights_[i];
    }
    counts_[i] += other.counts_[i];
  }
  total_ += other.total_;
  weight_sum_.add(other.weight_sum_);
}

void ConfusionMatrix::reset() {
  std::fill(counts_.begin(), counts_.end(), 0);
  weights_.clear();
  weight_sum_ = {};
  total_ = 0;
}

int64_t ConfusionMatrix::count(int64_t truth, int64_t prediction) const {
  return counts_[static_cast<size_t>(truth * classes_ + prediction)];
}

double ConfusionMatrix::weight(int64_t truth, int64_t prediction) const {
  return weights_.empty() ? static_cast<double>(count(truth, prediction))
                          : weights_[static_cast<size_t>(truth * classes_ + prediction)];
}

double ConfusionMatrix::total_weight() const { return weight_sum_.value(); }

int64_t ConfusionMatrix::correct() const {
  int64_t sum = 0;
  for (int64_t c = 0; c < classes_; ++c) sum += count(c, c);
  return sum;
}

double ConfusionMatrix::accuracy() const {
  CompensatedSum right;
  for (int64_t c = 0; c < classes_; ++c) right.add(weight(c, c));
  return total_ == 0 ? 0 : right.value() / total_weight();
}

double ConfusionMatrix::balanced_accuracy() const {
  std::vector<double> recalls;
  for (const ClassCounts& c : class_counts()) {
    if (c.support() > 0) recalls.push_back(c.recall());
  }
  return recalls.empty() ? 0 : metrics::mean(recalls);
}

double ConfusionMatrix::matthews_correlation() const {
  // With t, p the sums of rows and columns: cov(t, p) = n Σ w_cc - Σ t_c p_c, cov(t, t) = n² - Σ
  // t_c² = Σ t_c (n - t_c), where n - t_c is added up from the other classes: 0 exactly where one
  // has all.
  std::vector<double> truths;
  std::vector<double> predictions;
  double right = 0;
  for (const ClassCounts& c : class_counts()) {
    truths.push_back(c.support());
    predictions.push_back(c.predicted());
    right += c.tp;
  }
  const auto spread = [](const std::vector<double>& sums) {
    double before = 0;  // Σ of the classes before: every pair of classes counts twice in n² - Σ t²
    double pairs = 0;
    for (const double s : sums) {
      pairs += 2 * s * before;
      before += s;
    }
    return pairs;
  };
  const double spreads = spread(truths) * spread(predictions);
  if (spreads == 0) return 0;
  double by_chance = 0;
  for (size_t c = 0; c < truths.size(); ++c) by_chance += truths[c] * predictions[c];
  return (right * total_weight() - by_chance) / std::sqrt(spreads);
}

double ConfusionMatrix::cohen_kappa(Disagreement d) const {
  const std::vector<ClassCounts> classes = class_counts();
  CompensatedSum observed;
  CompensatedSum expected;
  for (int64_t t = 0; t < classes_; ++t) {
    for (int64_t p = 0; p < classes_; ++p) {
      if (t == p) continue;
      const auto apart = static_cast<double>(t - p);
      const double distance = d == Disagreement::equal    ? 1
                              : d == Disagreement::linear ? std::abs(apart)
                                                          : apart * apart;
      observed.add(distance * weight(t, p));
      expected.add(distance * classes[static_cast<size_t>(t)].support() *
                   classes[static_cast<size_t>(p)].predicted());
    }
  }
  return 1 - observed.value() * total_weight() / expected.value();
}

void ConfusionMatrix::check_class(int64_t c) const {
  if (c >= 0 && c < classes_) return;
  fail(Code::invalid_argument, "confusion matrix of {} classes: there is no class {}", classes_, c);
}

ClassCounts ConfusionMatrix::counts(int64_t c) const {
  check_class(c);
  ClassCounts of_class;
  CompensatedSum fp;
  CompensatedSum fn;
  int64_t touched = count(c, c);  // samples in the row or the column
  for (int64_t other = 0; other < classes_; ++other) {
    if (other == c) continue;
    fp.add(weight(other, c));
    fn.add(weight(c, other));
    touched += count(other, c) + count(c, other);
  }
  of_class.tp = weight(c, c);
  of_class.fp = fp.value();
  of_class.fn = fn.value();
  // What is left of the total; of weights, rounding must not make something of nothing.
  const double rest = total_weight() - of_class.tp - of_class.fp - of_class.fn;
  of_class.tn = touched == total_ ? 0 : std::max(rest, 0.0);
  return of_class;
}

std::vector<ClassCounts> ConfusionMatrix::class_counts() const {
  std::vector<ClassCounts> classes;
  for (int64_t c = 0; c < classes_; ++c) classes.push_back(counts(c));
  return classes;
}

double ConfusionMatrix::precision(int64_t c, double zd) const { return counts(c).precision(zd); }
double ConfusionMatrix::recall(int64_t c, double zd) const { return counts(c).recall(zd); }
double ConfusionMatrix::specificity(int64_t c, double zd) const {
  return counts(c).specificity(zd);
}
double ConfusionMatrix::f_beta(int64_t c, double beta, double zd) const {
  return counts(c).f_beta(beta, zd);
}
double ConfusionMatrix::f1(int64_t c, double zd) const { return counts(c).f1(zd); }
double ConfusionMatrix::jaccard(int64_t c, double zd) const { return counts(c).jaccard(zd); }
double ConfusionMatrix::support(int64_t c) const { return counts(c).support(); }

namespace {

template <typename Ratio>
double average(const ConfusionMatrix& m, Average how, Ratio ratio) {
  metrics::check_no_samples_average(kWho, how);
  return metrics::average_of(m.class_counts(), how, ratio);
}

}  // namespace

double ConfusionMatrix::precision(Average how, double zd) const {
  return average(*this, how, [&](const ClassCounts& c) { return c.precision(zd); });
}
double ConfusionMatrix::recall(Average how, double zd) const {
  return average(*this, how, [&](const ClassCounts& c) { return c.recall(zd); });
}
double ConfusionMatrix::specificity(Average how, double zd) const {
  return average(*this, how, [&](const ClassCounts& c) { return c.specificity(zd); });
}
double ConfusionMatrix::f_beta(Average how, double beta, double zd) const {
  return average(*this, how, [&](const ClassCounts& c) { return c.f_beta(beta, zd); });
}
double ConfusionMatrix::f1(Average how, double zd) const { return f_beta(how, 1, zd); }
double ConfusionMatrix::jaccard(Average how, double zd) const {
  return average(*this, how, [&](const ClassCounts& c) { return c.jaccard(zd); });
}

std::vector<ConfusionMatrix::Confusion> ConfusionMatrix::worst(int64_t most) const {
  std::vector<Confusion> confusions;
  for (int64_t truth = 0; truth < classes_; ++truth) {
    for (int64_t prediction = 0; prediction < classes_; ++prediction) {
      const int64_t n = count(truth, prediction);
      if (truth != prediction && n > 0) confusions.push_back({truth, prediction, n});
    }
  }
  std::stable_sort(confusions.begin(), confusions.end(),
                   [](const Confusion& a, const Confusion& b) { return a.count > b.count; });
  if (static_cast<int64_t>(confusions.size()) > most) confusions.resize(static_cast<size_t>(most));
  return confusions;
}

std::string ConfusionMatrix::table(const std::vector<std::string>& class_names) const {
  const auto name = [&](int64_t c) {
    return c < static_cast<int64_t>(class_names.size()) ? class_names[static_cast<size_t>(c)]
                                                        : std::to_string(c);
  };
  size_t label = 5;
  size_t cell = 3;
  for (int64_t c = 0; c < classes_; ++c) {
    label = std::max(label, std::min<size_t>(name(c).size(), 16));
    for (int64_t p = 0; p < classes_; ++p) {
      cell = std::max(cell, std::to_string(count(c, p)).size());
    }
  }
  for (int64_t c = 0; c < classes_; ++c) cell = std::max(cell, std::min<size_t>(name(c).size(), 6));
  std::string text = fmt::format("{:<{}.{}}", "truth", label, label);
  for (int64_t p = 0; p < classes_; ++p) text += fmt::format("  {:>{}.{}}", name(p), cell, cell);
  text += "  recall\n";
  for (int64_t c = 0; c < classes_; ++c) {
    text += fmt::format("{:<{}.{}}", name(c), label, label);
    for (int64_t p = 0; p < classes_; ++p) text += fmt::format("  {:>{}}", count(c, p), cell);
    text += fmt::format("  {:5.1f} %\n", 100 * recall(c));
  }
  return text;
}

}  // namespace tanul
