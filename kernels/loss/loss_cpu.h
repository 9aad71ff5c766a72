// SPDX-License-Identifier: Apache-2.0
// What the CPU implementations of losses share: where class indices point, what tiles add up, and how
// a gradient is scaled.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/backend_abi.h"
#include "kernels/loss/loss.h"

namespace tanul::cpu {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// x as [N, C, S]: S positions behind the classes. Position p = n S + s; its scores lie S apart.
struct Scores {
  int64_t N, C, S;
  explicit Scores(const Operand& x)
      : N(x.dims[0]), C(x.rank > 1 ? x.dims[1] : 1), S(x.elems() / (N * C)) {}
  int64_t positions() const { return N * S; }
  int64_t first(int64_t p) const { return p / S * C * S + p % S; }  // of the scores of p
};

// The lowest of the classes with the highest score.
inline int64_t arg_max(const float* x, int64_t classes, int64_t stride) {
  int64_t best = 0;
  for (int64_t c = 1; c < classes; ++c) {
    if (x[c * stride] > x[best * stride]) best = c;
  }
  return best;
}

// What a tile adds up; tiles are then added in order.
struct LossSums {
  double sum = 0;
  double divisor = 0;
  int64_t correct = 0;
  int64_t counted = 0;

  void add(const LossSums& other) {
    sum += other.sum;
    divisor += other.divisor;
    correct += other.correct;
    counted += other.counted;
  }
};

inline LossSums add_in_order(const LossSums* tiles, int64_t count) {
  LossSums all;
  for (int64_t i = 0; i < count; ++i) all.add(tiles[i]);
  return all;
}

// Where single losses go; null where they are only added up.
inline float* single_losses(const StepArgs& args) {
  const bool is_wanted = args.params_as<LossParams>().reduction == Reduction::none;
  return is_wanted ? args.out[0].as<float>() : nullptr;
}

// Writes the loss and its statistics. `sums.divisor` is that of the mean.
inline void write_loss(const StepArgs& args, LossSums sums) {
  const Reduction reduction = args.params_as<LossParams>().reduction;
  if (reduction == Reduction::batch_mean) sums.divisor = static_cast<double>(args.in[0].dims[0]);
  if (reduction != Reduction::none) {
    const double divisor = reduction == Reduction::sum ? 1.0 : sums.divisor;
    args.out[0].as<float>()[0] = static_cast<float>(sums.sum / divisor);
  }
  float* stats = args.out[1].as<float>();
  stats[0] = static_cast<float>(sums.sum);
  stats[1] = static_cast<float>(sums.divisor);
  stats[2] = static_cast<float>(sums.correct);
  stats[3] = static_cast<float>(sums.counted);
}

// d(what is trained) / d(loss i).
struct LossScale {
  const float* dloss;  // [1], or one for each loss
  double divisor;
  bool is_single;

  // `divisor`: what mean or batch_mean divide by.
  LossScale(const StepArgs& args, int dloss_operand, double mean_divisor)
      : dloss(args.in[dloss_operand].as<float>()), divisor(1), is_single(false) {
    const Reduction reduction = args.params_as<LossParams>().reduction;
    is_single = reduction == Reduction::none;
    if (reduction == Reduction::mean) divisor = mean_divisor;
    if (reduction == Reduction::batch_mean) divisor = static_cast<double>(args.in[0].dims[0]);
  }
  double at(int64_t i) const { return static_cast<double>(dloss[is_single ? i : 0]) / divisor; }
};

}  // namespace tanul::cpu
