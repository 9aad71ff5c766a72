// SPDX-License-Identifier: Apache-2.0
// Metrics that only count: what a classifier gets right and wrong, per class and averaged. Their
// memory does not grow with the number of samples. Counts are exact (to 2^53); ratios are taken
// once, at the end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tanul/export.h"
#include "tanul/metrics_types.h"
#include "tanul/tensor.h"

namespace tanul {

// One class (or label) against everything else: counts, or sums of sample weights. A ratio 0/0 is
// `zero_division`, which must be 0 or 1 (Error{invalid_argument}).
struct TANUL_API ClassCounts {
  double tp = 0;  // is of the class, predicted as the class
  double fp = 0;  // is not, predicted: type I errors
  double fn = 0;  // is, not predicted: type II errors
  double tn = 0;  // is not, not predicted

  double support() const { return tp + fn; }
  double predicted() const { return tp + fp; }

  double precision(double zero_division = 0) const;     // TP / (TP + FP)
  double recall(double zero_division = 0) const;        // TP / (TP + FN): sensitivity
  double specificity(double zero_division = 0) const;   // TN / (TN + FP)
  double type_i_rate(double zero_division = 0) const;   // FP / (FP + TN): false alarms
  double type_ii_rate(double zero_division = 0) const;  // FN / (FN + TP): misses
  double f_beta(double beta,
                double zero_division = 0) const;  // (1+b²) TP / ((1+b²) TP + b² FN + FP)
  double f1(double zero_division = 0) const { return f_beta(1, zero_division); }
  double jaccard(double zero_division = 0) const;  // TP / (TP + FP + FN)
};

// Counts of (true class, predicted class); rows are truth, columns predictions. A sample has the
// weight 1, or one of its own (finite, not negative; 0 leaves it out). Accuracy and all ratios are
// over the weights; count(), total(), correct(), worst() and table() are over samples. Memory: 8
// classes² bytes, twice that with weights. Definitions as in scikit-learn 1.9.
class TANUL_API ConfusionMatrix {
 public:
  explicit ConfusionMatrix(int64_t classes = 0);

  // One sample. Throws Error{invalid_argument} outside 0 … C-1.
  void add(int64_t truth, int64_t prediction, double weight = 1);
  // A batch: truths [N] (i32, i64 or u8); predictions [N] of the same types, or scores [N, C] (f32
  // or f64; logits or probabilities), of which the largest counts and the lowest class among equal
  // ones; weights [N] (f32 or f64) or none. Throws Error{invalid_argument}, and then nothing of the
  // batch is counted.
  void add(const Tensor& truths, const Tensor& predictions, const Tensor& weights = {});
  void merge(const ConfusionMatrix& other);  // adds what `other` counted; as many classes
  void reset();

  int64_t classes() const { return classes_; }
  int64_t count(int64_t truth, int64_t prediction) const;
  double weight(int64_t truth, int64_t prediction) const;  // the count where no sample had a weight
  int64_t total() const { return total_; }
  double total_weight() const;
  int64_t correct() const;

  double accuracy() const;  // 0 where nothing was added
  double balanced_accuracy()
      const;  // mean recall of the classes that occur; 0 where nothing was added
  // Matthews correlation of several classes (J. Gorodkin, Comput. Biol. Chem. 28, 2004), -1 … 1; 0
  // where all truths or all predictions are one class.
  double matthews_correlation() const;
  // Agreement beyond chance, 1 - Σ d o / Σ d e with o the cells and e those of independent truth
  // and prediction (J. Cohen, Educ. Psychol. Meas. 20, 1960); d is 1, |truth - prediction| or its
  // square off the diagonal. NaN where Σ d e is 0: all truths and all predictions are one and the
  // same class.
  enum class Disagreement { equal, linear, quadratic };
  double cohen_kappa(Disagreement d = Disagreement::equal) const;

  // One class. 0/0 is `zero_division`: a class that is never predicted has no precision, one that
  // never occurs no recall. Throws Error{invalid_argument} where there is no such class.
  ClassCounts counts(int64_t of_class) const;
  double precision(int64_t of_class, double zero_division = 0) const;
  double recall(int64_t of_class, double zero_division = 0) const;
  double specificity(int64_t of_class, double zero_division = 0) const;
  double f_beta(int64_t of_class, double beta, double zero_division = 0) const;
  double f1(int64_t of_class, double zero_division = 0) const;
  double jaccard(int64_t of_class, double zero_division = 0) const;
  double support(int64_t of_class) const;

  // Over all classes; Average::samples is an Error{invalid_argument}. Weighted: the plain mean
  // where no class has support.
  std::vector<ClassCounts> class_counts() const;
  double precision(Average how, double zero_division = 0) const;
  double recall(Average how, double zero_division = 0) const;
  double specificity(Average how, double zero_division = 0) const;
  double f_beta(Average how, double beta, double zero_division = 0) const;
  double f1(Average how, double zero_division = 0) const;
  double jaccard(Average how, double zero_division = 0) const;

  // The most frequent mistakes, largest first; ties by truth, then prediction.
  struct Confusion {
    int64_t truth, prediction, count;
  };
  std::vector<Confusion> worst(int64_t most) const;

  // A table for people, with the class names cut to fit.
  std::string table(const std::vector<std::string>& class_names) const;

 private:
  void check_class(int64_t c) const;
  void count_sample(int64_t truth, int64_t prediction, double weight);

  int64_t classes_ = 0;
  int64_t total_ = 0;
  CompensatedSum weight_sum_;
  std::vector<int64_t> counts_;  // [C, C]
  std::vector<double> weights_;  // [C, C], from the first weight other than 1 on
};

// How often the true class is among the k best scored, for every k at once. Scores are any finite
// numbers (logits or probabilities); of equal scores the lower class ranks first. Memory: 16 C
// bytes.
class TANUL_API TopK {
 public:
  explicit TopK(int64_t classes);  // at least 1

  void add(int64_t truth, const std::vector<double>& scores, double weight = 1);
  // truths [N], scores [N, C], weights [N] or none; see ConfusionMatrix::add.
  void add(const Tensor& truths, const Tensor& scores, const Tensor& weights = {});
  void merge(const TopK& other);
  void reset();

  int64_t classes() const { return static_cast<int64_t>(at_rank_.size()); }
  // Share of the weight whose true class has rank 1 … k; k >= 1, 1 from k = C on. NaN where nothing
  // was added.
  double accuracy(int64_t k) const;

 private:
  std::vector<CompensatedSum>
      at_rank_;  // weight of the samples whose true class has rank r, from 0
};

// Several labels a sample, each true or not. Memory: a few numbers a label, and one entry for every
// different (TP, FP, FN) that a sample has shown.
class TANUL_API MultilabelCounts {
 public:
  // Scores are turned into predictions: probability >= threshold, with the sigmoid of logits as
  // their probability. threshold in (0, 1). Throws Error{invalid_argument}.
  explicit MultilabelCounts(int64_t labels, ScoreKind kind = ScoreKind::probabilities,
                            double threshold = 0.5);

  // One sample: `labels` numbers 0 or 1 each.
  void add(const std::vector<int64_t>& truth, const std::vector<int64_t>& prediction,
           double weight = 1);
  // truths [N, L] of 0 and 1 (i32, i64 or u8); predictions of the same types, or scores [N, L] (f32
  // or f64); weights [N] or none.
  void add(const Tensor& truths, const Tensor& predictions, const Tensor& weights = {});
  void merge(const MultilabelCounts& other);
  void reset();

  int64_t labels() const { return static_cast<int64_t>(counts_.size()); }
  double subset_accuracy()
      const;  // share of samples with every label right; NaN where nothing was added
  double hamming_loss() const;  // share of labels that are wrong; NaN where nothing was added

  ClassCounts counts(int64_t label) const;
  std::vector<ClassCounts> label_counts() const;
  // All four averages. Average::samples takes the ratio of each sample over its labels.
  double precision(Average how, double zero_division = 0) const;
  double recall(Average how, double zero_division = 0) const;
  double f_beta(Average how, double beta, double zero_division = 0) const;
  double f1(Average how, double zero_division = 0) const;
  double jaccard(Average how, double zero_division = 0) const;

 private:
  struct LabelSums {
    CompensatedSum tp, fp, fn, tn;
  };
  struct Pattern {  // samples with so many labels right and wrong
    int64_t tp, fp, fn;
    CompensatedSum weight;
  };
  Tensor labels_of(const Tensor& scores) const;
  void add_sample(const int64_t* truth, const int64_t* prediction, double weight);
  void add_pattern(const Pattern& pattern);
  template <typename Ratio>
  double average(Average how, Ratio ratio) const;

  ScoreKind kind_;
  double threshold_;
  std::vector<LabelSums> counts_;
  std::vector<Pattern> patterns_;  // sorted by (tp, fp, fn)
};

// The class of each row of scores [N, C] (f32 or f64): the largest score, the lowest class among
// equal ones. i64 [N]. Throws Error{invalid_argument} for NaN and other shapes.
TANUL_API Tensor predicted_classes(const Tensor& scores);
// 1 where score >= threshold, else 0: i64 of the same shape. For the scores of two classes or of
// several labels; 0.5 is for probabilities, and 0 says the same of logits.
TANUL_API Tensor predicted_labels(const Tensor& scores, double threshold = 0.5);

}  // namespace tanul
