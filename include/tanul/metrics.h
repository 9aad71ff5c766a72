// SPDX-License-Identifier: Apache-2.0
// Counting what a classifier gets right and wrong.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tanul/export.h"

namespace tanul {

// Counts of (true class, predicted class); rows are truth, columns predictions.
class TANUL_API ConfusionMatrix {
 public:
  explicit ConfusionMatrix(int64_t classes = 0);
  void add(int64_t truth, int64_t prediction);  // throws Error{invalid_argument} outside 0 … C-1

  int64_t classes() const { return classes_; }
  int64_t count(int64_t truth, int64_t prediction) const;
  int64_t total() const { return total_; }
  int64_t correct() const;
  double accuracy() const;  // correct / total; 0 where total is 0
  // Where nothing was predicted as, or nothing is, a class, the ratio 0/0 is 0 (as scikit-learn has it).
  double precision(int64_t of_class) const;  // TP / (TP + FP)
  double recall(int64_t of_class) const;     // TP / (TP + FN)
  double f1(int64_t of_class) const;         // 2 TP / (2 TP + FP + FN)

  // The most frequent mistakes, largest first; ties by truth, then prediction.
  struct Confusion {
    int64_t truth, prediction, count;
  };
  std::vector<Confusion> worst(int64_t most) const;

  // A table for people, with the class names cut to fit.
  std::string table(const std::vector<std::string>& class_names) const;

 private:
  int64_t classes_ = 0;
  int64_t total_ = 0;
  std::vector<int64_t> counts_;
};

}  // namespace tanul
