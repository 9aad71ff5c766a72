// SPDX-License-Identifier: Apache-2.0
#include "tanul/init.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tanul/trainer.h"

namespace tanul {
namespace {

struct Moments {
  double mean, variance, low, high;
};

Moments moments_of(const Tensor& t) {
  const float* w = t.data<float>();
  const int64_t n = t.elems();
  Moments m{0, 0, 1e30, -1e30};
  for (int64_t i = 0; i < n; ++i) {
    const auto v = static_cast<double>(w[i]);
    m.mean += v / static_cast<double>(n);
    m.low = std::min(m.low, v);
    m.high = std::max(m.high, v);
  }
  for (int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(w[i]) - m.mean;
    m.variance += d * d / static_cast<double>(n);
  }
  return m;
}

// w [K, C, R, S] = [250, 160, 5, 5]: 1e6 numbers, fan_in 4000, fan_out 6250.
constexpr double kFanIn = 4000;
constexpr double kFanOut = 6250;

struct Case {
  const char* name;
  Init init;
  double mean;
  double variance;
  double bound;     // |w - mean| at most this; 0: unbounded
  double kurtosis;  // E[(w - mean)^4] / variance^2: sets how near the sample variance comes
};

// Variances from the formulas of the papers that init.h names.
const Case kCases[] = {
    {"uniform", Init::uniform(-0.3, 0.5), 0.1, 0.8 * 0.8 / 12, 0.4, 1.8},
    {"normal", Init::normal(0.25, 0.02), 0.25, 0.0004, 0, 3},
    // Cut at two deviations a normal keeps 0.773741 of its variance:
    // 1 - 4 phi(2) / (2 Phi(2) - 1), and its kurtosis is 2.3654.
    {"truncated_normal", Init::truncated_normal(-1, 0.5), -1, 0.25 * 0.7737413, 1.0, 2.37},
    {"glorot_uniform", Init::glorot_uniform(), 0, 2 / (kFanIn + kFanOut),
     std::sqrt(6 / (kFanIn + kFanOut)), 1.8},
    {"glorot_normal", Init::glorot_normal(5.0 / 3.0), 0, 25.0 / 9.0 * 2 / (kFanIn + kFanOut), 0, 3},
    {"he_uniform", Init::he_uniform(Fan::in, std::sqrt(2.0)), 0, 2 / kFanIn, std::sqrt(6 / kFanIn),
     1.8},
    {"he_uniform of fan_out", Init::he_uniform(Fan::out, 1), 0, 1 / kFanOut, std::sqrt(3 / kFanOut),
     1.8},
    {"he_normal", Init::he_normal(Fan::in, std::sqrt(2.0)), 0, 2 / kFanIn, 0, 3},
    {"he_normal of fan_out", Init::he_normal(Fan::out, std::sqrt(2.0)), 0, 2 / kFanOut, 0, 3},
    {"lecun_normal", Init::lecun_normal(), 0, 1 / kFanIn, 0, 3},
};

TEST(Init, MeanVarianceAndBoundsOfAMillionSamples) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    Tensor w({250, 160, 5, 5});
    initialize(w, c.init, 5, "w");
    const Moments m = moments_of(w);
    // Five standard errors of the sample mean and of the sample variance.
    const double n = 1e6;
    EXPECT_NEAR(m.mean, c.mean, 5 * std::sqrt(c.variance / n));
    EXPECT_NEAR(m.variance, c.variance, 5 * c.variance * std::sqrt((c.kurtosis - 1) / n));
    if (c.bound > 0) {
      EXPECT_GE(m.low, c.mean - c.bound * (1 + 1e-6));
      EXPECT_LE(m.high, c.mean + c.bound * (1 + 1e-6));
      // A million samples reach almost to the bounds.
      EXPECT_LT(m.low, c.mean - 0.99 * c.bound);
      EXPECT_GT(m.high, c.mean + 0.99 * c.bound);
    }
  }
}

TEST(Init, ConstantIsConstant) {
  Tensor w({3, 4});
  initialize(w, Init::constant(0.5), 1, "w");
  for (int i = 0; i < 12; ++i) EXPECT_EQ(w.data<float>()[i], 0.5f);
}

TEST(Init, GainOfTheFollowingActivationIsTaken) {
  Tensor relu({400, 500});
  Tensor none({400, 500});
  initialize(relu, Init::he_normal(), 1, "w", std::sqrt(2.0));
  initialize(none, Init::he_normal(), 1, "w", 1.0);
  EXPECT_NEAR(moments_of(relu).variance / moments_of(none).variance, 2, 1e-6);
}

TEST(Init, DependsOnSeedAndNameOnly) {
  Tensor a({1000}), b({1000}), other_seed({1000}), other_name({1000});
  initialize(a, Init::normal(0, 1), 1, "conv1.weight");
  initialize(b, Init::normal(0, 1), 1, "conv1.weight");
  initialize(other_seed, Init::normal(0, 1), 2, "conv1.weight");
  initialize(other_name, Init::normal(0, 1), 1, "conv2.weight");
  EXPECT_EQ(std::memcmp(a.raw(), b.raw(), 4000), 0);
  EXPECT_NE(std::memcmp(a.raw(), other_seed.raw(), 4000), 0);
  EXPECT_NE(std::memcmp(a.raw(), other_name.raw(), 4000), 0);
}

TEST(Init, RefusesBadNumbers) {
  Tensor w({4});
  EXPECT_THROW(initialize(w, Init::normal(0, -1), 1, "w"), Error);
  EXPECT_THROW(initialize(w, Init::uniform(1, 0), 1, "w"), Error);
  EXPECT_THROW(initialize(w, Init::he_normal(Fan::in, NAN), 1, "w"), Error);
}

TEST(Init, DefaultsSuitTheActivation) {
  ModelBuilder m;
  Var x = m.input({1, 8, 8});
  x = m.relu(m.max_pool2d(m.conv2d(x, {.out = 2, .kernel = 3}), {.kernel = 2}));
  x = m.tanh(m.linear(m.flatten(x), {.out = 5}));
  m.softmax_cross_entropy(m.linear(x, {.out = 3}));
  const Model model = m.build();
  const auto& p = model.parameters();
  ASSERT_EQ(p.size(), 6u);
  EXPECT_EQ(p[0].init.str(), "he_normal(fan = in, gain = of the activation)");
  EXPECT_NEAR(p[0].following_gain, std::sqrt(2.0), 1e-12);
  EXPECT_EQ(p[1].init.str(), "constant(0)");
  EXPECT_EQ(p[2].init.str(), "glorot_uniform(gain = 1)");
  EXPECT_NEAR(p[2].following_gain, 5.0 / 3.0, 1e-12);
  EXPECT_EQ(p[4].following_gain, 1.0);
}

// K. He et al., 2015: through ReLU layers the variance stays with He's weights and halves, layer by
// layer, with Glorot's.
TEST(Init, TwentyReluLayersKeepTheirVarianceWithHeAndLoseItWithGlorot) {
  const auto variance_at_the_end = [](const Init& init) {
    constexpr int64_t kWidth = 256;
    ModelBuilder m;
    Var x = m.input({kWidth});
    for (int i = 0; i < 19; ++i) x = m.relu(m.linear(x, {.out = kWidth, .weight_init = init}));
    m.linear(x, {.out = kWidth, .weight_init = init});
    Trainer trainer(m.build(), {.device = "cpu", .batch = 64, .seed = 3});
    Tensor samples({64, kWidth});
    initialize(samples, Init::normal(0, 1), 9, "samples");
    return moments_of(trainer.predict(samples)).variance;
  };
  const double he = variance_at_the_end(Init::he_normal(Fan::in, std::sqrt(2.0)));
  const double glorot = variance_at_the_end(Init::glorot_normal());
  // He: 2 at the end (each layer's pre-activation has twice the mean square of its input's half),
  // within the spread of a width of 256. Glorot: 2^-19 of the input's.
  EXPECT_GT(he, 0.5);
  EXPECT_LT(he, 8);
  EXPECT_LT(glorot, 1e-4);
  EXPECT_NEAR(std::log2(he / glorot), 20, 0.01);
}

}  // namespace
}  // namespace tanul
