// SPDX-License-Identifier: Apache-2.0
#include "tanul/metrics.h"

#include <algorithm>

#include "core/format.h"

namespace tanul {

ConfusionMatrix::ConfusionMatrix(int64_t classes) : classes_(classes) {
  if (classes < 0 || classes > 100000) {
    fail(Code::invalid_argument, "a confusion matrix has 0 to 100000 classes, got {}", classes);
  }
  counts_.assign(static_cast<size_t>(classes * classes), 0);
}

void ConfusionMatrix::add(int64_t truth, int64_t prediction) {
  if (truth < 0 || truth >= classes_ || prediction < 0 || prediction >= classes_) {
    fail(Code::invalid_argument, "confusion matrix of {} classes: there is no cell ({}, {})",
         classes_, truth, prediction);
  }
  ++counts_[static_cast<size_t>(truth * classes_ + prediction)];
  ++total_;
}

int64_t ConfusionMatrix::count(int64_t truth, int64_t prediction) const {
  return counts_[static_cast<size_t>(truth * classes_ + prediction)];
}

int64_t ConfusionMatrix::correct() const {
  int64_t sum = 0;
  for (int64_t c = 0; c < classes_; ++c) sum += count(c, c);
  return sum;
}

namespace {

double ratio(int64_t a, int64_t b) {
  return b == 0 ? 0.0 : static_cast<double>(a) / static_cast<double>(b);
}

}  // namespace

double ConfusionMatrix::accuracy() const { return ratio(correct(), total_); }

double ConfusionMatrix::precision(int64_t c) const {
  int64_t predicted = 0;
  for (int64_t truth = 0; truth < classes_; ++truth) predicted += count(truth, c);
  return ratio(count(c, c), predicted);
}

double ConfusionMatrix::recall(int64_t c) const {
  int64_t actual = 0;
  for (int64_t prediction = 0; prediction < classes_; ++prediction) actual += count(c, prediction);
  return ratio(count(c, c), actual);
}

double ConfusionMatrix::f1(int64_t c) const {
  int64_t both = 0;  // TP + FP + TP + FN
  for (int64_t other = 0; other < classes_; ++other) both += count(other, c) + count(c, other);
  return ratio(2 * count(c, c), both);
}

std::vector<ConfusionMatrix::Confusion> ConfusionMatrix::worst(int64_t most) const {
  std::vector<Confusion> confusions;
  for (int64_t truth = 0; truth < classes_; ++truth) {
    for (int64_t prediction = 0; prediction < classes_; ++prediction) {
      const int64_t n = count(truth, prediction);
      if (truth != prediction && n > 0) confusions.push_back({truth, prediction, n});
    }
  }
  std::stable_sort(confusions.begin(), confusions.end(),
                   [](const Confusion& a, const Confusion& b) { return a.count > b.count; });
  if (static_cast<int64_t>(confusions.size()) > most) confusions.resize(static_cast<size_t>(most));
  return confusions;
}

std::string ConfusionMatrix::table(const std::vector<std::string>& class_names) const {
  const auto name = [&](int64_t c) {
    return c < static_cast<int64_t>(class_names.size()) ? class_names[static_cast<size_t>(c)]
                                                        : std::to_string(c);
  };
  size_t label = 5;
  size_t cell = 3;
  for (int64_t c = 0; c < classes_; ++c) {
    label = std::max(label, std::min<size_t>(name(c).size(), 16));
    for (int64_t p = 0; p < classes_; ++p) {
      cell = std::max(cell, std::to_string(count(c, p)).size());
    }
  }
  for (int64_t c = 0; c < classes_; ++c) cell = std::max(cell, std::min<size_t>(name(c).size(), 6));
  std::string text = fmt::format("{:<{}.{}}", "truth", label, label);
  for (int64_t p = 0; p < classes_; ++p) text += fmt::format("  {:>{}.{}}", name(p), cell, cell);
  text += "  recall\n";
  for (int64_t c = 0; c < classes_; ++c) {
    text += fmt::format("{:<{}.{}}", name(c), label, label);
    for (int64_t p = 0; p < classes_; ++p) text += fmt::format("  {:>{}}", count(c, p), cell);
    text += fmt::format("  {:5.1f} %\n", 100 * recall(c));
  }
  return text;
}

}  // namespace tanul
