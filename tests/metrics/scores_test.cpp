// SPDX-License-Identifier: Apache-2.0
// Metrics of scores and of numbers: areas against counted pairs, logits against probabilities,
// pieces and orders, classes that are absent, what is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/philox.h"
#include "support/expect_error.h"
#include "tanul/metrics.h"

namespace tanul {
namespace {

using test::expect_error;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Ranked {
  std::vector<int64_t> truths;
  std::vector<double> scores, weights;
};

// `levels` different scores for `count` samples: mostly ties.
Ranked tied(int64_t count, uint64_t levels, uint64_t seed) {
  const Philox random{seed, philox_stream("tied"), 0};
  Ranked r;
  for (int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<uint64_t>(4 * i);
    const auto truth = static_cast<int64_t>(random.below(at, 3) == 0);
    r.truths.push_back(truth);
    r.scores.push_back(static_cast<double>(random.below(at + 1, levels)) +
                       static_cast<double>(truth));
    r.weights.push_back(static_cast<double>(random.below(at + 2, 8)) / 4);
  }
  return r;
}

double auc_by_pairs(const Ranked& r, const std::vector<double>& weights) {
  double right = 0;
  double all = 0;
  for (size_t p = 0; p < r.truths.size(); ++p) {
    for (size_t n = 0; n < r.truths.size(); ++n) {
      if (r.truths[p] != 1 || r.truths[n] != 0) continue;
      const double w = weights[p] * weights[n];
      all += w;
      right += w * (r.scores[p] > r.scores[n] ? 1 : r.scores[p] == r.scores[n] ? 0.5 : 0);
    }
  }
  return right / all;
}

// Σ over positives of the precision at their score.
double average_precision_by_thresholds(const Ranked& r) {
  double sum = 0;
  double positives = 0;
  for (size_t p = 0; p < r.truths.size(); ++p) {
    if (r.truths[p] != 1) continue;
    double tp = 0;
    double all = 0;
    for (size_t i = 0; i < r.truths.size(); ++i) {
      if (r.scores[i] < r.scores[p]) continue;
      tp += r.weights[i] * static_cast<double>(r.truths[i]);
      all += r.weights[i];
    }
    positives += r.weights[p];
    if (r.weights[p] > 0) sum += r.weights[p] * (tp / all);
  }
  return sum / positives;
}

TEST(Metrics, AucCountsPairsAndHalfOfTies) {
  for (const uint64_t levels : {1, 2, 5, 40}) {
    for (uint64_t seed = 1; seed <= 4; ++seed) {
      SCOPED_TRACE(levels);
      const Ranked r = tied(150, levels, seed);
      BinaryCurve plain;
      BinaryCurve weighted;
      for (size_t i = 0; i < r.truths.size(); ++i) {
        plain.add(r.truths[i], r.scores[i]);
        weighted.add(r.truths[i], r.scores[i], r.weights[i]);
      }
      const std::vector<double> ones(r.truths.size(), 1.0);
      // Counts of pairs and halves, and quarters times quarters, are exact in both.
      EXPECT_EQ(plain.auc(), auc_by_pairs(r, ones));
      EXPECT_EQ(weighted.auc(), auc_by_pairs(r, r.weights));
      EXPECT_NEAR(weighted.average_precision(), average_precision_by_thresholds(r), 1e-14);
      const RocCurve roc = weighted.roc();
      double area = 0;
      for (size_t i = 1; i < roc.fpr.size(); ++i) {
        area += (roc.fpr[i] - roc.fpr[i - 1]) * (roc.tpr[i] + roc.tpr[i - 1]) / 2;
      }
      EXPECT_NEAR(area, weighted.auc(), 1e-14) << "trapezoids under the curve";
      EXPECT_EQ(roc.threshold[0], kInfinity);
      EXPECT_EQ(roc.tpr.back(), 1);
      EXPECT_EQ(roc.fpr.back(), 1);
      EXPECT_LE(roc.fpr.size(), levels + 2) << "equal scores are one point";
    }
  }
}

TEST(Metrics, CurvesDoNotDependOnPartsOrOrder) {
  const Ranked r = tied(200, 7, 9);
  BinaryCurve all;
  all.add(Tensor::from({200}, r.truths), Tensor::from({200}, r.scores),
          Tensor::from({200}, r.weights));
  BinaryCurve backwards;
  BinaryCurve merged;
  for (size_t i = 0; i < 200; ++i) {
    const size_t from_end = 199 - i;
    backwards.add(r.truths[from_end], r.scores[from_end], r.weights[from_end]);
    BinaryCurve part;
    part.add(r.truths[i], r.scores[i], r.weights[i]);
    merged.merge(part);
  }
  EXPECT_EQ(backwards.auc(), all.auc());
  EXPECT_EQ(backwards.average_precision(), all.average_precision());
  EXPECT_EQ(backwards.precision_recall().precision, all.precision_recall().precision);
  EXPECT_EQ(merged.ranking(), all.ranking());
  EXPECT_EQ(merged.auc(), all.auc());

  BinaryCurve mixed;  // unweighted samples before weighted ones count 1
  mixed.add(1, 0.5);
  mixed.merge(all);
  BinaryCurve same;
  same.add(1, 0.5, 1);
  for (size_t i = 0; i < 200; ++i) same.add(r.truths[i], r.scores[i], r.weights[i]);
  EXPECT_EQ(mixed.auc(), same.auc());
  const double once = all.auc();
  all.merge(all);
  EXPECT_EQ(all.samples(), 400);
  EXPECT_EQ(all.auc(), once);
  all.reset();
  EXPECT_EQ(all.samples(), 0);
  EXPECT_TRUE(std::isnan(all.auc()));
}

TEST(Metrics, MonotoneMapsOfScoresChangeNothing) {
  Ranked r = tied(120, 9, 3);
  BinaryCurve logits;
  BinaryCurve probabilities;
  for (size_t i = 0; i < r.truths.size(); ++i) {
    logits.add(r.truths[i], r.scores[i]);
    probabilities.add(r.truths[i], 1 / (1 + std::exp(-r.scores[i])));
  }
  EXPECT_EQ(logits.auc(), probabilities.auc());
  EXPECT_EQ(logits.average_precision(), probabilities.average_precision());
}

TEST(Metrics, OneClassHasNoCurve) {
  BinaryCurve positive;
  BinaryCurve negative;
  for (int i = 0; i < 3; ++i) {
    positive.add(1, i);
    negative.add(0, i);
  }
  EXPECT_TRUE(std::isnan(positive.auc()));
  EXPECT_TRUE(std::isnan(negative.auc()));
  EXPECT_EQ(positive.average_precision(), 1);
  EXPECT_TRUE(std::isnan(negative.average_precision()));
  EXPECT_TRUE(std::isnan(negative.roc().tpr[1]));
  EXPECT_EQ(negative.roc().fpr.back(), 1);
  EXPECT_EQ(negative.precision_recall().recall, (std::vector<double>{1, 1, 1, 0}));
  EXPECT_EQ(negative.precision_at(2), 0);
  EXPECT_TRUE(std::isnan(negative.recall_at(2)));
  EXPECT_EQ(positive.precision_at(6), 0.5) << "k above the number of samples still divides";
  EXPECT_EQ(BinaryCurve().roc().fpr.size(), 1u);
}

TEST(Metrics, AreasOfSeveralClasses) {
  const Philox random{4, philox_stream("areas"), 0};
  const int64_t n = 90;
  MulticlassCurve of_logits(3, ScoreKind::logits);
  MulticlassCurve merged(3, ScoreKind::logits);
  MulticlassCurve with_weights(3, ScoreKind::logits);
  std::vector<int64_t> truths;
  std::vector<std::vector<double>> rows;  // probabilities; no two are equal
  for (int64_t i = 0; i < n; ++i) {
    const auto at = static_cast<uint64_t>(8 * i);
    truths.push_back(static_cast<int64_t>(random.below(at, 3)));
    std::vector<double> z;
    std::vector<double> p;
    double sum = 0;
    for (uint64_t k = 0; k < 3; ++k) {
      z.push_back(static_cast<double>(random.below(at + 1 + k, 1000003)) / 300000 +
                  (static_cast<int64_t>(k) == truths.back() ? 1 : 0));
      sum += std::exp(z.back());
    }
    for (const double logit : z) p.push_back(std::exp(logit) / sum);
    rows.push_back(p);
    of_logits.add(truths.back(), z);
    with_weights.add(truths.back(), z, 2);
    MulticlassCurve part(3, ScoreKind::logits);
    part.add(Tensor::from<int64_t>({1}, {truths.back()}), Tensor::from({1, 3}, z));
    merged.merge(part);
  }
  // Column `c` of the samples of `positive` against those of the classes in `negatives`, by pairs.
  const auto auc = [&](int64_t positive, const std::vector<int64_t>& negatives) {
    Ranked r;
    for (size_t i = 0; i < rows.size(); ++i) {
      const bool is_negative = std::count(negatives.begin(), negatives.end(), truths[i]) == 1;
      if (truths[i] != positive && !is_negative) continue;
      r.truths.push_back(is_negative ? 0 : 1);
      r.scores.push_back(rows[i][static_cast<size_t>(positive)]);
    }
    return auc_by_pairs(r, std::vector<double>(r.truths.size(), 1.0));
  };
  const auto share = [&](int64_t c) {
    return static_cast<double>(std::count(truths.begin(), truths.end(), c)) / n;
  };
  const double rest[] = {auc(0, {1, 2}), auc(1, {0, 2}), auc(2, {0, 1})};
  const double pairs[] = {(auc(0, {1}) + auc(1, {0})) / 2, (auc(0, {2}) + auc(2, {0})) / 2,
                          (auc(1, {2}) + auc(2, {1})) / 2};
  using P = MulticlassCurve::Pairing;
  for (int64_t k = 0; k < 3; ++k) EXPECT_EQ(of_logits.auc(k), rest[k]);
  EXPECT_NEAR(of_logits.auc(P::one_vs_rest, Average::macro), (rest[0] + rest[1] + rest[2]) / 3,
              1e-15);
  EXPECT_NEAR(of_logits.auc(P::one_vs_rest, Average::weighted),
              share(0) * rest[0] + share(1) * rest[1] + share(2) * rest[2], 1e-15);
  EXPECT_NEAR(of_logits.auc(P::one_vs_one, Average::macro), (pairs[0] + pairs[1] + pairs[2]) / 3,
              1e-15);
  EXPECT_NEAR(of_logits.auc(P::one_vs_one, Average::weighted),
              ((share(0) + share(1)) * pairs[0] + (share(0) + share(2)) * pairs[1] +
               (share(1) + share(2)) * pairs[2]) /
                  2,
              1e-15);
  Ranked pooled;
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t k = 0; k < 3; ++k) {
      pooled.truths.push_back(truths[i] == static_cast<int64_t>(k) ? 1 : 0);
      pooled.scores.push_back(rows[i][k]);
    }
  }
  pooled.weights.assign(pooled.truths.size(), 1.0);
  EXPECT_NEAR(of_logits.auc(P::one_vs_rest, Average::micro), auc_by_pairs(pooled, pooled.weights),
              1e-15);
  EXPECT_NEAR(of_logits.average_precision(Average::micro), average_precision_by_thresholds(pooled),
              1e-14);
  EXPECT_EQ(merged.auc(P::one_vs_one, Average::macro),
            of_logits.auc(P::one_vs_one, Average::macro));
  EXPECT_EQ(merged.mean_average_precision(), of_logits.mean_average_precision());
  EXPECT_EQ(merged.average_precision(Average::macro), merged.mean_average_precision());
  EXPECT_EQ(with_weights.auc(P::one_vs_rest, Average::macro),
            of_logits.auc(P::one_vs_rest, Average::macro));
  EXPECT_TRUE(std::isnan(with_weights.auc(P::one_vs_one, Average::macro)))
      << "one against one has no weighted form";
}

TEST(Metrics, AreasWhereAClassIsAbsent) {
  using P = MulticlassCurve::Pairing;
  MulticlassCurve curve(3);
  curve.add(0, {0.7, 0.2, 0.1});
  curve.add(1, {0.2, 0.6, 0.2});
  curve.add(0, {0.4, 0.5, 0.1});
  EXPECT_TRUE(std::isnan(curve.auc(2)));
  EXPECT_TRUE(std::isnan(curve.auc(P::one_vs_rest, Average::macro)));
  EXPECT_EQ(curve.auc(P::one_vs_rest, Average::weighted), 1);
  EXPECT_EQ(curve.auc(P::one_vs_one, Average::macro), 1);
  EXPECT_TRUE(std::isnan(curve.average_precision(2)));
  EXPECT_EQ(curve.mean_average_precision(), 1);
  EXPECT_DOUBLE_EQ(curve.average_precision(Average::macro), 2.0 / 3) << "the absent class is 0";
  EXPECT_EQ(curve.average_precision(Average::weighted), 1);

  MultilabelCurve labels(2);
  labels.add({1, 0}, {0.9, 0.3});
  labels.add({0, 0}, {0.1, 0.2});
  EXPECT_TRUE(std::isnan(labels.auc(Average::macro)));
  EXPECT_EQ(labels.auc(Average::weighted), 1);
  EXPECT_EQ(labels.average_precision(Average::macro), 0.5);
  EXPECT_EQ(labels.mean_average_precision(), 1);
  MultilabelCurve nothing(2);
  nothing.add({0, 0}, {0.9, 0.3});
  EXPECT_EQ(nothing.auc(Average::weighted), 0);
  EXPECT_EQ(nothing.average_precision(Average::weighted), 0);
  EXPECT_TRUE(std::isnan(nothing.mean_average_precision()));
  EXPECT_TRUE(std::isnan(MulticlassCurve(2).auc(P::one_vs_one, Average::macro)));
}

TEST(Metrics, CurvesRefuse) {
  const Code bad = Code::invalid_argument;
  BinaryCurve curve;
  expect_error(bad, "BinaryCurve: the truth must be 0 to 1 (2 classes), got 2 at sample 0",
               [&] { curve.add(2, 0.5); });
  expect_error(bad, "BinaryCurve: scores must be finite, got inf at sample 0",
               [&] { curve.add(1, kInfinity); });
  expect_error(bad, "scores must be finite, got nan at sample 1", [&] {
    curve.add(Tensor::from<int64_t>({2}, {0, 1}), Tensor::from<double>({2}, {0.5, kNan}));
  });
  expect_error(bad, "the scores must be [2, 1], as the truths are [2], got [3]",
               [&] { curve.add(Tensor({2}, DType::i64), Tensor({3}, DType::f32)); });
  expect_error(bad, "the scores must be f32 or f64, got i32 [2]",
               [&] { curve.add(Tensor({2}, DType::i64), Tensor({2}, DType::i32)); });
  EXPECT_EQ(curve.samples(), 0) << "a refused batch leaves no trace";
  expect_error(bad, "k must be at least 1, got 0", [&] { curve.recall_at(0); });
  MulticlassCurve classes(3);
  expect_error(bad, "MulticlassCurve: the probabilities of sample 0 are all 0", [&] {
    classes.add(0, {0, 0, 0});
  });
  expect_error(bad, "for outputs before softmax or sigmoid say ScoreKind::logits", [&] {
    classes.add(0, {3, 0, 0});
  });
  expect_error(bad, "MulticlassCurve of 3 classes: there is no class -1",
               [&] { classes.curve(-1); });
  expect_error(bad, "one_vs_one is averaged macro or weighted, not micro",
               [&] { classes.auc(MulticlassCurve::Pairing::one_vs_one, Average::micro); });
  expect_error(bad, "can be merged", [&] { classes.merge(MulticlassCurve(3, ScoreKind::logits)); });
  expect_error(bad, "the number of classes must be at least 2, got 1", [] { MulticlassCurve(1); });
  MultilabelCurve labels(2);
  expect_error(bad, "MultilabelCurve: the truths must be [N, 2], got [2]", [&] {
    labels.add(Tensor({2}, DType::i64), Tensor({2, 2}, DType::f32));
  });
  expect_error(bad, "MultilabelCurve: a sample has 2 labels, got 1", [&] { labels.add({1}, {1}); });
  expect_error(bad, "MultilabelCurve of 2 labels: there is no label 5", [&] { labels.curve(5); });
}

TEST(Metrics, LogitsAndTheirProbabilitiesAgree) {
  const Philox random{6, philox_stream("logits"), 0};
  LogLoss loss_z(4, ScoreKind::logits);
  LogLoss loss_p(4);
  BrierScore brier_z(4, ScoreKind::logits);
  BrierScore brier_p(4);
  CalibrationError ece_z(4, ScoreKind::logits);
  CalibrationError ece_p(4);
  LogLoss one_z(1, ScoreKind::logits);
  LogLoss one_p(1);
  BrierScore one_brier_z(1, ScoreKind::logits);
  BrierScore one_brier_p(1);
  for (uint64_t i = 0; i < 200; ++i) {
    std::vector<double> z;
    double sum = 0;
    for (uint64_t k = 0; k < 4; ++k) {
      z.push_back(static_cast<double>(random.below(8 * i + k, 1000)) / 100 - 5);
      sum += std::exp(z.back());
    }
    std::vector<double> p;
    for (const double logit : z) p.push_back(std::exp(logit) / sum);
    const auto truth = static_cast<int64_t>(random.below(8 * i + 5, 4));
    loss_z.add(truth, z);
    loss_p.add(truth, p);
    brier_z.add(truth, z);
    brier_p.add(truth, p);
    ece_z.add(truth, z);
    ece_p.add(truth, p);
    const double q = 1 / (1 + std::exp(-z[0]));
    one_z.add(truth % 2, {z[0]});
    one_p.add(truth % 2, {q});
    one_brier_z.add(truth % 2, {z[0]});
    one_brier_p.add(truth % 2, {q});
  }
  EXPECT_NEAR(loss_z.value(), loss_p.value(), 1e-13);
  EXPECT_NEAR(brier_z.value(), brier_p.value(), 1e-14);
  EXPECT_NEAR(ece_z.expected(), ece_p.expected(), 1e-14);
  EXPECT_NEAR(one_z.value(), one_p.value(), 1e-13);
  EXPECT_NEAR(one_brier_z.value(), one_brier_p.value(), 1e-14);
}

TEST(Metrics, LogLossOfExtremes) {
  LogLoss sure(2, ScoreKind::logits);
  sure.add(0, {1000, 0});
  EXPECT_EQ(sure.value(), 0);
  LogLoss small(2, ScoreKind::logits);
  small.add(0, {40, 0});
  EXPECT_NEAR(small.value() / std::exp(-40.0), 1, 1e-14) << "a small loss keeps its digits";
  LogLoss wrong(2, ScoreKind::logits);
  wrong.add(1, {1e4, -1e4});
  EXPECT_EQ(wrong.value(), 2e4);
  LogLoss zero(2);
  zero.add(1, {1, 0});
  EXPECT_EQ(zero.value(), 52 * std::log(2.0)) << "probability 0 counts as 2^-52";
  LogLoss one(1, ScoreKind::logits);
  one.add(1, {-1e4});
  EXPECT_EQ(one.value(), 1e4);
  LogLoss scaled(3);  // rows are divided by their sum
  scaled.add(1, {0.2, 0.4, 0.2});
  EXPECT_NEAR(scaled.value(), std::log(2.0), 1e-15);
}

TEST(Metrics, ProbabilityMetricsDoNotDependOnPartsOrOrder) {
  const Philox random{7, philox_stream("parts"), 0};
  std::vector<int64_t> truths;
  std::vector<double> scores;
  std::vector<double> weights;
  for (uint64_t i = 0; i < 150; ++i) {
    truths.push_back(static_cast<int64_t>(random.below(3 * i, 2)));
    scores.push_back(static_cast<double>(random.below(3 * i + 1, 101)) / 100);
    weights.push_back(static_cast<double>(random.below(3 * i + 2, 5)) / 3);
  }
  LogLoss loss(1);
  BrierScore brier(1);
  CalibrationError error(1, ScoreKind::probabilities, 10);
  const Tensor t = Tensor::from({150}, truths);
  const Tensor s = Tensor::from({150, 1}, scores);
  const Tensor w = Tensor::from({150}, weights);
  loss.add(t, s, w);
  brier.add(t, s, w);
  error.add(t, s, w);
  LogLoss merged_loss(1);
  BrierScore merged_brier(1);
  CalibrationError merged_error(1, ScoreKind::probabilities, 10);
  double by_hand = 0;
  double total = 0;
  for (size_t i = 150; i-- > 0;) {
    LogLoss loss_part(1);
    BrierScore brier_part(1);
    CalibrationError error_part(1, ScoreKind::probabilities, 10);
    loss_part.add(truths[i], {scores[i]}, weights[i]);
    brier_part.add(truths[i], {scores[i]}, weights[i]);
    error_part.add(truths[i], {scores[i]}, weights[i]);
    merged_loss.merge(loss_part);
    merged_brier.merge(brier_part);
    merged_error.merge(error_part);
    by_hand += weights[i] * std::pow(scores[i] - static_cast<double>(truths[i]), 2);
    total += weights[i];
  }
  EXPECT_EQ(merged_loss.value(), loss.value());
  EXPECT_EQ(merged_brier.value(), brier.value());
  EXPECT_EQ(merged_error.expected(), error.expected());
  EXPECT_EQ(merged_error.maximum(), error.maximum());
  EXPECT_NEAR(brier.value(), by_hand / total, 1e-14);
  double ece = 0;
  for (const CalibrationError::Bin& bin : error.bins()) {
    if (bin.weight > 0) ece += bin.weight / total * std::abs(bin.accuracy - bin.confidence);
  }
  EXPECT_NEAR(ece, error.expected(), 1e-14);
  loss.reset();
  brier.reset();
  error.reset();
  EXPECT_TRUE(std::isnan(loss.value()));
  EXPECT_TRUE(std::isnan(brier.value()));
  EXPECT_TRUE(std::isnan(error.expected()));
  EXPECT_TRUE(std::isnan(error.maximum()));
}

TEST(Metrics, BinsAreOpenBelow) {
  CalibrationError error(1, ScoreKind::probabilities, 4);
  for (const double score : {0.0, 0.25, 0.2500001, 1.0}) error.add(1, {score});
  const std::vector<CalibrationError::Bin> bins = error.bins();
  EXPECT_EQ(bins[0].weight, 2) << "0 and the upper end 0.25";
  EXPECT_EQ(bins[1].weight, 1);
  EXPECT_EQ(bins[2].weight, 0);
  EXPECT_TRUE(std::isnan(bins[2].accuracy));
  EXPECT_EQ(bins[3].weight, 1);
  EXPECT_EQ(bins[1].from, 0.25);
  EXPECT_EQ(bins[1].to, 0.5);
  EXPECT_EQ(error.maximum(), 0.875) << "right always, confident by 0.125";
}

TEST(Metrics, ProbabilityMetricsRefuse) {
  const Code bad = Code::invalid_argument;
  expect_error(bad, "LogLoss: the number of scores must be at least 1, got 0", [] { LogLoss(0); });
  expect_error(bad, "CalibrationError: the number of bins must be at least 1, got 0",
               [] { CalibrationError(2, ScoreKind::logits, 0); });
  LogLoss loss(3);
  expect_error(bad, "LogLoss: probabilities must be in [0, 1], got -0.5 at sample 1", [&] {
    loss.add(Tensor({2}, DType::i32), Tensor::from<float>({2, 3}, {1, 0, 0, 0.75f, 0.75f, -0.5f}));
  });
  EXPECT_TRUE(std::isnan(loss.value())) << "a refused batch leaves no trace";
  expect_error(bad, "LogLoss: a sample has 3 scores, got 1", [&] { loss.add(0, {1}); });
  expect_error(bad, "LogLoss: only a metric with the same settings can be merged",
               [&] { loss.merge(LogLoss(3, ScoreKind::logits)); });
  BrierScore brier(1);
  expect_error(bad, "BrierScore: the truth must be 0 to 1 (2 classes), got 2 at sample 0",
               [&] { brier.add(2, {0.5}); });
  CalibrationError error(2);
  expect_error(bad, "CalibrationError: only a metric with the same settings can be merged",
               [&] { error.merge(CalibrationError(2, ScoreKind::probabilities, 10)); });
}

TEST(Metrics, RegressionByHand) {
  RegressionErrors errors;
  MedianAbsoluteError median;
  const std::vector<double> targets{1, 2, 4, 8};
  const std::vector<double> predictions{1.5, 1, 4, 6};
  for (size_t i = 0; i < 4; ++i) {
    errors.add(targets[i], predictions[i]);
    median.add(targets[i], predictions[i]);
  }
  EXPECT_DOUBLE_EQ(errors.mse(), 5.25 / 4);
  EXPECT_DOUBLE_EQ(errors.rmse(), std::sqrt(5.25 / 4));
  EXPECT_DOUBLE_EQ(errors.mae(), 3.5 / 4);
  EXPECT_DOUBLE_EQ(errors.max_error(), 2);
  EXPECT_DOUBLE_EQ(errors.mape(), (0.5 + 0.5 + 0 + 0.25) / 4);
  EXPECT_DOUBLE_EQ(errors.r2(), 1 - 5.25 / 28.75);
  EXPECT_DOUBLE_EQ(errors.explained_variance(), 1 - (5.25 - 4 * 0.625 * 0.625) / 28.75);
  EXPECT_DOUBLE_EQ(median.value(), 0.75);
  MedianAbsoluteError weighted;
  for (size_t i = 0; i < 4; ++i) weighted.add(targets[i], predictions[i], i == 3 ? 0.35 : 0.1);
  EXPECT_DOUBLE_EQ(weighted.value(), 2);
  MedianAbsoluteError half;  // tenths do not sum exactly, half of the weight is meant all the same
  for (int i = 0; i < 10; ++i) half.add(0, i, 0.1);
  EXPECT_DOUBLE_EQ(half.value(), 4.5);
}

TEST(Metrics, RegressionDoesNotDependOnPartsOrOrder) {
  const Philox random{8, philox_stream("regression"), 0};
  const int64_t n = 300;
  std::vector<double> t;
  std::vector<double> p;
  std::vector<double> w;
  for (int64_t i = 0; i < n; ++i) {
    const auto at = static_cast<uint64_t>(8 * i);
    for (uint64_t o = 0; o < 2; ++o) {
      t.push_back(1000 + static_cast<double>(random.below(at + o, 1000)) / 1000);
      p.push_back(t.back() + static_cast<double>(random.below(at + 2 + o, 200)) / 1000);
    }
    w.push_back(static_cast<double>(random.below(at + 5, 4)) / 3);
  }
  RegressionErrors all(2);
  MedianAbsoluteError median(2);
  all.add(Tensor::from({n, 2, 1}, t), Tensor::from({n, 2, 1}, p), Tensor::from({n}, w));
  median.add(Tensor::from({n, 2}, t), Tensor::from({n, 2}, p), Tensor::from({n}, w));
  RegressionErrors merged(2);
  MedianAbsoluteError merged_median(2);
  for (size_t i = n; i-- > 0;) {
    RegressionErrors part(2);
    MedianAbsoluteError median_part(2);
    part.add({t[2 * i], t[2 * i + 1]}, {p[2 * i], p[2 * i + 1]}, w[i]);
    median_part.add({t[2 * i], t[2 * i + 1]}, {p[2 * i], p[2 * i + 1]}, w[i]);
    merged.merge(part);
    merged_median.merge(median_part);
  }
  EXPECT_EQ(merged.samples(), all.samples());
  EXPECT_EQ(merged.mse(), all.mse());
  EXPECT_EQ(merged.mae(), all.mae());
  EXPECT_EQ(merged.max_error(1), all.max_error(1));
  EXPECT_TRUE(std::isnan(all.max_error())) << "not defined for several outputs";
  EXPECT_EQ(merged_median.value(), median.value());
  // The running mean of 1000 with a spread of 0.3 rounds to 2^-53 · 3000 of the spread at each
  // step.
  EXPECT_NEAR(merged.r2(), all.r2(), 1e-10);
  EXPECT_NEAR(merged.explained_variance(1), all.explained_variance(1), 1e-10);
  // And against two passes.
  for (int64_t o = 0; o < 2; ++o) {
    double weight = 0;
    double mean = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      weight += w[i];
      mean += w[i] * t[2 * i + static_cast<size_t>(o)];
    }
    mean /= weight;
    double errors = 0;
    double spread = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      const size_t at = 2 * i + static_cast<size_t>(o);
      errors += w[i] * std::pow(t[at] - p[at], 2);
      spread += w[i] * std::pow(t[at] - mean, 2);
    }
    EXPECT_NEAR(all.r2(o), 1 - errors / spread, 1e-10);
    EXPECT_NEAR(all.mse(o), errors / weight, 1e-13);
  }
  const double before = all.r2();
  all.merge(all);
  EXPECT_NEAR(all.r2(), before, 1e-10);
  all.reset();
  EXPECT_TRUE(std::isnan(all.mse()));
  EXPECT_TRUE(std::isnan(all.max_error(0)));
  EXPECT_TRUE(std::isnan(all.r2()));
  EXPECT_TRUE(std::isnan(all.explained_variance()));
}

TEST(Metrics, RegressionOfConstantTargets) {
  RegressionErrors one;
  one.add(2, 3);
  EXPECT_TRUE(std::isnan(one.r2())) << "below two samples";
  EXPECT_EQ(one.explained_variance(), 1);
  RegressionErrors offset;
  RegressionErrors exact;
  for (int i = 0; i < 9; ++i) {
    offset.add(0.1, 0.4);
    exact.add(0.1, 0.1);
  }
  EXPECT_EQ(offset.r2(), 0);
  EXPECT_EQ(offset.explained_variance(), 1);
  EXPECT_EQ(exact.r2(), 1);
  EXPECT_TRUE(std::isnan(MedianAbsoluteError().value()));
}

TEST(Metrics, RegressionRefuses) {
  const Code bad = Code::invalid_argument;
  RegressionErrors errors(2);
  expect_error(bad, "RegressionErrors: a sample has 2 targets, got 1", [&] { errors.add(1, 2); });
  expect_error(bad, "with outputs = 2 numbers a sample, got [2, 3] and [2, 3]", [&] {
    errors.add(Tensor({2, 3}, DType::f32), Tensor({2, 3}, DType::f32));
  });
  expect_error(bad, "got [2, 2] and [1, 2]", [&] {
    errors.add(Tensor({2, 2}, DType::f32), Tensor({1, 2}, DType::f32));
  });
  expect_error(bad, "RegressionErrors: targets and predictions must be finite, got nan at sample 0",
               [&] {
                 errors.add({1, kNan}, {1, 1});
               });
  expect_error(bad, "RegressionErrors of 2 outputs: there is no output 2", [&] { errors.mse(2); });
  EXPECT_EQ(errors.samples(), 0);
  MedianAbsoluteError median;
  expect_error(bad, "MedianAbsoluteError: only a metric with the same settings can be merged",
               [&] { median.merge(MedianAbsoluteError(2)); });
  expect_error(bad, "the targets must be f32 or f64, got i64 [2]",
               [&] { median.add(Tensor({2}, DType::i64), Tensor({2}, DType::f32)); });
}

}  // namespace
}  // namespace tanul
