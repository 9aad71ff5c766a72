// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/optim/optim.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

constexpr int kSteps = 12;

// What differs between the cases of an update.
struct Setting {
  Shape w = {5, 7};
  Fill gradient = {};
  Fill weights = {};
  In clip = absent();
};

Setting of_shape(const Shape& w) { return {w, {}, {}, absent()}; }
Setting of_gradient(const Fill& gradient) { return {{40}, gradient, {}, absent()}; }
Setting of_weights(const Fill& weights) { return {{5, 7}, {}, weights, absent()}; }
const Setting kClipped{{5, 7}, {}, {}, {{2}, list({123, 0.125})}};

// Loss scaling (loss_scaled.h): the first two steps were left out; and all are, whatever the gradient.
const Setting kScaled{{5, 7}, {}, {}, {{4}, list({123, 0.125, 1, 2})}};
const Setting kLeftOut{{5, 7}, list({NAN}), {}, {{4}, list({NAN, 0, 0, 2})}};

// w, g, `states`, clip; the states start as given.
template <typename P>
OpCase update(const std::string& why, OpKind kind, const P& params, const Setting& setting,
              const std::vector<Fill>& states) {
  OpCase op{why, kind, Params::of(params), {}, {}, {}, kSteps, false};
  op.in = {{setting.w, setting.weights}, {setting.w, setting.gradient}};
  op.mutates = {{0, 0}};
  for (const Fill& fill : states) {
    op.mutates.emplace_back(static_cast<int>(op.in.size()), static_cast<int>(op.in.size()) - 1);
    op.in.push_back({setting.w, fill});
  }
  op.in.push_back(setting.clip);
  return op;
}

const Fill kZero = list({0});

OpCase adagrad(const std::string& why, const AdagradParams& p, const Setting& s = {},
               const Fill& sum = kZero) {
  return update("adagrad " + why, OpKind::adagrad_update, p, s, {sum});
}
OpCase adadelta(const std::string& why, const AdadeltaParams& p, const Setting& s = {}) {
  return update("adadelta " + why, OpKind::adadelta_update, p, s, {kZero, kZero});
}
OpCase rmsprop(const std::string& why, const RmsPropParams& p, bool is_centered,
               const Setting& s = {}) {
  OpCase op = update("rmsprop " + why, OpKind::rmsprop_update, p, s, {kZero, kZero, kZero});
  if (p.momentum == 0) {
    op.in[4] = absent();
    op.mutates.pop_back();
  }
  if (!is_centered) {
    op.in[3] = absent();
    op.mutates.erase(op.mutates.begin() + 2);
  }
  return op;
}
OpCase adamax(const std::string& why, const AdamaxParams& p, const Setting& s = {}) {
  return update("adamax " + why, OpKind::adamax_update, p, s, {kZero, kZero});
}
OpCase nadam(const std::string& why, const NAdamParams& p, const Setting& s = {}) {
  return update("nadam " + why, OpKind::nadam_update, p, s, {kZero, kZero});
}
OpCase radam(const std::string& why, const RAdamParams& p, const Setting& s = {}) {
  return update("radam " + why, OpKind::radam_update, p, s, {kZero, kZero});
}
OpCase lion(const std::string& why, const LionParams& p, const Setting& s = {}) {
  return update("lion " + why, OpKind::lion_update, p, s, {kZero});
}
OpCase lars(const std::string& why, const LarsParams& p, const Setting& s = {}) {
  return update("lars " + why, OpKind::lars_update, p, s, {kZero});
}
OpCase lamb(const std::string& why, const LambParams& p, const Setting& s = {}) {
  return update("lamb " + why, OpKind::lamb_update, p, s, {kZero, kZero});
}
OpCase muon(const std::string& why, const MuonParams& p, const Setting& s = {}) {
  return update("muon " + why, OpKind::muon_update, p, s, {kZero});
}

const Setting kTiles = of_shape({3, 16000});
const Setting kOne = of_shape({1});
const Setting kNoGradient = of_gradient(kZero);

void add_elementwise(std::vector<OpCase>& cases) {
  // lr_decay, eps, weight decay, lr scale
  const std::vector<OpCase> more = {
      adagrad("plain", {0, 1e-10f, 0, 1}),
      adagrad("with decay of the rate and of weights", {0.05f, 1e-10f, 0.01f, 1}),
      adagrad("that starts above 0", {0, 1e-10f, 0, 1}, {}, list({0.1})),
      adagrad("of zero gradients: no division by 0", {0, 1e-10f, 0, 1}, kNoGradient),
      adagrad("with clipping", {0, 1e-6f, 0.1f, 0.5f}, kClipped),
      adagrad("with a scaled loss", {0.05f, 1e-6f, 0.1f, 0.5f}, kScaled),
      adagrad("left out", {0.05f, 1e-6f, 0.1f, 0.5f}, kLeftOut),
      adagrad("of several tiles", {0.01f, 1e-10f, 0.01f, 1}, kTiles),
      // rho, eps, weight decay, lr scale
      adadelta("plain", {0.9f, 1e-6f, 0, 1}),
      adadelta("with weight decay and a scaled rate", {0.95f, 1e-5f, 0.02f, 0.5f}),
      adadelta("of zero gradients", {0.9f, 1e-6f, 0, 1}, kNoGradient),
      adadelta("of tiny gradients: eps counts", {0.9f, 1e-3f, 0, 1},
               of_gradient({Fill::normal, 1e-4, {}})),
      adadelta("with clipping", {0.9f, 1e-6f, 0, 1}, kClipped),
      adadelta("with a scaled loss", {0.9f, 1e-6f, 0.1f, 1}, kScaled),
      adadelta("left out", {0.9f, 1e-6f, 0.1f, 1}, kLeftOut),
      adadelta("of several tiles", {0.9f, 1e-6f, 0.01f, 1}, kTiles),
      // alpha, eps, momentum, weight decay, lr scale
      rmsprop("plain", {0.99f, 1e-8f, 0, 0, 1}, false),
      rmsprop("centred", {0.9f, 1e-8f, 0, 0, 1}, true),
      rmsprop("with momentum", {0.9f, 1e-8f, 0.9f, 0, 1}, false),
      rmsprop("with everything", {0.95f, 1e-6f, 0.8f, 0.01f, 0.5f}, true),
      rmsprop("centred, of equal gradients: the variance is about 0", {0.5f, 1e-2f, 0, 0, 1}, true,
              of_gradient(list({1}))),
      rmsprop("of zero gradients", {0.9f, 1e-8f, 0.9f, 0, 1}, true, kNoGradient),
      rmsprop("with clipping", {0.9f, 1e-8f, 0.9f, 0, 1}, false, kClipped),
      rmsprop("with a scaled loss", {0.9f, 1e-8f, 0.9f, 0.1f, 1}, true, kScaled),
      rmsprop("left out", {0.9f, 1e-8f, 0.9f, 0.1f, 1}, true, kLeftOut),
      rmsprop("of several tiles", {0.9f, 1e-8f, 0.9f, 0.01f, 1}, true, kTiles),
      // beta1, beta2, eps, weight decay, lr scale
      adamax("plain", {0.9f, 0.999f, 1e-8f, 0, 1}),
      adamax("with weight decay", {0.9f, 0.9f, 1e-8f, 0.1f, 0.5f}),
      adamax("of zero gradients: eps divides", {0.9f, 0.999f, 1e-8f, 0, 1}, kNoGradient),
      adamax("with clipping", {0.9f, 0.999f, 1e-8f, 0, 1}, kClipped),
      adamax("with a scaled loss", {0.9f, 0.999f, 1e-8f, 0.1f, 1}, kScaled),
      adamax("left out", {0.9f, 0.999f, 1e-8f, 0.1f, 1}, kLeftOut),
      adamax("of several tiles", {0.9f, 0.999f, 1e-8f, 0.01f, 1}, kTiles),
      // beta1, beta2, eps, momentum decay, weight decay, lr scale, decoupled
      nadam("plain", {0.9f, 0.999f, 1e-8f, 0.004f, 0, 1, 0}),
      nadam("with L2", {0.9f, 0.999f, 1e-8f, 0.004f, 0.1f, 1, 0}),
      nadam("decoupled", {0.9f, 0.999f, 1e-8f, 0.004f, 0.1f, 0.5f, 1}),
      nadam("whose momentum rises fast", {0.99f, 0.9f, 1e-8f, 10, 0, 1, 0}),
      nadam("without momentum", {0, 0.9f, 1e-8f, 0.004f, 0, 1, 0}),
      nadam("of zero gradients", {0.9f, 0.999f, 1e-8f, 0.004f, 0, 1, 0}, kNoGradient),
      nadam("with clipping", {0.9f, 0.999f, 1e-8f, 0.004f, 0, 1, 0}, kClipped),
      nadam("with a scaled loss", {0.9f, 0.999f, 1e-8f, 0.004f, 0.1f, 1, 0}, kScaled),
      nadam("left out", {0.9f, 0.999f, 1e-8f, 0.004f, 0.1f, 1, 0}, kLeftOut),
      nadam("of several tiles", {0.9f, 0.999f, 1e-8f, 0.004f, 0.01f, 1, 1}, kTiles),
      // beta1, beta2, eps, weight decay, lr scale, decoupled
      radam("plain: rectified from step 6 on", {0.9f, 0.999f, 1e-8f, 0, 1, 0}),
      radam("of a short memory: never rectified", {0.9f, 0.5f, 1e-8f, 0, 1, 0}),
      radam("decoupled", {0.9f, 0.9f, 1e-8f, 0.1f, 0.5f, 1}),
      radam("with L2", {0.9f, 0.99f, 1e-8f, 0.1f, 1, 0}),
      radam("of zero gradients", {0.9f, 0.999f, 1e-8f, 0, 1, 0}, kNoGradient),
      radam("with clipping", {0.9f, 0.999f, 1e-8f, 0, 1, 0}, kClipped),
      radam("with a scaled loss", {0.9f, 0.999f, 1e-8f, 0.1f, 1, 1}, kScaled),
      radam("left out", {0.9f, 0.999f, 1e-8f, 0.1f, 1, 1}, kLeftOut),
      radam("of several tiles", {0.9f, 0.99f, 1e-8f, 0.01f, 1, 1}, kTiles),
      // beta1, beta2, weight decay, lr scale
      lion("plain", {0.9f, 0.99f, 0, 1}),
      lion("with weight decay and a scaled rate", {0.95f, 0.98f, 0.1f, 0.1f}),
      lion("of zero gradients: the sign of 0 is 0", {0.9f, 0.99f, 0, 1}, kNoGradient),
      lion("with clipping", {0.9f, 0.99f, 0, 1}, kClipped),
      lion("with a scaled loss", {0.9f, 0.99f, 0.1f, 1}, kScaled),
      lion("left out", {0.9f, 0.99f, 0.1f, 1}, kLeftOut),
      lion("of several tiles", {0.9f, 0.99f, 0.01f, 1}, kTiles),
  };
  cases.insert(cases.end(), more.begin(), more.end());
}

}  // namespace

std::vector<OpCase> adaptive_cases() {
  std::vector<OpCase> cases = {
      // momentum, trust coefficient, weight decay, lr scale
      lars("plain", {0.9f, 0.02f, 5e-4f, 1}),
      lars("without momentum", {0, 0.001f, 0, 1}),
      lars("of zero weights: trust 1", {0.9f, 0.02f, 0.1f, 1}, of_weights(kZero)),
      lars("of zero gradients: only the decay", {0.9f, 0.02f, 0.1f, 1}, kNoGradient),
      lars("of nothing at all", {0.9f, 0.02f, 0, 1}, {{9}, kZero, kZero, absent()}),
      lars("with clipping: it cancels but for the decay", {0.9f, 0.02f, 0.01f, 0.5f}, kClipped),
      lars("with a scaled loss", {0.9f, 0.02f, 0.01f, 0.5f}, kScaled),
      lars("left out", {0.9f, 0.02f, 0.01f, 0.5f}, kLeftOut),
      lars("of one weight", {0.9f, 0.02f, 0.01f, 1}, kOne),
      lars("of several tiles", {0.9f, 0.02f, 0.01f, 1}, kTiles),
      lars("of squares beyond float", {0.9f, 0.02f, 0, 1}, of_gradient({Fill::normal, 1e30, {}})),
      // beta1, beta2, eps, weight decay, lr scale
      lamb("plain", {0.9f, 0.999f, 1e-6f, 0.01f, 1}),
      lamb("without weight decay", {0.9f, 0.99f, 1e-6f, 0, 0.5f}),
      lamb("of zero weights: ratio 1", {0.9f, 0.999f, 1e-6f, 0.01f, 1}, of_weights(kZero)),
      lamb("of zero gradients", {0.9f, 0.999f, 1e-6f, 0, 1}, kNoGradient),
      lamb("with clipping", {0.9f, 0.999f, 1e-6f, 0.01f, 1}, kClipped),
      lamb("with a scaled loss", {0.9f, 0.999f, 1e-6f, 0.01f, 1}, kScaled),
      lamb("left out", {0.9f, 0.999f, 1e-6f, 0.01f, 1}, kLeftOut),
      lamb("of one weight", {0.9f, 0.999f, 1e-6f, 0.01f, 1}, kOne),
      lamb("of several tiles", {0.9f, 0.999f, 1e-6f, 0.01f, 1}, kTiles),
      // momentum, eps, weight decay, lr scale, steps, nesterov, match_rms_adamw
      muon("of a wide matrix", {0.95f, 1e-7f, 0.1f, 1, 5, 1, 0}),
      muon("of a tall matrix", {0.95f, 1e-7f, 0.1f, 1, 5, 1, 0}, of_shape({9, 4})),
      muon("of a square, without Nesterov", {0.9f, 1e-7f, 0, 1, 5, 0, 0}, of_shape({6, 6})),
      muon("of filters, scaled as AdamW", {0.9f, 1e-7f, 0, 0.5f, 5, 1, 1}, of_shape({3, 2, 3, 3})),
      muon("of one step", {0.95f, 1e-7f, 0, 1, 1, 1, 0}),
      muon("of a row: rank 1", {0.95f, 1e-7f, 0, 1, 5, 1, 0}, of_shape({1, 8})),
      muon("of one element", {0.95f, 1e-7f, 0, 1, 5, 1, 0}, of_shape({1, 1})),
      muon("of zero gradients: eps divides", {0.95f, 1e-7f, 0.1f, 1, 5, 1, 0},
           {{4, 3}, kZero, {}, absent()}),
      muon("with clipping", {0.95f, 1e-7f, 0, 1, 5, 1, 0}, kClipped),
      muon("with a scaled loss", {0.95f, 1e-7f, 0.1f, 1, 5, 1, 0}, kScaled),
      muon("left out", {0.95f, 1e-7f, 0.1f, 1, 5, 1, 0}, kLeftOut),
      muon("of several tiles", {0.95f, 1e-7f, 0.01f, 1, 2, 1, 0}, of_shape({40, 1000})),
      muon("of several tiles, tall", {0.95f, 1e-7f, 0.01f, 1, 2, 1, 0}, of_shape({1000, 40})),
  };
  for (OpCase& op : cases) {
    if (op.kind == OpKind::muon_update && op.in[0].shape.elems() > 10000) op.steps = 2;
  }
  add_elementwise(cases);
  return cases;
}

std::vector<RejectCase> adaptive_rejections() {
  const In w{{5, 7}, {}};
  const In other{{7, 5}, {}};
  const In none = absent();
  const auto lars_of = [](float momentum, float trust) {
    return Params::of(LarsParams{momentum, trust, 0, 1});
  };
  const Params muon_params = Params::of(MuonParams{0.95f, 1e-7f, 0, 1, 5, 1, 0});
  return {
      {"adagrad \"layer\": lr_decay is at least 0, got -1",
       OpKind::adagrad_update,
       Params::of(AdagradParams{-1, 1e-10f, 0, 1}),
       {w, w, w, none}},
      {"adagrad \"layer\": the sum of squares is f32 of the shape of the weights [5, 7], got f32 "
       "[7, "
       "5]",
       OpKind::adagrad_update,
       Params::of(AdagradParams{0, 1e-10f, 0, 1}),
       {w, w, other, none}},
      {"adadelta \"layer\": rho is at least 0 and below 1, got 1",
       OpKind::adadelta_update,
       Params::of(AdadeltaParams{1, 1e-6f, 0, 1}),
       {w, w, w, w, none}},
      {"rmsprop \"layer\": momentum 0.9 needs a buffer",
       OpKind::rmsprop_update,
       Params::of(RmsPropParams{0.99f, 1e-8f, 0.9f, 0, 1}),
       {w, w, w, none, none, none}},
      {"rmsprop \"layer\": alpha is at least 0 and below 1, got -0.5",
       OpKind::rmsprop_update,
       Params::of(RmsPropParams{-0.5f, 1e-8f, 0, 0, 1}),
       {w, w, w, none, none, none}},
      {"rmsprop \"layer\": eps is above 0, got 0",
       OpKind::rmsprop_update,
       Params::of(RmsPropParams{0.99f, 0, 0, 0, 1}),
       {w, w, w, none, none, none}},
      {"adamax \"layer\": beta1 and beta2 are at least 0 and below 1, got 1 and 0.999",
       OpKind::adamax_update,
       Params::of(AdamaxParams{1, 0.999f, 1e-8f, 0, 1}),
       {w, w, w, w, none}},
      {"nadam \"layer\": momentum_decay is at least 0, got -1",
       OpKind::nadam_update,
       Params::of(NAdamParams{0.9f, 0.999f, 1e-8f, -1, 0, 1, 0}),
       {w, w, w, w, none}},
      {"radam \"layer\": the second moment is f32 of the shape of the weights [5, 7], got f32 [7, "
       "5]",
       OpKind::radam_update,
       Params::of(RAdamParams{0.9f, 0.999f, 1e-8f, 0, 1, 0}),
       {w, w, w, other, none}},
      {"lion \"layer\": weight_decay is at least 0, got -1",
       OpKind::lion_update,
       Params::of(LionParams{0.9f, 0.99f, -1, 1}),
       {w, w, w, none}},
      {"lars \"layer\": momentum is at least 0 and below 1, got 1",
       OpKind::lars_update,
       lars_of(1, 0.001f),
       {w, w, w, none}},
      {"lars \"layer\": trust_coefficient is above 0, got 0",
       OpKind::lars_update,
       lars_of(0.9f, 0),
       {w, w, w, none}},
      {"lamb \"layer\": the clip scale is f32 [2] or [4], got f32 [5, 7]",
       OpKind::lamb_update,
       Params::of(LambParams{0.9f, 0.999f, 1e-6f, 0, 1}),
       {w, w, w, w, w}},
      {"muon \"layer\": weights are matrices or filters, of rank 2 or more, got [5]",
       OpKind::muon_update,
       muon_params,
       {{{5}, {}}, {{5}, {}}, {{5}, {}}, none}},
      {"muon \"layer\": ns_steps lies in 1 to 100, got 0",
       OpKind::muon_update,
       Params::of(MuonParams{0.95f, 1e-7f, 0, 1, 0, 1, 0}),
       {w, w, w, none}},
  };
}

}  // namespace tanul::test
