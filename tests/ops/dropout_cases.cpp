// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "core/philox.h"
#include "kernels/dropout/dropout.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

OpCase make(const std::string& why, const Shape& x, float p, const Fill& fill = {}) {
  const Params params = Params::of(DropoutParams{p, philox_stream(why)});
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
      make("with infinities and NaN", {64}, 0.5f, list({HUGE_VAL, NAN, 1, -HUGE_VAL, 2})),
  };
  cases.back().has_gradient_check = false;
  return cases;
}

std::vector<RejectCase> dropout_rejections() {
  const auto with = [](float p) { return Params::of(DropoutParams{p, 1}); };
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
  };
}

std::vector<Rule> dropout_rules() { return {}; }

}  // namespace tanul::test
