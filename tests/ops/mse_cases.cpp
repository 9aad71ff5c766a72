// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/mse/mse.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

OpCase make(const std::string& why, const Shape& x, const In& target, const Fill& fill = {},
            bool has_gradient_check = true) {
  return {"mse " + why, OpKind::mse_fwd, {}, {{x, fill}, target}, {0}, {}, 1, has_gradient_check};
}
In classes(int64_t N, const Fill& fill) { return {Shape{N}, fill, DType::i32, true}; }

}  // namespace

std::vector<OpCase> mse_cases() {
  return {
      make("of one element", {1}, {{1}, {}}),
      make("of vectors", {37}, {{37}, {}}),
      make("of images", {3, 2, 5, 7}, {{3, 2, 5, 7}, {}}),
      make("of several tiles", {5, 9001}, {{5, 9001}, {}}),
      make("of equal values: 0", {4, 6}, {{4, 6}, list({1.5})}, list({1.5})),
      make("of small differences of large values", {4, 64}, {{4, 64}, list({1e4})},
           list({1e4 + 1, 1e4 - 0.5, 1e4})),
      make("against classes", {64, 10}, classes(64, {Fill::labels, 10, {}})),
      make("against classes, batch 1", {1, 3}, classes(1, {Fill::labels, 3, {}})),
      make("against one class", {5, 1}, classes(5, list({0}))),
      make("against classes, several tiles", {2001, 17}, classes(2001, {Fill::labels, 17, {}})),
      make("against classes, ties go to the lowest", {6, 3}, classes(6, list({0, 1, 0, 2, 0, 1})),
           list({1})),
      make("against a class that does not exist: NaN", {4, 3}, classes(4, list({0, 3, 1})), {},
           false),
      make("against a negative class: NaN", {4, 3}, classes(4, list({-1, 2})), {}, false),
      make("of infinities", {6}, {{6}, {}}, list({HUGE_VAL, 1, 2, -HUGE_VAL}), false),
  };
}

std::vector<RejectCase> mse_rejections() {
  const OpKind fwd = OpKind::mse_fwd;
  return {
      {"mean_squared_error \"layer\": targets have the shape of the predictions [4, 3], got [4]",
       fwd,
       {},
       {{{4, 3}, {}}, {{4}, {}}}},
      {"mean_squared_error \"layer\": class indices are i32 [4], one per row of the predictions "
       "[4, 3], got [3]",
       fwd,
       {},
       {{{4, 3}, {}}, classes(3, {})}},
      {"mean_squared_error \"layer\": class indices need predictions [N, C], got [4, 3, 1, 1]; "
       "flatten them first",
       fwd,
       {},
       {{{4, 3, 1, 1}, {}}, classes(4, {})}},
      {"mean_squared_error \"layer\": targets are f32 values or i32 class indices, got u8",
       fwd,
       {},
       {{{4, 3}, {}}, {{4, 3}, {}, DType::u8}}},
      {"mean_squared_error \"layer\": predictions are f32, got i32",
       fwd,
       {},
       {classes(4, {}), {{4}, {}}}},
      {"mean_squared_error \"layer\": predictions [N, ...] need at least one element, got [0, 3]",
       fwd,
       {},
       {{{0, 3}, {}}, {{0, 3}, {}}}},
      {"mse_bwd \"layer\": the gradient of the loss is f32 [1], got f32 [4]",
       OpKind::mse_bwd,
       {},
       {{{4, 3}, {}}, {{4, 3}, {}}, {{4}, {}}}},
  };
}

std::vector<Rule> mse_rules() { return {}; }

}  // namespace tanul::test
