// SPDX-License-Identifier: Apache-2.0
#include "kernels/linear/linear.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

OpCase make(const std::string& name, int64_t N, int64_t C, int64_t K, bool has_bias = true,
            ActivationKind activation = ActivationKind::none) {
  const Params params = Params::of(LinearParams{has_bias ? 1 : 0, activation});
  OpCase op{"linear " + name, OpKind::linear_fwd, params, {}, {0, 1}, {}, 1, true};
  const bool is_relu = activation == ActivationKind::relu;
  const Fill x_fill = is_relu ? Fill{Fill::integers, 3, {}} : Fill{};
  const Fill w_fill = is_relu ? Fill{Fill::integers, 3, {}} : Fill{Fill::normal, 0.2, {}};
  const Fill b_fill = is_relu ? Fill{Fill::half_integers, 2, {}} : Fill{};
  op.in = {
      {Shape{N, C}, x_fill}, {Shape{K, C}, w_fill}, has_bias ? In{Shape{K}, b_fill} : absent()};
  if (has_bias) op.differentiable.push_back(2);
  op.has_gradient_check = !is_relu || has_bias;
  return op;
}

}  // namespace

std::vector<OpCase> linear_cases() {
  return {
      make("one element", 1, 1, 1),
      make("batch 1: a matrix and a vector", 1, 37, 21),
      make("one feature in", 5, 1, 9),
      make("one feature out", 19, 12, 1),
      make("batch 64, 84 to 10: LeNet's last layer", 64, 84, 10),
      make("400 to 120: LeNet's first", 16, 400, 120),
      make("800 to 500: Caffe LeNet ip1", 7, 800, 500),
      make("powers of two", 32, 64, 128),
      make("primes: every tail at once", 13, 127, 31),
      make("batch above the features", 257, 3, 5),
      make("long reduction over the batch", 1000, 4, 3),
      make("no bias", 9, 14, 11, false),
      make("fused ReLU", 17, 30, 23, true, ActivationKind::relu),
      make("fused ReLU, no bias", 17, 30, 23, false, ActivationKind::relu),
      make("fused sigmoid", 6, 10, 9, true, ActivationKind::sigmoid),
      make("fused tanh", 6, 10, 9, true, ActivationKind::tanh),
      make("fused tanh, no bias", 33, 5, 40, false, ActivationKind::tanh),
  };
}

std::vector<RejectCase> linear_rejections() {
  const OpKind fwd = OpKind::linear_fwd;
  const Params params = Params::of(LinearParams{1, ActivationKind::none});
  const In x{{4, 10}, {}}, w{{7, 10}, {}}, b{{7}, {}};
  return {
      {"linear \"layer\": x must be [N, C] (flatten it first), got [4, 10, 1, 1]",
       fwd,
       params,
       {{{4, 10, 1, 1}, {}}, w, b}},
      {"linear \"layer\": x must be f32, got u8", fwd, params, {{{4, 10}, {}, DType::u8}, w, b}},
      {"linear \"layer\": x must not be empty, got [0, 10]", fwd, params, {{{0, 10}, {}}, w, b}},
      {"linear \"layer\": w must be [K, C], got [7]", fwd, params, {x, b, b}},
      {"linear \"layer\": x has 10 features but w expects 9 (x [4, 10], w [7, 9]); check "
       "in_features",
       fwd,
       params,
       {x, {{7, 9}, {}}, b}},
      {"linear \"layer\": b must be [7], one value for each row of w, got [10]",
       fwd,
       params,
       {x, w, {{10}, {}}}},
      {"linear \"layer\": b must be f32, got i32", fwd, params, {x, w, {{7}, {}, DType::i32}}},
      {"linear_bwd_data \"layer\": dy has 6 features but w makes 7 (dy [4, 6], w [7, 10])",
       OpKind::linear_bwd_data,
       params,
       {{{4, 6}, {}}, w}},
      {"linear_bwd_weights \"layer\": x has 4 samples but dy has 5 (x [4, 10], dy [5, 7])",
       OpKind::linear_bwd_weights,
       params,
       {x, {{5, 7}, {}}}},
  };
}

std::vector<Rule> linear_rules() { return {}; }

}  // namespace tanul::test
