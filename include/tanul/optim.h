// SPDX-License-Identifier: Apache-2.0
// Optimizers and learning-rate schedules, as plain descriptions.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "tanul/export.h"

namespace tanul {

// v = momentum v + (1 - dampening) g;  w -= lr (nesterov ? g + momentum v : v),  g += weight_decay w
struct Sgd {
  float lr = 0.01f;
  float momentum = 0;
  float dampening = 0;
  float weight_decay = 0;
  bool nesterov = false;
};

// D. Kingma and J. Ba, 2015; weight decay is added to the gradient.
struct Adam {
  float lr = 1e-3f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 0;
};

// I. Loshchilov and F. Hutter, 2019; weight decay shrinks the weights, apart from the gradient.
struct AdamW {
  float lr = 1e-3f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 0.01f;
};

using Optimizer = std::variant<Sgd, Adam, AdamW>;

// The base learning rate of an optimizer.
TANUL_API float learning_rate(const Optimizer& optimizer);

// A learning-rate schedule: lr(step) = base * factor(step). Times are in epochs, evaluated at every
// step. In front of any of them a linear warm-up: over the first `warmup` epochs the factor rises
// from 1/n to 1 in n steps, and the schedule proper begins behind it.
struct Schedule {
  enum class Kind { constant, step, cosine };
  Kind kind = Kind::constant;
  double warmup = 0;   // epochs
  double every = 10;   // step: epochs between drops
  double gamma = 0.1;  // step: factor of each drop
  double floor = 0;    // cosine: the factor at the end, 0 … 1

  static Schedule constant(double warmup = 0) { return {Kind::constant, warmup}; }
  static Schedule step(double every, double gamma = 0.1, double warmup = 0) {
    return {Kind::step, warmup, every, gamma};
  }
  // factor = floor + (1 - floor) (1 + cos(pi t)) / 2, t from 0 to 1 over the epochs behind the warm-up
  static Schedule cosine(double warmup = 0, double floor = 0) {
    return {Kind::cosine, warmup, 10, 0.1, floor};
  }
  // The factor of step `step` (from 0) of a run of `epochs` epochs of `steps_per_epoch` steps.
  TANUL_API double factor(int64_t step, int64_t steps_per_epoch, double epochs) const;
};

}  // namespace tanul
