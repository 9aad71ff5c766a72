// SPDX-License-Identifier: Apache-2.0
#include "metrics/ranked.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tanul::metrics {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// What lies at or above a threshold, and how much of it lies exactly there.
struct Point {
  double threshold;
  double tp, fp;            // at or above
  double tp_here, fp_here;  // equal to the threshold
};

// One point for each different score, highest first. Sums of weights are compensated, so the order
// of equal scores does not show.
std::vector<Point> points_of(std::vector<Scored>& samples) {
  std::sort(samples.begin(), samples.end(),
            [](const Scored& a, const Scored& b) { return a.score > b.score; });
  std::vector<Point> points;
  CompensatedSum tp;
  CompensatedSum fp;
  for (size_t i = 0; i < samples.size();) {
    const double threshold = samples[i].score;
    CompensatedSum tp_here;
    CompensatedSum fp_here;
    for (; i < samples.size() && samples[i].score == threshold; ++i) {
      (samples[i].is_positive ? tp_here : fp_here).add(samples[i].weight);
    }
    tp.add(tp_here);
    fp.add(fp_here);
    points.push_back({threshold, tp.value(), fp.value(), tp_here.value(), fp_here.value()});
  }
  return points;
}

}  // namespace

RocCurve roc_of(std::vector<Scored> samples) {
  const std::vector<Point> points = points_of(samples);
  const double positives = points.empty() ? 0 : points.back().tp;
  const double negatives = points.empty() ? 0 : points.back().fp;
  RocCurve curve;
  const auto push = [&](double threshold, double tp, double fp) {
    curve.threshold.push_back(threshold);
    curve.tpr.push_back(positives > 0 ? tp / positives : kNan);
    curve.fpr.push_back(negatives > 0 ? fp / negatives : kNan);
  };
  push(std::numeric_limits<double>::infinity(), 0, 0);
  for (const Point& p : points) push(p.threshold, p.tp, p.fp);
  return curve;
}

PrecisionRecallCurve precision_recall_of(std::vector<Scored> samples) {
  const std::vector<Point> points = points_of(samples);
  const double positives = points.empty() ? 0 : points.back().tp;
  PrecisionRecallCurve curve;
  for (auto p = points.rbegin(); p != points.rend(); ++p) {
    curve.threshold.push_back(p->threshold);
    curve.precision.push_back(p->tp / (p->tp + p->fp));
    curve.recall.push_back(positives > 0 ? p->tp / positives : 1);
  }
  curve.precision.push_back(1);
  curve.recall.push_back(0);
  return curve;
}

double auc_of(std::vector<Scored> samples) {
  const std::vector<Point> points = points_of(samples);
  if (points.empty()) return kNan;
  const double positives = points.back().tp;
  const double negatives = points.back().fp;
  if (positives == 0 || negatives == 0) return kNan;
  CompensatedSum pairs;  // each negative with the positives above it, and half of those beside it
  for (const Point& p : points) pairs.add(p.fp_here * (p.tp - p.tp_here / 2));
  return pairs.value() / (positives * negatives);
}

double average_precision_of(std::vector<Scored> samples) {
  const std::vector<Point> points = points_of(samples);
  if (points.empty() || points.back().tp == 0) return kNan;
  CompensatedSum sum;
  for (const Point& p : points) sum.add(p.tp_here * (p.tp / (p.tp + p.fp)));
  return sum.value() / points.back().tp;
}

double support_weighted(const std::vector<double>& values, const std::vector<double>& support) {
  CompensatedSum sum;
  CompensatedSum all;
  for (size_t c = 0; c < values.size(); ++c) {
    if (support[c] == 0) continue;
    sum.add(support[c] * values[c]);
    all.add(support[c]);
  }
  return all.value() == 0 ? 0 : sum.value() / all.value();
}

}  // namespace tanul::metrics
