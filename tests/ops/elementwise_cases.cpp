// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "ops/cases.h"

namespace tanul::test {

namespace {

OpCase add_case(const std::string& why, const Shape& shape, const Fill& a = {}, const Fill& b = {},
                bool has_gradient = true) {
  return {"add " + why, OpKind::add_fwd, {}, {{shape, a}, {shape, b}}, {0, 1}, {}, 1, has_gradient};
}

}  // namespace

std::vector<OpCase> elementwise_cases() {
  return {
      add_case("of one element", {1}),
      add_case("of a vector and a tail", {37}),
      add_case("of planes: a residual", {2, 5, 7, 3}),
      add_case("of several tiles", {5, 9000}),
      add_case("of one element beyond a tile", {16385}),
      add_case("that cancels", {64}, list({1, 1e8, -3}), list({-1, -1e8, 3 + 1e-6}), false),
      add_case("of very different sizes", {50}, {Fill::normal, 1e20, {}}, {Fill::normal, 1e-20, {}},
               false),
      add_case("that overflows, of infinities and NaN", {6},
               list({3.4e38, HUGE_VAL, NAN, -HUGE_VAL, 1e-45, 3}),
               list({3.4e38, -HUGE_VAL, 1, -HUGE_VAL, 1e-45, NAN}), false),
      add_case("of a large difference in rank", {2, 1, 1, 1, 3, 1}),
  };
}

std::vector<RejectCase> elementwise_rejections() {
  const In a{{2, 3}, {}};
  return {
      {"add \"layer\": the inputs must have one shape, got [2, 3] and [3, 2]",
       OpKind::add_fwd,
       {},
       {a, {{3, 2}, {}}}},
      {"add \"layer\": the inputs must have one shape, got [2, 3] and [2, 3, 1]",
       OpKind::add_fwd,
       {},
       {a, {{2, 3, 1}, {}}}},
      {"add \"layer\": input 1 must be f32, got i32",
       OpKind::add_fwd,
       {},
       {a, {{2, 3}, {}, DType::i32}}},
  };
}

std::vector<Rule> elementwise_rules() { return {}; }

}  // namespace tanul::test
