// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "tanul/optim.h"

namespace tanul {

float learning_rate(const Optimizer& optimizer) {
  return std::visit([](const auto& o) { return o.lr; }, optimizer);
}

double Schedule::factor(int64_t step, int64_t steps_per_epoch, double epochs) const {
  const auto per_epoch = static_cast<double>(std::max<int64_t>(steps_per_epoch, 1));
  const auto warmup_steps = static_cast<int64_t>(std::llround(warmup * per_epoch));
  if (step < warmup_steps) {
    return static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  }
  const auto behind = static_cast<double>(step - warmup_steps);
  switch (kind) {
    case Kind::constant: return 1;
    case Kind::step: return std::pow(gamma, std::floor(behind / (every * per_epoch)));
    case Kind::cosine: {
      const double length = epochs * per_epoch - static_cast<double>(warmup_steps);
      const double t = length > 0 ? std::min(1.0, behind / length) : 1.0;
      return floor + (1 - floor) * (1 + std::cos(3.14159265358979323846 * t)) / 2;
    }
  }
  return 1;
}

}  // namespace tanul
