// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/optim/loss_scale.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

double wide(float value) { return static_cast<double>(value); }

Tensors seed(const Params& params, const Tensors& in, const RefContext&) {
  RefTensor d({1});
  d[0] = wide(params.as<LossScaleSeedParams>().weight) * in[0][0];
  return {d};
}

Tensors check(const Params& params, const Tensors& in, const RefContext&) {
  const double max_norm = wide(params.as<LossScaleCheckParams>().max_norm), scale = in[0][0];
  double sum = 0;
  bool is_finite = true;
  for (size_t i = 1; i < in.size(); ++i) {
    for (double value : in[i].v) {
      sum += value * value;
      is_finite &= std::isfinite(value);
    }
  }
  RefTensor clip({4});
  clip[0] = std::sqrt(sum) / scale;
  const double c = max_norm > 0 ? std::min(1.0, max_norm / (clip[0] + 1e-6)) : 1;
  clip[1] = is_finite ? c / scale : 0;
  clip[2] = is_finite ? 1 : 0;
  clip[3] = in[0][2];
  return {clip};
}

Tensors update(const Params& params, const Tensors& in, const RefContext&) {
  const auto& p = params.as<LossScaleParams>();
  RefTensor state = in[0];
  if (in[1][2] == 0) {
    state[0] = std::max(wide(p.smallest), wide(p.backoff) * state[0]);
    state[1] = 0;
    state[2] += 1;
  } else if (state[1] += 1; state[1] == p.interval) {
    const double higher = wide(p.growth) * state[0];
    if (higher <= 0x1p127) state[0] = higher;
    state[1] = 0;
  }
  return {state};
}

Bounds check_bounds(const BoundArgs& a) {
  std::vector<double> bound = relative(a.want[0], 4);  // sum in double
  bound[2] = bound[3] = 0;
  return {bound};
}

In state_of(double scale, double good_steps = 0, double left_out = 0) {
  return {{kLossScaleStates}, list({scale, good_steps, left_out})};
}

OpCase seed_case(const std::string& why, float weight, double scale) {
  return {"loss_scale_seed " + why,
          OpKind::loss_scale_seed,
          Params::of(LossScaleSeedParams{weight}),
          {state_of(scale)},
          {},
          {},
          1,
          false};
}

OpCase check_case(const std::string& why, float max_norm, const In& state,
                  const std::vector<In>& gradients) {
  OpCase op{"loss_scale_check " + why,
            OpKind::loss_scale_check,
            Params::of(LossScaleCheckParams{max_norm}),
            {state},
            {},
            {},
            1,
            false};
  op.in.insert(op.in.end(), gradients.begin(), gradients.end());
  return op;
}

OpCase update_case(const std::string& why, const In& state, bool is_finite,
                   const LossScaleParams& params = {}, int steps = 7) {
  return {"loss_scale_update " + why,
          OpKind::loss_scale_update,
          Params::of(params),
          {state, {{4}, list({3, 0.5, is_finite ? 1.0 : 0.0, 2})}},
          {},
          {{0, 0}},
          steps,
          false};
}

}  // namespace

std::vector<OpCase> loss_scale_cases() {
  const In first = state_of(kFirstLossScale);
  const In many{{3, 16000}, {Fill::normal, 65536, {}}};
  return {
      seed_case("of one loss", 1, kFirstLossScale),
      seed_case("of a weighted loss", 0.3f, 0x1p-24),
      seed_case("beyond float", 4, 0x1p127),
      check_case("of one gradient", 0, first, {{{40}, {}}}),
      check_case("of many sizes, and steps left out before", 0, state_of(1024, 7, 3),
                 {{{20, 1, 5, 5}, {}}, {{20}, {}}, {{1}, {}}, {{3, 7}, {}}}),
      check_case("with clipping that bites", 1, state_of(4), {{{40}, {}}}),
      check_case("with clipping that does not: the norm is without the scale", 100, first,
                 {{{40}, {Fill::normal, 65536, {}}}}),
      check_case("of zeros", 1, first, {{{5}, list({0})}}),
      check_case("of the largest floats: their squares fit a double", 0, state_of(0x1p127),
                 {{{9}, list({3.4e38, -3.4e38})}}),
      check_case("of an infinity in the last tensor", 0, first,
                 {{{9}, {}}, {{9}, list({1, 2, 3, 4, 5, 6, 7, 8, HUGE_VAL})}}),
      check_case("of a negative infinity, with clipping", 1, first, {{{2}, list({-HUGE_VAL, 0})}}),
      check_case("of a NaN in the first tensor", 1, first, {{{3}, list({1, NAN, 2})}, {{9}, {}}}),
      check_case("of several tiles", 2, first, {many, {{16384}, {}}, {{16385}, {}}}),
      update_case("counts", first, true),
      update_case("halves", first, false),
      update_case("halves down to its floor", state_of(0x1p-21), false),
      update_case("doubles with the last of the interval", state_of(256, 1998, 5), true),
      update_case("doubles every third step", first, true, {2, 0.5f, 3, 0x1p-24f}),
      update_case("does not double beyond float", state_of(0x1p126, 0, 1), true,
                  {2, 0.5f, 1, 0x1p-24f}),
      update_case("with a growth of its own", state_of(3), true, {4, 0.25f, 2, 1}),
      update_case("with a backoff of its own", state_of(48, 5, 1), false, {4, 0.25f, 2, 1}),
  };
}

std::vector<RejectCase> loss_scale_rejections() {
  const In state = state_of(1);
  const In w{{5, 7}, {}};
  const In clip{{4}, {}};
  const auto params = [](float growth, float backoff, int32_t interval, float smallest) {
    return Params::of(LossScaleParams{growth, backoff, interval, smallest});
  };
  const OpKind kUpdate = OpKind::loss_scale_update;
  return {
      {"loss_scale_seed \"layer\": the state of the loss scale is f32 [3], got f32 [4]",
       OpKind::loss_scale_seed,
       Params::of(LossScaleSeedParams{1}),
       {clip}},
      {"loss_scale_seed \"layer\": the weight of a loss is finite, got inf",
       OpKind::loss_scale_seed,
       Params::of(LossScaleSeedParams{HUGE_VALF}),
       {state}},
      {"loss_scale_check \"layer\": there is no gradient to look at",
       OpKind::loss_scale_check,
       Params::of(LossScaleCheckParams{0}),
       {state}},
      {"loss_scale_check \"layer\": max_norm is at least 0, got -1",
       OpKind::loss_scale_check,
       Params::of(LossScaleCheckParams{-1}),
       {state, w}},
      {"loss_scale_check \"layer\": gradients are f32, gradient 1 is i32",
       OpKind::loss_scale_check,
       Params::of(LossScaleCheckParams{0}),
       {state, w, {{3}, {}, DType::i32}}},
      {"loss_scale_update \"layer\": what the check found is f32 [4], got f32 [3]",
       kUpdate,
       params(2, 0.5f, 2000, 1),
       {state, state}},
      {"loss_scale_update \"layer\": growth is above 1, got 1",
       kUpdate,
       params(1, 0.5f, 2000, 1),
       {state, clip}},
      {"loss_scale_update \"layer\": backoff lies between 0 and 1, got 1",
       kUpdate,
       params(2, 1, 2000, 1),
       {state, clip}},
      {"loss_scale_update \"layer\": interval is at least 1, got 0",
       kUpdate,
       params(2, 0.5f, 0, 1),
       {state, clip}},
      {"loss_scale_update \"layer\": the smallest scale is above 0, got 0",
       kUpdate,
       params(2, 0.5f, 2000, 0),
       {state, clip}},
  };
}

std::vector<Rule> loss_scale_rules() {
  return {
      {OpKind::loss_scale_seed, seed},
      {OpKind::loss_scale_check, check, check_bounds},
      {OpKind::loss_scale_update, update},
  };
}

}  // namespace tanul::test
