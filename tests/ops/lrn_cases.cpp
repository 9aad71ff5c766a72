// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "kernels/lrn/lrn.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

struct Options {
  int size = 5;
  double alpha = 0.5;
  double beta = 0.75;
  double k = 1;
  bool divides = true;
  Fill x = {};
};

Params params_of(const Options& o) {
  return Params::of(LrnParams{o.alpha, o.beta, o.k, o.size, o.divides ? 1 : 0});
}

OpCase make(const std::string& why, const Shape& x, const Options& o = {}) {
  return {"lrn " + why, OpKind::lrn_fwd, params_of(o), {{x, o.x}}, {0}, {}, 1, true};
}

double alpha_of(const LrnParams& p) {
  return p.alpha_divided_by_size != 0 ? p.alpha / p.size : p.alpha;
}

// Calls body(i, j) where element j lies in the window of element i.
template <typename Body>
void for_each_pair(const LrnParams& p, const Shape& shape, const Body& body) {
  const int64_t C = shape[1];
  const int64_t inner = shape.elems_from(2);
  for (int64_t i = 0; i < shape.elems(); ++i) {
    const int64_t c = i / inner % C;
    for (int64_t other = c - p.size / 2; other <= c + (p.size - 1) / 2; ++other) {
      if (other >= 0 && other < C) body(i, i + (other - c) * inner);
    }
  }
}

RefTensor bases(const LrnParams& p, const RefTensor& x) {
  RefTensor t(x.shape, DType::f32, p.k);
  for_each_pair(p, x.shape, [&](int64_t i, int64_t j) { t[i] += alpha_of(p) * x[j] * x[j]; });
  return t;
}

Tensors fwd(const Params& params, const Tensors& in, const RefContext&) {
  const LrnParams& p = params.as<LrnParams>();
  const RefTensor t = bases(p, in[0]);
  RefTensor y(in[0].shape);
  for (int64_t i = 0; i < y.elems(); ++i) y[i] = in[0][i] * std::pow(t[i], -p.beta);
  return {y};
}

Tensors bwd(const Params& params, const Tensors& in, const RefContext&) {
  const LrnParams& p = params.as<LrnParams>();
  const RefTensor& x = in[1];
  const RefTensor t = bases(p, x);
  RefTensor dx(x.shape);
  for (int64_t i = 0; i < dx.elems(); ++i) dx[i] = in[0][i] * std::pow(t[i], -p.beta);
  for_each_pair(p, x.shape, [&](int64_t i, int64_t j) {
    dx[j] -= 2 * alpha_of(p) * p.beta * x[j] * in[0][i] * x[i] * std::pow(t[i], -p.beta - 1);
  });
  return {dx};
}

// Roundings on the way of t^-beta, relative: the window's sum (all terms positive), alpha, k and their
// sum, carried through the power; then two roots, a product and a quotient.
double power_units(const LrnParams& p) { return std::abs(p.beta) * (p.size + 4) + 5; }

Bounds fwd_bounds(const BoundArgs& args) {
  return {relative(args.want[0], power_units(args.params.as<LrnParams>()) + 1)};
}

// The terms of the sum round in t^-beta, 1 / t, three products and the sum; its factors in three more.
Bounds bwd_bounds(const BoundArgs& args) {
  const LrnParams& p = args.params.as<LrnParams>();
  const RefTensor t = bases(p, args.in[1]);
  RefTensor terms(args.in[1].shape);
  for (int64_t i = 0; i < terms.elems(); ++i) {
    terms[i] = std::abs(args.in[0][i]) * std::pow(t[i], -p.beta);
  }
  for_each_pair(p, terms.shape, [&](int64_t i, int64_t j) {
    terms[j] += std::abs(2 * alpha_of(p) * p.beta * args.in[1][j] * args.in[0][i] * args.in[1][i]) *
                std::pow(t[i], -p.beta - 1);
  });
  return {sum_bound(terms, power_units(p) + (p.size + 4) + 1 + 3 + p.size + 3)};
}

}  // namespace

std::vector<OpCase> lrn_cases() {
  const Fill large{Fill::normal, 30, {}};
  return {
      make("of AlexNet", {2, 9, 3, 4}, {.alpha = 1e-4, .k = 2, .x = large}),
      make("of AlexNet's paper: alpha is not divided", {2, 7, 3, 2},
           {.alpha = 1e-4, .k = 2, .divides = false, .x = large}),
      make("of a large alpha", {2, 7, 3, 3}),
      make("of window 3, square root", {1, 5, 4, 3}, {.size = 3, .alpha = 1, .beta = 0.5}),
      make("of beta 1", {1, 5, 4, 3}, {.size = 3, .alpha = 1, .beta = 1}),
      make("of a beta without roots", {1, 6, 4, 5}, {.size = 3, .alpha = 1, .beta = 0.6}),
      make("of beta 0: nothing changes", {1, 4, 3}, {.beta = 0}),
      make("of a negative beta", {1, 4, 3}, {.beta = -0.5}),
      make("of an even window: two back, one forward", {2, 7, 2, 3}, {.size = 4}),
      make("of a window of 2", {2, 7, 2, 3}, {.size = 2}),
      make("of a window of 1", {2, 3, 2, 3}, {.size = 1}),
      make("of a window wider than the channels", {1, 4, 3, 2}, {.size = 9}),
      make("of one channel", {2, 1, 9}, {}),
      make("of signals", {2, 6, 5}, {.size = 3, .k = 2}),
      make("of volumes", {1, 5, 2, 3, 2}),
      make("of alpha 0", {1, 4, 5}, {.alpha = 0, .k = 2}),
      make("of several tiles", {2, 20, 30, 31}),
      make("of many channels", {1, 400, 3, 6}, {.x = large}),
  };
}

std::vector<RejectCase> lrn_rejections() {
  const OpKind fwd_kind = OpKind::lrn_fwd;
  const In x{{2, 3, 4, 4}, {}};
  return {
      {"local_response_norm \"layer\": x is f32 [N, C, L], [N, C, H, W] or [N, C, D, H, W], got "
       "f32 "
       "[2, 3]",
       fwd_kind,
       params_of({}),
       {{{2, 3}, {}}}},
      {"local_response_norm \"layer\": size, the channels of a window, is at least 1, got 0",
       fwd_kind,
       params_of({.size = 0}),
       {x}},
      {"local_response_norm \"layer\": alpha is at least 0, got -1",
       fwd_kind,
       params_of({.alpha = -1}),
       {x}},
      {"local_response_norm \"layer\": beta is a finite number, got inf",
       fwd_kind,
       params_of({.beta = HUGE_VAL}),
       {x}},
      {"local_response_norm \"layer\": k is above 0, so that nothing is divided by 0, got 0",
       fwd_kind,
       params_of({.k = 0}),
       {x}},
      {"lrn_bwd \"layer\": dy [2, 3] and x [2, 3, 4, 4] must have one shape",
       OpKind::lrn_bwd,
       params_of({}),
       {{{2, 3}, {}}, x}},
  };
}

std::vector<Rule> lrn_rules() {
  return {
      {OpKind::lrn_fwd, fwd, fwd_bounds},
      {OpKind::lrn_bwd, bwd, bwd_bounds},
  };
}

}  // namespace tanul::test
