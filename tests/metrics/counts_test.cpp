// SPDX-License-Identifier: Apache-2.0
// Metrics that count: pieces and orders give the same, ratios follow from cells, what is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/philox.h"
#include "support/expect_error.h"
#include "tanul/metrics.h"

namespace tanul {
namespace {

using test::expect_error;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Two classifiers of three classes, each right for two of three samples (targets 3, 2, 1 of 1 to
// 3): the accuracy cannot tell them apart, their probabilities can.
TEST(Metrics, LectureRoomExample) {
  struct Expected {
    std::vector<std::vector<double>> outputs;
    double cross_entropy, squared_error;
  };
  const std::vector<int64_t> truths{2, 1, 0};
  const std::vector<Expected> classifiers{
      {{{0.3, 0.3, 0.4}, {0.3, 0.4, 0.3}, {0.1, 0.2, 0.7}}, 1.38, 0.81},
      {{{0.1, 0.2, 0.7}, {0.1, 0.7, 0.2}, {0.3, 0.4, 0.3}}, 0.64, 0.34}};
  for (const Expected& classifier : classifiers) {
    ConfusionMatrix confusion(3);
    LogLoss cross_entropy(3);
    BrierScore squared_error(3);
    TopK top(3);
    double by_hand = 0;
    double squares = 0;
    for (size_t i = 0; i < truths.size(); ++i) {
      const std::vector<double>& p = classifier.outputs[i];
      const auto t = static_cast<size_t>(truths[i]);
      confusion.add(truths[i], std::max_element(p.begin(), p.end()) - p.begin());
      cross_entropy.add(truths[i], p);
      squared_error.add(truths[i], p);
      top.add(truths[i], p);
      by_hand -= std::log(p[t]) / 3;
      for (size_t k = 0; k < 3; ++k) squares += std::pow(p[k] - (k == t ? 1 : 0), 2) / 3;
    }
    EXPECT_DOUBLE_EQ(confusion.accuracy(), 2.0 / 3);
    EXPECT_DOUBLE_EQ(top.accuracy(1), 2.0 / 3);
    EXPECT_NEAR(cross_entropy.value(), classifier.cross_entropy, 0.005);
    EXPECT_NEAR(squared_error.value(), classifier.squared_error, 0.005);
    // Rows of decimals sum to 1 within an ulp, by which the metric divides.
    EXPECT_NEAR(cross_entropy.value(), by_hand, 1e-15);
    EXPECT_NEAR(squared_error.value(), squares, 1e-15);
  }
}

// Random samples of `classes` classes: coarse scores (ties), weights, truths that never are the
// last class.
struct Samples {
  Samples(int64_t count, int64_t number_of_classes, uint64_t seed) : classes(number_of_classes) {
    const Philox random{seed, philox_stream("metrics"), 0};
    uint64_t at = 0;
    for (int64_t i = 0; i < count; ++i) {
      truths.push_back(
          static_cast<int64_t>(random.below(at++, static_cast<uint64_t>(classes - 1))));
      std::vector<double> row;
      for (int64_t k = 0; k < classes; ++k) {
        row.push_back(static_cast<double>(random.below(at++, 9) + 1) / 16);
      }
      scores.push_back(row);
      predictions.push_back(std::max_element(row.begin(), row.end()) - row.begin());
      weights.push_back(static_cast<double>(random.below(at++, 30)) / 10);  // 0 among them
    }
  }
  int64_t size() const { return static_cast<int64_t>(truths.size()); }

  int64_t classes;
  std::vector<int64_t> truths, predictions;
  std::vector<std::vector<double>> scores;
  std::vector<double> weights;
};

Tensor score_tensor(const Samples& s) {
  std::vector<double> all;
  for (const auto& row : s.scores) all.insert(all.end(), row.begin(), row.end());
  return Tensor::from({s.size(), s.classes}, all);
}

TEST(Metrics, ConfusionOfScoresPredictionsAndSingleSamplesAgree) {
  const Samples s(300, 5, 1);
  const Tensor truths = Tensor::from({s.size()}, s.truths);
  const Tensor weights = Tensor::from({s.size()}, s.weights);
  ConfusionMatrix one_by_one(5);
  for (size_t i = 0; i < s.truths.size(); ++i) {
    one_by_one.add(s.truths[i], s.predictions[i], s.weights[i]);
  }
  ConfusionMatrix of_scores(5);
  of_scores.add(truths, score_tensor(s), weights);
  ConfusionMatrix of_floats(5);  // sixteenths are exact
  of_floats.add(truths.to(DType::i32), score_tensor(s).to(DType::f32), weights);
  ConfusionMatrix of_predictions(5);
  of_predictions.add(truths.to(DType::u8), predicted_classes(score_tensor(s)), weights);
  int64_t left_out = 0;
  for (const double w : s.weights) left_out += w == 0;
  ASSERT_GT(left_out, 0);
  EXPECT_EQ(one_by_one.total(), 300 - left_out) << "samples of weight 0 are left out";
  for (int64_t t = 0; t < 5; ++t) {
    for (int64_t p = 0; p < 5; ++p) {
      for (const ConfusionMatrix* m : {&of_scores, &of_floats, &of_predictions}) {
        EXPECT_EQ(m->count(t, p), one_by_one.count(t, p));
        EXPECT_EQ(m->weight(t, p), one_by_one.weight(t, p));
      }
    }
  }
}

TEST(Metrics, PartsAndOrderDoNotShow) {
  const Samples s(400, 6, 2);
  ConfusionMatrix all(6);
  ConfusionMatrix backwards(6);
  ConfusionMatrix merged(6);
  TopK top(6);
  TopK top_merged(6);
  for (int64_t i = 0; i < s.size(); ++i) {
    const auto at = static_cast<size_t>(i);
    const auto from_end = static_cast<size_t>(s.size() - 1 - i);
    all.add(s.truths[at], s.predictions[at], s.weights[at]);
    backwards.add(s.truths[from_end], s.predictions[from_end], s.weights[from_end]);
    ConfusionMatrix part(6);
    part.add(s.truths[at], s.predictions[at], s.weights[at]);
    merged.merge(part);
    top.add(s.truths[at], s.scores[at], s.weights[at]);
    TopK top_part(6);
    top_part.add(s.truths[from_end], s.scores[from_end], s.weights[from_end]);
    top_merged.merge(top_part);
  }
  // A cell adds at most 400 weights below 3 in the order given: 400 · 2^-53 relative.
  for (const ConfusionMatrix* m : {&backwards, &merged}) {
    EXPECT_EQ(m->total(), all.total());
    EXPECT_DOUBLE_EQ(m->total_weight(), all.total_weight());
    EXPECT_NEAR(m->accuracy(), all.accuracy(), 1e-13);
    EXPECT_NEAR(m->matthews_correlation(), all.matthews_correlation(), 1e-13);
    EXPECT_NEAR(m->cohen_kappa(), all.cohen_kappa(), 1e-13);
    EXPECT_NEAR(m->f1(Average::weighted), all.f1(Average::weighted), 1e-13);
  }
  for (int64_t k = 1; k <= 6; ++k) EXPECT_EQ(top_merged.accuracy(k), top.accuracy(k));
  EXPECT_EQ(top.accuracy(6), 1);
  EXPECT_EQ(top.accuracy(100), 1);
  EXPECT_LT(top.accuracy(1), top.accuracy(3));
  EXPECT_NEAR(top.accuracy(1), all.accuracy(), 1e-13) << "both take the lowest of equal classes";

  all.merge(all);  // twice everything
  EXPECT_EQ(all.total(), 2 * merged.total());
  EXPECT_NEAR(all.accuracy(), merged.accuracy(), 1e-13);
  all.reset();
  EXPECT_EQ(all.total(), 0);
  EXPECT_EQ(all.total_weight(), 0);
  all.add(1, 1);
  EXPECT_EQ(all.weight(1, 1), 1);
}

TEST(Metrics, WholeWeightsAreRepeatedSamples) {
  const Samples s(200, 4, 3);
  ConfusionMatrix weighted(4);
  ConfusionMatrix repeated(4);
  for (size_t i = 0; i < s.truths.size(); ++i) {
    const auto times = static_cast<int64_t>(i % 4);
    weighted.add(s.truths[i], s.predictions[i], static_cast<double>(times));
    for (int64_t r = 0; r < times; ++r) repeated.add(s.truths[i], s.predictions[i]);
  }
  EXPECT_EQ(weighted.total_weight(), static_cast<double>(repeated.total()));
  EXPECT_EQ(weighted.accuracy(), repeated.accuracy());
  EXPECT_EQ(weighted.cohen_kappa(), repeated.cohen_kappa());
  for (int64_t c = 0; c < 4; ++c) {
    const ClassCounts a = weighted.counts(c);
    const ClassCounts b = repeated.counts(c);
    EXPECT_EQ(a.tp, b.tp);
    EXPECT_EQ(a.fp, b.fp);
    EXPECT_EQ(a.fn, b.fn);
    EXPECT_EQ(a.tn, b.tn);
  }
}

// Every ratio of a class against samples looked through one by one.
TEST(Metrics, ClassCountsByBruteForce) {
  const Samples s(250, 5, 4);
  ConfusionMatrix m(5);
  for (size_t i = 0; i < s.truths.size(); ++i) m.add(s.truths[i], s.predictions[i]);
  for (int64_t c = 0; c < 5; ++c) {
    double tp = 0;
    double fp = 0;
    double fn = 0;
    double tn = 0;
    for (size_t i = 0; i < s.truths.size(); ++i) {
      const bool is = s.truths[i] == c;
      const bool said = s.predictions[i] == c;
      (is ? said ? tp : fn : said ? fp : tn) += 1;
    }
    const ClassCounts k = m.counts(c);
    EXPECT_EQ(k.tp, tp);
    EXPECT_EQ(k.fp, fp);
    EXPECT_EQ(k.fn, fn);
    EXPECT_EQ(k.tn, tn);
    EXPECT_EQ(k.type_i_rate(), fp / (fp + tn));
    EXPECT_EQ(k.type_ii_rate(1), fn + tp > 0 ? fn / (fn + tp) : 1);
    EXPECT_NEAR(k.type_i_rate() + k.specificity(), 1, 1e-15);
    EXPECT_EQ(m.recall(c), tp + fn > 0 ? tp / (tp + fn) : 0);
  }
  EXPECT_EQ(m.support(4), 0) << "the class that never occurs";
  EXPECT_EQ(m.recall(4), 0);
  EXPECT_EQ(m.recall(4, 1), 1);
  EXPECT_EQ(m.precision(4, 1), 0) << "predicted, never right";
  EXPECT_EQ(m.counts(4).f_beta(0), 0) << "beta 0 is precision";
  EXPECT_DOUBLE_EQ(m.recall(Average::macro, 1) - m.recall(Average::macro), 0.2);
  EXPECT_DOUBLE_EQ(m.precision(Average::micro), m.accuracy());
  EXPECT_DOUBLE_EQ(m.recall(Average::weighted), m.accuracy());
  // Specificity of all classes together: each error is a false alarm of one class.
  const double wrong = static_cast<double>(m.total() - m.correct());
  EXPECT_DOUBLE_EQ(m.specificity(Average::micro), 1 - wrong / (4.0 * 250));
}

// Rows of weights 0.1: sums and differences round, what is nothing stays nothing.
TEST(Metrics, RoundedWeightsMakeNothingOfNothing) {
  ConfusionMatrix m(2);
  for (int i = 0; i < 10; ++i) m.add(0, i < 7 ? 0 : 1, 0.1);
  EXPECT_EQ(m.counts(0).tn, 0);
  EXPECT_EQ(m.counts(0).specificity(1), 1);
  EXPECT_EQ(m.matthews_correlation(), 0) << "one class only";
  EXPECT_EQ(m.balanced_accuracy(), m.recall(0));
}

TEST(Metrics, PerfectAndChance) {
  ConfusionMatrix perfect(3);
  ConfusionMatrix chance(3);
  for (int64_t t = 0; t < 3; ++t) {
    perfect.add(t, t);
    for (int64_t p = 0; p < 3; ++p) chance.add(t, p);
  }
  EXPECT_DOUBLE_EQ(perfect.matthews_correlation(), 1);
  EXPECT_DOUBLE_EQ(perfect.cohen_kappa(), 1);
  EXPECT_DOUBLE_EQ(chance.matthews_correlation(), 0);
  for (const auto d : {ConfusionMatrix::Disagreement::equal, ConfusionMatrix::Disagreement::linear,
                       ConfusionMatrix::Disagreement::quadratic}) {
    EXPECT_NEAR(chance.cohen_kappa(d), 0, 1e-15);
  }
}

TEST(Metrics, NothingCounted) {
  const ConfusionMatrix m(3);
  EXPECT_EQ(m.accuracy(), 0);
  EXPECT_EQ(m.balanced_accuracy(), 0);
  EXPECT_EQ(m.matthews_correlation(), 0);
  EXPECT_TRUE(std::isnan(m.cohen_kappa()));
  EXPECT_EQ(m.precision(0), 0);
  EXPECT_EQ(m.f1(Average::weighted, 1), 1);
  EXPECT_TRUE(std::isnan(TopK(3).accuracy(1)));
  EXPECT_TRUE(std::isnan(MultilabelCounts(2).subset_accuracy()));
  EXPECT_TRUE(std::isnan(MultilabelCounts(2).hamming_loss()));
  EXPECT_EQ(ConfusionMatrix().classes(), 0);
}

TEST(Metrics, ConfusionRefuses) {
  ConfusionMatrix m(3);
  const Code bad = Code::invalid_argument;
  const Tensor two = Tensor::from<int64_t>({2}, {0, 1});
  expect_error(bad, "confusion matrix of 3 classes: there is no cell (3, 0)", [&] { m.add(3, 0); });
  expect_error(bad, "there is no cell (0, -1)", [&] { m.add(0, -1); });
  expect_error(bad, "a sample weight must be finite and not negative, got -1",
               [&] { m.add(0, 0, -1); });
  expect_error(bad, "a sample weight must be finite and not negative, got nan",
               [&] { m.add(0, 0, kNan); });
  expect_error(bad, "ConfusionMatrix: the truth must be 0 to 2 (3 classes), got 7 at sample 1",
               [&] {
                 m.add(Tensor::from<int64_t>({2}, {0, 7}), two);
               });
  expect_error(bad, "ConfusionMatrix: a prediction must be 0 to 2 (3 classes), got 7 at sample 1",
               [&] {
                 m.add(two, Tensor::from<int64_t>({2}, {0, 7}));
               });
  expect_error(bad, "truths and predictions must be [N], got [2] and [3]", [&] {
    m.add(two, Tensor::from<int64_t>({3}, {0, 1, 2}));
  });
  expect_error(bad, "the scores must be [2, 3], as the truths are [2], got [2, 2]", [&] {
    m.add(two, Tensor({2, 2}, DType::f32));
  });
  expect_error(bad, "scores must be finite, got nan at sample 1", [&] {
    m.add(two, Tensor::from<double>({2, 3}, {0, 1, 2, 0, kNan, 1}));
  });
  expect_error(bad, "the truths must be i32, i64 or u8, got f32 [2]",
               [&] { m.add(Tensor({2}, DType::f32), two); });
  expect_error(bad, "the predictions are an empty tensor", [&] { m.add(two, Tensor()); });
  expect_error(bad, "the weights must be [2], one a sample, got [3]",
               [&] { m.add(two, two, Tensor({3}, DType::f64)); });
  expect_error(bad, "ConfusionMatrix of 1 classes: scores need at least 2", [&] {
    ConfusionMatrix(1).add(two, Tensor({2, 1}, DType::f32));
  });
  EXPECT_EQ(m.total(), 0) << "a refused batch leaves no trace";
  expect_error(bad, "there is no class 3", [&] { m.recall(3); });
  expect_error(bad, "zero_division must be 0 or 1, got 0.5", [&] { m.recall(0, 0.5); });
  expect_error(bad, "beta must be finite and not negative, got -1", [&] { m.f_beta(0, -1); });
  expect_error(bad, "Average::samples is for", [&] { m.recall(Average::samples); });
  expect_error(bad, "only a metric with the same settings can be merged",
               [&] { m.merge(ConfusionMatrix(2)); });
  expect_error(bad, "a confusion matrix has 0 to 100000 classes, got -1",
               [] { ConfusionMatrix(-1); });
}

TEST(Metrics, TopKRefuses) {
  TopK top(3);
  const Code bad = Code::invalid_argument;
  expect_error(bad, "TopK: k must be at least 1, got 0", [&] { top.accuracy(0); });
  expect_error(bad, "TopK: a sample has 3 scores, got 2", [&] { top.add(0, {0.5, 0.5}); });
  expect_error(bad, "TopK: the truth must be 0 to 2 (3 classes), got 3 at sample 0", [&] {
    top.add(3, {1, 2, 3});
  });
  expect_error(bad, "TopK: the number of classes must be at least 1, got 0", [] { TopK(0); });
  expect_error(bad, "TopK: the truths must be [N], one class a sample, got [1, 1]", [&] {
    top.add(Tensor({1, 1}, DType::i64), Tensor({1, 3}, DType::f32));
  });
}

TEST(Metrics, EqualScoresRankTheLowerClassFirst) {
  TopK top(4);
  top.add(2, {0.5, 0.5, 0.5, 0.5});  // rank 3
  EXPECT_EQ(top.accuracy(2), 0);
  EXPECT_EQ(top.accuracy(3), 1);
  const Tensor equal = Tensor::from<float>({2, 3}, {1, 2, 2, -1, -1, -1});
  const Tensor classes = predicted_classes(equal);
  EXPECT_EQ(classes.data<int64_t>()[0], 1);
  EXPECT_EQ(classes.data<int64_t>()[1], 0);
}

TEST(Metrics, MultilabelByBruteForce) {
  const int64_t labels = 4;
  const int64_t n = 120;
  const Philox random{5, philox_stream("labels"), 0};
  std::vector<int64_t> truths;
  std::vector<double> logits;
  for (int64_t i = 0; i < n * labels; ++i) {
    const auto at = static_cast<uint64_t>(2 * i);
    truths.push_back(i / labels % 10 == 0 ? 0 : static_cast<int64_t>(random.below(at, 2)));
    logits.push_back(static_cast<double>(random.below(at + 1, 21)) / 4 - 2.5);
  }
  const Tensor t = Tensor::from({n, labels}, truths);
  const Tensor z = Tensor::from({n, labels}, logits);
  const double threshold = 1 / (1 + std::exp(-0.6));  // between two of the scores
  MultilabelCounts counts(labels, ScoreKind::logits, threshold);
  counts.add(t, z);
  MultilabelCounts of_predictions(labels);
  of_predictions.add(t.to(DType::u8), predicted_labels(z, 0.6));
  MultilabelCounts merged(labels);
  double exact = 0;
  double wrong = 0;
  double precision = 0;
  double f2 = 0;
  for (int64_t i = n - 1; i >= 0; --i) {
    double tp = 0;
    double fp = 0;
    double fn = 0;
    std::vector<int64_t> truth;
    std::vector<int64_t> prediction;
    for (int64_t k = 0; k < labels; ++k) {
      truth.push_back(truths[static_cast<size_t>(i * labels + k)]);
      prediction.push_back(logits[static_cast<size_t>(i * labels + k)] >= 0.6 ? 1 : 0);
      tp += static_cast<double>(truth.back() * prediction.back());
      fp += truth.back() < prediction.back();
      fn += truth.back() > prediction.back();
    }
    exact += fp + fn == 0;
    wrong += fp + fn;
    precision += tp + fp > 0 ? tp / (tp + fp) : 1;
    f2 += tp + fp + fn > 0 ? 5 * tp / (5 * tp + 4 * fn + fp) : 1;
    MultilabelCounts part(labels);
    part.add(truth, prediction);
    merged.merge(part);
  }
  for (const MultilabelCounts* m : {&counts, &of_predictions, &merged}) {
    EXPECT_DOUBLE_EQ(m->subset_accuracy(), exact / n);
    EXPECT_DOUBLE_EQ(m->hamming_loss(), wrong / (n * labels));
    EXPECT_NEAR(m->precision(Average::samples, 1), precision / n, 1e-14);
    EXPECT_NEAR(m->f_beta(Average::samples, 2, 1), f2 / n, 1e-14);
    EXPECT_EQ(m->jaccard(Average::micro), counts.jaccard(Average::micro));
    EXPECT_EQ(m->f1(Average::macro), counts.f1(Average::macro));
  }
  merged.reset();
  EXPECT_TRUE(std::isnan(merged.subset_accuracy()));
}

TEST(Metrics, MultilabelRefuses) {
  MultilabelCounts counts(2);
  const Code bad = Code::invalid_argument;
  const Tensor t = Tensor::from<int64_t>({1, 2}, {0, 1});
  expect_error(bad, "MultilabelCounts: the threshold must be between 0 and 1, got 1",
               [] { MultilabelCounts(2, ScoreKind::logits, 1); });
  expect_error(bad, "probabilities must be in [0, 1], got 1.5 at sample 0", [&] {
    counts.add(t, Tensor::from<double>({1, 2}, {0, 1.5}));
  });
  expect_error(bad, "the truth must be 0 to 1 (2 classes), got 2 at sample 0", [&] {
    counts.add(Tensor::from<int64_t>({1, 2}, {0, 2}), t);
  });
  expect_error(bad, "truths and predictions must be [N, 2], got [1, 2] and [2]", [&] {
    counts.add(t, Tensor::from<int64_t>({2}, {0, 1}));
  });
  expect_error(bad, "MultilabelCounts of 2 labels: there is no label 2", [&] { counts.counts(2); });
  expect_error(bad, "can be merged", [&] { counts.merge(MultilabelCounts(3)); });
  EXPECT_TRUE(std::isnan(counts.hamming_loss())) << "a refused batch leaves no trace";
}

}  // namespace
}  // namespace tanul
