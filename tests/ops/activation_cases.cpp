// SPDX-License-Identifier: Apache-2.0
// One row an activation: its formula and its derivative; the cases are the same for all.
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "core/format.h"
#include "ops/activation_reference.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

Real logistic(Real x) { return 1 / (1 + std::exp(-x)); }
Real softplus(Real x) { return std::max<Real>(x, 0) + std::log1p(std::exp(-std::abs(x))); }
// Of the standard normal.
Real distribution(Real x) { return std::erfc(-x / std::sqrt(Real{2})) / 2; }
Real density(Real x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::acos(Real{-1})); }
// 2 u of gelu_tanh, and its derivative
Real twice_u(Real x) {
  return 2 * std::sqrt(2 / std::acos(Real{-1})) * (x + 0.044715L * x * x * x);
}
Real twice_u_slope(Real x) {
  return 2 * std::sqrt(2 / std::acos(Real{-1})) * (1 + 3 * 0.044715L * x * x);
}
// Of hardsigmoid: in double, so that with 1/6 rounded to it 3 still gives 1.
Real line(Real x, const double* p) { return p[0] * static_cast<double>(x) + p[1]; }
bool is_between(Real x, Real low, Real high) { return low < x && x < high; }

using P = const double*;

}  // namespace

const std::vector<ActivationReference>& activation_references() {
  static const std::vector<ActivationReference> all = {
      {OpKind::relu_fwd, [](Real x, P) { return x < 0 ? 0 : x; },
       [](Real x, P) -> Real { return x > 0 ? 1 : 0; }, true},
      {OpKind::leaky_relu_fwd,
       [](Real x, P p) { return x > 0 ? x : p[0] * x; },
       [](Real x, P p) -> Real { return x > 0 ? 1 : p[0]; },
       false,
       {{0.2}, {0.0}, {-0.5}}},
      {OpKind::relu6_fwd, [](Real x, P) { return std::clamp<Real>(x, 0, 6); },
       [](Real x, P) -> Real { return is_between(x, 0, 6) ? 1 : 0; }, true},
      {OpKind::elu_fwd,
       [](Real x, P p) { return x > 0 ? x : p[0] * std::expm1(x); },
       [](Real x, P p) { return x > 0 ? 1 : p[0] * std::exp(x); },
       false,
       {{0.5}}},
      {OpKind::selu_fwd, [](Real x, P p) { return p[1] * (x > 0 ? x : p[0] * std::expm1(x)); },
       [](Real x, P p) { return p[1] * (x > 0 ? 1 : p[0] * std::exp(x)); }},
      {OpKind::celu_fwd,
       [](Real x, P p) { return x > 0 ? x : p[0] * std::expm1(x / p[0]); },
       [](Real x, P p) { return x > 0 ? 1 : std::exp(x / p[0]); },
       false,
       {{2.0}, {0.3}}},
      {OpKind::gelu_fwd, [](Real x, P) { return x * distribution(x); },
       [](Real x, P) { return distribution(x) + x * density(x); }},
      {OpKind::gelu_tanh_fwd, [](Real x, P) { return x * logistic(twice_u(x)); },
       [](Real x, P) {
         const Real u = twice_u(x);
         return logistic(u) * (1 + x * twice_u_slope(x) * logistic(-u));
       }},
      {OpKind::silu_fwd, [](Real x, P) { return x * logistic(x); },
       [](Real x, P) { return logistic(x) * (1 + x * logistic(-x)); }},
      {OpKind::softplus_fwd,
       [](Real x, P p) { return p[0] * x > p[1] ? x : softplus(p[0] * x) / p[0]; },
       [](Real x, P p) { return p[0] * x > p[1] ? 1 : logistic(p[0] * x); },
       false,
       {{2.0, 20.0}, {1.0, 5.0}, {0.5, kInf}}},
      {OpKind::sigmoid_fwd, [](Real x, P) { return logistic(x); },
       [](Real x, P) { return logistic(x) * logistic(-x); }},
      {OpKind::logsigmoid_fwd, [](Real x, P) { return -softplus(-x); },
       [](Real x, P) { return logistic(-x); }},
      {OpKind::tanh_fwd, [](Real x, P) { return std::tanh(x); },
       [](Real x, P) { return 4 * logistic(2 * x) * logistic(-2 * x); }},
      {OpKind::hardsigmoid_fwd,
       [](Real x, P p) { return std::clamp<Real>(line(x, p), 0, 1); },
       [](Real x, P p) -> Real {
         return std::isnan(x) ? x : is_between(line(x, p), 0, 1) ? p[0] : 0;
       },
       false,
       {{0.2, 0.5}}},
      {OpKind::hardswish_fwd,
       [](Real x, P) { return x < -3 ? 0 : x * std::min<Real>((x + 3) / 6, 1); },
       [](Real x, P) -> Real { return x > -3 ? (x < 3 ? (2 * x + 3) / 6 : 1) : 0; }},
      {OpKind::hardtanh_fwd,
       [](Real x, P p) { return std::clamp<Real>(x, p[0], p[1]); },
       [](Real x, P p) -> Real { return is_between(x, p[0], p[1]) ? 1 : 0; },
       true,
       {{-2.0, 3.0}}},
      {OpKind::softsign_fwd,
       [](Real x, P) { return std::isinf(x) ? std::copysign(1, x) : x / (1 + std::abs(x)); },
       [](Real x, P) { return 1 / ((1 + std::abs(x)) * (1 + std::abs(x))); }},
      {OpKind::mish_fwd, [](Real x, P) { return x * std::tanh(softplus(x)); },
       [](Real x, P) {
         const Real c = 1 / std::cosh(softplus(x));
         return std::tanh(softplus(x)) + x * logistic(x) * c * c;
       }},
      {OpKind::threshold_relu_fwd,
       [](Real x, P p) { return x > p[0] ? x : 0; },
       [](Real x, P p) -> Real { return x > p[0] ? 1 : 0; },
       true,
       {{0.5}}},
      {OpKind::threshold_fwd,
       [](Real x, P p) { return x > p[0] ? x : p[1]; },
       [](Real x, P p) -> Real { return x > p[0] ? 1 : 0; },
       true,
       {{0.5, -2.0}}},
  };
  return all;
}

const ActivationReference& activation_reference(OpKind forward) {
  for (const ActivationReference& reference : activation_references()) {
    if (reference.kind == forward) return reference;
  }
  throw std::logic_error("an activation without a row in activation_cases.cpp");
}

namespace {

Real with_limits(Real (*f)(Real, P), Real x, P p) {
  const Real y = f(x, p);
  // 0 times infinity: 1e5 is beyond everything that float can tell from the limit.
  return std::isnan(y) && std::isinf(x) ? f(std::copysign(Real{1e5}, x), p) : y;
}

}  // namespace

Real value_at(const ActivationReference& reference, Real x, P p) {
  return std::isnan(x) ? x : with_limits(reference.value, x, p);
}
Real slope_at(const ActivationReference& reference, Real x, P p) {
  return with_limits(reference.slope, x, p);
}

std::vector<ActivationParams> parameter_sets(const ActivationReference& reference) {
  ActivationParams defaults{};
  for (int i = 0; i < kMaxActivationParams; ++i) {
    defaults.values[i] = find_activation(reference.kind)->def->params[i].otherwise;
  }
  std::vector<ActivationParams> sets{defaults};
  sets.insert(sets.end(), reference.more.begin(), reference.more.end());
  return sets;
}

std::string activation_text(const ActivationReference& reference, const ActivationParams& params) {
  const ActivationInfo* info = find_activation(reference.kind);
  std::string text = info->name;
  for (int i = 0; i < info->param_count(); ++i) {
    text += fmt::format("{}{:g}", i == 0 ? "(" : ", ", params.values[i]);
  }
  return info->param_count() > 0 ? text + ")" : text;
}

std::vector<OpCase> activation_cases() {
  std::vector<OpCase> cases;
  for (const ActivationReference& reference : activation_references()) {
    const std::vector<ActivationParams> sets = parameter_sets(reference);
    for (size_t i = 0; i < sets.size(); ++i) {
      const auto add = [&](const std::string& why, const Shape& x, const Fill& fill,
                           bool has_gradient = true) {
        cases.push_back({activation_text(reference, sets[i]) + " " + why,
                         reference.kind,
                         Params::of(sets[i]),
                         {{x, fill}},
                         {0},
                         {},
                         1,
                         has_gradient});
      };
      const Fill plain{Fill::away_from_zero, 1, {}};
      add("of a plane", {2, 3, 5, 7}, plain);
      add("of large values: saturates", {9, 11}, {Fill::normal, 40, {}}, false);
      add("of huge values: finite", {8}, list({1e4, -1e4, 9999, -9999, 700, -700, 2e3, -2e3}),
          false);
      add("at kinks and their neighbours", {40},
          list({0,         -0.0,      3,         -3,         6,          1,          -1,
                0.5,       -2,        5,         10,         2.5,        -2.5,       5.9999995,
                6.0000005, 2.9999998, 3.0000002, -2.9999998, -3.0000002, 0.99999994, 1.0000001}),
          false);
      add("of the ends of the range", {23},
          list({3.4e38, -3.4e38, 88, -88, 89, -89, 104, -104, 17, -17, 9, -9}), false);
      add("of denormals and zeros", {14}, list({0, -0.0, 1e-40, -1e-40, 1e-38, -1e-38, 1e-30}),
          false);
      if (i > 0) continue;
      add("of one element", {1}, plain);
      add("of a vector and a tail", {67}, plain);
      add("of infinities and NaN", {7}, list({HUGE_VAL, -HUGE_VAL, NAN, 1, -1, 0.5}), false);
      add("of tiny values: the linear part", {301}, {Fill::normal, 1e-4, {}}, false);
      // Where implementations change their formula; no value is within 1/250 of a kink, which all lie at
      // halves.
      Fill dense{Fill::list, 1, {}};
      for (int at = 0; at < 2000; ++at) {
        const double x = -12.0 + 0.012 * at + 0.005;
        if (std::abs(2 * x - std::round(2 * x)) > 0.008) dense.values.push_back(x);
      }
      add("of a dense range", {static_cast<int64_t>(dense.values.size())}, dense);
      const bool is_double = find_activation(reference.kind)->def->is_double_forward;
      if (reference.kind == OpKind::relu_fwd || reference.kind == OpKind::tanh_fwd ||
          (is_double && reference.kind == OpKind::gelu_fwd)) {
        add("of several tiles", {3, 17000}, plain);
        add("of one element beyond a tile", {16385}, plain);
      }
    }
  }
  return cases;
}

std::vector<RejectCase> activation_rejections() {
  const In bytes{{2, 3}, {}, DType::u8};
  const In x{{2, 3}, {}}, other{{3, 2}, {}};
  const auto with = [](double a, double b = 0) { return Params::of(ActivationParams{{a, b}}); };
  std::vector<RejectCase> rejections;
  for (const ActivationReference& reference : activation_references()) {
    rejections.push_back(
        {fmt::format("{} \"layer\": x must be f32, got u8", find_activation(reference.kind)->name),
         reference.kind,
         Params::of(parameter_sets(reference)[0]),
         {bytes}});
  }
  const std::vector<RejectCase> more = {
      {"relu_bwd \"layer\": dy [3, 2] and what was saved of the forward step [2, 3] must have one "
       "shape",
       OpKind::relu_bwd,
       {},
       {other, x}},
      {"leaky_relu \"layer\": alpha must be finite, got nan",
       OpKind::leaky_relu_fwd,
       with(NAN),
       {x}},
      {"elu \"layer\": alpha must be finite, got inf", OpKind::elu_fwd, with(kInf), {x}},
      {"celu \"layer\": alpha must be greater than 0, got 0", OpKind::celu_fwd, with(0), {x}},
      {"softplus \"layer\": beta must be greater than 0, got -1",
       OpKind::softplus_fwd,
       with(-1, 20),
       {x}},
      {"softplus \"layer\": threshold must be a number, got nan",
       OpKind::softplus_fwd,
       with(1, NAN),
       {x}},
      {"hardtanh \"layer\": min must be below max, got 1 and 1",
       OpKind::hardtanh_fwd,
       with(1, 1),
       {x}},
  };
  rejections.insert(rejections.end(), more.begin(), more.end());
  return rejections;
}

namespace {

template <OpKind kForward>
Tensors activation_fwd(const Params& params, const Tensors& in, const RefContext&) {
  const ActivationReference& reference = activation_reference(kForward);
  RefTensor y(in[0].shape);
  for (int64_t i = 0; i < y.elems(); ++i) {
    y[i] = static_cast<double>(value_at(reference, in[0][i], params.as<ActivationParams>().values));
  }
  return {y};
}

// Where y is saved in place of x, it has the same slope: both lie on the same side of the kinks.
template <OpKind kForward>
Tensors activation_bwd(const Params& params, const Tensors& in, const RefContext&) {
  const ActivationReference& reference = activation_reference(kForward);
  RefTensor dx(in[0].shape);
  for (int64_t i = 0; i < dx.elems(); ++i) {
    const Real slope = slope_at(reference, in[1][i], params.as<ActivationParams>().values);
    dx[i] = slope == 0 ? 0 : static_cast<double>(in[0][i] * slope);
  }
  return {dx};
}

template <OpKind kForward>
Bounds fwd_bounds(const BoundArgs& args) {
  if (activation_reference(kForward).is_exact) return {exact(args.want[0])};
  return {relative(args.want[0], kTranscendental / kU)};
}

// Besides: the slope is made of double terms of about 1 that cancel where it is 0.
template <OpKind kForward>
Bounds bwd_bounds(const BoundArgs& args) {
  Bounds bounds = fwd_bounds<kForward>(args);
  if (activation_reference(kForward).is_exact) return bounds;
  for (size_t i = 0; i < bounds[0].size(); ++i) {
    bounds[0][i] += 0x1p-50 * std::abs(args.in[0].v[i]);
  }
  return bounds;
}

template <OpKind kForward>
bool keeps_integers(const Params&) {
  return activation_reference(kForward).is_exact;
}

Tensors sigmoid_bwd_output(const Params&, const Tensors& in, const RefContext&) {
  RefTensor dx(in[0].shape);
  for (int64_t i = 0; i < dx.elems(); ++i) dx[i] = in[0][i] * in[1][i] * (1 - in[1][i]);
  return {dx};
}

// Each of the three operations rounds once.
Bounds sigmoid_bwd_output_bounds(const BoundArgs& args) { return {relative(args.want[0], 4)}; }

Tensors tanh_bwd_output(const Params&, const Tensors& in, const RefContext&) {
  RefTensor dx(in[0].shape);
  for (int64_t i = 0; i < dx.elems(); ++i) dx[i] = in[0][i] * (1 - in[1][i] * in[1][i]);
  return {dx};
}

// y^2 rounds at its own size, then the difference and the product round.
Bounds tanh_bwd_output_bounds(const BoundArgs& args) {
  std::vector<double> bound;
  for (size_t i = 0; i < args.in[0].v.size(); ++i) {
    const double y = args.in[1].v[i];
    bound.push_back(kU * std::abs(args.in[0].v[i]) * (y * y + 3 * (1 - y * y)) + kSmallest);
  }
  return {bound};
}

}  // namespace

std::vector<Rule> activation_rules() {
  return {
#define TANUL_STEP(name)
#define TANUL_VIEW(name)
#define TANUL_ACTIVATION(name, Type)                                                           \
  {OpKind::name##_fwd, activation_fwd<OpKind::name##_fwd>, fwd_bounds<OpKind::name##_fwd>,     \
   keeps_integers<OpKind::name##_fwd>},                                                        \
      {OpKind::name##_bwd, activation_bwd<OpKind::name##_fwd>, bwd_bounds<OpKind::name##_fwd>, \
       keeps_integers<OpKind::name##_fwd>},
#include "kernels/ops.def"
#undef TANUL_STEP
#undef TANUL_VIEW
      {OpKind::sigmoid_bwd_output, sigmoid_bwd_output, sigmoid_bwd_output_bounds},
      {OpKind::tanh_bwd_output, tanh_bwd_output, tanh_bwd_output_bounds},
  };
}

}  // namespace tanul::test
