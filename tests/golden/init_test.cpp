// SPDX-License-Identifier: Apache-2.0
// Gains, fans, bounds and deviations; the Dirac tensors; what orthogonal means.
#include "tanul/init.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/philox.h"
#include "support/golden.h"
#include "tanul/error.h"

namespace tanul::test::init_golden {
namespace {

// "leaky_relu_0.2" is leaky_relu of slope 0.2.
double gain_named(const std::string& name) {
  const std::string leaky = "leaky_relu_";
  if (name.rfind(leaky, 0) == 0) return gain_of("leaky_relu", std::stod(name.substr(leaky.size())));
  return gain_of(name);
}

std::vector<std::string> parts_of(const std::string& key) {
  // at dots, but not those of "0.01"
  std::vector<std::string> parts{""};
  for (size_t i = 0; i < key.size(); ++i) {
    const bool is_number = i > 0 && std::isdigit(static_cast<unsigned char>(key[i - 1])) != 0;
    if (key[i] == '.' && !is_number) {
      parts.emplace_back();
    } else {
      parts.back() += key[i];
    }
  }
  return parts;
}

// "he_normal.std.fan_in.relu", "glorot_uniform.bound.tanh", "lecun_normal.std", "fan_in".
double value_of(const std::string& key, const Shape& shape) {
  if (key == "fan_in") return fans_of(shape).in;
  if (key == "fan_out") return fans_of(shape).out;
  const std::vector<std::string> parts = parts_of(key);
  const std::string& kind = parts.at(0);
  if (parts.at(1) != "std" && parts.at(1) != "bound") throw std::runtime_error("unknown " + key);
  EXPECT_EQ(parts.at(1) == "bound",
            kind.find("uniform") != std::string::npos || kind == "torch_default")
      << key;
  Init init;
  if (kind == "lecun_normal") {
    init = Init::lecun_normal();
  } else if (kind == "lecun_uniform") {
    init = Init::lecun_uniform();
  } else if (kind == "torch_default") {
    init = Init::torch_default();
  } else if (kind == "glorot_normal") {
    init = Init::glorot_normal(gain_named(parts.at(2)));
  } else if (kind == "glorot_uniform") {
    init = Init::glorot_uniform(gain_named(parts.at(2)));
  } else if (kind == "he_normal" || kind == "he_uniform") {
    const Fan fan = parts.at(2) == "fan_in" ? Fan::in : Fan::out;
    EXPECT_TRUE(fan == Fan::in || parts.at(2) == "fan_out");
    const double gain = gain_named(parts.at(3));
    init = kind == "he_normal" ? Init::he_normal(fan, gain) : Init::he_uniform(fan, gain);
  } else {
    throw std::runtime_error("unknown initialiser " + kind);
  }
  return spread_of(init, shape);
}

Shape shape_of(const GoldenCase& c) { return Shape(c.list("shape")); }

// Numbers are drawn with the spread that is said: a uniform fills its bounds, a normal has its deviation.
void check_draws(const Shape& shape) {
  for (const Init& init : {Init::he_uniform(), Init::lecun_uniform(), Init::torch_default(),
                           Init::he_normal(), Init::lecun_normal(), Init::glorot_normal()}) {
    Tensor w(shape);
    initialize(w, init, 7, "golden");
    const double spread = spread_of(init, shape);
    const bool is_uniform = init.kind == Init::Kind::he_uniform ||
                            init.kind == Init::Kind::lecun_uniform ||
                            init.kind == Init::Kind::torch_default;
    double square = 0, largest = 0;
    for (int64_t i = 0; i < w.elems(); ++i) {
      const auto value = static_cast<double>(w.data<float>()[i]);
      square += value * value;
      largest = std::max(largest, std::abs(value));
    }
    const auto n = static_cast<double>(w.elems());
    const double variance = is_uniform ? spread * spread / 3 : spread * spread;
    const double kurtosis = is_uniform ? 1.8 : 3;
    EXPECT_NEAR(square / n, variance, 6 * variance * std::sqrt((kurtosis - 1) / n)) << init.str();
    if (is_uniform) {
      EXPECT_LE(largest, spread * (1 + 1e-6)) << init.str();
    }
  }
}

// W W^T = gain^2 I over the rows of [K, C R S], or W^T W where it is taller than wide.
void check_orthogonal(const float* w, int64_t rows, int64_t columns, double gain) {
  const bool is_tall = rows > columns;
  const int64_t count = std::min(rows, columns), length = std::max(rows, columns);
  const auto at = [&](int64_t i, int64_t j) {
    return static_cast<double>(is_tall ? w[j * columns + i] : w[i * columns + j]);
  };
  for (int64_t a = 0; a < count; ++a) {
    for (int64_t b = 0; b < count; ++b) {
      double dot = 0;
      for (int64_t j = 0; j < length; ++j) dot += at(a, j) * at(b, j);
      // each element rounds once: at most u |a| |b| twice
      EXPECT_NEAR(dot, a == b ? gain * gain : 0, 4 * 0x1p-24 * gain * gain);
    }
  }
}

void check_case(const GoldenCase& c) {
  if (c.op == "gain") {
    for (const auto& [name, value] : c.values.items()) {
      EXPECT_NEAR(gain_named(name), golden_number(value), 1e-12) << name;
    }
  } else if (c.op == "init_scale") {
    for (const auto& [key, value] : c.values.items()) {
      const double want = golden_number(value);
      EXPECT_NEAR(value_of(key, shape_of(c)), want, 1e-12 * want) << key;
    }
    check_draws(shape_of(c));
  } else if (c.op == "truncated_normal") {
    // What is drawn beyond two deviations is drawn again: the deviation that is left.
    const double left = golden_number(c.values.at("std_for_bounds_2_sd"));
    EXPECT_EQ(c.values.size(), 3u);
    Tensor w({1000, 1000});
    initialize(w, Init::truncated_normal(0, 1 / left), 3, "golden");
    double square = 0;
    for (int64_t i = 0; i < w.elems(); ++i) {
      const auto value = static_cast<double>(w.data<float>()[i]);
      EXPECT_LE(std::abs(value), 2 / left * (1 + 1e-6));
      square += value * value;
    }
    // kurtosis 2.3654 of the cut normal, five standard errors
    EXPECT_NEAR(square / 1e6, 1, 5 * std::sqrt(1.3654 / 1e6));
  } else if (c.op == "dirac") {
    const RefTensor& want = c.outputs.at("w");
    Tensor w(want.shape);
    initialize(w, Init::dirac(c.attrs.at("groups").get<int64_t>()), 1, "golden");
    for (int64_t i = 0; i < w.elems(); ++i) {
      ASSERT_EQ(static_cast<double>(w.data<float>()[i]), want[i]) << i;
    }
  } else if (c.op == "orthogonal") {
    const double gain = golden_number(c.attrs.at("gain"));
    Tensor w(shape_of(c));
    initialize(w, Init::orthogonal(gain), 1, "golden");
    const int64_t rows = w.shape()[0];
    check_orthogonal(w.data<float>(), rows, w.elems() / rows, gain);
    // and the recorded example passes the same check
    std::vector<float> example;
    for (double value : c.outputs.at("w").v) example.push_back(static_cast<float>(value));
    check_orthogonal(example.data(), rows, w.elems() / rows, gain);
  } else {
    throw std::runtime_error("unknown op " + c.op);
  }
}

TEST(Golden, Init) {
  int ran = 0;
  for (const GoldenCase& c : load_golden("init")) {
    SCOPED_TRACE(c.name);
    check_case(c);
    ++ran;
  }
  EXPECT_GT(ran, 0);
}

}  // namespace
}  // namespace tanul::test::init_golden
