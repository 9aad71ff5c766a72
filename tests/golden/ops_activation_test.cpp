// SPDX-License-Identifier: Apache-2.0
// The family ops_activation: every activation, PReLU, softmax and log-softmax against recorded numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/format.h"
#include "kernels/activation/definition.h"
#include "kernels/op.h"
#include "kernels/softmax/softmax.h"
#include "support/golden.h"
#include "support/op_program.h"
#include "support/rule.h"

namespace tanul::test::ops_activation_golden {
namespace {

// The activation of a case: parameters have the names of the attributes. Fails where a name is unknown.
struct Known {
  const ActivationInfo* info = nullptr;
  ActivationParams params{};
};

Known find_known(const GoldenCase& c) {
  std::string name = c.op;
  nlohmann::json attrs = c.attrs;
  if (name == "gelu" && attrs.value("approximate", "none") == "tanh") name = "gelu_tanh";
  attrs.erase("approximate");
  Known known;
  known.info = find_activation(name.c_str());
  if (known.info == nullptr) return known;
  for (int i = 0; i < known.info->param_count(); ++i) {
    const ActivationParam& param = known.info->def->params[i];
    known.params.values[i] = param.otherwise;
    if (!attrs.contains(param.name)) continue;
    const nlohmann::json& value = attrs[param.name];
    // "no threshold" is an infinite one
    known.params.values[i] =
        value.is_null() ? std::numeric_limits<double>::infinity() : value.get<double>();
    attrs.erase(param.name);
  }
  EXPECT_TRUE(attrs.empty()) << "attributes that this test does not know: " << attrs.dump();
  return known;
}

std::string compare(const RefTensor& got, const RefTensor& want, const std::vector<double>& bound) {
  if (got.shape != want.shape) return "shape " + got.shape.str() + ", not " + want.shape.str();
  for (int64_t i = 0; i < want.elems(); ++i) {
    const double error = std::abs(got[i] - want[i]);
    if (got[i] == want[i] || error <= bound[static_cast<size_t>(i)]) continue;
    return fmt::format("element {} is {:.9g}, recorded is {:.17g}: off by {:.3g}, allowed {:.3g}",
                       i, got[i], want[i], error, bound[static_cast<size_t>(i)]);
  }
  return {};
}

// Four units in the last place of each element; below the smallest normal number that one. The
// recorded numbers are doubles that come from sums of terms of about `scale` (1 + erf, 1 - y): what
// those lose is 2^-52 of it.
std::vector<double> few_ulps(const RefTensor& want, const RefTensor* scale) {
  std::vector<double> bound;
  for (int64_t i = 0; i < want.elems(); ++i) {
    bound.push_back(kTranscendental * std::abs(want[i]) + kSmallest +
                    (scale != nullptr ? 0x1p-52 * (1 + std::abs((*scale)[i])) : 0));
  }
  return bound;
}

// |x| u'(x) of gelu_tanh, u = sqrt(2 / pi) (x + 0.044715 x^3)
double x_du(double x) {
  return std::abs(x) * std::sqrt(2 / std::acos(-1.0)) * (1 + 3 * 0.044715 * x * x);
}

void check_activation(const GoldenCase& c, const Known& known) {
  OpProgram program;
  const ValueId x = program.feed(c.input("x"), "x");
  const ValueId y = program.add(known.info->forward, {x}, Params::of(known.params))[0];
  const ValueId dx = program.gradients(y, c.grad_output, {x})[0];
  for (int choice = 0; choice < program.choices(); ++choice) {
    SCOPED_TRACE(program.names(choice));
    const auto results = program.run(choice);
    // x times a sum of terms of about 1
    EXPECT_EQ(compare(results.at(y), c.outputs.at("y"), few_ulps(c.outputs.at("y"), &c.input("x"))),
              "");
    std::vector<double> bound = few_ulps(c.grads.at("dx"), nullptr);
    for (int64_t i = 0; i < c.grad_output.elems(); ++i) {
      // dy times such sums; x enters them times a density or a slope that falls faster, but for
      // gelu_tanh, recorded by x u' (1 - tanh(u)^2) / 2: the difference is off by up to 3 * 2^-53
      const double x_u = known.info->forward == OpKind::gelu_tanh_fwd ? x_du(c.input("x")[i]) : 0;
      bound[static_cast<size_t>(i)] += (0x1p-50 + 0x1p-52 * x_u) * std::abs(c.grad_output[i]);
    }
    EXPECT_EQ(compare(results.at(dx), c.grads.at("dx"), bound), "");
  }
}

void check_prelu(const GoldenCase& c) {
  OpProgram program;
  const RefTensor &x = c.input("x"), &slope = c.input("slope"), &dy = c.grad_output;
  const ValueId x_id = program.feed(x, "x"), slope_id = program.feed(slope, "slope");
  const ValueId y = program.add(OpKind::prelu_fwd, {x_id, slope_id})[0];
  const std::vector<ValueId> grads = program.gradients(y, dy, {x_id, slope_id});
  // T of dslope: absolute terms
  RefTensor T(slope.shape);
  const int64_t plane = x.shape.elems_from(2);
  for (int64_t i = 0; i < x.elems(); ++i) {
    if (x[i] <= 0) T[slope.elems() == 1 ? 0 : i / plane % x.shape[1]] += std::abs(dy[i] * x[i]);
  }
  for (int choice = 0; choice < program.choices(); ++choice) {
    SCOPED_TRACE(program.names(choice));
    const auto results = program.run(choice);
    EXPECT_EQ(compare(results.at(y), c.outputs.at("y"), relative(c.outputs.at("y"), 1)), "");
    EXPECT_EQ(compare(results.at(grads[0]), c.grads.at("dx"), relative(c.grads.at("dx"), 1)), "");
    // summed in double: two roundings at most
    EXPECT_EQ(compare(results.at(grads[1]), c.grads.at("dslope"), sum_bound(T, 0)), "");
  }
}

// dx of one element, relative to what goes into it. Softmax: dx = y (dy - S), S = sum dy y; y is off by
// 2 u |y| (e^x and the quotient round), so S by 2 u T, and dx rounds once: u |y| (3 (|dy| + T) + 2 T).
// Log-softmax: y is off by u |y|, which e^y carries on; the sum is made of all dy.
void check_softmax(const GoldenCase& c) {
  const bool is_log = c.op == "log_softmax";
  OpProgram program;
  const auto axis = c.attrs.at("axis").get<int32_t>();
  const RefTensor &x = c.input("x"), &y_want = c.outputs.at("y"), &dy = c.grad_output;
  const ValueId x_id = program.feed(x, "x");
  const int32_t counted = axis < 0 ? axis + x.shape.rank() : axis;
  const ValueId y = program.add(is_log ? OpKind::log_softmax_fwd : OpKind::softmax_fwd, {x_id},
                                Params::of(SoftmaxParams{counted}))[0];
  const ValueId dx = program.gradients(y, dy, {x_id})[0];
  std::vector<double> y_bound = relative(y_want, 4);
  // The recorded doubles round at the size of x and of its largest element.
  double largest = 1;
  for (double value : x.v) largest = std::max(largest, std::abs(value));
  for (double& value : y_bound) value += 4 * 0x1p-53 * largest;
  std::vector<double> bound;
  const int64_t inner = x.shape.elems_from(counted + 1), extent = x.shape[counted];
  for (int64_t i = 0; i < x.elems(); ++i) {
    const int64_t start = i / (inner * extent) * inner * extent + i % inner;
    double T = 0;
    for (int64_t k = 0; k < extent; ++k) {
      const int64_t at = start + k * inner;
      T += std::abs(dy[at]) * (is_log ? 1 : y_want[at]);
    }
    const double share = is_log ? std::exp(y_want[i]) : y_want[i];
    const double factor = is_log ? 4 + std::abs(y_want[i]) : 5;
    bound.push_back(kU * ((is_log ? 2 : 3 * share) * std::abs(dy[i]) + factor * share * T) +
                    kSmallest);
  }
  for (int choice = 0; choice < program.choices(); ++choice) {
    SCOPED_TRACE(program.names(choice));
    const auto results = program.run(choice);
    EXPECT_EQ(compare(results.at(y), y_want, y_bound), "");
    EXPECT_EQ(compare(results.at(dx), c.grads.at("dx"), bound), "");
  }
}

TEST(Golden, OpsActivation) {
  int ran = 0;
  for (const GoldenCase& c : load_golden("ops_activation")) {
    SCOPED_TRACE(c.name);
    if (c.op == "prelu") {
      check_prelu(c);
    } else if (c.op == "softmax" || c.op == "log_softmax") {
      check_softmax(c);
    } else {
      const Known known = find_known(c);
      ASSERT_NE(known.info, nullptr) << "no activation " << c.op;
      check_activation(c, known);
    }
    ++ran;
  }
  EXPECT_GT(ran, 0);
}

}  // namespace
}  // namespace tanul::test::ops_activation_golden
