// SPDX-License-Identifier: Apache-2.0
// Results of a classifier in words and as a table, for `train` and `eval`.
#pragma once

#include <string>
#include <vector>

#include "cli/class_scores.h"
#include "tanul/trainer.h"

namespace tanul::cli {

// "test loss 0.3514 · accuracy 87.6 % (8,760 of 10,000)"
std::string result_line(const std::string& part, const Evaluation& evaluation);

// The three most frequent confusions in words, and the confusion matrix where it fits the output,
// with a blank line behind it. False where the matrix does not fit.
bool say_confusions(const Evaluation& evaluation, const std::vector<std::string>& class_names);

// Precision, recall, F1 and support of each class (of up to 30) and their averages, then one line
// or two of values for all classes together; `scores` may be null. What is not defined is left out.
void say_class_metrics(const ConfusionMatrix& confusion, const ScoreMetrics* scores,
                       const std::vector<std::string>& class_names);

}  // namespace tanul::cli
