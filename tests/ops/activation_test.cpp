// SPDX-License-Identifier: Apache-2.0
// Every activation and its gradient over the whole range, 1e-38 to 1e4 on both sides of 0, against long
// double: at most four units in the last place off. Where the result is below the smallest normal
// number, that number is what may be lost; a gradient that passes 0 is right to 2^-50 of dy there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/format.h"
#include "kernels/op.h"
#include "ops/activation_reference.h"
#include "support/rule.h"
#include "support/step_runner.h"

namespace tanul::test {
namespace {

constexpr Real kMostUlps = 4;
constexpr float kDy = 1.7f;

// A logarithmic grid, whole and half numbers (kinks), and every float around some places of interest.
std::vector<float> grid() {
  std::vector<float> x{0.0f, -0.0f};
  for (int i = 0; i <= 20000; ++i) {
    const double magnitude = 1e-38 * std::pow(10, 42.0 * i / 20000);
    for (double sign : {1.0, -1.0}) x.push_back(static_cast<float>(sign * magnitude));
  }
  for (int i = 1; i <= 200; ++i) {
    for (double sign : {1.0, -1.0}) x.push_back(static_cast<float>(sign * i / 2));
  }
  // Roots of the gradients of gelu, silu and mish, ends of slopes, changes of formulas.
  for (float place : {-0.7517916f, -1.2784645f, -1.1924299f, 3.0f, -3.0f, 6.0f, 1.0f, -1.0f, 0.625f,
                      -0.625f, -1.5f}) {
    float up = place, down = place;
    for (int i = 0; i < 200; ++i) {
      x.push_back(up = std::nextafter(up, 1e4f));
      x.push_back(down = std::nextafter(down, -1e4f));
    }
  }
  return x;
}

// The distance of the floats at `value`.
Real ulp(Real value) {
  const Real magnitude = std::max<Real>(std::abs(value), 0x1p-126L);
  return std::ldexp(Real{1}, std::ilogb(magnitude) - 23);
}

struct Worst {
  Real ulps = 0;
  float x = 0;

  void see(float at, double got, Real want, Real allowed) {
    ASSERT_TRUE(std::isfinite(got)) << "x " << at;
    const Real error = std::abs(static_cast<Real>(got) - want);
    if (error <= allowed || error / ulp(want) <= ulps) return;
    ulps = error / ulp(want);
    x = at;
  }
};

RefTensor run(TestDevice* device, OpKind kind, const Params& params, const Tensors& in) {
  const Step step{kind, params, in, {in[0]}, {}};
  RunOptions options;
  options.device = device;
  const RunResult result = run_step(device->implementations(kind).items[0], step, options);
  EXPECT_EQ(result.failure, "") << op_name(kind);
  return to_ref(in[0], result.out.at(0));
}

class ActivationsOfDevice : public testing::TestWithParam<TestDevice*> {};

TEST_P(ActivationsOfDevice, AreWithinFourUnitsInTheLastPlaceEverywhere) {
  const std::vector<float> points = grid();
  const Shape shape{static_cast<int64_t>(points.size())};
  RefTensor x(shape), dy(shape, DType::f32, static_cast<double>(kDy));
  for (size_t i = 0; i < points.size(); ++i) x.v[i] = static_cast<double>(points[i]);

  for (const ActivationReference& reference : activation_references()) {
    const ActivationInfo* info = find_activation(reference.kind);
    for (const ActivationParams& params : parameter_sets(reference)) {
      SCOPED_TRACE(activation_text(reference, params));
      const double* p = params.values;
      const RefTensor y = run(GetParam(), info->forward, Params::of(params), {x});
      const bool reads_output = info->def->reads_output != nullptr && info->def->reads_output(p);
      const RefTensor dx =
          run(GetParam(), info->backward, Params::of(params), {dy, reads_output ? y : x});
      Worst forward, backward;
      for (size_t i = 0; i < points.size(); ++i) {
        const Real at = points[i];
        forward.see(points[i], y.v[i], value_at(reference, at, p), 0x1p-126L);
        backward.see(points[i], dx.v[i], kDy * slope_at(reference, at, p),
                     std::max<Real>(0x1p-126L, reference.is_exact ? 0 : 0x1p-50L * kDy));
        if (HasFatalFailure()) return;
      }
      fmt::print("{:24} y {:4.2f} ulp at {:<13.7g} dx {:4.2f} ulp at {:.7g}\n",
                 activation_text(reference, params), static_cast<double>(forward.ulps), forward.x,
                 static_cast<double>(backward.ulps), backward.x);
      EXPECT_LE(forward.ulps, kMostUlps) << "y at " << forward.x;
      EXPECT_LE(backward.ulps, kMostUlps) << "dx at " << backward.x;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Activations, ActivationsOfDevice, testing::ValuesIn(test_devices()),
                         [](const auto& device) { return std::string(device.param->name()); });

TEST(Activations, AreFoundByNameAndByStep) {
  ASSERT_EQ(activation_references().size(), static_cast<size_t>(kActivations));
  for (int i = 0; i < kActivations; ++i) {
    const ActivationInfo& info = activations()[i];
    EXPECT_EQ(find_activation(info.name), &info);
    EXPECT_EQ(find_activation(info.forward), &info);
    EXPECT_EQ(find_activation(info.backward), nullptr);
    EXPECT_EQ(op_name(info.forward), std::string(info.name) + "_fwd");
    EXPECT_EQ(op_name(info.backward), std::string(info.name) + "_bwd");
    ASSERT_NE(info.def->onnx, nullptr);
  }
  EXPECT_EQ(find_activation("conv2d"), nullptr);
  EXPECT_EQ(find_activation(OpKind::add_fwd), nullptr);
}

// A gradient that is made of y lets the forward step write over x; the planner sees it by the operands.
TEST(Activations, OnlySomeKeepTheirInput) {
  const auto reads_output = [](const char* name, double alpha) {
    const auto f = find_activation(name)->def->reads_output;
    return f != nullptr && f(ActivationParams{{alpha, 1}}.values);
  };
  EXPECT_TRUE(reads_output("relu", 0));
  EXPECT_TRUE(reads_output("leaky_relu", 0.01));
  EXPECT_FALSE(reads_output("leaky_relu", -0.5));
  EXPECT_FALSE(reads_output("gelu", 0));
  EXPECT_FALSE(reads_output("sigmoid", 0));
}

// Gains that initialisers take: PyTorch's calculate_gain has the same numbers.
TEST(Activations, GainsAreThoseOfTheLiterature) {
  const auto gain = [](const char* name, double alpha = 0) {
    const auto f = find_activation(name)->def->gain;
    return f == nullptr ? 1.0 : f(ActivationParams{{alpha, 0}}.values);
  };
  EXPECT_DOUBLE_EQ(gain("relu"), std::sqrt(2.0));
  EXPECT_DOUBLE_EQ(gain("leaky_relu", 0.01), std::sqrt(2 / 1.0001));
  EXPECT_DOUBLE_EQ(gain("leaky_relu", 0.2), std::sqrt(2 / 1.04));
  EXPECT_DOUBLE_EQ(gain("tanh"), 5.0 / 3);
  EXPECT_DOUBLE_EQ(gain("selu"), 0.75);
  EXPECT_DOUBLE_EQ(gain("sigmoid"), 1);
}

}  // namespace
}  // namespace tanul::test
