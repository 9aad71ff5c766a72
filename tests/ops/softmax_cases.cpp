// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "kernels/softmax/softmax.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

// Calls line(first element, distance, extent) for every line along the axis.
template <typename Line>
void for_lines(const Shape& shape, int axis, Line&& line) {
  const int64_t inner = shape.elems_from(axis + 1);
  for (int64_t outer = 0; outer < shape.elems() / (inner * shape[axis]); ++outer) {
    for (int64_t i = 0; i < inner; ++i) line(outer * shape[axis] * inner + i, inner, shape[axis]);
  }
}

template <bool kIsLog>
Tensors fwd(const Params& params, const Tensors& in, const RefContext&) {
  const RefTensor& x = in[0];
  RefTensor y(x.shape);
  for_lines(x.shape, params.as<SoftmaxParams>().axis,
            [&](int64_t start, int64_t step, int64_t extent) {
              int64_t largest = start;  // the first of them
              double others = 0;
              for (int64_t c = 0; c < extent; ++c) {
                const int64_t i = start + c * step;
                if (x[i] > x[largest] || std::isnan(x[largest])) largest = i;
              }
              for (int64_t c = 0; c < extent; ++c) {
                const int64_t i = start + c * step;
                if (i != largest || std::isinf(x[i])) others += std::exp(x[i] - x[largest]);
              }
              for (int64_t c = 0; c < extent; ++c) {
                const int64_t i = start + c * step;
                const double shifted = x[i] - x[largest];
                y[i] = kIsLog ? shifted - std::log1p(others) : std::exp(shifted) / (1 + others);
                if (std::isnan(others)) y[i] = others;
              }
            });
  return {y};
}

template <bool kIsLog>
Tensors bwd(const Params& params, const Tensors& in, const RefContext&) {
  const RefTensor &dy = in[0], &y = in[1];
  RefTensor dx(y.shape);
  for_lines(y.shape, params.as<SoftmaxParams>().axis,
            [&](int64_t start, int64_t step, int64_t extent) {
              double sum = 0;
              for (int64_t c = 0; c < extent; ++c) {
                const int64_t i = start + c * step;
                sum += kIsLog ? dy[i] : dy[i] * y[i];
              }
              for (int64_t c = 0; c < extent; ++c) {
                const int64_t i = start + c * step;
                dx[i] = kIsLog ? dy[i] - std::exp(y[i]) * sum : y[i] * (dy[i] - sum);
              }
            });
  return {dx};
}

// exp and sums are double; e^x is rounded once on the way: two roundings (softmax), one (log_softmax).
Bounds fwd_bounds(const BoundArgs& args) { return {relative(args.want[0], 2.01)}; }

// One rounding; the terms are double, their sum is as far off as doubles are.
template <bool kIsLog>
Bounds bwd_bounds(const BoundArgs& args) {
  Tensors positive = args.in;
  for (double& value : positive[0].v) value = std::abs(value);
  std::vector<double> bound = relative(args.want[0], 1.01);
  const RefTensor &dy = positive[0], &y = positive[1];
  for_lines(y.shape, args.params.as<SoftmaxParams>().axis,
            [&](int64_t start, int64_t step, int64_t extent) {
              double sum = 0;
              for (int64_t c = 0; c < extent; ++c) {
                const int64_t i = start + c * step;
                sum += kIsLog ? dy[i] : dy[i] * y[i];
              }
              for (int64_t c = 0; c < extent; ++c) {
                const int64_t i = start + c * step;
                const double T = dy[i] + sum;
                bound[static_cast<size_t>(i)] += (static_cast<double>(extent) + 8) * 0x1p-52 * T;
              }
            });
  return {bound};
}

// In float32, in units of u: x - max is off by |x - max|, the exponent of 2 that it becomes by two
// more roundings of it, e^x by 8 (kTranscendental); a sum of n terms in any order by n and by what
// its terms are off, each by its share. softmax divides: 3 for a reciprocal and a product.
// log_softmax: 8 of the logarithm, and two additions of x, max and the logarithm in any order.
template <bool kIsLog>
Bounds fwd_bounds_f32(const BoundArgs& args) {
  const RefTensor &x = args.in[0], &y = args.want[0];
  std::vector<double> bound = relative(y, 1);
  for_lines(y.shape, args.params.as<SoftmaxParams>().axis,
            [&](int64_t start, int64_t step, int64_t extent) {
              double max = -HUGE_VAL, total = 0, terms = 0;
              for (int64_t i = start; i < start + extent * step; i += step) {
                max = std::max(max, x[i]);
              }
              const auto off = [&](int64_t i) { return 3 * std::abs(x[i] - max) + 8; };
              for (int64_t i = start; i < start + extent * step; i += step) {
                const double e = std::exp(x[i] - max);
                total += e;
                if (e > 0) terms += e * off(i);
              }
              const double sum = static_cast<double>(extent) + terms / total;
              const double log = std::log(total);
              for (int64_t i = start; i < start + extent * step; i += step) {
                if (!std::isfinite(y[i]) || (!kIsLog && y[i] == 0)) continue;
                const double units =
                    kIsLog ? sum + 8 * log + 2 * (std::abs(x[i]) + std::abs(max) + log)
                           : (off(i) + sum + 3) * y[i];
                bound[static_cast<size_t>(i)] += 1.01 * kU * units;  // 1.01: products of roundings
              }
            });
  return {bound};
}

// In float32, in units of u: a sum of n terms in any order is off by n of their absolute values
// (softmax: products, one more), a difference and a product by 1 each of what goes in. e^y: 8, and
// 2 |y| of the exponent of 2 that y becomes.
template <bool kIsLog>
Bounds bwd_bounds_f32(const BoundArgs& args) {
  const Tensors positive = absolute(args.in);
  const RefTensor &dy = positive[0], &y = positive[1];
  std::vector<double> bound = relative(args.want[0], 1);
  for_lines(y.shape, args.params.as<SoftmaxParams>().axis,
            [&](int64_t start, int64_t step, int64_t extent) {
              const auto n = static_cast<double>(extent);
              double sum = 0;
              for (int64_t i = start; i < start + extent * step; i += step) {
                sum += kIsLog ? dy[i] : dy[i] * y[i];
              }
              for (int64_t i = start; i < start + extent * step; i += step) {
                const double factor = kIsLog ? std::exp(args.in[1][i]) : y[i];
                const double units = kIsLog ? n + 10 + 2 * std::min(y[i], 1e6) : n + 3;
                const double own = kIsLog ? dy[i] : 2 * factor * dy[i];
                bound[static_cast<size_t>(i)] +=
                    1.01 * kU * (units * factor * sum + own) +
                    kSmallest * (n + sum);  // terms and e^y may underflow
              }
            });
  return {bound};
}

}  // namespace

std::vector<OpCase> softmax_cases() {
  std::vector<OpCase> cases;
  for (const auto& [name, kind] : {std::pair("softmax", OpKind::softmax_fwd),
                                   std::pair("log_softmax", OpKind::log_softmax_fwd)}) {
    const auto add = [&, op = kind, prefix = std::string(name)](
                         const std::string& why, const Shape& x, int32_t axis,
                         const Fill& fill = {Fill::normal, 3, {}}, bool has_gradient = true) {
      cases.push_back({prefix + " " + why,
                       op,
                       Params::of(SoftmaxParams{axis}),
                       {{x, fill}},
                       {0},
                       {},
                       1,
                       has_gradient});
    };
    for (int32_t axis = 0; axis < 4; ++axis) {
      add("over axis " + std::to_string(axis) + " of images", {3, 5, 4, 7}, axis);
    }
    add("of classes", {9, 10}, 1);
    add("over the batch", {9, 10}, 0);
    add("of one class: always 1", {3, 1}, 1);
    add("of a vector", {17}, 0);
    add("of a thousand classes", {3, 1000}, 1);
    add("of more classes than a warp takes", {3, 2100}, 1);
    add("of classes beyond one strip and a tail", {2, 131}, 1);
    add("of pixels beyond one strip", {2, 3, 9, 15}, 1);
    add("of pixels, several tiles", {3, 4, 60, 61}, 1);
    add("of many rows: several tiles", {5000, 7}, 1);
    add("of rank 6", {2, 1, 3, 2, 2, 2}, 2);
    add("of large logits", {4, 4}, 1,
        list({1e4, -1e4, 0, 5, -1e4, -1e4, -1e4, -1e4, 1e4, 1e4, 1e4, 9999, 88.5, 89, 90, 88}),
        false);
    add("of the ends of the range", {2, 3}, 1, list({3.4e38, -3.4e38, 0, -3.4e38, -3.4e38, -104}),
        false);
    add("of what is left out: minus infinity", {2, 4}, 1,
        list({-HUGE_VAL, 1, 2, 3, -HUGE_VAL, -HUGE_VAL, -5, -HUGE_VAL}), false);
    add("of NaN and infinity: NaN", {3, 4}, 1,
        list({1, NAN, 2, 3, HUGE_VAL, 1, 2, 3, -HUGE_VAL, -HUGE_VAL, -HUGE_VAL, -HUGE_VAL}), false);
  }
  return cases;
}

std::vector<RejectCase> softmax_rejections() {
  const auto over = [](int32_t axis) { return Params::of(SoftmaxParams{axis}); };
  const In x{{2, 3}, {}};
  return {
      {"softmax \"layer\": axis 2 does not exist, x [2, 3] has axes 0 to 1",
       OpKind::softmax_fwd,
       over(2),
       {x}},
      {"log_softmax \"layer\": axis -1 does not exist, x [2, 3] has axes 0 to 1",
       OpKind::log_softmax_fwd,
       over(-1),
       {x}},
      {"softmax \"layer\": x has 1 to 6 axes, got []",
       OpKind::softmax_fwd,
       over(0),
       {{Shape{}, {}}}},
      {"log_softmax \"layer\": x must be f32, got i32",
       OpKind::log_softmax_fwd,
       over(1),
       {{{2, 3}, {}, DType::i32}}},
      {"softmax_bwd \"layer\": dy [2, 3] and y [2, 4] must have one shape",
       OpKind::softmax_bwd,
       over(1),
       {x, {{2, 4}, {}}}},
  };
}

std::vector<Rule> softmax_rules() {
  return {
      {OpKind::softmax_fwd, fwd<false>, fwd_bounds, nullptr, {{"cudnn", fwd_bounds_f32<false>}}},
      {OpKind::softmax_bwd,
       bwd<false>,
       bwd_bounds<false>,
       nullptr,
       {{"cudnn", bwd_bounds_f32<false>}}},
      {OpKind::log_softmax_fwd, fwd<true>, fwd_bounds, nullptr, {{"cudnn", fwd_bounds_f32<true>}}},
      {OpKind::log_softmax_bwd,
       bwd<true>,
       bwd_bounds<true>,
       nullptr,
       {{"cudnn", bwd_bounds_f32<true>}}},
  };
}

}  // namespace tanul::test
