// SPDX-License-Identifier: Apache-2.0
// Gradient clipping, SGD and Adam on the CPU, in tiles of kElementwiseTile elements.
// Memory bound. Bytes an element: clip by norm 4, by value 8, SGD 12 (20 with velocity), Adam 28 (36 with
// AMSGrad).
// Numerics: the norm is summed in double, eight sums side by side in a tile, tiles in order; updates
// are float, their scalar factors are computed in double and rounded once. AMSGrad is double inside.
// The updates work in place: operand w of `in` and of `out` is the same memory, and so are the states.
#include "kernels/optim/optim_cpu.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/op.h"
#include "kernels/optim/optim.h"
#include "kernels/optim/squares_cpu.h"

namespace tanul {

namespace {

int launch_clip_scale_tiles(Stream* stream, const StepArgs& args) {
  const double norm = std::sqrt(cpu::sum_of_squares<0>(stream, args));
  const double scale = static_cast<double>(args.params_as<ClipParams>().max_norm) / (norm + 1e-6);
  float* clip = args.out[0].as<float>();
  clip[0] = static_cast<float>(norm);
  clip[1] = scale > 1 ? 1.0f : static_cast<float>(scale);  // NaN stays NaN
  return 0;
}

int launch_clip_value_elementwise(Stream* stream, const StepArgs& args) {
  const bool has_loss_scale = cpu::has_operand(args, 1);
  const float scale = has_loss_scale ? args.in[1].as<float>()[0] : 1.0f;
  const float limit = scale * args.params_as<ClipValueParams>().max_value;
  const float* g = args.in[0].as<float>();
  float* clipped = args.out[0].as<float>();
  cpu::parallel_ranges(stream, args.in[0].elems(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      // NaN passes both comparisons; the difference of infinities is NaN
      const float value = has_loss_scale ? g[i] + (g[i] - g[i]) : g[i];
      clipped[i] = value > limit ? limit : value < -limit ? -limit : value;
    }
  });
  return 0;
}

float grad_scale(const StepArgs& args, int clip) {
  return static_cast<float>(cpu::grad_scale(args, clip));
}

int launch_sgd_update_elementwise(Stream* stream, const StepArgs& args) {
  float* w = args.out[0].as<float>();
  const float* g = args.in[1].as<float>();
  float* v = cpu::has_operand(args, 2) ? args.out[1].as<float>() : nullptr;
  if (cpu::is_left_out(args, 3)) return 0;
  const cpu::SgdRates rates = cpu::sgd_rates(args, args.params_as<SgdParams>(), grad_scale(args, 3),
                                             cpu::steps_before(args, 3));
  cpu::parallel_ranges(stream, args.in[0].elems(), [&](int64_t begin, int64_t end) {
    cpu::sgd_update(w + begin, g + begin, v == nullptr ? nullptr : v + begin, end - begin, rates);
  });
  return 0;
}

int launch_adam_update_elementwise(Stream* stream, const StepArgs& args) {
  const AdamParams& params = args.params_as<AdamParams>();
  float* w = args.out[0].as<float>();
  const float* g = args.in[1].as<float>();
  float* m = args.out[1].as<float>();
  float* v = args.out[2].as<float>();
  if (cpu::is_left_out(args, 4)) return 0;
  const float scale = grad_scale(args, 4);
  const double t = cpu::step_number(args, 4);
  const double lr = static_cast<double>(args.block->lr) * static_cast<double>(params.lr_scale);
  const double beta1 = cpu::momentum_of(args, params.beta1);
  const double correction1 = 1 - std::pow(beta1, t);
  const double correction2 = 1 - std::pow(static_cast<double>(params.beta2), t);
  const double weight_decay = static_cast<double>(params.weight_decay);
  const bool decoupled = params.decoupled != 0;
  const float step_size = static_cast<float>(lr / correction1);
  const float inv_sqrt_correction2 = static_cast<float>(1 / std::sqrt(correction2));
  const float decay_factor = decoupled ? static_cast<float>(1 - lr * weight_decay) : 1.0f;
  const float l2 = decoupled ? 0.0f : params.weight_decay;
  cpu::parallel_ranges(stream, args.in[0].elems(), [&](int64_t begin, int64_t end) {
    cpu::adam_update(w + begin, g + begin, m + begin, v + begin, end - begin, step_size,
                     static_cast<float>(beta1), params.beta2, params.eps, inv_sqrt_correction2,
                     decay_factor, l2, scale);
  });
  return 0;
}

const char* without_maximum(const StepArgs& args) {
  return cpu::has_operand(args, 5) ? "AMSGrad keeps a maximum" : nullptr;
}

template <size_t N>
void adam_double(Stream* stream, const StepArgs& args, const std::array<int, N>& places) {
  const AdamParams& params = args.params_as<AdamParams>();
  const double t = cpu::step_number(args, 4);
  const double lr = cpu::rate_of(args, params.lr_scale);
  const double beta1 = cpu::momentum_of(args, params.beta1);
  const double beta2 = static_cast<double>(params.beta2);
  const double step = lr / (1 - std::pow(beta1, t));
  const double correction2 = 1 - std::pow(beta2, t);
  const double eps = static_cast<double>(params.eps);
  const double decay = static_cast<double>(params.weight_decay);
  const double shrink = params.decoupled != 0 ? 1 - lr * decay : 1;
  const double l2 = params.decoupled != 0 ? 0 : decay;
  cpu::update_elements<N>(stream, args, places, 4,
                          [=](double& w, double g, std::array<double, N>& s) {
                            w *= shrink;
                            g += l2 * w;
                            s[0] = beta1 * s[0] + (1 - beta1) * g;
                            s[1] = beta2 * s[1] + (1 - beta2) * g * g;
                            if constexpr (N == 3) s[2] = std::max(s[1], s[2]);
                            w -= step * s[0] / (std::sqrt(s[N - 1] / correction2) + eps);
                          });
}

int launch_adam_update_elementwise_double(Stream* stream, const StepArgs& args) {
  if (cpu::has_operand(args, 5)) {
    // `out` has no clip: v_max stands behind v, one place nearer than in `in`
    adam_double<3>(stream, args, {2, 3, 4});
  } else {
    adam_double<2>(stream, args, {2, 3});
  }
  return 0;
}

constexpr Implementation kClip[] = {
    {"tiles", supports_all, cpu::workspace_squares<0>, launch_clip_scale_tiles}};
constexpr Implementation kSgd[] = {
    {"elementwise", supports_all, no_workspace, launch_sgd_update_elementwise}};
constexpr Implementation kAdam[] = {
    {"elementwise", without_maximum, no_workspace, launch_adam_update_elementwise},
    {"elementwise_double", supports_all, no_workspace, launch_adam_update_elementwise_double}};
constexpr Implementation kClipValue[] = {
    {"elementwise", supports_all, no_workspace, launch_clip_value_elementwise}};

}  // namespace

const ImplementationList cpu_clip_scale{kClip, 1};
const ImplementationList cpu_clip_value{kClipValue, 1};
const ImplementationList cpu_sgd_update{kSgd, 1};
const ImplementationList cpu_adam_update{kAdam, 2};

}  // namespace tanul
