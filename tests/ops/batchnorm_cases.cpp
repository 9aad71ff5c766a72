// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/batchnorm/batchnorm.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

struct Options {
  double eps = 1e-5;
  bool has_relu = false;
  bool has_gamma = true;
  bool has_beta = true;
  Fill x = {};
  bool has_gradient_check = true;
};

Params params_of(const Options& o) {
  BatchNormParams p{};
  p.eps = o.eps;
  p.momentum = 0.1;
  p.activation = o.has_relu ? ActivationKind::relu : ActivationKind::none;
  return Params::of(p);
}

std::vector<In> operands(const Shape& x, const Options& o) {
  const Shape channels{x[1]};
  // gamma changes its sign from channel to channel
  const In gamma{channels, list({1.25, -0.75, 0.5})};
  const In beta{channels, {Fill::normal, 0.125, {}}};
  return {{x, o.x}, o.has_gamma ? gamma : absent(), o.has_beta ? beta : absent()};
}

std::vector<int> differentiable(const Options& o) {
  std::vector<int> inputs{0};
  if (o.has_gamma) inputs.push_back(1);
  if (o.has_beta) inputs.push_back(2);
  return inputs;
}

OpCase train(const std::string& why, const Shape& x, const Options& o = {}) {
  return {"batch norm " + why,
          OpKind::batchnorm_fwd,
          params_of(o),
          operands(x, o),
          differentiable(o),
          {},
          1,
          o.has_gradient_check};
}

OpCase eval(const std::string& why, const Shape& x, const Options& o = {}) {
  OpCase op{"batch norm, statistics given, " + why,
            OpKind::batchnorm_eval_fwd,
            params_of(o),
            operands(x, o),
            differentiable(o),
            {},
            1,
            o.has_gradient_check};
  op.in.push_back({{x[1]}, {Fill::normal, 0.5, {}}});
  op.in.push_back({{x[1]}, {Fill::positive, 1, {}}});
  return op;
}

OpCase update(const std::string& why, int64_t C, double momentum, int64_t count) {
  OpCase op{"batch norm statistics " + why,
            OpKind::batchnorm_stats_update,
            Params::of(BatchNormStatsParams{momentum, count}),
            {{{C}, list({0})},
             {{C}, {Fill::normal, 3, {}}},
             {{C}, list({1})},
             {{C}, {Fill::positive, 2, {}}}},
            {},
            {{0, 0}, {2, 1}},
            4,
            false};
  return op;
}

std::vector<OpCase> of_both_modes(OpCase (*make)(const std::string&, const Shape&,
                                                 const Options&)) {
  // Around 1 and -1: no element comes near the kink of the relu.
  const Fill two_sides = list({-1.25, 0.875, -0.75, 1.125, 1.0, -0.9375, 0.75});
  return {
      make("of images", {3, 5, 4, 6}, {}),
      make("of dense features", {7, 5}, {}),
      make("of signals", {3, 4, 7}, {}),
      make("of volumes", {2, 3, 2, 3, 4}, {}),
      make("of one channel", {5, 1, 3}, {}),
      make("of two values a channel", {2, 5, 1, 1}, {}),
      make("of the eps of Keras", {2, 4, 3, 5}, {.eps = 1e-3}),
      make("without gamma and beta", {2, 3, 4, 3}, {.has_gamma = false, .has_beta = false}),
      make("without beta", {2, 3, 4, 3}, {.has_beta = false}),
      make("without gamma", {2, 3, 4, 3}, {.has_gamma = false}),
      make("of 17 channels", {2, 17, 3, 2}, {}),
      make("of 2x2 planes of more channels than a tile has", {9, 70, 2, 2}, {}),
      make("of 7x7 planes: vectors and a rest", {3, 70, 7, 7}, {}),
      make("of dense features, several tiles", {70, 300}, {}),
      make("of 1x1 planes", {33, 21, 1, 1}, {}),
      make("of planes that are cut into pieces", {2, 2, 200, 180}, {}),
      make("of many samples of small planes", {600, 3, 5}, {}),
      make("with relu, far from the kink", {4, 3, 3, 7}, {.has_relu = true, .x = two_sides}),
      make("with relu", {5, 6, 9, 9}, {.has_relu = true, .has_gradient_check = false}),
      make("with relu, of dense features", {40, 35},
           {.has_relu = true, .has_gradient_check = false}),
      make("with relu, without gamma and beta", {3, 4, 6},
           {.has_relu = true, .has_gamma = false, .has_beta = false, .has_gradient_check = false}),
      make("with relu, of pieces", {1, 2, 190, 190},
           {.has_relu = true, .has_gradient_check = false}),
      // One value in channel 1; the others keep their numbers.
      make("with NaN in one channel", {2, 3, 5},
           {.x = list({1, 2, 4, 3, 0.5, NAN, 1, 3, 2, 7, 1, 2, 3, 5, 8}),
            .has_gradient_check = false}),
  };
}

}  // namespace

std::vector<OpCase> batchnorm_cases() {
  std::vector<OpCase> cases = of_both_modes(train);
  for (const OpCase& op_case : of_both_modes(eval)) cases.push_back(op_case);
  cases.push_back(train("of constant channels: eps alone keeps it finite", {2, 3, 3, 4},
                        {.x = list({0.75}), .has_gradient_check = false}));
  cases.push_back(
      train("of constant channels, large eps", {2, 3, 3, 4}, {.eps = 0.25, .x = list({0.75})}));
  cases.push_back(train("of a mean 1000 times the spread", {4, 3, 5, 5},
                        {.x = list({1500.25, 1498.5, 1501.75, 1499, 1502.5, 1497.75, 1500})}));
  cases.push_back(
      train("of a mean 1e6 times the spread", {4, 3, 5, 5},
            {.x = list({1048576.5, 1048575.25, 1048577, 1048576}), .has_gradient_check = false}));
  // The first element is the one that sums are shifted by.
  cases.push_back(train("whose first value is far off", {2, 1, 60},
                        {.x = list({1e6, 1, 2, 1.5, 0.5, 3, 1, 2.5, 1.25, 0.25, 2, 1}),
                         .has_gradient_check = false}));
  cases.push_back(train("of large values", {3, 2, 8},
                        {.x = {Fill::normal, 1e15, {}}, .has_gradient_check = false}));
  cases.push_back(update("of the usual momentum", 5, 0.1, 72));
  cases.push_back(update("of two values: the unbiased variance is twice the biased", 3, 0.1, 2));
  cases.push_back(update("with momentum 1: the last batch alone", 4, 1, 10));
  cases.push_back(update("with momentum 0: as they are", 4, 0, 10));
  return cases;
}

std::vector<RejectCase> batchnorm_rejections() {
  const OpKind fwd = OpKind::batchnorm_fwd;
  const Params params = params_of({});
  const In x{{2, 3, 4, 4}, {}};
  const In c{{3}, {}};
  BatchNormParams heavy{1e-5, 1.5, ActivationKind::none, 0};
  return {
      {"batch_norm \"layer\": training needs at least two values per channel, x [1, 3, 1, 1] has "
       "one; use a larger batch, or drop_last where only the last batch of an epoch is this small",
       fwd,
       params,
       {{{1, 3, 1, 1}, {}}, absent(), absent()}},
      {"batch_norm \"layer\": x is f32 [N, C], [N, C, L], [N, C, H, W] or [N, C, D, H, W], got f32 "
       "[7]",
       fwd,
       params,
       {{{7}, {}}, absent(), absent()}},
      {"batch_norm \"layer\": x is f32 [N, C], [N, C, L], [N, C, H, W] or [N, C, D, H, W], got u8 "
       "[2, 3]",
       fwd,
       params,
       {{{2, 3}, {}, DType::u8}, absent(), absent()}},
      {"batch_norm \"layer\": x needs at least one element, got [0, 3]",
       fwd,
       params,
       {{{0, 3}, {}}, absent(), absent()}},
      {"batch_norm \"layer\": gamma is f32 [3], one number per channel, got f32 [4]",
       fwd,
       params,
       {x, {{4}, {}}, c}},
      {"batch_norm \"layer\": beta is f32 [3], one number per channel, got f32 [1, 3]",
       fwd,
       params,
       {x, c, {{1, 3}, {}}}},
      {"batch_norm \"layer\": eps is above 0, got 0", fwd, params_of({.eps = 0}), {x, c, c}},
      {"batch_norm \"layer\": momentum, the share of the new batch in the running statistics, lies "
       "in 0 to 1, got 1.5",
       fwd,
       Params::of(heavy),
       {x, c, c}},
      {"batch_norm \"layer\": mean is f32 [3], one number per channel, got f32 [2]",
       OpKind::batchnorm_eval_fwd,
       params,
       {x, c, c, {{2}, {}}, c}},
      {"batch_norm \"layer\": var is f32 [3], one number per channel, got i32 [3]",
       OpKind::batchnorm_eval_fwd,
       params,
       {x, c, c, c, {{3}, {}, DType::i32}}},
      {"batchnorm_bwd \"layer\": dy is f32 of the shape of x [2, 3, 4, 4], got f32 [3]",
       OpKind::batchnorm_bwd,
       params,
       {c, x, c, c, c, c}},
      {"batchnorm_stats_update \"layer\": the unbiased variance needs at least two values, got 1",
       OpKind::batchnorm_stats_update,
       Params::of(BatchNormStatsParams{0.1, 1}),
       {c, c, c, c}},
      {"batchnorm_stats_update \"layer\": momentum lies in 0 to 1, got -1",
       OpKind::batchnorm_stats_update,
       Params::of(BatchNormStatsParams{-1, 4}),
       {c, c, c, c}},
      {"batchnorm_stats_update \"layer\": running_var is f32 [C], as running_mean [3], got f32 [4]",
       OpKind::batchnorm_stats_update,
       Params::of(BatchNormStatsParams{0.1, 4}),
       {c, c, {{4}, {}}, c}},
  };
}

}  // namespace tanul::test
