// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/activation/prelu.h"
#include "ops/cases.h"
#include "support/broadcasting.h"

namespace tanul::test {

namespace {

OpCase make(const std::string& why, const Shape& x, int64_t slopes) {
  const Fill plain{Fill::away_from_zero, 1, {}};
  return {"prelu " + why, OpKind::prelu_fwd, {}, {{x, plain}, {{slopes}, {}}}, {0, 1}, {}, 1, true};
}

int64_t slope_index(const Shape& x, const RefTensor& slope, int64_t i) {
  return slope.elems() == 1 ? 0 : i / x.elems_from(2) % x[1];
}

Tensors fwd(const Params&, const Tensors& in, const RefContext&) {
  RefTensor y = in[0];
  for (int64_t i = 0; i < y.elems(); ++i) {
    if (!(y[i] > 0)) y[i] *= in[1][slope_index(y.shape, in[1], i)];
  }
  return {y};
}

Tensors bwd(const Params& params, const Tensors& in, const RefContext&) {
  const int32_t wanted = params.as<PreluParams>().wanted;
  RefTensor dx = in[0], dslope(in[2].shape);
  for (int64_t i = 0; i < dx.elems(); ++i) {
    if (in[1][i] > 0) continue;
    const int64_t at = slope_index(dx.shape, in[2], i);
    dslope[at] += in[0][i] * in[1][i];
    dx[i] *= in[2][at];
  }
  return {(wanted & 1) != 0 ? dx : RefTensor::absent(),
          (wanted & 2) != 0 ? dslope : RefTensor::absent()};
}

Bounds bounds_bwd(const BoundArgs& args) {
  // T: absolute dy over x whose sign must stay
  Tensors positive = args.in;
  for (double& value : positive[0].v) value = std::abs(value);
  const Tensors T = bwd(args.params, positive, args.context);
  const double n = static_cast<double>(args.in[0].elems() / args.in[2].elems());
  return {exact(args.want[0]), double_sum_bound(args.want[1], T[1], n)};
}

}  // namespace

std::vector<OpCase> prelu_cases() {
  std::vector<OpCase> cases = {
      make("with one slope, features", {5, 7}, 1),
      make("with one slope, images", {2, 5, 3, 4}, 1),
      make("with a slope a feature", {5, 7}, 7),
      make("with a slope a channel of images", {2, 5, 3, 4}, 5),
      make("with a slope a channel of signals", {3, 4, 7}, 4),
      make("with a slope a channel of volumes", {2, 3, 2, 3, 4}, 3),
      make("of one element", {1, 1}, 1),
      make("of one channel", {6, 1, 3}, 1),
      make("of many samples: blocks of the batch", {3000, 20}, 20),
      make("with one slope over several tiles: blocks of one row", {3, 2, 100, 101}, 1),
      make("of channels longer than a tile", {2, 2, 130, 131}, 2),
  };
  const auto special = [&](const std::string& why, const Fill& x, const Fill& slope) {
    cases.push_back({"prelu " + why,
                     OpKind::prelu_fwd,
                     {},
                     {{{2, 3, 4}, x}, {{3}, slope}},
                     {0, 1},
                     {},
                     1,
                     false});
  };
  special("at 0: the slope", list({0, -0.0, 1, -1}), list({0.25, -2, 0}));
  special("of infinities and NaN", list({HUGE_VAL, -HUGE_VAL, NAN, -1, 1}), list({0.25, 0.5, 2}));
  return cases;
}

std::vector<RejectCase> prelu_rejections() {
  const In x{{2, 3, 4}, {}}, three{{3}, {}};
  return {
      {"prelu \"layer\": slope has the shape [1] or, one for each channel of x [2, 3, 4], [3]; got "
       "[4]",
       OpKind::prelu_fwd,
       {},
       {x, {{4}, {}}}},
      {"prelu \"layer\": x has 2 to 6 axes, [N, C, …], got [3]",
       OpKind::prelu_fwd,
       {},
       {three, three}},
      {"prelu \"layer\": x and slope must be f32, got u8 and f32",
       OpKind::prelu_fwd,
       {},
       {{{2, 3, 4}, {}, DType::u8}, three}},
      {"prelu_bwd \"layer\": dy [2, 3] and x [2, 3, 4] must have one shape",
       OpKind::prelu_bwd,
       Params::of(PreluParams{1}),
       {{{2, 3}, {}}, x, three}},
  };
}

std::vector<Rule> prelu_rules() {
  return {{OpKind::prelu_fwd, fwd, nullptr, always}, {OpKind::prelu_bwd, bwd, bounds_bwd, always}};
}

}  // namespace tanul::test
