// SPDX-License-Identifier: Apache-2.0
#include "metrics/inputs.h"

#include <algorithm>
#include <cmath>

#include "core/format.h"

namespace tanul::metrics {

void check_weight(const char* who, double weight) {
  if (std::isfinite(weight) && weight >= 0) return;
  fail(Code::invalid_argument, "{}: a sample weight must be finite and not negative, got {}", who,
       weight);
}

void check_truth(const char* who, int64_t truth, int64_t classes, int64_t sample) {
  if (truth >= 0 && truth < classes) return;
  fail(Code::invalid_argument, "{}: the truth must be 0 to {} ({} classes), got {} at sample {}",
       who, classes - 1, classes, truth, sample);
}

void check_scores(const char* who, const double* scores, int64_t columns, ScoreKind kind,
                  int64_t sample) {
  double sum = 0;
  for (int64_t c = 0; c < columns; ++c) {
    const double score = scores[c];
    if (!std::isfinite(score)) {
      fail(Code::invalid_argument, "{}: scores must be finite, got {} at sample {}", who, score,
           sample);
    }
    if (kind == ScoreKind::probabilities && (score < 0 || score > 1)) {
      fail(
          Code::invalid_argument,
          "{}: probabilities must be in [0, 1], got {} at sample {}; for outputs before softmax or "
          "sigmoid say ScoreKind::logits",
          who, score, sample);
    }
    sum += score;
  }
  if (kind == ScoreKind::probabilities && columns > 1 && sum <= 0) {
    fail(Code::invalid_argument, "{}: the probabilities of sample {} are all 0", who, sample);
  }
}

void check_count(const char* who, const char* what, int64_t got, int64_t wanted) {
  if (got == wanted) return;
  fail(Code::invalid_argument, "{}: a sample has {} {}, got {}", who, wanted, what, got);
}

void check_size(const char* who, const char* what, int64_t size, int64_t least) {
  if (size >= least && size <= (int64_t{1} << 31)) return;
  fail(Code::invalid_argument, "{}: {} must be at least {}, got {}", who, what, least, size);
}

void check_same(const char* who, bool is_same) {
  if (is_same) return;
  fail(Code::invalid_argument, "{}: only a metric with the same settings can be merged", who);
}

void check_no_samples_average(const char* who, Average how) {
  if (how != Average::samples) return;
  fail(Code::invalid_argument,
       "{}: averages are micro, macro or weighted; Average::samples is for the ratios of "
       "MultilabelCounts",
       who);
}

Tensor read_integers(const char* who, const char* what, const Tensor& values) {
  const DType type = values.dtype();
  if (values.empty()) fail(Code::invalid_argument, "{}: the {} are an empty tensor", who, what);
  if (type != DType::i32 && type != DType::i64 && type != DType::u8) {
    fail(Code::invalid_argument, "{}: the {} must be i32, i64 or u8, got {} {}", who, what,
         dtype_name(type), values.shape().str());
  }
  return values.to(DType::i64);
}

Tensor read_numbers(const char* who, const char* what, const Tensor& values) {
  const DType type = values.dtype();
  if (values.empty()) fail(Code::invalid_argument, "{}: the {} are an empty tensor", who, what);
  if (type != DType::f32 && type != DType::f64) {
    fail(Code::invalid_argument, "{}: the {} must be f32 or f64, got {} {}", who, what,
         dtype_name(type), values.shape().str());
  }
  return values.to(DType::f64);
}

Tensor read_weights(const char* who, const Tensor& weights, int64_t samples) {
  if (weights.empty()) return {};
  const Tensor read = read_numbers(who, "weights", weights);
  if (read.shape() != Shape{samples}) {
    fail(Code::invalid_argument, "{}: the weights must be [{}], one a sample, got {}", who, samples,
         weights.shape().str());
  }
  for (int64_t i = 0; i < samples; ++i) check_weight(who, read.data<double>()[i]);
  return read;
}

RowBatch RowBatch::of_classes(const char* who, const Tensor& truths, const Tensor& scores,
                              const Tensor& weights, int64_t columns, ScoreKind kind) {
  RowBatch batch;
  batch.columns = columns;
  batch.truths = read_integers(who, "truths", truths);
  batch.scores = read_numbers(who, "scores", scores);
  if (truths.shape().rank() != 1) {
    fail(Code::invalid_argument, "{}: the truths must be [N], one class a sample, got {}", who,
         truths.shape().str());
  }
  batch.size = truths.shape()[0];
  const Shape& shape = scores.shape();
  if (shape != Shape{batch.size, columns} && (columns != 1 || shape != Shape{batch.size})) {
    fail(Code::invalid_argument, "{}: the scores must be [{}, {}], as the truths are {}, got {}",
         who, batch.size, columns, truths.shape().str(), shape.str());
  }
  batch.weights = read_weights(who, weights, batch.size);
  for (int64_t i = 0; i < batch.size; ++i) {
    check_truth(who, *batch.truth(i), columns == 1 ? 2 : columns, i);
    check_scores(who, batch.row(i), columns, kind, i);
  }
  return batch;
}

RowBatch RowBatch::of_labels(const char* who, const Tensor& truths, const Tensor& scores,
                             const Tensor& weights, int64_t columns) {
  RowBatch batch;
  batch.columns = columns;
  batch.truths = read_integers(who, "truths", truths);
  batch.scores = read_numbers(who, "scores", scores);
  if (truths.shape().rank() != 2 || truths.shape()[1] != columns) {
    fail(Code::invalid_argument, "{}: the truths must be [N, {}], got {}", who, columns,
         truths.shape().str());
  }
  batch.size = truths.shape()[0];
  if (scores.shape() != truths.shape()) {
    fail(Code::invalid_argument, "{}: the scores must be {} like the truths, got {}", who,
         truths.shape().str(), scores.shape().str());
  }
  batch.weights = read_weights(who, weights, batch.size);
  for (int64_t i = 0; i < batch.size; ++i) {
    for (int64_t c = 0; c < columns; ++c) check_truth(who, batch.labels(i)[c], 2, i);
    check_scores(who, batch.row(i), columns, ScoreKind::logits, i);
  }
  return batch;
}

int64_t argmax(const double* scores, int64_t columns) {
  return std::max_element(scores, scores + columns) - scores;
}

void softmax(const double* logits, int64_t columns, double* probabilities) {
  const double largest = *std::max_element(logits, logits + columns);
  double sum = 0;
  for (int64_t c = 0; c < columns; ++c) {
    probabilities[c] = std::exp(logits[c] - largest);
    sum += probabilities[c];
  }
  for (int64_t c = 0; c < columns; ++c) probabilities[c] /= sum;
}

double sigmoid(double logit) {
  const double e = std::exp(-std::abs(logit));
  return (logit >= 0 ? 1 : e) / (1 + e);
}

void append_weight(std::vector<double>& weights, int64_t samples, double weight) {
  if (weights.empty() && weight == 1) return;
  weights.resize(static_cast<size_t>(samples), 1);  // those before, where this is the first weight
  weights.push_back(weight);
}

void append_weights(std::vector<double>& weights, int64_t samples, const std::vector<double>& more,
                    int64_t count) {
  if (weights.empty() && more.empty()) return;
  weights.resize(static_cast<size_t>(samples), 1);
  weights.insert(weights.end(), more.begin(), more.end());
  weights.resize(static_cast<size_t>(samples + count), 1);
}

}  // namespace tanul::metrics
