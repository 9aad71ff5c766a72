// SPDX-License-Identifier: Apache-2.0
// SGD and Adam on CUDA, one thread an element (optim_cuda.h). Memory bound. Bytes an element: SGD 12 (20
// with velocity), Adam 28 (36 with AMSGrad).
// Numerics: updates are float, their scalar factors are computed in double and rounded once. AMSGrad is
// double inside.
#include "kernels/cuda/ops.h"
#include "kernels/optim/optim.h"
#include "kernels/optim/optim_cuda.h"

namespace tanul {

namespace {

using namespace cuda;

constexpr int kMostStates = UpdateOperands::kMostStates;

template <bool kHasVelocity>
struct Sgd {
  SgdParams p;

  using Real = float;
  static constexpr int kStates = kHasVelocity ? 1 : 0;
  struct Factors {
    float lr, momentum;
    bool is_first;
  };
  __device__ Factors factors(const StepBlock& block) const {
    return {block.lr * p.lr_scale, static_cast<float>(momentum_of(block, p.momentum)),
            block.step == 0};
  }
  __device__ void update(const Factors& f, float& w, float g, float (&v)[kMostStates]) const {
    const float gradient = fmaf(p.weight_decay, w, g);
    float step = gradient;
    if constexpr (kHasVelocity) {
      if (!f.is_first) step = fmaf(f.momentum, v[0], (1.0f - p.dampening) * gradient);
      v[0] = step;
      if (p.nesterov != 0) step = fmaf(f.momentum, step, gradient);
    }
    w = fmaf(-f.lr, step, w);
  }
};

struct Adam {
  AdamParams p;

  using Real = float;
  static constexpr int kStates = 2;
  struct Factors {
    float step_size, beta1, inv_sqrt_correction2, shrink, l2;
  };
  __device__ Factors factors(const StepBlock& block) const {
    const double t = step_number(block);
    const double lr = rate_of(block, p.lr_scale);
    const double beta1 = momentum_of(block, p.beta1);
    const double correction2 = 1 - pow(static_cast<double>(p.beta2), t);
    const bool is_decoupled = p.decoupled != 0;
    const double decay = static_cast<double>(p.weight_decay);
    return {static_cast<float>(lr / (1 - pow(beta1, t))), static_cast<float>(beta1),
            static_cast<float>(1 / sqrt(correction2)),
            is_decoupled ? static_cast<float>(1 - lr * decay) : 1.0f,
            is_decoupled ? 0.0f : p.weight_decay};
  }
  __device__ void update(const Factors& f, float& w, float g, float (&s)[kMostStates]) const {
    w *= f.shrink;
    const float gradient = fmaf(f.l2, w, g);
    s[0] = fmaf(f.beta1, s[0], (1.0f - f.beta1) * gradient);
    s[1] = fmaf(p.beta2, s[1], (1.0f - p.beta2) * (gradient * gradient));
    w = fmaf(-f.step_size, s[0] / fmaf(sqrtf(s[1]), f.inv_sqrt_correction2, p.eps), w);
  }
};

// With the maximum of v, the third state.
struct AmsGrad {
  AdamParams p;

  using Real = double;
  static constexpr int kStates = 3;
  struct Factors {
    double step, beta1, correction2, shrink;
  };
  __device__ Factors factors(const StepBlock& block) const {
    const double t = step_number(block);
    const double lr = rate_of(block, p.lr_scale);
    const double beta1 = momentum_of(block, p.beta1);
    return {lr / (1 - pow(beta1, t)), beta1, 1 - pow(static_cast<double>(p.beta2), t),
            p.decoupled != 0 ? 1 - lr * static_cast<double>(p.weight_decay) : 1.0};
  }
  __device__ void update(const Factors& f, double& w, double g, double (&s)[kMostStates]) const {
    const double beta2 = static_cast<double>(p.beta2);
    w *= f.shrink;
    if (p.decoupled == 0) g += static_cast<double>(p.weight_decay) * w;
    s[0] = f.beta1 * s[0] + (1 - f.beta1) * g;
    s[1] = beta2 * s[1] + (1 - beta2) * g * g;
    s[2] = s[1] < s[2] ? s[2] : s[1];
    w -= f.step * s[0] / (sqrt(s[2] / f.correction2) + static_cast<double>(p.eps));
  }
};

int launch_sgd_update_elementwise(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<SgdParams>();
  if (has_operand(args, 2)) {
    return launch_update(stream, Sgd<true>{p}, update_operands(args, {2}, 3));
  }
  return launch_update(stream, Sgd<false>{p}, update_operands(args, {}, 3));
}

int launch_adam_update_elementwise(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<AdamParams>();
  if (has_operand(args, 5)) {
    // `out` has no clip: v_max stands behind v, one place nearer than in `in`
    return launch_update(stream, AmsGrad{p}, update_operands(args, {2, 3, 4}, 4));
  }
  return launch_update(stream, Adam{p}, update_operands(args, {2, 3}, 4));
}

constexpr Implementation kSgd[] = {
    {"elementwise", supports_all, no_workspace, launch_sgd_update_elementwise}};
constexpr Implementation kAdam[] = {
    {"elementwise", supports_all, no_workspace, launch_adam_update_elementwise}};

}  // namespace

const ImplementationList cuda_sgd_update{kSgd, 1};
const ImplementationList cuda_adam_update{kAdam, 1};

}  // namespace tanul
