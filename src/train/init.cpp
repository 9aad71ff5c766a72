// SPDX-License-Identifier: Apache-2.0
// Initial weights. Every number comes from its own counter, in double, and is rounded once.
#include "tanul/init.h"

#include <cmath>

#include "core/format.h"
#include "core/philox.h"

namespace tanul {

namespace {

struct Fans {
  double in = 1;
  double out = 1;
};

Fans fans_of(const Shape& shape) {
  Fans fans;
  if (shape.rank() == 0) return fans;
  const auto receptive = static_cast<double>(shape.rank() > 2 ? shape.elems_from(2) : 1);
  fans.in = static_cast<double>(shape.rank() > 1 ? shape[1] : shape[0]) * receptive;
  fans.out = static_cast<double>(shape[0]) * receptive;
  return fans;
}

void fill_uniform(float* w, int64_t n, const Philox& random, double low, double high) {
  for (int64_t i = 0; i < n; ++i) {
    const double u = random.uniform(static_cast<uint64_t>(i));
    // Rounding to float must not leave the interval.
    w[i] = std::fmin(std::fmax(static_cast<float>(low + (high - low) * u), static_cast<float>(low)),
                     static_cast<float>(high));
  }
}

void fill_normal(float* w, int64_t n, const Philox& random, double mean, double deviation) {
  for (int64_t i = 0; i < n; ++i) {
    w[i] = static_cast<float>(mean + deviation * random.normal(static_cast<uint64_t>(i)));
  }
}

// Numbers beyond two deviations are drawn again, each from the same index of the next step.
void fill_truncated(float* w, int64_t n, Philox random, double mean, double deviation) {
  const uint32_t first = random.step;
  for (int64_t i = 0; i < n; ++i) {
    random.step = first;
    double z = random.normal(static_cast<uint64_t>(i));
    while (std::fabs(z) > 2) {
      ++random.step;
      z = random.normal(static_cast<uint64_t>(i));
    }
    w[i] = static_cast<float>(mean + deviation * z);
  }
}

void check_deviation(const std::string& name, double deviation) {
  if (!(deviation >= 0) || !std::isfinite(deviation)) {
    fail(Code::invalid_argument,
         "init of \"{}\": the deviation must be finite and 0 or more, got {}", name, deviation);
  }
}

}  // namespace

std::string Init::str() const {
  const char* from = fan == Fan::in ? "in" : "out";
  const std::string scale = gain > 0 ? fmt::format("{:g}", gain) : "of the activation";
  switch (kind) {
    case Kind::automatic: return "automatic";
    case Kind::constant: return fmt::format("constant({:g})", a);
    case Kind::uniform: return fmt::format("uniform({:g}, {:g})", a, b);
    case Kind::normal: return fmt::format("normal(mean = {:g}, std = {:g})", a, b);
    case Kind::truncated_normal:
      return fmt::format("truncated_normal(mean = {:g}, std = {:g})", a, b);
    case Kind::glorot_uniform: return fmt::format("glorot_uniform(gain = {})", scale);
    case Kind::glorot_normal: return fmt::format("glorot_normal(gain = {})", scale);
    case Kind::he_uniform: return fmt::format("he_uniform(fan = {}, gain = {})", from, scale);
    case Kind::he_normal: return fmt::format("he_normal(fan = {}, gain = {})", from, scale);
    case Kind::lecun_normal: return "lecun_normal";
  }
  return "";
}

void initialize(Tensor& weights, const Init& init, uint64_t seed, const std::string& name,
                double following_gain) {
  if (!(init.gain >= 0) || !std::isfinite(init.gain)) {
    fail(Code::invalid_argument, "init of \"{}\": the gain must be finite and 0 or more, got {}",
         name, init.gain);
  }
  float* w = weights.data<float>();
  const int64_t n = weights.elems();
  const Philox random{seed, philox_stream(name), 0};
  const double gain = init.gain > 0 ? init.gain : following_gain;
  const Fans fans = fans_of(weights.shape());
  const double fan = init.fan == Fan::in ? fans.in : fans.out;
  switch (init.kind) {
    case Init::Kind::constant:
      for (int64_t i = 0; i < n; ++i) w[i] = static_cast<float>(init.a);
      return;
    case Init::Kind::uniform:
      if (!(init.a <= init.b) || !std::isfinite(init.b - init.a)) {
        fail(Code::invalid_argument, "init of \"{}\": uniform wants low <= high, got {} and {}",
             name, init.a, init.b);
      }
      return fill_uniform(w, n, random, init.a, init.b);
    case Init::Kind::normal:
      check_deviation(name, init.b);
      return fill_normal(w, n, random, init.a, init.b);
    case Init::Kind::truncated_normal:
      check_deviation(name, init.b);
      return fill_truncated(w, n, random, init.a, init.b);
    case Init::Kind::automatic:
    case Init::Kind::glorot_uniform: {
      const double limit = gain * std::sqrt(6 / (fans.in + fans.out));
      return fill_uniform(w, n, random, -limit, limit);
    }
    case Init::Kind::glorot_normal:
      return fill_normal(w, n, random, 0, gain * std::sqrt(2 / (fans.in + fans.out)));
    case Init::Kind::he_uniform: {
      const double limit = gain * std::sqrt(3 / fan);
      return fill_uniform(w, n, random, -limit, limit);
    }
    case Init::Kind::he_normal: return fill_normal(w, n, random, 0, gain / std::sqrt(fan));
    case Init::Kind::lecun_normal: return fill_normal(w, n, random, 0, 1 / std::sqrt(fans.in));
  }
}

}  // namespace tanul
