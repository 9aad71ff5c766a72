// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/scale_shift/scale_shift.h"
#include "ops/cases.h"
#include "support/broadcasting.h"

namespace tanul::test {

namespace {

OpCase make(const std::string& why, const Shape& x, bool has_gamma = true, bool has_beta = true) {
  OpCase op{"scale_shift " + why, OpKind::scale_shift_fwd, {}, {{x, {}}}, {0}, {}, 1, true};
  op.in.push_back(has_gamma ? In{{x[1]}, {}} : absent());
  op.in.push_back(has_beta ? In{{x[1]}, {}} : absent());
  if (has_gamma) op.differentiable.push_back(1);
  if (has_beta) op.differentiable.push_back(2);
  return op;
}

Tensors fwd(const Params&, const Tensors& in, const RefContext&) {
  RefTensor y = in[0];
  const int64_t plane = y.shape.elems_from(2);
  for (int64_t i = 0; i < y.elems(); ++i) {
    const int64_t c = i / plane % y.shape[1];
    if (is_present(in, 1)) y[i] *= in[1][c];
    if (is_present(in, 2)) y[i] += in[2][c];
  }
  return {y};
}

Tensors bwd(const Params& params, const Tensors& in, const RefContext&) {
  const int32_t wanted = params.as<ScaleShiftParams>().wanted;
  const RefTensor& dy = in[0];
  const int64_t plane = dy.shape.elems_from(2);
  RefTensor dx(dy.shape), dgamma({dy.shape[1]}), dbeta({dy.shape[1]});
  for (int64_t i = 0; i < dy.elems(); ++i) {
    const int64_t c = i / plane % dy.shape[1];
    if ((wanted & 1) != 0) dx[i] = in[2][c] * dy[i];
    if ((wanted & 2) != 0) dgamma[c] += dy[i] * in[1][i];
    dbeta[c] += dy[i];
  }
  return {(wanted & 1) != 0 ? dx : RefTensor::absent(),
          (wanted & 2) != 0 ? dgamma : RefTensor::absent(),
          (wanted & 4) != 0 ? dbeta : RefTensor::absent()};
}

Bounds bounds_bwd(const BoundArgs& args) {
  const Tensors T = bwd(args.params, absolute(args.in), args.context);
  const double n = static_cast<double>(args.in[0].elems() / args.in[0].shape[1]);
  return {exact(args.want[0]), double_sum_bound(args.want[1], T[1], n),
          double_sum_bound(args.want[2], T[2], n)};
}

}  // namespace

std::vector<OpCase> scale_shift_cases() {
  return {
      make("of images", {2, 5, 3, 4}),
      make("of features", {3, 7}),
      make("of signals", {2, 4, 5}),
      make("of volumes", {2, 3, 2, 3, 4}),
      make("of one element", {1, 1}),
      make("without a shift", {2, 5, 3, 4}, true, false),
      make("without a scale: a bias", {3, 6, 7, 5}, false, true),
      make("of many samples of features: blocks of the batch", {3000, 20}),
      make("of one channel: blocks of one row", {2, 1, 130, 140}),
      make("of many channels of one element", {2, 20000}),
      make("of several tiles, each channel longer than one", {2, 2, 130, 131}),
  };
}

std::vector<RejectCase> scale_shift_rejections() {
  const In x{{2, 3, 4}, {}}, three{{3}, {}};
  const OpKind fwd_kind = OpKind::scale_shift_fwd;
  return {
      {"scale_shift \"layer\": gamma is f32 of shape [3], one number a channel of x [2, 3, 4]; got "
       "f32 [4]",
       fwd_kind,
       {},
       {x, {{4}, {}}, three}},
      {"scale_shift \"layer\": beta is f32 of shape [3], one number a channel of x [2, 3, 4]; got "
       "i32 [3]",
       fwd_kind,
       {},
       {x, three, {{3}, {}, DType::i32}}},
      {"scale_shift \"layer\": gamma or beta or both are given, got neither",
       fwd_kind,
       {},
       {x, absent(), absent()}},
      {"scale_shift \"layer\": x has 2 to 6 axes, [N, C, …], got [3]",
       fwd_kind,
       {},
       {three, three, three}},
      {"scale_shift_bwd \"layer\": dx is made of gamma, which is absent",
       OpKind::scale_shift_bwd,
       Params::of(ScaleShiftParams{1}),
       {x, absent(), absent()}},
      {"scale_shift_bwd \"layer\": dgamma is made of x, which is absent",
       OpKind::scale_shift_bwd,
       Params::of(ScaleShiftParams{2}),
       {x, absent(), absent()}},
  };
}

std::vector<Rule> scale_shift_rules() {
  return {
      // the product rounds, then the sum
      {OpKind::scale_shift_fwd, fwd,
       [](const BoundArgs& args) -> Bounds {
         return {sum_bound(fwd(args.params, absolute(args.in), args.context)[0], 0)};
       },
       always},
      {OpKind::scale_shift_bwd, bwd, bounds_bwd, always},
  };
}

}  // namespace tanul::test
