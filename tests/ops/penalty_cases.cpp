// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/optim/penalty.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

double wide(float value) { return static_cast<double>(value); }

Tensors penalty_fwd(const Params& params, const Tensors& in, const RefContext&) {
  const auto& p = params.as<PenaltyParams>();
  RefTensor sum({1});
  for (const RefTensor& w : in) {
    for (double value : w.v)
      sum[0] += wide(p.l1) * std::abs(value) + wide(p.l2) / 2 * value * value;
  }
  return {sum};
}

Tensors penalty_bwd(const Params& params, const Tensors& in, const RefContext&) {
  const auto& p = params.as<PenaltyParams>();
  RefTensor dw = in[0];
  for (double& value : dw.v) {
    const double sign = value > 0 ? 1 : value < 0 ? -1 : 0;
    value = in[1][0] * (wide(p.l1) * sign + wide(p.l2) * value);
  }
  return {dw};
}

// All terms have one sign; the sums are double.
Bounds once(const BoundArgs& a) { return {relative(a.want[0], 1.001)}; }

OpCase penalty(const std::string& why, float l1, float l2, std::vector<In> weights) {
  OpCase op{"penalty " + why,
            OpKind::penalty_fwd,
            Params::of(PenaltyParams{l1, l2}),
            {},
            {},
            {},
            1,
            true};
  op.in = std::move(weights);
  for (size_t i = 0; i < op.in.size(); ++i) op.differentiable.push_back(static_cast<int>(i));
  return op;
}

const Fill kNoKinks{Fill::away_from_zero, 1, {}};

}  // namespace

std::vector<OpCase> penalty_cases() {
  OpCase zeros = penalty("of zeros: no gradient", 0.1f, 0.1f, {{{5}, list({0, 1, 0, -2, 0})}});
  zeros.has_gradient_check = false;  // the kink of |w|
  return {
      penalty("L1", 0.1f, 0, {{{5, 7}, kNoKinks}}),
      penalty("L2", 0, 0.1f, {{{5, 7}, {}}}),
      penalty("both, of several tensors", 0.01f, 0.02f,
              {{{3, 2, 3, 3}, kNoKinks}, {{7}, kNoKinks}, {{1}, kNoKinks}}),
      penalty("neither", 0, 0, {{{9}, kNoKinks}}),
      penalty("of several tiles", 0.01f, 0.02f, {{{3, 16000}, kNoKinks}, {{16385}, kNoKinks}}),
      zeros,
  };
}

std::vector<RejectCase> penalty_rejections() {
  const In w{{5, 7}, {}};
  return {
      {"penalty \"layer\": there are no weights",
       OpKind::penalty_fwd,
       Params::of(PenaltyParams{1, 1}),
       {}},
      {"penalty \"layer\": l1 and l2 are at least 0, got -1 and 0",
       OpKind::penalty_fwd,
       Params::of(PenaltyParams{-1, 0}),
       {w}},
      {"penalty \"layer\": weights are f32, weight 1 is i32",
       OpKind::penalty_fwd,
       Params::of(PenaltyParams{1, 0}),
       {w, {{3}, {}, DType::i32}}},
      {"penalty_bwd \"layer\": the gradient of the penalty is f32 [1], got f32 [5, 7]",
       OpKind::penalty_bwd,
       Params::of(PenaltyParams{1, 0}),
       {w, w}},
  };
}

std::vector<Rule> penalty_rules() {
  return {{OpKind::penalty_fwd, penalty_fwd, once}, {OpKind::penalty_bwd, penalty_bwd, once}};
}

}  // namespace tanul::test
