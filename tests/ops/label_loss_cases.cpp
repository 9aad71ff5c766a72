// SPDX-License-Identifier: Apache-2.0
// Losses against class indices: cases, the reference maths and error bounds.
#include <cmath>

#include "kernels/label_loss/label_loss.h"
#include "ops/cases.h"
#include "ops/loss_rules.h"

namespace tanul::test {

namespace {

LabelLossParams defaults(Reduction reduction = Reduction::mean) {
  return {{reduction, 0, 0}, 1, 1.0f};
}

// --- cases -------------------------------------------------------------------------------------

// No two scores are 0, 1/2 or 1 apart: those are the margins.
const Fill kDistinct{Fill::distinct, 0.37, {}};

In labels_of(const Shape& shape, const Fill& fill) { return {shape, fill, DType::i32, true}; }
Fill labels(double C) { return {Fill::labels, C, {}}; }

OpCase make(OpKind kind, const std::string& why, const Shape& x, const In& target,
            const LabelLossParams& params = defaults(), bool has_weights = false,
            const Fill& scores = kDistinct, bool has_gradient_check = true) {
  return {(kind == OpKind::nll_fwd ? "nll " : "multi_margin ") + why,
          kind,
          Params::of(params),
          {{x, scores}, target, has_weights ? In{Shape{x[1]}, {Fill::positive, 1, {}}} : absent()},
          {0},
          {},
          1,
          has_gradient_check};
}

void add_common(OpKind kind, std::vector<OpCase>& cases) {
  LabelLossParams ignoring = defaults();
  ignoring.loss.has_ignore_index = 1;
  ignoring.loss.ignore_index = -100;
  const Fill some = list({0, 3, -100, 2, 1, -100});
  const In nine = labels_of({9}, labels(4));
  cases.push_back(make(kind, "of 64 samples", {64, 10}, labels_of({64}, labels(10))));
  cases.push_back(make(kind, "of batch 1", {1, 3}, labels_of({1}, labels(3))));
  cases.push_back(make(kind, "of one class", {4, 1}, labels_of({4}, list({0}))));
  cases.push_back(make(kind, "of several tiles", {3001, 7}, labels_of({3001}, labels(7))));
  cases.push_back(make(kind, "of many classes", {5, 9001}, labels_of({5}, labels(9001))));
  cases.push_back(make(kind, "sum", {9, 4}, nine, defaults(Reduction::sum)));
  cases.push_back(make(kind, "none", {9, 4}, nine, defaults(Reduction::none), true));
  cases.push_back(make(kind, "batch mean", {9, 4}, nine, defaults(Reduction::batch_mean), true));
  cases.push_back(make(kind, "with class weights", {9, 4}, nine, defaults(), true));
  cases.push_back(make(kind, "of pixels", {2, 4, 3, 5}, labels_of({2, 3, 5}, labels(4))));
  cases.push_back(make(kind, "of sequences, none", {2, 4, 6}, labels_of({2, 6}, labels(4)),
                       defaults(Reduction::none), true));
  cases.push_back(make(kind, "with ignored samples", {12, 4}, labels_of({12}, some), ignoring));
  cases.push_back(make(kind, "with ignored pixels, weighted", {2, 4, 5}, labels_of({2, 5}, some),
                       ignoring, true));
  cases.push_back(make(kind, "of ties: the lowest class", {6, 3}, labels_of({6}, list({0, 1, 2})),
                       defaults(), false, list({2}), false));
  cases.push_back(make(kind, "of scores of plus and minus 1e4", {6, 4}, labels_of({6}, labels(4)),
                       defaults(), false, list({1e4, -1e4, 3, 0, 1e4})));
  cases.push_back(make(kind, "of a class that does not exist: NaN", {4, 3},
                       labels_of({4}, list({0, 3, -1})), defaults(), false, kDistinct, false));
  cases.push_back(make(kind, "of a class that does not exist, none: NaN in its row", {4, 3},
                       labels_of({4}, list({0, 3, 1})), defaults(Reduction::none), true, kDistinct,
                       false));
  cases.push_back(make(kind, "of ignored samples only", {2, 3}, labels_of({2}, list({-100})),
                       ignoring, false, kDistinct, false));
}

// --- rules -------------------------------------------------------------------------------------

double weight_of(const Tensors& in, int64_t t) { return is_present(in, 2) ? in[2][t] : 1; }

bool is_valid(const ClassScores& at, double t) { return t >= 0 && t < static_cast<double>(at.C); }

// The loss of one position without its weight.
template <OpKind kKind>
double value(const LabelLossParams& params, const RefTensor& x, const ClassScores& at, int64_t p,
             int64_t t) {
  if (kKind == OpKind::nll_fwd) return -x[at.index(p, t)];
  double sum = 0;
  for (int64_t c = 0; c < at.C; ++c) {
    const double lack = static_cast<double>(params.margin) - x[at.index(p, t)] + x[at.index(p, c)];
    if (c != t && lack > 0) sum += std::pow(lack, params.power);
  }
  return sum / static_cast<double>(at.C);
}

template <OpKind kKind>
Tensors forward(const Params& params, const Tensors& in, const RefContext&) {
  const LabelLossParams& options = params.as<LabelLossParams>();
  const ClassScores at(in[0].shape);
  RefTensor each(at.shape(in[0].shape));
  double divisor = 0, correct = 0, counted = 0;
  for (int64_t p = 0; p < at.positions(); ++p) {
    const bool skipped = is_ignored(options.loss, in[1][p]);
    const bool valid = is_valid(at, in[1][p]);
    const int64_t t = static_cast<int64_t>(in[1][p]);
    if (kKind == OpKind::multi_margin_fwd) ++divisor;
    if (skipped) continue;
    ++counted;
    each[p] = valid ? weight_of(in, t) * value<kKind>(options, in[0], at, p, t) : kNoNumber;
    if (kKind == OpKind::nll_fwd && valid) divisor += weight_of(in, t);
    correct += at.arg_max(in[0], p) == t ? 1 : 0;
  }
  return reduced(params, each, at.N, divisor, correct, counted);
}

// slope[c] of one position without its weight.
template <OpKind kKind>
std::vector<double> slopes(const LabelLossParams& params, const RefTensor& x, const ClassScores& at,
                           int64_t p, int64_t t) {
  std::vector<double> slope(static_cast<size_t>(at.C), 0.0);
  double& own = slope[static_cast<size_t>(t)];
  if (kKind == OpKind::nll_fwd) {
    own = -1;
    return slope;
  }
  for (int64_t c = 0; c < at.C; ++c) {
    const double lack = static_cast<double>(params.margin) - x[at.index(p, t)] + x[at.index(p, c)];
    if (c == t || lack <= 0) continue;
    const double each = params.power * std::pow(lack, params.power - 1) / static_cast<double>(at.C);
    slope[static_cast<size_t>(c)] = each;
    own -= each;
  }
  return slope;
}

template <OpKind kKind>
Tensors backward(const Params& params, const Tensors& in, const RefContext&) {
  const LabelLossParams& options = params.as<LabelLossParams>();
  const ClassScores at(in[0].shape);
  RefTensor dx(in[0].shape);
  for (int64_t p = 0; p < at.positions(); ++p) {
    if (is_ignored(options.loss, in[1][p])) continue;
    const int64_t t = static_cast<int64_t>(in[1][p]);
    const bool valid = is_valid(at, in[1][p]);
    const double scale = loss_scale(params, in[3], p, at.N, in[4][1]);
    const std::vector<double> slope =
        valid ? slopes<kKind>(options, in[0], at, p, t) : std::vector<double>();
    for (int64_t c = 0; c < at.C; ++c) {
      dx[at.index(p, c)] =
          valid ? scale * weight_of(in, t) * slope[static_cast<size_t>(c)] : kNoNumber;
    }
  }
  return {dx};
}

// A sum of C powers of differences, each of the size of the scores.
template <OpKind kKind>
Bounds forward_bounds(const BoundArgs& args) {
  const LabelLossParams& options = args.params.as<LabelLossParams>();
  const ClassScores at(args.in[0].shape);
  const RefTensor each = single_losses(kKind, args.params, args.in, args.context);
  std::vector<double> errors;
  for (int64_t p = 0; p < at.positions(); ++p) {
    double error = 2 * kU * std::abs(each[p]) + kSmallest;
    if (kKind == OpKind::multi_margin_fwd && is_valid(at, args.in[1][p])) {
      const int64_t t = static_cast<int64_t>(args.in[1][p]);
      double terms = 0;  // sum of power lack^(power-1) |terms of lack|
      for (int64_t c = 0; c < at.C; ++c) {
        const double own = args.in[0][at.index(p, t)], other = args.in[0][at.index(p, c)];
        const double margin = static_cast<double>(options.margin);
        const double lack = std::fmax(0, margin - own + other);
        terms += options.power * std::pow(lack, options.power - 1) *
                 (std::abs(margin) + std::abs(own) + std::abs(other));
      }
      error += 3 * kU * weight_of(args.in, t) * terms / static_cast<double>(at.C) +
               static_cast<double>(at.C) * kU * std::abs(each[p]);
    }
    errors.push_back(is_ignored(options.loss, args.in[1][p]) ? 0 : error);
  }
  return reduced_bounds(args, each, errors);
}

template <OpKind kKind>
Bounds backward_bounds(const BoundArgs& args) {
  if (kKind == OpKind::nll_fwd) return {relative(args.want[0], 4)};
  const LabelLossParams& options = args.params.as<LabelLossParams>();
  const ClassScores at(args.in[0].shape);
  std::vector<double> bound(static_cast<size_t>(args.in[0].elems()), 0.0);
  for (int64_t p = 0; p < at.positions(); ++p) {
    if (is_ignored(options.loss, args.in[1][p])) continue;
    double largest = std::abs(static_cast<double>(options.margin));
    double total = 0;
    for (int64_t c = 0; c < at.C; ++c) {
      largest = std::fmax(largest, std::abs(args.in[0][at.index(p, c)]));
      total += std::abs(args.want[0][at.index(p, c)]);
    }
    const bool valid = is_valid(at, args.in[1][p]);
    const int64_t t = static_cast<int64_t>(args.in[1][p]);
    const double scale =
        valid ? std::abs(loss_scale(args.params, args.in[3], p, at.N, args.in[4][1])) *
                    weight_of(args.in, t) / static_cast<double>(at.C)
              : 0;
    const double lack_error = options.power == 2 ? 2 * 3 * kU * 3 * largest * scale : 0;
    for (int64_t c = 0; c < at.C; ++c) {
      double& at_c = bound[static_cast<size_t>(at.index(p, c))];
      at_c = 4 * kU * std::abs(args.want[0][at.index(p, c)]) + lack_error + kSmallest;
      if (c == t) at_c += static_cast<double>(at.C) * (kU * total + lack_error);
    }
  }
  return {bound};
}

}  // namespace

std::vector<OpCase> label_loss_cases() {
  std::vector<OpCase> cases;
  add_common(OpKind::nll_fwd, cases);
  add_common(OpKind::multi_margin_fwd, cases);
  const auto margin = [&](const std::string& why, int power, float size, bool has_weights) {
    LabelLossParams params = defaults();
    params.power = power;
    params.margin = size;
    cases.push_back(make(OpKind::multi_margin_fwd, why, {9, 4}, labels_of({9}, labels(4)), params,
                         has_weights));
  };
  margin("squared", 2, 1, false);
  margin("squared, weighted, of margin 0.5", 2, 0.5f, true);
  margin("of margin 0", 1, 0, false);
  margin("of a negative margin", 1, -0.5f, true);
  return cases;
}

std::vector<RejectCase> label_loss_rejections() {
  const Params plain = Params::of(defaults());
  const In x{{4, 3}, {}}, target = labels_of({4}, labels(3));
  LabelLossParams cubic = defaults();
  cubic.power = 3;
  LabelLossParams endless = defaults();
  endless.margin = HUGE_VALF;
  return {
      {"negative_log_likelihood \"layer\": scores are f32 [N, C, ...], got f32 [4]",
       OpKind::nll_fwd,
       plain,
       {{{4}, {}}, target}},
      {"negative_log_likelihood \"layer\": class indices are i32 [4] for x [4, 3], got f32 [4, 3]",
       OpKind::nll_fwd,
       plain,
       {x, x}},
      {"negative_log_likelihood \"layer\": class weights are f32 [3], one per class of x [4, 3], "
       "got f32 [4]",
       OpKind::nll_fwd,
       plain,
       {x, target, {{4}, {}}}},
      {"multi_margin \"layer\": the power is 1 or 2, got 3",
       OpKind::multi_margin_fwd,
       Params::of(cubic),
       {x, target}},
      {"multi_margin \"layer\": the margin must be finite, got inf",
       OpKind::multi_margin_fwd,
       Params::of(endless),
       {x, target}},
      {"multi_margin_bwd \"layer\": the gradient of the loss is f32 [1], got f32 [4]",
       OpKind::multi_margin_bwd,
       plain,
       {x, target, absent(), {{4}, {}}, {{4}, {}}}},
      {"nll_bwd \"layer\": the statistics of the forward step are f32 [4], got none",
       OpKind::nll_bwd,
       plain,
       {x, target, absent(), {{1}, {}}}},
  };
}

std::vector<Rule> label_loss_rules() {
  return {
      {OpKind::nll_fwd, forward<OpKind::nll_fwd>, forward_bounds<OpKind::nll_fwd>},
      {OpKind::nll_bwd, backward<OpKind::nll_fwd>, backward_bounds<OpKind::nll_fwd>},
      {OpKind::multi_margin_fwd, forward<OpKind::multi_margin_fwd>,
       forward_bounds<OpKind::multi_margin_fwd>},
      {OpKind::multi_margin_bwd, backward<OpKind::multi_margin_fwd>,
       backward_bounds<OpKind::multi_margin_fwd>},
  };
}

}  // namespace tanul::test
