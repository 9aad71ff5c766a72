// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/activation/activation.h"
#include "ops/cases.h"

namespace tanul::test {

std::vector<OpCase> activation_cases() {
  const std::vector<std::pair<std::string, OpKind>> kinds = {
      {"relu", OpKind::relu_fwd}, {"sigmoid", OpKind::sigmoid_fwd}, {"tanh", OpKind::tanh_fwd}};
  std::vector<OpCase> cases;
  for (const auto& [name, kind] : kinds) {
    const auto add = [&, op = kind, prefix = name](const std::string& why, const Shape& x,
                                                   const Fill& fill, bool has_gradient = true) {
      cases.push_back({prefix + " " + why, op, {}, {{x, fill}}, {0}, {}, 1, has_gradient});
    };
    const Fill plain{Fill::away_from_zero, 1, {}};
    add("of one element", {1}, plain);
    add("of a vector and a tail", {67}, plain);
    add("of a plane", {2, 3, 5, 7}, plain);
    add("of several tiles", {3, 17000}, plain);
    add("of one element beyond a tile", {16385}, plain);
    add("of large values: saturates", {9, 11}, {Fill::normal, 40, {}}, false);
    add("of tiny values: the linear part", {301}, {Fill::normal, 1e-4, {}},
        kind != OpKind::relu_fwd);
    add("of denormals and zeros", {14}, list({0, -0.0, 1e-40, -1e-40, 1e-38, -1e-38, 1e-30}),
        false);
    add("of the ends of the range", {23},
        list({3.4e38, -3.4e38, 88, -88, 89, -89, 104, -104, 17, -17, 9, -9}), false);
    add("of infinities and NaN", {7}, list({HUGE_VAL, -HUGE_VAL, NAN, 1, -1, 0.5}), false);
    // Where implementations change their formula; no value is within 1/200 of the kink at 0.
    Fill dense{Fill::list, 1, {}};
    for (int i = 0; i < 2000; ++i) dense.values.push_back(-12.0 + 0.012 * i + 0.005);
    add("of a dense range", {2000}, dense);
  }
  return cases;
}

std::vector<RejectCase> activation_rejections() {
  const In bytes{{2, 3}, {}, DType::u8};
  const In y{{2, 3}, {}}, other{{3, 2}, {}};
  return {
      {"relu \"layer\": x must be f32, got u8", OpKind::relu_fwd, {}, {bytes}},
      {"sigmoid \"layer\": x must be f32, got u8", OpKind::sigmoid_fwd, {}, {bytes}},
      {"tanh \"layer\": x must be f32, got u8", OpKind::tanh_fwd, {}, {bytes}},
      {"relu_bwd \"layer\": dy [3, 2] and y [2, 3] must have one shape",
       OpKind::relu_bwd,
       {},
       {other, y}},
  };
}

std::vector<Rule> activation_rules() { return {}; }

}  // namespace tanul::test
