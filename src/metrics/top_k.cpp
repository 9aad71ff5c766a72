// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "core/format.h"
#include "metrics/inputs.h"
#include "tanul/metrics_counts.h"

namespace tanul {

namespace {

constexpr const char* kWho = "TopK";

// How many classes rank before the true one.
size_t rank_of(int64_t truth, const double* scores, int64_t classes) {
  size_t before = 0;
  for (int64_t c = 0; c < classes; ++c) {
    if (scores[c] > scores[truth] || (c < truth && scores[c] == scores[truth])) ++before;
  }
  return before;
}

}  // namespace

TopK::TopK(int64_t classes) {
  metrics::check_size(kWho, "the number of classes", classes, 1);
  at_rank_.resize(static_cast<size_t>(classes));
}

void TopK::add(int64_t truth, const std::vector<double>& scores, double weight) {
  metrics::check_count(kWho, "scores", static_cast<int64_t>(scores.size()), classes());
  metrics::check_truth(kWho, truth, classes());
  metrics::check_scores(kWho, scores.data(), classes(), ScoreKind::logits);
  metrics::check_weight(kWho, weight);
  at_rank_[rank_of(truth, scores.data(), classes())].add(weight);
}

void TopK::add(const Tensor& truths, const Tensor& scores, const Tensor& weights) {
  const auto batch =
      metrics::RowBatch::of_classes(kWho, truths, scores, weights, classes(), ScoreKind::logits);
  for (int64_t i = 0; i < batch.size; ++i) {
    at_rank_[rank_of(*batch.truth(i), batch.row(i), classes())].add(batch.weight(i));
  }
}

void TopK::merge(const TopK& other) {
  metrics::check_same(kWho, classes() == other.classes());
  for (size_t r = 0; r < at_rank_.size(); ++r) at_rank_[r].add(other.at_rank_[r]);
}

void TopK::reset() { at_rank_.assign(at_rank_.size(), {}); }

double TopK::accuracy(int64_t k) const {
  if (k < 1) fail(Code::invalid_argument, "{}: k must be at least 1, got {}", kWho, k);
  CompensatedSum among;
  CompensatedSum all;
  for (int64_t r = 0; r < classes(); ++r) {
    all.add(at_rank_[static_cast<size_t>(r)]);
    if (r < k) among.add(at_rank_[static_cast<size_t>(r)]);
  }
  return among.value() / all.value();
}

}  // namespace tanul
