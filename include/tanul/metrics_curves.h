// SPDX-License-Identifier: Apache-2.0
// Metrics over every threshold of a score: ROC and precision-recall curves, the areas under them,
// precision and recall of the k best. They keep all scores (the memory is said at each class) and
// sort them when asked. Equal scores are one point of a curve. Definitions as in scikit-learn 1.9.
#pragma once

#include <cstdint>
#include <vector>

#include "tanul/export.h"
#include "tanul/metrics_types.h"
#include "tanul/tensor.h"

namespace tanul {

// One point for each different score as threshold (predicted where score >= threshold), from
// +infinity down.
struct RocCurve {
  std::vector<double> fpr;        // FP / negatives; NaN where nothing is negative
  std::vector<double> tpr;        // TP / positives; NaN where nothing is positive
  std::vector<double> threshold;  // starts with +infinity, at (0, 0)
};

// One point for each different score as threshold, from the lowest up, and the end (1, 0), which
// has no threshold: precision and recall have one element more.
struct PrecisionRecallCurve {
  std::vector<double> precision;  // TP / (TP + FP)
  std::vector<double> recall;     // TP / positives; 1 where nothing is positive (0 at the end)
  std::vector<double> threshold;
};

// Two classes, or one ranking: a score a sample, and whether the sample is positive (relevant).
// Scores are any finite numbers; a monotone map of them (sigmoid) changes nothing. Memory: 9 bytes
// a sample, 17 with weights.
class TANUL_API BinaryCurve {
 public:
  // truth 0 or 1; weight finite, not negative; a sample of weight 0 is no point of a curve.
  void add(int64_t truth, double score, double weight = 1);
  // truths [N] (i32, i64 or u8), scores [N] or [N, 1] (f32 or f64), weights [N] or none. Throws
  // Error{invalid_argument}, and then nothing of the batch is kept.
  void add(const Tensor& truths, const Tensor& scores, const Tensor& weights = {});
  void merge(const BinaryCurve& other);  // its samples follow those that are here
  void reset();

  int64_t samples() const { return static_cast<int64_t>(scores_.size()); }
  RocCurve roc() const;
  // Area under the ROC curve: the share of (positive, negative) pairs with the positive scored
  // higher, equal scores counting half, each pair with the product of its weights. NaN where one of
  // them is missing.
  double auc() const;
  PrecisionRecallCurve precision_recall() const;
  // Σ (R_i - R_i-1) P_i over falling thresholds, without interpolation. NaN where nothing is
  // positive (scikit-learn warns and gives 0).
  double average_precision() const;

  // The samples by falling score; equal scores in the order in which they were added.
  std::vector<int64_t> ranking() const;
  // Positives among the k first, divided by k (also where there are fewer samples); weights do not
  // count.
  double precision_at(int64_t k) const;  // k >= 1
  // … divided by all positives; NaN where there are none.
  double recall_at(int64_t k) const;
  double positive_weight() const;  // sum of the weights of the positives

 private:
  void keep(int64_t truth, double score, double weight);
  int64_t positives_among(int64_t k) const;  // the k first of the ranking

  std::vector<double> scores_;
  std::vector<uint8_t> truths_;
  std::vector<double> weights_;  // empty while all are 1
};

// Several classes, one of them true, with a score for each. Logits become probabilities by softmax
// when they are added. Memory: 8 C + 8 bytes a sample, 8 more with weights.
class TANUL_API MulticlassCurve {
 public:
  explicit MulticlassCurve(int64_t classes,
                           ScoreKind kind = ScoreKind::probabilities);  // at least 2

  void add(int64_t truth, const std::vector<double>& scores, double weight = 1);
  // truths [N] (i32, i64 or u8), scores [N, C] (f32 or f64), weights [N] or none.
  void add(const Tensor& truths, const Tensor& scores, const Tensor& weights = {});
  void merge(const MulticlassCurve& other);
  void reset();

  int64_t classes() const { return classes_; }
  int64_t samples() const { return static_cast<int64_t>(truths_.size()); }

  // One class against the rest, by its probability as it was given.
  BinaryCurve curve(int64_t of_class) const;
  double auc(int64_t of_class) const { return curve(of_class).auc(); }
  double average_precision(int64_t of_class) const { return curve(of_class).average_precision(); }

  // one_vs_one is the mean over all pairs of classes that occur (D. Hand, R. Till, Machine Learning
  // 45, 2001).
  enum class Pairing { one_vs_rest, one_vs_one };
  // AUC of all classes; each row of probabilities is first divided by its sum.
  // one_vs_rest: micro (all (sample, class) as one ranking), macro, weighted. Macro is NaN while any
  // class never occurs, weighted leaves such classes out and is NaN while only one class occurs.
  // one_vs_one: macro, or weighted with the share of the samples of a pair. NaN while fewer than
  // two classes occur, and with sample weights, for which there is no definition.
  // Throws Error{invalid_argument} for Average::samples, and for micro one_vs_one.
  double auc(Pairing pairing, Average how) const;
  // Micro: all (sample, class) together. Macro: a class that never occurs counts as 0, as in
  // scikit-learn; weighted leaves it out.
  double average_precision(Average how) const;
  // Mean average precision over the classes that occur; NaN where nothing was added.
  double mean_average_precision() const;

 private:
  void keep(int64_t truth, const double* scores, double weight);
  double weight(int64_t i) const { return weights_.empty() ? 1 : weights_[static_cast<size_t>(i)]; }
  std::vector<double> support() const;       // [C], in weights
  std::vector<double> sums_of_rows() const;  // [N]
  double pair_auc(Average how) const;

  int64_t classes_;
  ScoreKind kind_;
  std::vector<double> scores_;   // [N, C]
  std::vector<int64_t> truths_;  // [N]
  std::vector<double> weights_;  // [N]; empty while all are 1
};

// Several labels a sample, each true or not, with a score for each. Memory: L times BinaryCurve.
class TANUL_API MultilabelCurve {
 public:
  explicit MultilabelCurve(int64_t labels);  // at least 1

  void add(const std::vector<int64_t>& truth, const std::vector<double>& scores, double weight = 1);
  // truths [N, L] of 0 and 1 (i32, i64 or u8), scores [N, L] (f32 or f64), weights [N] or none.
  void add(const Tensor& truths, const Tensor& scores, const Tensor& weights = {});
  void merge(const MultilabelCurve& other);
  void reset();

  int64_t labels() const { return static_cast<int64_t>(curves_.size()); }
  const BinaryCurve& curve(int64_t label) const;
  // Macro: NaN while a label is never or always true; weighted: labels that are never true are left
  // out. 0 where no label of any sample is true. Average::samples throws Error{invalid_argument}.
  double auc(Average how) const;
  // Macro: a label that is never true counts as 0. Weighted: 0 where no label is ever true.
  double average_precision(Average how) const;
  double mean_average_precision() const;  // over the labels that occur; NaN where none does

 private:
  BinaryCurve pooled() const;  // all labels of all samples as one ranking

  std::vector<BinaryCurve> curves_;
};

}  // namespace tanul
