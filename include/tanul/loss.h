// SPDX-License-Identifier: Apache-2.0
// What losses have in common, and the options of those that ModelBuilder knows (model.h): formulas
// and targets stand there and in docs/MODEL.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tanul {

// What becomes of the losses of the elements, samples or positions. Training follows the gradient of
// what is named here; epochs and evaluations always report the mean (of batch_mean: the sum over the
// batch size), so that runs can be compared.
enum class Reduction : int32_t {
  mean,        // their sum over what each loss divides by: the count, or a sum of weights
  sum,         // their sum
  none,        // each by itself, see Evaluation::sample_losses; training follows their sum
  batch_mean,  // their sum over the number of samples N
};

// Mean absolute error, mean squared error.
struct LossOptions {
  Reduction reduction = Reduction::mean;
  double weight = 1;  // of this loss, where a network has several
  std::string name = {};
};

struct BinaryCrossEntropyOptions {
  bool from_probabilities = false;           // x is p in 0 … 1; false: x is the logit of p
  std::vector<float> class_weights = {};     // one per class, >= 0; empty: all 1
  std::vector<float> positive_weights = {};  // of the positive term, one per class; logits only
  Reduction reduction = Reduction::mean;
  double weight = 1;
  std::string name = {};
};

struct SmoothL1Options {
  double beta = 1;  // >= 0: quadratic below it; 0 is the mean absolute error
  Reduction reduction = Reduction::mean;
  double weight = 1;
  std::string name = {};
};

struct HuberOptions {
  double delta = 1;  // > 0: quadratic up to it
  Reduction reduction = Reduction::mean;
  double weight = 1;
  std::string name = {};
};

struct KlDivergenceOptions {
  bool log_target = false;  // targets are logarithms of probabilities
  Reduction reduction = Reduction::batch_mean;
  double weight = 1;
  std::string name = {};
};

struct NegativeLogLikelihoodOptions {
  std::vector<float> class_weights = {};     // one per class, >= 0; empty: all 1
  std::optional<int32_t> ignore_index = {};  // samples with this label count for nothing
  Reduction reduction = Reduction::mean;
  double weight = 1;
  std::string name = {};
};

struct HingeOptions {
  bool squared = false;
  Reduction reduction = Reduction::mean;
  double weight = 1;
  std::string name = {};
};

struct MultiMarginOptions {
  int p = 1;  // the power of each margin: 1 or 2
  double margin = 1;
  std::vector<float> class_weights = {};  // one per class, >= 0; empty: all 1
  Reduction reduction = Reduction::mean;
  double weight = 1;
  std::string name = {};
};

struct FocalOptions {
  std::optional<double> alpha = 0.25;  // share of the positive term, 0 … 1; empty: both count 1
  double gamma = 2;                    // >= 0; 0 is binary cross-entropy
  Reduction reduction = Reduction::mean;
  double weight = 1;
  std::string name = {};
};

struct PoissonNllOptions {
  bool log_input = true;  // x is the logarithm of the rate; false: the rate
  bool full = false;      // adds Stirling's approximation of log t! for targets above 1
  double eps = 1e-8;      // >= 0, inside the logarithm of a rate
  Reduction reduction = Reduction::mean;
  double weight = 1;
  std::string name = {};
};

struct CosineEmbeddingOptions {
  double margin = 0;  // -1 … 1: of pairs that differ
  Reduction reduction = Reduction::mean;
  double weight = 1;
  std::string name = {};
};

}  // namespace tanul
