// SPDX-License-Identifier: Apache-2.0
// Element by element updates on the CPU, "elementwise": formulas in include/tanul/optim.h.
// Memory bound: 4 bytes in and out for w and every state, 4 in for g. Numerics: double inside, one
// rounding where a float is stored; scalar factors once a launch.
#include <algorithm>
#include <cmath>

#include "kernels/op.h"
#include "kernels/optim/optim.h"
#include "kernels/optim/optim_cpu.h"

namespace tanul {

namespace {

template <size_t N>
using States = std::array<double, N>;

constexpr double as_double(float value) { return static_cast<double>(value); }

int launch_adagrad_elementwise(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<AdagradParams>();
  const double steps_before = cpu::step_number(args, 3) - 1;
  const double lr = cpu::rate_of(args, p.lr_scale) / (1 + steps_before * as_double(p.lr_decay));
  const double eps = as_double(p.eps), decay = as_double(p.weight_decay);
  return cpu::update_elements<1>(stream, args, {2}, 3, [=](double& w, double g, States<1>& s) {
    g += decay * w;
    s[0] += g * g;
    w -= lr * g / (std::sqrt(s[0]) + eps);
  });
}

int launch_adadelta_elementwise(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<AdadeltaParams>();
  const double lr = cpu::rate_of(args, p.lr_scale);
  const double rho = as_double(p.rho), eps = as_double(p.eps), decay = as_double(p.weight_decay);
  return cpu::update_elements<2>(stream, args, {2, 3}, 4, [=](double& w, double g, States<2>& s) {
    g += decay * w;
    s[0] = rho * s[0] + (1 - rho) * g * g;
    const double u = std::sqrt(s[1] + eps) / std::sqrt(s[0] + eps) * g;
    s[1] = rho * s[1] + (1 - rho) * u * u;
    w -= lr * u;
  });
}

template <bool IsCentered, bool HasMomentum>
int rmsprop(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<RmsPropParams>();
  const double lr = cpu::rate_of(args, p.lr_scale);
  const double momentum = cpu::momentum_of(args, p.momentum);
  const double alpha = as_double(p.alpha), eps = as_double(p.eps);
  const double decay = as_double(p.weight_decay);
  constexpr size_t kStates = 1 + IsCentered + HasMomentum;
  std::array<int, kStates> places{};
  places[0] = 2;
  if constexpr (IsCentered) places[1] = 3;
  if constexpr (HasMomentum) places[kStates - 1] = 4;
  return cpu::update_elements<kStates>(stream, args, places, 5,
                                       [=](double& w, double g, States<kStates>& s) {
                                         g += decay * w;
                                         s[0] = alpha * s[0] + (1 - alpha) * g * g;
                                         double variance = s[0];
                                         if constexpr (IsCentered) {
                                           s[1] = alpha * s[1] + (1 - alpha) * g;
                                           // equal gradients: the rounding of the stored moments must not make it negative
                                           variance = std::max(0.0, variance - s[1] * s[1]);
                                         }
                                         double u = g / (std::sqrt(variance) + eps);
                                         if constexpr (HasMomentum)
                                           u = s[kStates - 1] = momentum * s[kStates - 1] + u;
                                         w -= lr * u;
                                       });
}

int launch_rmsprop_elementwise(Stream* stream, const StepArgs& args) {
  const bool is_centered = cpu::has_operand(args, 3);
  const bool has_momentum =
      cpu::has_operand(args, 4) && args.params_as<RmsPropParams>().momentum > 0;
  if (is_centered) {
    return has_momentum ? rmsprop<true, true>(stream, args) : rmsprop<true, false>(stream, args);
  }
  return has_momentum ? rmsprop<false, true>(stream, args) : rmsprop<false, false>(stream, args);
}

int launch_adamax_elementwise(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<AdamaxParams>();
  const double beta1 = cpu::momentum_of(args, p.beta1), beta2 = as_double(p.beta2);
  const double lr =
      cpu::rate_of(args, p.lr_scale) / (1 - std::pow(beta1, cpu::step_number(args, 4)));
  const double eps = as_double(p.eps), decay = as_double(p.weight_decay);
  return cpu::update_elements<2>(stream, args, {2, 3}, 4, [=](double& w, double g, States<2>& s) {
    g += decay * w;
    s[0] = beta1 * s[0] + (1 - beta1) * g;
    s[1] = std::max(beta2 * s[1], std::fabs(g) + eps);
    w -= lr * s[0] / s[1];
  });
}

// M_t = mu_1 … mu_t. Beyond where it has left the range of a double's last place beside 1, it is 0: every
// mu is below beta1.
double momentum_product(double beta1, double momentum_decay, double t) {
  const double shrink = std::pow(0.96, momentum_decay);
  double power = 1, product = 1;
  for (double i = 1; i <= t && product > 0x1p-60; ++i) {
    power *= shrink;
    product *= beta1 * (1 - 0.5 * power);
  }
  return product > 0x1p-60 ? product : 0;
}

int launch_nadam_elementwise(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<NAdamParams>();
  const double t = cpu::step_number(args, 4);
  const double lr = cpu::rate_of(args, p.lr_scale);
  const double beta1 = as_double(p.beta1), beta2 = as_double(p.beta2);
  const double momentum_decay = as_double(p.momentum_decay);
  const auto mu = [&](double i) { return beta1 * (1 - 0.5 * std::pow(0.96, i * momentum_decay)); };
  const double product = momentum_product(beta1, momentum_decay, t);
  const double of_m = lr * mu(t + 1) / (1 - product * mu(t + 1));
  const double of_g = lr * (1 - mu(t)) / (1 - product);
  const double correction2 = 1 - std::pow(beta2, t);
  const double eps = as_double(p.eps), decay = as_double(p.weight_decay);
  const double shrink = p.decoupled != 0 ? 1 - lr * decay : 1;
  const double l2 = p.decoupled != 0 ? 0 : decay;
  return cpu::update_elements<2>(stream, args, {2, 3}, 4, [=](double& w, double g, States<2>& s) {
    g += l2 * w;
    s[0] = beta1 * s[0] + (1 - beta1) * g;
    s[1] = beta2 * s[1] + (1 - beta2) * g * g;
    w = shrink * w - (of_m * s[0] + of_g * g) / (std::sqrt(s[1] / correction2) + eps);
  });
}

int launch_radam_elementwise(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<RAdamParams>();
  const double t = cpu::step_number(args, 4);
  const double lr = cpu::rate_of(args, p.lr_scale);
  const double beta1 = cpu::momentum_of(args, p.beta1), beta2 = as_double(p.beta2);
  const double power2 = std::pow(beta2, t);
  const double limit = 2 / (1 - beta2) - 1;
  const double length = limit - 2 * t * power2 / (1 - power2);
  const bool is_rectified = length > 5;
  const double rectification = is_rectified
                                   ? std::sqrt((1 - power2) * (length - 4) * (length - 2) * limit /
                                               ((limit - 4) * (limit - 2) * length))
                                   : 0;
  const double step = lr / (1 - std::pow(beta1, t));
  const double eps = as_double(p.eps), decay = as_double(p.weight_decay);
  const double shrink = p.decoupled != 0 ? 1 - lr * decay : 1;
  const double l2 = p.decoupled != 0 ? 0 : decay;
  return cpu::update_elements<2>(stream, args, {2, 3}, 4, [=](double& w, double g, States<2>& s) {
    g += l2 * w;
    s[0] = beta1 * s[0] + (1 - beta1) * g;
    s[1] = beta2 * s[1] + (1 - beta2) * g * g;
    const double scale = is_rectified ? rectification / (std::sqrt(s[1]) + eps) : 1;
    w = shrink * w - step * s[0] * scale;
  });
}

int launch_lion_elementwise(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<LionParams>();
  const double lr = cpu::rate_of(args, p.lr_scale);
  const double beta1 = cpu::momentum_of(args, p.beta1), beta2 = as_double(p.beta2);
  const double decay = as_double(p.weight_decay);
  return cpu::update_elements<1>(stream, args, {2}, 3, [=](double& w, double g, States<1>& s) {
    const double c = beta1 * s[0] + (1 - beta1) * g;
    // NaN stays NaN
    const double sign = c > 0 ? 1.0 : c < 0 ? -1.0 : c;
    w -= lr * (sign + decay * w);
    s[0] = beta2 * s[0] + (1 - beta2) * g;
  });
}

constexpr Implementation kAdagrad[] = {
    {"elementwise", supports_all, no_workspace, launch_adagrad_elementwise}};
constexpr Implementation kAdadelta[] = {
    {"elementwise", supports_all, no_workspace, launch_adadelta_elementwise}};
constexpr Implementation kRmsProp[] = {
    {"elementwise", supports_all, no_workspace, launch_rmsprop_elementwise}};
constexpr Implementation kAdamax[] = {
    {"elementwise", supports_all, no_workspace, launch_adamax_elementwise}};
constexpr Implementation kNAdam[] = {
    {"elementwise", supports_all, no_workspace, launch_nadam_elementwise}};
constexpr Implementation kRAdam[] = {
    {"elementwise", supports_all, no_workspace, launch_radam_elementwise}};
constexpr Implementation kLion[] = {
    {"elementwise", supports_all, no_workspace, launch_lion_elementwise}};

}  // namespace

const ImplementationList cpu_adagrad_update{kAdagrad, 1};
const ImplementationList cpu_adadelta_update{kAdadelta, 1};
const ImplementationList cpu_rmsprop_update{kRmsProp, 1};
const ImplementationList cpu_adamax_update{kAdamax, 1};
const ImplementationList cpu_nadam_update{kNAdam, 1};
const ImplementationList cpu_radam_update{kRAdam, 1};
const ImplementationList cpu_lion_update{kLion, 1};

}  // namespace tanul
