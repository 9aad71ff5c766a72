// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/elementwise_loss/elementwise_loss.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

ElementwiseLossParams defaults(Reduction reduction = Reduction::mean) {
  ElementwiseLossParams p{};
  p.loss.reduction = reduction;
  p.beta = 1;
  p.delta = 1;
  p.alpha = 0.25f;
  p.gamma = 2;
  p.has_alpha = 1;
  p.log_input = 1;
  p.eps = 1e-8f;
  return p;
}

// A loss and numbers that suit it.
struct Loss {
  OpKind kind;
  std::string name;
  Fill x, target;
  bool takes_classes = true;
};

std::vector<Loss> losses() {
  const Fill any{}, share{Fill::positive, 0.5, {}}, probability{Fill::positive, 0.6, {}};
  const Fill counts{Fill::labels, 6, {}};
  return {
      {OpKind::mse_fwd, "mse", any, any},
      {OpKind::mae_fwd, "mae", any, any},
      {OpKind::smooth_l1_fwd, "smooth_l1", any, any},
      {OpKind::huber_fwd, "huber", any, any},
      {OpKind::bce_logits_fwd, "bce_logits", {Fill::normal, 3, {}}, share},
      {OpKind::bce_fwd, "bce", probability, share},
      {OpKind::kl_div_fwd, "kl_div", any, share},
      {OpKind::hinge_fwd, "hinge", {Fill::half_integers, 3, {}}, list({1, -1, -1, 1, -1})},
      {OpKind::focal_fwd, "focal", {Fill::normal, 3, {}}, list({1, 0, 0, 0.5, 1, 0, 0.25})},
      {OpKind::poisson_nll_fwd, "poisson_nll", any, counts, false},
  };
}

OpCase make(const Loss& loss, const std::string& why, const Shape& x, const In& target,
            const ElementwiseLossParams& params = defaults(), std::vector<In> weights = {},
            bool has_gradient_check = true) {
  const std::string name = why.empty() ? loss.name : loss.name + " " + why;
  std::vector<In> in{{x, loss.x}, target};
  in.insert(in.end(), weights.begin(), weights.end());
  return {name, loss.kind, Params::of(params), in, {0}, {}, 1, has_gradient_check};
}

In classes(const Shape& shape, const Fill& fill) { return {shape, fill, DType::i32, true}; }
In positive(const Shape& shape) { return {shape, {Fill::positive, 1, {}}}; }

// What every element-wise loss has to master.
void add_common(const Loss& loss, std::vector<OpCase>& cases) {
  const auto values = [&](const std::string& why, const Shape& shape,
                          const ElementwiseLossParams& params = defaults(),
                          std::vector<In> weights = {}) {
    cases.push_back(make(loss, why, shape, {shape, loss.target}, params, std::move(weights)));
  };
  values("of one element", {1});
  values("of vectors", {37});
  values("of images", {3, 2, 5, 7});
  values("of several tiles", {5, 9001});
  values("sum", {6, 5}, defaults(Reduction::sum));
  values("none: one an element", {6, 5}, defaults(Reduction::none));
  values("batch mean: divides by N", {6, 5}, defaults(Reduction::batch_mean));
  values("with a weight for each element", {6, 5}, defaults(), {positive({6, 5})});
  values("with a weight for each channel", {2, 3, 2, 4}, defaults(), {positive({3})});
  values("none, several tiles, weighted", {3, 7001}, defaults(Reduction::none), {positive({7001})});
  if (!loss.takes_classes) return;
  const auto labels = [](double C) { return Fill{Fill::labels, C, {}}; };
  cases.push_back(make(loss, "against classes", {64, 10}, classes({64}, labels(10))));
  cases.push_back(make(loss, "against classes of pixels, weighted", {2, 3, 4, 5},
                       classes({2, 4, 5}, labels(3)), defaults(), {positive({3})}));
  cases.push_back(make(loss, "against classes, none", {5, 3}, classes({5}, labels(3)),
                       defaults(Reduction::none)));
  cases.push_back(make(loss, "against one class", {5, 1}, classes({5}, list({0}))));
  cases.push_back(
      make(loss, "against classes, several tiles", {2001, 17}, classes({2001}, labels(17))));
  cases.push_back(make(loss, "against a class that does not exist: NaN", {4, 3},
                       classes({4}, list({0, 3, 1})), defaults(), {}, false));
  cases.push_back(make(loss, "against a negative class, none: NaN in its row", {4, 3},
                       classes({4}, list({-1, 2})), defaults(Reduction::none), {}, false));
}

OpCase with_fills(OpKind kind, const std::string& why, const Shape& shape, const Fill& x,
                  const Fill& target, const ElementwiseLossParams& params = defaults(),
                  bool has_gradient_check = true) {
  return make({kind, why, x, target}, "", shape, {shape, target}, params, {}, has_gradient_check);
}

// Kinks, extremes and options of single losses.
void add_particular(std::vector<OpCase>& cases) {
  const Fill extremes = list({1e4, -1e4, 100, -100, 0, 30, -30, 1e-3, -1e4, 1e4});
  const Fill zero_one = list({1, 0, 0, 1, 1, 0.5, 0});
  const auto with = [](auto change, Reduction reduction = Reduction::mean) {
    ElementwiseLossParams p = defaults(reduction);
    change(p);
    return p;
  };
  const Loss mse{OpKind::mse_fwd, "mse", list({1}), {}};
  cases.push_back(
      with_fills(OpKind::mse_fwd, "mse of equal values: 0", {4, 6}, list({1.5}), list({1.5})));
  cases.push_back(with_fills(OpKind::mse_fwd, "mse of small differences of large values", {4, 64},
                             list({1e4 + 1, 1e4 - 0.5, 1e4}), list({1e4})));
  cases.push_back(make(mse, "against more classes than a warp takes", {3, 2100},
                       classes({3}, {Fill::labels, 2100, {}})));
  cases.push_back(make(mse, "against classes, ties go to the lowest", {6, 3},
                       classes({6}, list({0, 1, 0, 2, 0, 1}))));
  cases.push_back(with_fills(OpKind::mse_fwd, "mse of infinities", {6},
                             list({HUGE_VAL, 1, 2, -HUGE_VAL}), {}, defaults(), false));

  const Fill steps = list({1, -1, 0, 2, -2, 0.5, -0.5, 3});
  for (OpKind kind : {OpKind::mae_fwd, OpKind::smooth_l1_fwd, OpKind::huber_fwd}) {
    const std::string name = kind == OpKind::mae_fwd     ? "mae"
                             : kind == OpKind::huber_fwd ? "huber"
                                                         : "smooth_l1";
    cases.push_back(with_fills(kind, name + " at its kinks", {16}, steps, list({0}),
                               defaults(Reduction::none), false));
    cases.push_back(with_fills(kind, name + " of NaN", {5}, list({1, NAN, 3}), list({0}),
                               defaults(Reduction::none), false));
  }
  cases.push_back(with_fills(OpKind::smooth_l1_fwd, "smooth_l1 of beta 0 is mae", {30}, {}, {},
                             with([](auto& p) { p.beta = 0; })));
  cases.push_back(with_fills(OpKind::smooth_l1_fwd, "smooth_l1 of beta 0 at 0", {5}, list({1, 0}),
                             list({0}), with([](auto& p) { p.beta = 0; }), false));
  cases.push_back(with_fills(OpKind::smooth_l1_fwd, "smooth_l1 of beta 0.3", {30}, {}, {},
                             with([](auto& p) { p.beta = 0.3f; })));
  cases.push_back(with_fills(OpKind::huber_fwd, "huber of delta 2.5", {30}, {}, {},
                             with([](auto& p) { p.delta = 2.5f; })));

  const Loss logits{OpKind::bce_logits_fwd, "bce_logits", {Fill::normal, 3, {}}, zero_one};
  cases.push_back(with_fills(OpKind::bce_logits_fwd, "bce_logits of plus and minus 1e4", {70},
                             extremes, zero_one, defaults(Reduction::none)));
  cases.push_back(make(logits, "with positive weights of classes", {6, 5}, {{6, 5}, zero_one},
                       defaults(), {absent(), positive({5})}));
  cases.push_back(make(logits, "with both weights, sum", {2, 3, 4}, {{2, 3, 4}, zero_one},
                       defaults(Reduction::sum), {positive({2, 3, 4}), positive({3})}));
  cases.push_back(make(logits, "of extremes with positive weights against classes", {6, 5},
                       classes({6}, {Fill::labels, 5, {}}), defaults(),
                       {absent(), positive({6, 5})}));
  cases.push_back(with_fills(OpKind::bce_fwd, "bce at 0 and 1: logarithms of -100", {20},
                             list({0, 0, 1, 1, 0.5}), list({0, 1, 0, 1, 1}),
                             defaults(Reduction::none), false));
  cases.push_back(with_fills(OpKind::bce_fwd, "bce outside 0 to 1: NaN", {4},
                             list({0.5, -0.1, 1.5}), list({1, 0.5, 0.5}), defaults(Reduction::none),
                             false));
  cases.push_back(with_fills(OpKind::kl_div_fwd, "kl_div where targets are 0", {5, 4},
                             list({-1, -2, -0.5, -30}), list({0.5, 0, 0.5, 0, 1, 0, 0, 0})));
  cases.push_back(with_fills(OpKind::kl_div_fwd, "kl_div of log 0 where the target is 0", {4},
                             list({-HUGE_VAL, -1}), list({0, 1}), defaults(), false));
  cases.push_back(with_fills(OpKind::kl_div_fwd, "kl_div against logarithms", {5, 4}, {},
                             list({-1, -2, -0.25, -10}), with([](auto& p) { p.log_target = 1; })));
  cases.push_back(with_fills(OpKind::hinge_fwd, "hinge at and round the margin", {8},
                             list({1, -1, 0.5, 2, -2}), list({1, -1}), defaults(Reduction::none),
                             false));
  cases.push_back(with_fills(OpKind::hinge_fwd, "hinge squared", {40}, {}, list({1, -1, -1}),
                             with([](auto& p) { p.is_squared = 1; })));

  const auto focal = [&](const std::string& why, float gamma, bool has_alpha) {
    cases.push_back(with_fills(OpKind::focal_fwd, "focal " + why, {42}, {Fill::normal, 3, {}},
                               zero_one, with([&](auto& p) {
                                 p.gamma = gamma;
                                 p.has_alpha = has_alpha;
                               })));
  };
  focal("without alpha", 2, false);
  focal("of gamma 0 is cross-entropy", 0, false);
  focal("of gamma 1/2", 0.5f, true);
  focal("of gamma 5", 5, true);
  cases.push_back(with_fills(OpKind::focal_fwd, "focal of plus and minus 1e4", {70}, extremes,
                             zero_one, defaults(Reduction::none)));

  const Fill counts{Fill::labels, 6, {}}, rates{Fill::positive, 2, {}};
  cases.push_back(with_fills(OpKind::poisson_nll_fwd, "poisson_nll of rates", {30}, rates, counts,
                             with([](auto& p) { p.log_input = 0; })));
  cases.push_back(with_fills(OpKind::poisson_nll_fwd, "poisson_nll with Stirling's term", {30}, {},
                             counts, with([](auto& p) { p.is_full = 1; })));
  cases.push_back(with_fills(OpKind::poisson_nll_fwd, "poisson_nll of rates, Stirling, none", {30},
                             rates, counts,
                             with(
                                 [](auto& p) {
                                   p.log_input = 0;
                                   p.is_full = 1;
                                 },
                                 Reduction::none)));
}

}  // namespace

std::vector<OpCase> elementwise_loss_cases() {
  std::vector<OpCase> cases;
  for (const Loss& loss : losses()) add_common(loss, cases);
  add_particular(cases);
  return cases;
}

std::vector<RejectCase> elementwise_loss_rejections() {
  const OpKind mse = OpKind::mse_fwd;
  const Params plain = Params::of(defaults());
  const std::string where = "mean_squared_error \"layer\": ";
  const In x{{4, 3}, {}};
  const auto with = [](auto change) {
    ElementwiseLossParams p = defaults();
    change(p);
    return Params::of(p);
  };
  return {
      {where + "targets have the shape of the predictions [4, 3], got [4]",
       mse,
       plain,
       {x, {{4}, {}}}},
      {where + "class indices are i32 [4] for x [4, 3], got i32 [3]",
       mse,
       plain,
       {x, classes({3}, {})}},
      {where + "class indices are i32 [4, 1, 1] for x [4, 3, 1, 1], got i32 [4]",
       mse,
       plain,
       {{{4, 3, 1, 1}, {}}, classes({4}, {})}},
      {where + "class indices need predictions [N, C, ...], got [4]",
       mse,
       plain,
       {{{4}, {}}, classes({4}, {})}},
      {where + "targets are f32 values or i32 class indices, got u8",
       mse,
       plain,
       {x, {{4, 3}, {}, DType::u8}}},
      {where + "predictions are f32, got i32", mse, plain, {classes({4}, {}), {{4}, {}}}},
      {where + "predictions [N, ...] need at least one element, got [0, 3]",
       mse,
       plain,
       {{{0, 3}, {}}, {{0, 3}, {}}}},
      {where + "there is no reduction -1",
       mse,
       with([](auto& p) { p.loss.reduction = static_cast<Reduction>(-1); }),
       {x, x}},
      {where + "weights are f32 [3], one per class, or [4, 3] as x, got f32 [4]",
       mse,
       plain,
       {x, x, {{4}, {}}}},
      {where + "only binary cross-entropy of logits has positive weights",
       mse,
       plain,
       {x, x, absent(), {{3}, {}}}},
      {"binary_cross_entropy \"layer\": positive weights are f32 [3], one per class, or [4, 3] as "
       "x, got f32 [2]",
       OpKind::bce_logits_fwd,
       plain,
       {x, x, absent(), {{2}, {}}}},
      {"smooth_l1 \"layer\": beta is 0 or more, got -1",
       OpKind::smooth_l1_fwd,
       with([](auto& p) { p.beta = -1; }),
       {x, x}},
      {"huber \"layer\": delta is above 0, got 0",
       OpKind::huber_fwd,
       with([](auto& p) { p.delta = 0; }),
       {x, x}},
      {"focal \"layer\": alpha lies in 0 to 1, got 2",
       OpKind::focal_fwd,
       with([](auto& p) { p.alpha = 2; }),
       {x, x}},
      {"focal \"layer\": gamma is 0 or more, got -0.5",
       OpKind::focal_fwd,
       with([](auto& p) { p.gamma = -0.5f; }),
       {x, x}},
      {"poisson_nll \"layer\": eps is 0 or more, got -1",
       OpKind::poisson_nll_fwd,
       with([](auto& p) { p.eps = -1; }),
       {x, x}},
      {"poisson_nll \"layer\": targets are counts, f32 of the shape of x, got class indices",
       OpKind::poisson_nll_fwd,
       plain,
       {x, classes({4}, {})}},
      {"kl_divergence \"layer\": targets are logarithms, f32 of the shape of x, got class indices",
       OpKind::kl_div_fwd,
       with([](auto& p) { p.log_target = 1; }),
       {x, classes({4}, {})}},
      {"mse_bwd \"layer\": the gradient of the loss is f32 [1], got f32 [4]",
       OpKind::mse_bwd,
       plain,
       {x, x, absent(), absent(), {{4}, {}}}},
      {"mse_bwd \"layer\": the gradient of the loss is f32 [4, 3], got none",
       OpKind::mse_bwd,
       with([](auto& p) { p.loss.reduction = Reduction::none; }),
       {x, x}},
  };
}

}  // namespace tanul::test
