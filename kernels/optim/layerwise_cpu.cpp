// SPDX-License-Identifier: Apache-2.0
// LARS and LAMB on the CPU, "two_passes": norms of the whole tensor first, then the update.
// Memory bound: every operand is read twice. Norms are summed in double, tiles of kElementwiseTile
// elements one by one, tiles in order: the same for any number of threads. The second pass computes
// each element in double again and rounds once where a float is stored.
#include <cmath>

#include "kernels/op.h"
#include "kernels/optim/optim.h"
#include "kernels/optim/optim_cpu.h"

namespace tanul {

namespace {

constexpr double as_double(float value) { return static_cast<double>(value); }

// Sums of squares of two quantities.
struct Norms {
  double first = 0, second = 0;
};

int64_t workspace_norms(const StepArgs& args, int) {
  return cpu::ceil_div(args.in[0].elems(), cpu::kElementwiseTile) *
         static_cast<int64_t>(sizeof(Norms));
}

// add(sums, i) for every element i of the tensor; the norms.
template <typename Add>
Norms norms_of(Stream* stream, const StepArgs& args, const Add& add) {
  auto* tiles = static_cast<Norms*>(args.workspace);
  const int64_t elems = args.in[0].elems();
  cpu::parallel_ranges(stream, elems, [&](int64_t begin, int64_t end) {
    Norms sums;
    for (int64_t i = begin; i < end; ++i) add(sums, i);
    tiles[begin / cpu::kElementwiseTile] = sums;
  });
  Norms sums;
  for (int64_t tile = 0; tile < cpu::ceil_div(elems, cpu::kElementwiseTile); ++tile) {
    sums.first += tiles[tile].first;
    sums.second += tiles[tile].second;
  }
  return {std::sqrt(sums.first), std::sqrt(sums.second)};
}

int launch_lars_two_passes(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<LarsParams>();
  const float* w = args.out[0].as<float>();
  const float* g = args.in[1].as<float>();
  const double scale = cpu::grad_scale(args, 3);
  const double decay = as_double(p.weight_decay);
  const Norms norms = norms_of(stream, args, [=](Norms& sums, int64_t i) {
    const double weight = as_double(w[i]), gradient = scale * as_double(g[i]);
    sums.first += weight * weight;
    sums.second += gradient * gradient;
  });
  const double divisor = norms.second + decay * norms.first;
  const bool has_trust = norms.first != 0 && divisor != 0;
  const double trust = has_trust ? as_double(p.trust_coefficient) * norms.first / divisor : 1;
  const double rate = cpu::rate_of(args, p.lr_scale) * trust;
  const double momentum = cpu::momentum_of(args, p.momentum);
  return cpu::update_elements<1>(stream, args, {2}, 3,
                                 [=](double& weight, double gradient, std::array<double, 1>& s) {
                                   s[0] = momentum * s[0] + rate * (gradient + decay * weight);
                                   weight -= s[0];
                                 });
}

int launch_lamb_two_passes(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<LambParams>();
  const float* w = args.out[0].as<float>();
  const float* g = args.in[1].as<float>();
  const float* m = args.out[1].as<float>();
  const float* v = args.out[2].as<float>();
  const double scale = cpu::grad_scale(args, 4);
  const double t = cpu::step_number(args, 4);
  const double beta1 = cpu::momentum_of(args, p.beta1), beta2 = as_double(p.beta2);
  const double correction1 = 1 - std::pow(beta1, t), correction2 = 1 - std::pow(beta2, t);
  const double eps = as_double(p.eps), decay = as_double(p.weight_decay);
  // Moves the moments on; the step before it is scaled.
  const auto step = [=](double weight, double gradient, std::array<double, 2>& s) {
    s[0] = beta1 * s[0] + (1 - beta1) * gradient;
    s[1] = beta2 * s[1] + (1 - beta2) * gradient * gradient;
    return s[0] / correction1 / (std::sqrt(s[1] / correction2) + eps) + decay * weight;
  };
  const Norms norms = norms_of(stream, args, [=](Norms& sums, int64_t i) {
    const double weight = as_double(w[i]);
    std::array<double, 2> s{as_double(m[i]), as_double(v[i])};
    const double u = step(weight, scale * as_double(g[i]), s);
    sums.first += weight * weight;
    sums.second += u * u;
  });
  const bool has_ratio = norms.first != 0 && norms.second != 0;
  const double rate = cpu::rate_of(args, p.lr_scale) * (has_ratio ? norms.first / norms.second : 1);
  return cpu::update_elements<2>(stream, args, {2, 3}, 4,
                                 [=](double& weight, double gradient, std::array<double, 2>& s) {
                                   weight -= rate * step(weight, gradient, s);
                                 });
}

constexpr Implementation kLars[] = {
    {"two_passes", supports_all, workspace_norms, launch_lars_two_passes}};
constexpr Implementation kLamb[] = {
    {"two_passes", supports_all, workspace_norms, launch_lamb_two_passes}};

}  // namespace

const ImplementationList cpu_lars_update{kLars, 1};
const ImplementationList cpu_lamb_update{kLamb, 1};

}  // namespace tanul
