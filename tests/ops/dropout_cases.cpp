// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "core/philox.h"
#include "kernels/dropout/dropout.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

OpCase make(const std::string& why, const Shape& x, float p, const Fill& fill = {},
            bool is_spatial = false) {
  const Params params = Params::of(DropoutParams{p, philox_stream(why), is_spatial});
  return {"dropout " + why, OpKind::dropout_fwd, params, {{x, fill}}, {0}, {}, 1, true};
}

}  // namespace

std::vector<OpCase> dropout_cases() {
  std::vector<OpCase> cases = {
      make("of one element", {1}, 0.5f),
      make("of half", {64, 500}, 0.5f),
      make("of nothing: p 0", {3, 7, 5, 5}, 0.0f),
      make("of a little", {4, 16, 7, 7}, 0.1f),
      make("of nearly all", {1000}, 0.999f),
      make("of an odd count: a part of a Philox block", {63}, 0.3f),
      make("of one element beyond a tile", {16385}, 0.25f),
      make("of several tiles", {3, 17001}, 0.2f),
      make("of an uneven share", {2, 1, 33}, 1.0f / 3),
      make("of channels", {4, 16, 5, 3}, 0.5f, {}, true),
      make("of channels of signals", {3, 7, 11}, 0.3f, {}, true),
      make("of channels longer than a tile", {2, 5, 130, 131}, 0.5f, {}, true),
      make("of many channels: several tiles", {50, 401, 3}, 0.2f, {}, true),
      make("with infinities and NaN", {64}, 0.5f, list({HUGE_VAL, NAN, 1, -HUGE_VAL, 2})),
  };
  cases.back().has_gradient_check = false;
  return cases;
}

std::vector<RejectCase> dropout_rejections() {
  const auto with = [](float p) { return Params::of(DropoutParams{p, 1, 0}); };
  const std::vector<In> x{{{2, 3}, {}}};
  const OpKind fwd = OpKind::dropout_fwd;
  return {
      {"dropout \"layer\": the share p of dropped elements is at least 0 and below 1, got 1", fwd,
       with(1), x},
      {"dropout \"layer\": the share p of dropped elements is at least 0 and below 1, got -0.1",
       fwd, with(-0.1f), x},
      {"dropout \"layer\": the share p of dropped elements is at least 0 and below 1, got nan", fwd,
       with(std::nanf("")), x},
      {"dropout \"layer\": x is f32, got u8", fwd, with(0.5f), {{{2, 3}, {}, DType::u8}}},
      {"dropout \"layer\": whole channels are dropped of x [N, C, …] with axes behind C, got [2, "
       "3]",
       fwd, Params::of(DropoutParams{0.5f, 1, 1}), x},
  };
}

namespace {

Tensors dropout(const Params& params, const Tensors& in, const RefContext& context) {
  const DropoutParams& p = params.as<DropoutParams>();
  const Philox philox{context.seed, p.stream, static_cast<uint32_t>(context.step)};
  RefTensor y(in[0].shape);
  const int64_t together = p.is_spatial != 0 ? y.shape.elems_from(2) : 1;
  for (int64_t i = 0; i < y.elems(); ++i) {
    const bool is_dropped = philox.uniform24(static_cast<uint64_t>(i / together)) < p.p;
    y[i] = is_dropped ? 0 : in[0][i] / (1 - static_cast<double>(p.p));
  }
  return {y};
}

// The factor rounds, and the product.
Bounds dropout_bounds(const BoundArgs& args) { return {relative(args.want[0], 3)}; }

}  // namespace

std::vector<Rule> dropout_rules() {
  return {{OpKind::dropout_fwd, dropout, dropout_bounds},
          {OpKind::dropout_bwd, dropout, dropout_bounds}};
}

}  // namespace tanul::test
