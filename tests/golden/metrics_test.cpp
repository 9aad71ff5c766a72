// SPDX-License-Identifier: Apache-2.0
// Every metric against scikit-learn's: all values and outputs of every case, given at once and in
// pieces of seven samples that are merged.
#include "tanul/metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "support/golden.h"

namespace tanul::test::metrics_golden {
namespace {

using nlohmann::json;

// Computed in double: 1e-12 of the value; where the value is a difference, of the terms it is made
// of.
void expect_close(double got, double want, double terms) {
  if (std::isnan(want) || std::isinf(want)) {
    EXPECT_TRUE(std::isnan(want) ? std::isnan(got) : got == want) << got << ", wanted " << want;
    return;
  }
  EXPECT_LE(std::abs(got - want), 1e-12 * std::max(std::abs(want), terms))
      << got << ", wanted " << want;
}

void expect_all_close(const std::vector<double>& got, const std::vector<double>& want,
                      double terms) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    SCOPED_TRACE("element " + std::to_string(i));
    expect_close(got[i], want[i], terms);
  }
}

// Samples [first, last) of an input; empty where there is no such input.
Tensor part_of(const GoldenCase& c, const std::string& role, int64_t first, int64_t last,
               DType type) {
  if (!c.has_input(role)) return {};
  const RefTensor& all = c.input(role);
  const int64_t row = all.shape.elems_from(1);
  std::vector<int64_t> extents{last - first};
  for (int axis = 1; axis < all.shape.rank(); ++axis) extents.push_back(all.shape[axis]);
  return Tensor::from(Shape(extents),
                      std::vector<double>(all.v.begin() + first * row, all.v.begin() + last * row))
      .to(type);
}

// Adds all samples: at once (piece 0), or pieces as metrics of their own that are merged.
template <typename Metric>
Metric filled(const GoldenCase& c, const std::string& scores, int64_t piece, const Metric& empty,
              DType score_type = DType::f64, DType truth_type = DType::i64) {
  Metric all = empty;
  const int64_t n = c.input("target").shape[0];
  const int64_t step = piece > 0 ? piece : n;
  for (int64_t first = 0; first < n; first += step) {
    const int64_t last = std::min(n, first + step);
    Metric part = empty;
    part.add(part_of(c, "target", first, last, truth_type),
             part_of(c, scores, first, last, score_type),
             part_of(c, "sample_weight", first, last, DType::f64));
    all.merge(part);
  }
  return all;
}

std::vector<double> doubles_of(const Tensor& t) {
  const Tensor values = t.to(DType::f64);
  return {values.data<double>(), values.data<double>() + values.elems()};
}

bool starts_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

// "precision_macro_zd1": what, over which classes, 0/0. "specificity_zd0" is of each class, "f05"
// has no zero division (0).
struct RatioKey {
  std::string what;
  std::string average;  // "" of each class
  double zero_division = 0;

  explicit RatioKey(std::string key) {
    if (key.size() > 4 && starts_with(key.substr(key.size() - 4), "_zd")) {
      zero_division = key.back() - '0';
      key.resize(key.size() - 4);
    }
    const size_t at = key.find('_');
    what = key.substr(0, at);
    if (at != std::string::npos) average = key.substr(at + 1);
  }
  bool is_ratio() const {
    const std::vector<std::string> all{"precision", "recall", "specificity", "f1",
                                       "f05",       "f2",     "jaccard"};
    const std::vector<std::string> averages{"", "micro", "macro", "weighted", "samples"};
    return std::count(all.begin(), all.end(), what) == 1 &&
           std::count(averages.begin(), averages.end(), average) == 1;
  }
  Average how() const {
    return average == "micro"      ? Average::micro
           : average == "macro"    ? Average::macro
           : average == "weighted" ? Average::weighted
                                   : Average::samples;
  }
  double beta() const { return what == "f05" ? 0.5 : what == "f2" ? 2 : 1; }

  double of(const ClassCounts& c) const {
    if (what == "precision") return c.precision(zero_division);
    if (what == "recall") return c.recall(zero_division);
    if (what == "specificity") return c.specificity(zero_division);
    if (what == "jaccard") return c.jaccard(zero_division);
    return c.f_beta(beta(), zero_division);
  }
  template <typename Counts>
  double over(const Counts& m) const {
    if (what == "precision") return m.precision(how(), zero_division);
    if (what == "recall") return m.recall(how(), zero_division);
    if (what == "jaccard") return m.jaccard(how(), zero_division);
    return m.f_beta(how(), beta(), zero_division);
  }
};

// Counts and ratios of each class; false for another role.
bool check_class_role(const std::string& role, const std::vector<ClassCounts>& classes,
                      const std::vector<double>& want) {
  const RatioKey key(role);
  std::vector<double> got;
  double most = 0;  // counts are sums of weights, tn what is left of their total
  for (const ClassCounts& c : classes) {
    most = std::max(most, c.tp + c.fp + c.fn + c.tn);
    if (role == "tp") got.push_back(c.tp);
    if (role == "fp") got.push_back(c.fp);
    if (role == "fn") got.push_back(c.fn);
    if (role == "tn") got.push_back(c.tn);
    if (role == "support") got.push_back(c.support());
    if (key.is_ratio() && key.average.empty()) got.push_back(key.of(c));
  }
  if (got.empty()) return false;
  expect_all_close(got, want, key.is_ratio() ? 1 : most);
  return true;
}

bool check_curve_role(const std::string& role, const BinaryCurve& curve,
                      const std::vector<double>& want) {
  const RocCurve roc = curve.roc();
  const PrecisionRecallCurve pr = curve.precision_recall();
  const std::vector<double>* got = role == "roc_fpr"          ? &roc.fpr
                                   : role == "roc_tpr"        ? &roc.tpr
                                   : role == "roc_thresholds" ? &roc.threshold
                                   : role == "pr_precision"   ? &pr.precision
                                   : role == "pr_recall"      ? &pr.recall
                                   : role == "pr_thresholds"  ? &pr.threshold
                                                              : nullptr;
  if (got == nullptr) return false;
  expect_all_close(*got, want, 1);
  return true;
}

// precision_at_k and recall_at_k.
bool check_at_k(const std::string& key, const BinaryCurve& ranking, double want) {
  const bool is_precision = starts_with(key, "precision_at_");
  if (!is_precision && !starts_with(key, "recall_at_")) return false;
  const int64_t k = std::stoll(key.substr(key.rfind('_') + 1));
  expect_close(is_precision ? ranking.precision_at(k) : ranking.recall_at(k), want, 0);
  return true;
}

bool check_confusion_value(const std::string& key, const ConfusionMatrix& m, double want) {
  using D = ConfusionMatrix::Disagreement;
  const RatioKey ratio(key);
  if (key == "accuracy") {
    expect_close(m.accuracy(), want, 0);
  } else if (key == "balanced_accuracy") {
    expect_close(m.balanced_accuracy(), want, 0);
  } else if (key == "mcc") {
    expect_close(m.matthews_correlation(), want, 1);
  } else if (key == "cohen_kappa") {
    expect_close(m.cohen_kappa(), want, 1);
  } else if (key == "cohen_kappa_linear") {
    expect_close(m.cohen_kappa(D::linear), want, 1);
  } else if (key == "cohen_kappa_quadratic") {
    expect_close(m.cohen_kappa(D::quadratic), want, 1);
  } else if (ratio.is_ratio() && !ratio.average.empty()) {
    expect_close(ratio.over(m), want, 0);
  } else {
    return false;
  }
  return true;
}

bool check_probability_value(const GoldenCase& c, const std::string& key, const std::string& scores,
                             int64_t classes, int64_t piece, double want) {
  if (key == "log_loss") {
    expect_close(filled(c, scores, piece, LogLoss(classes)).value(), want, 0);
  } else if (key == "brier") {
    expect_close(filled(c, scores, piece, BrierScore(classes)).value(), want, 0);
  } else if (starts_with(key, "ece_") || starts_with(key, "mce_")) {
    const int64_t bins = std::stoll(key.substr(4));
    const auto error =
        filled(c, scores, piece, CalibrationError(classes, ScoreKind::probabilities, bins));
    expect_close(key[0] == 'e' ? error.expected() : error.maximum(), want, 1);
  } else {
    return false;
  }
  return true;
}

void check_confusion_roles(const GoldenCase& c, const ConfusionMatrix& m,
                           const std::vector<double>& predictions,
                           const std::function<bool(const std::string&, const RefTensor&)>& other) {
  for (const auto& [role, want] : c.outputs) {
    SCOPED_TRACE(role);
    if (role == "pred") {
      EXPECT_EQ(predictions, want.v);
    } else if (role == "confusion") {
      std::vector<double> got;
      for (int64_t t = 0; t < m.classes(); ++t) {
        for (int64_t p = 0; p < m.classes(); ++p) got.push_back(m.weight(t, p));
      }
      expect_all_close(got, want.v, 0);
    } else if (!check_class_role(role, m.class_counts(), want.v) && !other(role, want)) {
      ADD_FAILURE() << "the test does not know this output";
    }
  }
}

double multiclass_value(const std::string& key, const MulticlassCurve& curve) {
  using P = MulticlassCurve::Pairing;
  if (key == "map_of_present_classes") return curve.mean_average_precision();
  if (key == "ap_micro") return curve.average_precision(Average::micro);
  if (key == "auc_ovr_macro") return curve.auc(P::one_vs_rest, Average::macro);
  if (key == "auc_ovr_weighted") return curve.auc(P::one_vs_rest, Average::weighted);
  if (key == "auc_ovo_macro") return curve.auc(P::one_vs_one, Average::macro);
  if (key == "auc_ovo_weighted") return curve.auc(P::one_vs_one, Average::weighted);
  ADD_FAILURE() << "the test does not know this value";
  return 0;
}

void check_rankings(const json& want, const std::function<BinaryCurve(int64_t)>& curve) {
  int64_t i = 0;
  for (const json& one : want) {
    const BinaryCurve ranking = curve(i++);
    for (const auto& [key, value] : one.items()) {
      EXPECT_TRUE(check_at_k(key, ranking, golden_number(value))) << key;
    }
  }
}

void check_multiclass(const GoldenCase& c, int64_t piece) {
  const int64_t classes = c.attrs.at("classes");
  const auto m = filled(c, "prob", piece, ConfusionMatrix(classes));
  const auto top = filled(c, "prob", piece, TopK(classes));
  const auto curve = filled(c, "prob", piece, MulticlassCurve(classes));
  const int64_t n = c.input("target").shape[0];
  const Tensor prob = part_of(c, "prob", 0, n, DType::f64);
  check_confusion_roles(c, m, doubles_of(predicted_classes(prob)),
                        [&](const std::string& role, const RefTensor& want) {
                          const size_t at = role.find("_class");
                          return at != std::string::npos &&
                                 check_curve_role(role.substr(0, at),
                                                  curve.curve(std::stoll(role.substr(at + 6))),
                                                  want.v);
                        });
  for (const auto& [key, value] : c.values.items()) {
    SCOPED_TRACE(key);
    if (key == "auc_per_class" || key == "ap_per_class") {
      ASSERT_EQ(static_cast<int64_t>(value.size()), classes);
      for (int64_t k = 0; k < classes; ++k) {
        SCOPED_TRACE(k);
        expect_close(key[1] == 'u' ? curve.auc(k) : curve.average_precision(k),
                     golden_number(value[static_cast<size_t>(k)]), 0);
      }
    } else if (key == "rank_per_class") {
      ASSERT_EQ(static_cast<int64_t>(value.size()), classes);
      check_rankings(value, [&](int64_t k) { return curve.curve(k); });
    } else if (starts_with(key, "top")) {
      expect_close(top.accuracy(std::stoll(key.substr(3))), golden_number(value), 0);
    } else if (!check_confusion_value(key, m, golden_number(value)) &&
               !check_probability_value(c, key, "prob", classes, piece, golden_number(value))) {
      expect_close(multiclass_value(key, curve), golden_number(value), 0);
    }
  }
}

void check_binary(const GoldenCase& c, int64_t piece) {
  const int64_t n = c.input("target").shape[0];
  const double threshold = c.attrs.at("threshold");
  const Tensor predictions = predicted_labels(part_of(c, "score", 0, n, DType::f64), threshold);
  ConfusionMatrix m(2);
  m.add(part_of(c, "target", 0, n, DType::i64), predictions,
        part_of(c, "sample_weight", 0, n, DType::f64));
  const auto curve = filled(c, "score", piece, BinaryCurve());
  check_confusion_roles(c, m, doubles_of(predictions),
                        [&](const std::string& role, const RefTensor& want) {
                          return check_curve_role(role, curve, want.v);
                        });
  for (const auto& [key, value] : c.values.items()) {
    SCOPED_TRACE(key);
    const double want = golden_number(value);
    if (key == "auc") {
      expect_close(curve.auc(), want, 0);
    } else if (key == "average_precision") {
      expect_close(curve.average_precision(), want, 0);
    } else if (!check_confusion_value(key, m, want) &&
               !check_probability_value(c, key, "score", 1, piece, want) &&
               !check_at_k(key, curve, want)) {
      ADD_FAILURE() << "the test does not know this value";
    }
  }
}

void check_multilabel(const GoldenCase& c, int64_t piece) {
  const int64_t n = c.input("target").shape[0];
  const int64_t labels = c.input("target").shape[1];
  const double threshold = c.attrs.at("threshold");
  const auto counts =
      filled(c, "score", piece, MultilabelCounts(labels, ScoreKind::probabilities, threshold));
  const auto curve = filled(c, "score", piece, MultilabelCurve(labels));
  const auto of_each = [&](const std::function<double(const BinaryCurve&)>& value) {
    std::vector<double> values;
    for (int64_t k = 0; k < labels; ++k) values.push_back(value(curve.curve(k)));
    return values;
  };
  for (const auto& [role, want] : c.outputs) {
    SCOPED_TRACE(role);
    if (role == "pred") {
      const Tensor scores = part_of(c, "score", 0, n, DType::f64);
      EXPECT_EQ(doubles_of(predicted_labels(scores, threshold)), want.v);
    } else if (role == "auc") {
      expect_all_close(of_each([](const BinaryCurve& b) { return b.auc(); }), want.v, 0);
    } else if (role == "average_precision") {
      expect_all_close(of_each([](const BinaryCurve& b) { return b.average_precision(); }), want.v,
                       0);
    } else if (!check_class_role(role, counts.label_counts(), want.v)) {
      ADD_FAILURE() << "the test does not know this output";
    }
  }
  for (const auto& [key, value] : c.values.items()) {
    SCOPED_TRACE(key);
    const RatioKey ratio(key);
    const RatioKey area(starts_with(key, "average_precision_") ? "ap" + key.substr(17) : key);
    if (key == "rank_per_label") {
      ASSERT_EQ(static_cast<int64_t>(value.size()), labels);
      check_rankings(value, [&](int64_t k) { return curve.curve(k); });
    } else if (key == "subset_accuracy") {
      expect_close(counts.subset_accuracy(), golden_number(value), 0);
    } else if (key == "hamming_loss") {
      expect_close(counts.hamming_loss(), golden_number(value), 0);
    } else if (key == "map") {
      expect_close(curve.average_precision(Average::macro), golden_number(value), 0);
    } else if (area.what == "auc") {
      expect_close(curve.auc(area.how()), golden_number(value), 0);
    } else if (area.what == "ap") {
      expect_close(curve.average_precision(area.how()), golden_number(value), 0);
    } else if (ratio.is_ratio() && !ratio.average.empty()) {
      expect_close(ratio.over(counts), golden_number(value), 0);
    } else {
      ADD_FAILURE() << "the test does not know this value";
    }
  }
}

void check_ranking(const GoldenCase& c, int64_t piece) {
  const auto curve = filled(c, "score", piece, BinaryCurve());
  for (const auto& [role, want] : c.outputs) {
    ASSERT_EQ(role, "order");
    const std::vector<int64_t> order = curve.ranking();
    EXPECT_EQ(std::vector<double>(order.begin(), order.end()), want.v);
  }
  for (const auto& [key, value] : c.values.items()) {
    EXPECT_TRUE(check_at_k(key, curve, golden_number(value))) << key;
  }
}

void check_regression(const GoldenCase& c, int64_t piece) {
  const Shape& shape = c.input("target").shape;
  const int64_t outputs = shape.elems_from(1);
  const auto errors = filled(c, "x", piece, RegressionErrors(outputs), DType::f64, DType::f64);
  const auto median = filled(c, "x", piece, MedianAbsoluteError(outputs), DType::f64, DType::f64);
  EXPECT_TRUE(c.outputs.empty());
  for (const auto& [key, value] : c.values.items()) {
    SCOPED_TRACE(key);
    const double want = golden_number(value);
    if (key == "mse") {
      expect_close(errors.mse(), want, 0);
    } else if (key == "rmse") {
      expect_close(errors.rmse(), want, 0);
    } else if (key == "mae") {
      expect_close(errors.mae(), want, 0);
    } else if (key == "median_ae") {
      expect_close(median.value(), want, 0);
    } else if (key == "max_error") {
      expect_close(errors.max_error(), want, 0);
    } else if (key == "r2") {
      expect_close(errors.r2(), want, 1);
    } else if (key == "explained_variance") {
      expect_close(errors.explained_variance(), want, 1);
    } else if (key == "mape") {
      expect_close(errors.mape(), want, 0);
    } else {
      ADD_FAILURE() << "the test does not know this value";
    }
  }
}

void expect_known(const GoldenCase& c) {
  for (const auto& [attr, value] : c.attrs.items()) {
    EXPECT_TRUE(attr == "classes" || attr == "threshold" || attr == "score_is_probability") << attr;
  }
  for (const auto& [role, tensor] : c.inputs) {
    EXPECT_TRUE(role == "target" || role == "prob" || role == "score" || role == "x" ||
                role == "sample_weight")
        << role;
  }
}

TEST(Golden, Metrics) {
  int64_t cases = 0;
  for (const GoldenCase& c : load_golden("metrics")) {
    SCOPED_TRACE(c.name);
    ++cases;
    expect_known(c);
    for (const int64_t piece : {0, 7}) {
      SCOPED_TRACE(piece == 0 ? "at once" : "in pieces");
      if (c.op == "multiclass_metrics") {
        check_multiclass(c, piece);
      } else if (c.op == "binary_metrics") {
        check_binary(c, piece);
      } else if (c.op == "multilabel_metrics") {
        check_multilabel(c, piece);
      } else if (c.op == "ranking_metrics") {
        check_ranking(c, piece);
      } else if (c.op == "regression_metrics") {
        check_regression(c, piece);
      } else {
        ADD_FAILURE() << "the test does not know the op " << c.op;
      }
    }
  }
  EXPECT_GT(cases, 0);
}

}  // namespace
}  // namespace tanul::test::metrics_golden
