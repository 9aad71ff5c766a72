// SPDX-License-Identifier: Apache-2.0
#include "cli/class_scores.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tanul::cli {

ClassScores::ClassScores(int64_t classes, int64_t samples)
    : has_curves_(samples <= kMostScores / classes),
      top_(classes),
      log_loss_(classes, ScoreKind::logits),
      brier_(classes, ScoreKind::logits),
      calibration_(classes, ScoreKind::logits),
      curve_(classes, ScoreKind::logits) {}

void ClassScores::add(const Tensor& truths, const Tensor& logits) {
  const float* first = logits.data<float>();
  is_finite_ = is_finite_ && std::all_of(first, first + logits.elems(),
                                         [](float logit) { return std::isfinite(logit); });
  if (!is_finite_) return;
  top_.add(truths, logits);
  log_loss_.add(truths, logits);
  brier_.add(truths, logits);
  calibration_.add(truths, logits);
  if (has_curves_) curve_.add(truths, logits);
}

ScoreMetrics ClassScores::values() const {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  ScoreMetrics m;
  if (!is_finite_) {
    m.top_5 = m.auc_macro = m.auc_weighted = m.mean_average_precision = kNan;
    m.log_loss = m.brier = m.ece = m.mce = kNan;
    return m;
  }
  m.top_5 = top_.classes() > 5 ? top_.accuracy(5) : kNan;
  m.log_loss = log_loss_.value();
  m.brier = brier_.value();
  m.ece = calibration_.expected();
  m.mce = calibration_.maximum();
  using Pairing = MulticlassCurve::Pairing;
  m.auc_macro = has_curves_ ? curve_.auc(Pairing::one_vs_rest, Average::macro) : kNan;
  m.auc_weighted = has_curves_ ? curve_.auc(Pairing::one_vs_rest, Average::weighted) : kNan;
  m.mean_average_precision = has_curves_ ? curve_.mean_average_precision() : kNan;
  for (int64_t c = 0; has_curves_ && c < curve_.classes(); ++c) {
    const BinaryCurve curve = curve_.curve(c);
    m.auc.push_back(curve.auc());
    m.average_precision.push_back(curve.average_precision());
  }
  return m;
}

}  // namespace tanul::cli
