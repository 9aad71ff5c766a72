// SPDX-License-Identifier: Apache-2.0
// What metrics are given: checked as a whole before anything counts, so that a refused batch leaves
// no trace. Every text names the metric, the rule, the value and the sample.
#pragma once

#include <cstdint>
#include <vector>

#include "tanul/metrics_types.h"
#include "tanul/tensor.h"

namespace tanul::metrics {

// Finite and not negative.
void check_weight(const char* who, double weight);
// 0 … classes-1. `sample` is the position in the batch.
void check_truth(const char* who, int64_t truth, int64_t classes, int64_t sample = 0);
// Finite; probabilities in [0, 1], and a row of several not all 0.
void check_scores(const char* who, const double* scores, int64_t columns, ScoreKind kind,
                  int64_t sample = 0);
void check_count(const char* who, const char* what, int64_t got, int64_t wanted);
// The constructor's argument: `least` … 2^31.
void check_size(const char* who, const char* what, int64_t size, int64_t least);
void check_same(const char* who, bool is_same);  // of merge
void check_no_samples_average(const char* who, Average how);

// Truths i32, i64 or u8 as i64; scores f32 or f64 as f64; weights [N] as f64, empty where there are
// none.
Tensor read_integers(const char* who, const char* what, const Tensor& values);
Tensor read_numbers(const char* who, const char* what, const Tensor& values);
Tensor read_weights(const char* who, const Tensor& weights, int64_t samples);

// A batch in which every sample has `columns` scores.
struct RowBatch {
  // truths: [N] classes; scores: [N, columns], or [N] where columns is 1. One score stands for
  // class 1 of the two classes 0 and 1.
  static RowBatch of_classes(const char* who, const Tensor& truths, const Tensor& scores,
                             const Tensor& weights, int64_t columns, ScoreKind kind);
  // truths and scores: [N, columns]; truths 0 or 1.
  static RowBatch of_labels(const char* who, const Tensor& truths, const Tensor& scores,
                            const Tensor& weights, int64_t columns);

  int64_t size = 0;
  int64_t columns = 1;
  Tensor truths, scores, weights;

  const int64_t* truth(int64_t i) const { return truths.data<int64_t>() + i; }
  const int64_t* labels(int64_t i) const { return truths.data<int64_t>() + i * columns; }
  const double* row(int64_t i) const { return scores.data<double>() + i * columns; }
  double weight(int64_t i) const { return weights.empty() ? 1 : weights.data<double>()[i]; }
};

// The position of the largest score, the lowest among equal ones.
int64_t argmax(const double* scores, int64_t columns);
// Probabilities of a row of logits; may be in place.
void softmax(const double* logits, int64_t columns, double* probabilities);
double sigmoid(double logit);

// Appends one sample's weight to a list that stays empty while all weights are 1. `samples`: how
// many were there before.
void append_weight(std::vector<double>& weights, int64_t samples, double weight);
// The same for the weights of another list of `count` samples.
void append_weights(std::vector<double>& weights, int64_t samples, const std::vector<double>& more,
                    int64_t count);

}  // namespace tanul::metrics
