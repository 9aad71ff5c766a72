// SPDX-License-Identifier: Apache-2.0
// Sums of equal shapes (add_fwd) and arithmetic with broadcasting.
#include <cmath>
#include <limits>

#include "kernels/elementwise/arithmetic.h"
#include "ops/cases.h"
#include "support/broadcasting.h"

namespace tanul::test {

namespace {

OpCase add_case(const std::string& why, const Shape& shape, const Fill& a = {}, const Fill& b = {},
                bool has_gradient = true) {
  return {"add " + why, OpKind::add_fwd, {}, {{shape, a}, {shape, b}}, {0, 1}, {}, 1, has_gradient};
}

struct Named {
  const char* name;
  OpKind kind;
};

const std::vector<Named>& arithmetic_kinds() {
  static const std::vector<Named> all = {{"broadcast add", OpKind::add_broadcast_fwd},
                                         {"subtract", OpKind::subtract_fwd},
                                         {"multiply", OpKind::multiply_fwd},
                                         {"divide", OpKind::divide_fwd},
                                         {"maximum", OpKind::maximum_fwd},
                                         {"minimum", OpKind::minimum_fwd}};
  return all;
}

void add_arithmetic(std::vector<OpCase>& cases, const Named& op) {
  const bool compares = op.kind == OpKind::maximum_fwd || op.kind == OpKind::minimum_fwd;
  // Nothing near a kink (a = b) or a pole (b = 0).
  const Fill of_a = compares ? Fill{Fill::integers, 4, {}} : Fill{};
  const Fill of_b = compares ? Fill{Fill::half_integers, 4, {}} : Fill{Fill::away_from_zero, 1, {}};
  const auto add = [&](const std::string& why, const Shape& a, const Shape& b) {
    cases.push_back({std::string(op.name) + " " + why,
                     op.kind,
                     {},
                     {{a, of_a}, {b, of_b}},
                     {0, 1},
                     {},
                     1,
                     true});
  };
  add("of equal shapes", {2, 3, 4}, {2, 3, 4});
  add("of equal shapes, several tiles", {3, 17000}, {3, 17000});
  add("with one number", {2, 3, 4}, {1});
  add("with a scalar of rank 0", {2, 3, 4}, Shape{});
  add("of one number with a tensor", {1}, {5, 3});
  add("of two scalars", {1, 1}, {1});
  add("with one number a channel", {2, 5, 3, 4}, {5, 1, 1});
  add("with one number a channel and sample: a gate", {3, 4, 5, 7}, {3, 4, 1, 1});
  add("with one plane for all channels", {2, 6, 5, 3}, {2, 1, 5, 3});
  add("with a row", {3, 4, 5}, {5});
  add("of a column with a row: both repeated", {3, 1, 5}, {1, 4, 1});
  add("of a smaller rank first", {4, 1}, {2, 3, 1, 5});
  add("of rank 6, every other axis repeated", {2, 1, 3, 1, 2, 1}, {1, 3, 1, 2, 1, 4});
  add("with a long vector: several sums", {300, 130}, {130});
  add("with a short vector over many rows: blocks of the batch", {200, 3, 90}, {3, 1});
  add("with one number over several tiles: blocks of one row", {70001}, {1});
}

// The value, and dy times the derivatives, of one element.
double value_of(OpKind kind, double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<double>::quiet_NaN();
  switch (kind) {
    case OpKind::add_fwd:
    case OpKind::add_broadcast_fwd: return a + b;
    case OpKind::subtract_fwd: return a - b;
    case OpKind::multiply_fwd: return a * b;
    case OpKind::divide_fwd: return a / b;
    case OpKind::maximum_fwd: return a > b ? a : b;
    default: return a < b ? a : b;
  }
}

template <OpKind kKind>
Tensors reference_fwd(const Params&, const Tensors& in, const RefContext&) {
  RefTensor y(broadcast_shape(in[0].shape, in[1].shape));
  for (int64_t i = 0; i < y.elems(); ++i) {
    y[i] = value_of(kKind, in[0][broadcast_index(y.shape, in[0].shape, i)],
                    in[1][broadcast_index(y.shape, in[1].shape, i)]);
  }
  return {y};
}

Tensors reference_bwd(const Params& params, const Tensors& in, const RefContext&) {
  const ArithmeticParams& p = params.as<ArithmeticParams>();
  const RefTensor& dy = in[0];
  RefTensor da(Shape(std::vector<int64_t>(p.a_dims, p.a_dims + p.a_rank)));
  RefTensor db(Shape(std::vector<int64_t>(p.b_dims, p.b_dims + p.b_rank)));
  for (int64_t i = 0; i < dy.elems(); ++i) {
    const int64_t at_a = broadcast_index(dy.shape, da.shape, i);
    const int64_t at_b = broadcast_index(dy.shape, db.shape, i);
    // What is left out must not be needed: NaN would show.
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const double a = is_present(in, 1) ? in[1][at_a] : nan;
    const double b = is_present(in, 2) ? in[2][at_b] : nan;
    const double is_a = a > b ? 1 : a == b ? 0.5 : 0, is_b = b > a ? 1 : a == b ? 0.5 : 0;
    switch (p.op) {
      case Arithmetic::add: da[at_a] += dy[i], db[at_b] += dy[i]; break;
      case Arithmetic::subtract: da[at_a] += dy[i], db[at_b] -= dy[i]; break;
      case Arithmetic::multiply: da[at_a] += dy[i] * b, db[at_b] += dy[i] * a; break;
      case Arithmetic::divide: da[at_a] += dy[i] / b, db[at_b] -= dy[i] * a / (b * b); break;
      case Arithmetic::maximum: da[at_a] += dy[i] * is_a, db[at_b] += dy[i] * is_b; break;
      case Arithmetic::minimum: da[at_a] += dy[i] * is_b, db[at_b] += dy[i] * is_a; break;
    }
  }
  if ((p.wanted & 1) == 0) da = RefTensor::absent();
  if ((p.wanted & 2) == 0) db = RefTensor::absent();
  return {da, db};
}

Bounds bounds_bwd(const BoundArgs& args) {
  const ArithmeticParams& p = args.params.as<ArithmeticParams>();
  Tensors positive = absolute(args.in);
  if (p.op == Arithmetic::maximum || p.op == Arithmetic::minimum) {  // which one wins must stay
    positive[1] = args.in[1];
    positive[2] = args.in[2];
  }
  const Tensors T = reference_bwd(args.params, positive, args.context);
  Bounds bounds;
  for (size_t i = 0; i < 2; ++i) {
    const double n =
        args.want[i].present ? static_cast<double>(args.in[0].elems() / args.want[i].elems()) : 0;
    bounds.push_back(double_sum_bound(args.want[i], T[i], n));
  }
  return bounds;
}

}  // namespace

std::vector<OpCase> elementwise_cases() {
  std::vector<OpCase> cases = {
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
  for (const Named& op : arithmetic_kinds()) {
    add_arithmetic(cases, op);
    const auto special = [&](const std::string& why, const Fill& a, const Fill& b) {
      cases.push_back({std::string(op.name) + " " + why,
                       op.kind,
                       {},
                       {{{12}, a}, {{12}, b}},
                       {0, 1},
                       {},
                       1,
                       false});
    };
    special("of infinities, NaN and zeros", list({HUGE_VAL, -HUGE_VAL, NAN, 1, 0, -0.0}),
            list({1, HUGE_VAL, 2, NAN, -3, 5}));
    special("that overflows and underflows", list({3e38, -3e38, 1e-30, 1e-38, 2}),
            list({3e38, 2e38, 1e-20, 1e10, 1e38}));
    if (op.kind == OpKind::maximum_fwd || op.kind == OpKind::minimum_fwd) {
      special("of equal values: half the gradient each", list({1, 2, -3}), list({1, 2, -3, 4}));
    }
    // One gradient alone, so that the other's operand is left out.
    OpCase one{std::string(op.name) + " with one gradient wanted",
               op.kind,
               {},
               {{{2, 3, 4}, {}}, {{3, 1}, {Fill::away_from_zero, 1, {}}}},
               {1},
               {},
               1,
               true};
    if (op.kind != OpKind::maximum_fwd && op.kind != OpKind::minimum_fwd) cases.push_back(one);
  }
  return cases;
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
      {"add \"layer\": extents must be equal, or 1 where one is repeated, got [2, 3] and [2, 1, 2]",
       OpKind::add_broadcast_fwd,
       {},
       {a, {{2, 1, 2}, {}}}},
      {"multiply \"layer\": extents must be equal, or 1 where one is repeated, got [2, 3] and [2]",
       OpKind::multiply_fwd,
       {},
       {a, {{2}, {}}}},
      {"divide \"layer\": input 0 must be f32, got u8",
       OpKind::divide_fwd,
       {},
       {{{2, 3}, {}, DType::u8}, a}},
      {"maximum \"layer\": at most 6 axes are possible, input 1 is [1, 1, 1, 1, 1, 1, 3]",
       OpKind::maximum_fwd,
       {},
       {a, {{1, 1, 1, 1, 1, 1, 3}, {}}}},
  };
}

std::vector<Rule> elementwise_rules() {
  return {
      {OpKind::add_fwd, reference_fwd<OpKind::add_fwd>, nullptr, always},
      {OpKind::add_broadcast_fwd, reference_fwd<OpKind::add_broadcast_fwd>, nullptr, always},
      {OpKind::subtract_fwd, reference_fwd<OpKind::subtract_fwd>, nullptr, always},
      {OpKind::multiply_fwd, reference_fwd<OpKind::multiply_fwd>, nullptr, always},
      {OpKind::divide_fwd, reference_fwd<OpKind::divide_fwd>},
      {OpKind::maximum_fwd, reference_fwd<OpKind::maximum_fwd>, nullptr, always},
      {OpKind::minimum_fwd, reference_fwd<OpKind::minimum_fwd>, nullptr, always},
      {OpKind::arithmetic_bwd, reference_bwd, bounds_bwd,
       [](const Params& params) { return params.as<ArithmeticParams>().op != Arithmetic::divide; }},
  };
}

}  // namespace tanul::test
