// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/optim/optim.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

constexpr int kSteps = 12;

OpCase clip(const std::string& why, float max_norm, const std::vector<In>& gradients) {
  return {"clip " + why, OpKind::clip_scale, Params::of(ClipParams{max_norm}), gradients, {}, {}, 1,
          false};
}

In clip_of(double scale) { return {{2}, list({123, scale})}; }
// Loss scaling (loss_scaled.h): the first two steps were left out; and all are.
In scaled(double scale) { return {{4}, list({123, scale, 1, 2})}; }
const In kLeftOut{{4}, list({NAN, 0, 0, 2})};

const In kScale16{{3}, list({16, 5, 1})};  // the state of loss scaling

OpCase clip_value(const std::string& why, float max_value, const In& gradient,
                  const In& loss_scale = absent()) {
  return {"clip_value " + why,
          OpKind::clip_value,
          Params::of(ClipValueParams{max_value}),
          {gradient, loss_scale},
          {},
          {},
          1,
          false};
}

OpCase sgd(const std::string& why, const SgdParams& params, const Shape& w = {5, 7},
           const In& clip_scale = absent()) {
  OpCase op{"sgd " + why, OpKind::sgd_update, Params::of(params), {}, {}, {}, kSteps, false};
  const bool has_velocity = params.momentum > 0;
  op.in = {{w, {}}, {w, {}}, has_velocity ? In{w, list({NAN})} : absent(), clip_scale};
  op.mutates = {{0, 0}};
  if (has_velocity) op.mutates.emplace_back(2, 1);
  return op;
}

OpCase adam(const std::string& why, const AdamParams& params, const Shape& w = {5, 7},
            const In& clip_scale = absent(), const Fill& gradient = {}) {
  OpCase op{"adam " + why, OpKind::adam_update, Params::of(params), {}, {}, {}, kSteps, false};
  op.in = {{w, {}}, {w, gradient}, {w, list({0})}, {w, list({0})}, clip_scale};
  op.mutates = {{0, 0}, {2, 1}, {3, 2}};
  return op;
}

OpCase amsgrad(const std::string& why, const AdamParams& params, const Shape& w = {5, 7},
               const In& clip_scale = absent()) {
  OpCase op = adam("AMSGrad " + why, params, w, clip_scale);
  op.in.push_back({w, list({0})});
  op.mutates.emplace_back(5, 3);
  return op;
}

}  // namespace

std::vector<OpCase> optim_cases() {
  // momentum, dampening, weight decay, lr scale, nesterov
  std::vector<OpCase> cases = {
      sgd("plain", {0, 0, 0, 1, 0}),
      sgd("with weight decay", {0, 0, 0.01f, 1, 0}),
      // The velocity starts as NaN: step 0 must not read it.
      sgd("with momentum", {0.9f, 0, 0, 1, 0}),
      sgd("with momentum and weight decay", {0.9f, 0, 5e-4f, 1, 0}),
      sgd("with dampening", {0.9f, 0.3f, 0, 1, 0}),
      sgd("with Nesterov", {0.9f, 0, 0, 1, 1}),
      sgd("with Nesterov and weight decay", {0.8f, 0, 0.01f, 1, 1}),
      sgd("with a scaled learning rate", {0.9f, 0, 0, 0.25f, 0}),
      sgd("with learning rate 0: nothing moves", {0.9f, 0, 0.1f, 0, 0}),
      sgd("with clipping", {0.9f, 0, 0.01f, 1, 0}, {5, 7}, clip_of(0.125)),
      sgd("with clipping, without velocity", {0, 0, 0.01f, 1, 0}, {9}, clip_of(0.3)),
      sgd("with a scaled loss", {0.9f, 0.3f, 0.01f, 1, 0}, {5, 7}, scaled(0.125)),
      sgd("with a scaled loss, without velocity", {0, 0, 0.01f, 1, 0}, {9}, scaled(0.3)),
      sgd("left out", {0.9f, 0, 0.01f, 1, 1}, {5, 7}, kLeftOut),
      sgd("of one weight", {0.9f, 0, 0.01f, 1, 0}, {1}),
      sgd("of several tiles", {0.9f, 0, 0.01f, 1, 1}, {3, 16000}),
      // beta1, beta2, eps, weight decay, lr scale, decoupled
      adam("plain", {0.9f, 0.999f, 1e-8f, 0, 1, 0}),
      adam("with L2", {0.9f, 0.999f, 1e-8f, 0.01f, 1, 0}),
      adam("decoupled: AdamW", {0.9f, 0.999f, 1e-8f, 0.05f, 1, 1}),
      adam("with other betas", {0.5f, 0.9f, 1e-3f, 0.01f, 1, 1}),
      adam("without moments: betas 0", {0, 0, 1e-8f, 0, 1, 0}),
      adam("with a scaled learning rate", {0.9f, 0.999f, 1e-8f, 0.05f, 0.1f, 1}),
      adam("with clipping", {0.9f, 0.999f, 1e-8f, 0, 1, 0}, {5, 7}, clip_of(0.125)),
      adam("with clipping and L2", {0.9f, 0.999f, 1e-8f, 0.1f, 1, 0}, {5, 7}, clip_of(0.4)),
      adam("with a scaled loss", {0.9f, 0.999f, 1e-8f, 0.1f, 1, 0}, {5, 7}, scaled(0.4)),
      adam("left out", {0.9f, 0.999f, 1e-8f, 0.1f, 1, 1}, {5, 7}, kLeftOut, list({NAN})),
      adam("of zero gradients: no division by 0", {0.9f, 0.999f, 1e-8f, 0, 1, 0}, {9}, absent(),
           list({0})),
      adam("of tiny gradients: eps counts", {0.9f, 0.999f, 1e-3f, 0, 1, 0}, {40}, absent(),
           {Fill::normal, 1e-4, {}}),
      adam("of large gradients", {0.9f, 0.999f, 1e-8f, 0, 1, 0}, {40}, absent(),
           {Fill::normal, 1e6, {}}),
      adam("of one weight", {0.9f, 0.999f, 1e-8f, 0.01f, 1, 1}, {1}),
      adam("of several tiles", {0.9f, 0.999f, 1e-8f, 0.01f, 1, 1}, {3, 16000}),
      amsgrad("plain", {0.9f, 0.999f, 1e-8f, 0, 1, 0}),
      amsgrad("that forgets fast: the maximum counts", {0.9f, 0.5f, 1e-8f, 0, 1, 0}),
      amsgrad("decoupled", {0.9f, 0.99f, 1e-8f, 0.05f, 1, 1}),
      amsgrad("with clipping and L2", {0.9f, 0.99f, 1e-8f, 0.1f, 1, 0}, {9}, clip_of(0.4)),
      amsgrad("with a scaled loss", {0.9f, 0.99f, 1e-8f, 0.1f, 1, 0}, {9}, scaled(0.4)),
      amsgrad("left out", {0.9f, 0.99f, 1e-8f, 0.1f, 1, 1}, {9}, kLeftOut),
      amsgrad("of several tiles", {0.9f, 0.999f, 1e-8f, 0.01f, 1, 1}, {3, 16000}),
      clip_value("of normal numbers", 0.5f, {{7, 9}, {}}),
      clip_value("at the limits, infinities and NaN", 2,
                 {{9}, list({-2, 2, 2.5, -2.5, 0, HUGE_VAL, -HUGE_VAL, NAN, 1})}),
      clip_value("that clips nothing", 1e6f, {{40}, {}}),
      clip_value("of one element", 0.1f, {{1}, list({-7})}),
      clip_value("of several tiles", 1, {{3, 16000}, {}}),
      clip_value("with a loss scale: what is not finite is NaN", 0.5f,
                 {{9}, list({-8, 8, 8.5, -100, 0, HUGE_VAL, -HUGE_VAL, NAN, 1})}, kScale16),
      clip_value("with a loss scale, of several tiles", 1, {{3, 16000}, {Fill::normal, 16, {}}},
                 kScale16),
      clip("of one gradient above the limit", 1, {{{40}, {}}}),
      clip("below the limit: scale 1", 1000, {{{40}, {}}}),
      clip("of zeros: scale 1", 1, {{{5}, list({0})}}),
      clip("of many tensors of many sizes", 5,
           {{{20, 1, 5, 5}, {}},
            {{20}, {}},
            {{50, 20, 5, 5}, {}},
            {{50}, {}},
            {{1}, {}},
            {{3, 7}, {}}}),
      clip("of several tiles each", 2, {{{40000}, {}}, {{16384}, {}}, {{16385}, {}}}),
      clip("of squares beyond float", 1, {{{9}, {Fill::normal, 1e30, {}}}}),
      clip("of squares below float", 1e-30f, {{{9}, {Fill::normal, 1e-30, {}}}}),
      clip("of NaN: NaN", 1, {{{9}, list({1, NAN, 2})}}),
      clip("of an infinity: 0", 1, {{{9}, list({1, HUGE_VAL})}}),
  };
  return cases;
}

std::vector<RejectCase> optim_rejections() {
  const In w{{5, 7}, {}};
  const In other{{7, 5}, {}};
  const In clip_scale = clip_of(1);
  const OpKind kSgd = OpKind::sgd_update, kAdam = OpKind::adam_update;
  const auto sgd_of = [](float momentum, float dampening, float decay, float scale, int nesterov) {
    return Params::of(SgdParams{momentum, dampening, decay, scale, nesterov});
  };
  const auto adam_of = [](float beta1, float beta2, float eps) {
    return Params::of(AdamParams{beta1, beta2, eps, 0, 1, 0});
  };
  const Params adam_params = adam_of(0.9f, 0.999f, 1e-8f);
  const Params plain = sgd_of(0, 0, 0, 1, 0);
  return {
      {"clip_scale \"layer\": max_norm is above 0, got 0",
       OpKind::clip_scale,
       Params::of(ClipParams{0}),
       {w}},
      {"clip_scale \"layer\": there is no gradient to clip",
       OpKind::clip_scale,
       Params::of(ClipParams{1}),
       {}},
      {"clip_scale \"layer\": gradients are f32, gradient 1 is i32",
       OpKind::clip_scale,
       Params::of(ClipParams{1}),
       {w, {{3}, {}, DType::i32}}},
      {"clip_value \"layer\": max_value is above 0, got 0",
       OpKind::clip_value,
       Params::of(ClipValueParams{0}),
       {w}},
      {"clip_value \"layer\": gradients are f32, got i32",
       OpKind::clip_value,
       Params::of(ClipValueParams{1}),
       {{{3}, {}, DType::i32}}},
      {"clip_value \"layer\": the state of the loss scale is f32 [3], got f32 [5, 7]",
       OpKind::clip_value,
       Params::of(ClipValueParams{1}),
       {w, w}},
      {"adam_update \"layer\": the largest second moment is f32 of the shape of the weights [5, "
       "7], "
       "got f32 [7, 5]",
       kAdam,
       adam_params,
       {w, w, w, w, absent(), other}},
      {"sgd_update \"layer\": the gradient is f32 of the shape of the weights [5, 7], got f32 [7, "
       "5]",
       kSgd,
       plain,
       {w, other, absent(), absent()}},
      {"sgd_update \"layer\": the velocity is f32 of the shape of the weights [5, 7], got f32 [7, "
       "5]",
       kSgd,
       plain,
       {w, w, other, absent()}},
      {"sgd_update \"layer\": the clip scale is f32 [2] or [4], got f32 [5, 7]",
       kSgd,
       plain,
       {w, w, absent(), w}},
      {"sgd_update \"layer\": momentum is at least 0 and below 1, got 1",
       kSgd,
       sgd_of(1, 0, 0, 1, 0),
       {w, w, w, absent()}},
      {"sgd_update \"layer\": momentum 0.9 needs a velocity",
       kSgd,
       sgd_of(0.9f, 0, 0, 1, 0),
       {w, w, absent(), absent()}},
      {"sgd_update \"layer\": dampening lies in 0 to 1, got 2",
       kSgd,
       sgd_of(0.9f, 2, 0, 1, 0),
       {w, w, w, absent()}},
      {"sgd_update \"layer\": nesterov needs momentum above 0 and dampening 0, got momentum 0.9, "
       "dampening 0.5",
       kSgd,
       sgd_of(0.9f, 0.5f, 0, 1, 1),
       {w, w, w, absent()}},
      {"sgd_update \"layer\": weight_decay is at least 0, got -0.5",
       kSgd,
       sgd_of(0, 0, -0.5f, 1, 0),
       {w, w, absent(), absent()}},
      {"sgd_update \"layer\": the scale of the learning rate is at least 0, got -1",
       kSgd,
       sgd_of(0, 0, 0, -1, 0),
       {w, w, absent(), absent()}},
      {"adam_update \"layer\": beta1 and beta2 are at least 0 and below 1, got 0.9 and 1",
       kAdam,
       adam_of(0.9f, 1, 1e-8f),
       {w, w, w, w, absent()}},
      {"adam_update \"layer\": eps is above 0, got 0",
       kAdam,
       adam_of(0.9f, 0.999f, 0),
       {w, w, w, w, clip_scale}},
      {"adam_update \"layer\": the first moment is f32 of the shape of the weights [5, 7], got f32 "
       "[7, 5]",
       kAdam,
       adam_params,
       {w, w, other, w, absent()}},
      {"adam_update \"layer\": the second moment is f32 of the shape of the weights [5, 7], got "
       "f32 "
       "[7, 5]",
       kAdam,
       adam_params,
       {w, w, w, other, absent()}},
      {"adam_update \"layer\": weights are f32, got u8",
       kAdam,
       adam_params,
       {{{5, 7}, {}, DType::u8}, w, w, w, absent()}},
  };
}

}  // namespace tanul::test
