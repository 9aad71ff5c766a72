// SPDX-License-Identifier: Apache-2.0
// Element by element updates on CUDA, "elementwise" (optim_cuda.h): formulas in include/tanul/optim.h.
// Memory bound where doubles are fast: 4 bytes in and out for w and every state, 4 in for g. Numerics:
// double inside, one rounding where a float is stored; scalar factors once a block of threads.
#include "kernels/cuda/ops.h"
#include "kernels/optim/optim.h"
#include "kernels/optim/optim_cuda.h"

namespace tanul {

namespace {

using namespace cuda;

constexpr int kMostStates = UpdateOperands::kMostStates;

__host__ __device__ constexpr double as_double(float value) { return static_cast<double>(value); }

struct Adagrad {
  AdagradParams p;

  using Real = double;
  static constexpr int kStates = 1;
  struct Factors {
    double lr;
  };
  __device__ Factors factors(const StepBlock& block) const {
    return {rate_of(block, p.lr_scale) / (1 + (step_number(block) - 1) * as_double(p.lr_decay))};
  }
  __device__ void update(const Factors& f, double& w, double g, double (&s)[kMostStates]) const {
    g += as_double(p.weight_decay) * w;
    s[0] += g * g;
    w -= f.lr * g / (sqrt(s[0]) + as_double(p.eps));
  }
};

struct Adadelta {
  AdadeltaParams p;

  using Real = double;
  static constexpr int kStates = 2;
  struct Factors {
    double lr;
  };
  __device__ Factors factors(const StepBlock& block) const { return {rate_of(block, p.lr_scale)}; }
  __device__ void update(const Factors& f, double& w, double g, double (&s)[kMostStates]) const {
    const double rho = as_double(p.rho), eps = as_double(p.eps);
    g += as_double(p.weight_decay) * w;
    s[0] = rho * s[0] + (1 - rho) * g * g;
    const double u = sqrt(s[1] + eps) / sqrt(s[0] + eps) * g;
    s[1] = rho * s[1] + (1 - rho) * u * u;
    w -= f.lr * u;
  }
};

template <bool kIsCentered, bool kHasMomentum>
struct RmsProp {
  RmsPropParams p;

  using Real = double;
  static constexpr int kStates = 1 + kIsCentered + kHasMomentum;
  struct Factors {
    double lr, momentum;
  };
  __device__ Factors factors(const StepBlock& block) const {
    return {rate_of(block, p.lr_scale), momentum_of(block, p.momentum)};
  }
  __device__ void update(const Factors& f, double& w, double g, double (&s)[kMostStates]) const {
    const double alpha = as_double(p.alpha);
    g += as_double(p.weight_decay) * w;
    s[0] = alpha * s[0] + (1 - alpha) * g * g;
    double variance = s[0];
    if constexpr (kIsCentered) {
      s[1] = alpha * s[1] + (1 - alpha) * g;
      variance -= s[1] * s[1];
      // equal gradients: the rounding of the stored moments must not make it negative
      if (variance < 0) variance = 0;
    }
    double u = g / (sqrt(variance) + as_double(p.eps));
    if constexpr (kHasMomentum) u = s[kStates - 1] = f.momentum * s[kStates - 1] + u;
    w -= f.lr * u;
  }
};

struct Adamax {
  AdamaxParams p;

  using Real = double;
  static constexpr int kStates = 2;
  struct Factors {
    double lr, beta1;
  };
  __device__ Factors factors(const StepBlock& block) const {
    const double beta1 = momentum_of(block, p.beta1);
    return {rate_of(block, p.lr_scale) / (1 - pow(beta1, step_number(block))), beta1};
  }
  __device__ void update(const Factors& f, double& w, double g, double (&s)[kMostStates]) const {
    g += as_double(p.weight_decay) * w;
    s[0] = f.beta1 * s[0] + (1 - f.beta1) * g;
    const double kept = as_double(p.beta2) * s[1], fresh = fabs(g) + as_double(p.eps);
    s[1] = kept < fresh ? fresh : kept;
    w -= f.lr * s[0] / s[1];
  }
};

struct NAdam {
  NAdamParams p;

  using Real = double;
  static constexpr int kStates = 2;
  struct Factors {
    double of_m, of_g, correction2, shrink, l2;
  };
  __device__ double mu(double i) const {
    return as_double(p.beta1) * (1 - 0.5 * pow(0.96, i * as_double(p.momentum_decay)));
  }
  // M_t = mu_1 … mu_t. Beyond where it has left the range of a double's last place beside 1, it is 0:
  // every mu is below beta1.
  __device__ double momentum_product(double t) const {
    const double shrink = pow(0.96, as_double(p.momentum_decay));
    double power = 1, product = 1;
    for (double i = 1; i <= t && product > 0x1p-60; ++i) {
      power *= shrink;
      product *= as_double(p.beta1) * (1 - 0.5 * power);
    }
    return product > 0x1p-60 ? product : 0;
  }
  __device__ Factors factors(const StepBlock& block) const {
    const double t = step_number(block);
    const double lr = rate_of(block, p.lr_scale);
    const double product = momentum_product(t);
    const double decay = as_double(p.weight_decay);
    return {lr * mu(t + 1) / (1 - product * mu(t + 1)), lr * (1 - mu(t)) / (1 - product),
            1 - pow(as_double(p.beta2), t), p.decoupled != 0 ? 1 - lr * decay : 1.0,
            p.decoupled != 0 ? 0.0 : decay};
  }
  __device__ void update(const Factors& f, double& w, double g, double (&s)[kMostStates]) const {
    const double beta1 = as_double(p.beta1), beta2 = as_double(p.beta2);
    g += f.l2 * w;
    s[0] = beta1 * s[0] + (1 - beta1) * g;
    s[1] = beta2 * s[1] + (1 - beta2) * g * g;
    w = f.shrink * w -
        (f.of_m * s[0] + f.of_g * g) / (sqrt(s[1] / f.correction2) + as_double(p.eps));
  }
};

struct RAdam {
  RAdamParams p;

  using Real = double;
  static constexpr int kStates = 2;
  struct Factors {
    double step, beta1, rectification, shrink, l2;
    bool is_rectified;
  };
  __device__ Factors factors(const StepBlock& block) const {
    const double t = step_number(block);
    const double lr = rate_of(block, p.lr_scale);
    const double beta1 = momentum_of(block, p.beta1), beta2 = as_double(p.beta2);
    const double power2 = pow(beta2, t);
    const double limit = 2 / (1 - beta2) - 1;
    const double length = limit - 2 * t * power2 / (1 - power2);
    const bool is_rectified = length > 5;
    const double rectification = is_rectified ? sqrt((1 - power2) * (length - 4) * (length - 2) *
                                                     limit / ((limit - 4) * (limit - 2) * length))
                                              : 0;
    const double decay = as_double(p.weight_decay);
    return {lr / (1 - pow(beta1, t)),
            beta1,
            rectification,
            p.decoupled != 0 ? 1 - lr * decay : 1.0,
            p.decoupled != 0 ? 0.0 : decay,
            is_rectified};
  }
  __device__ void update(const Factors& f, double& w, double g, double (&s)[kMostStates]) const {
    const double beta2 = as_double(p.beta2);
    g += f.l2 * w;
    s[0] = f.beta1 * s[0] + (1 - f.beta1) * g;
    s[1] = beta2 * s[1] + (1 - beta2) * g * g;
    const double scale = f.is_rectified ? f.rectification / (sqrt(s[1]) + as_double(p.eps)) : 1;
    w = f.shrink * w - f.step * s[0] * scale;
  }
};

struct Lion {
  LionParams p;

  using Real = double;
  static constexpr int kStates = 1;
  struct Factors {
    double lr, beta1;
  };
  __device__ Factors factors(const StepBlock& block) const {
    return {rate_of(block, p.lr_scale), momentum_of(block, p.beta1)};
  }
  __device__ void update(const Factors& f, double& w, double g, double (&s)[kMostStates]) const {
    const double beta2 = as_double(p.beta2);
    const double c = f.beta1 * s[0] + (1 - f.beta1) * g;
    // NaN stays NaN
    const double sign = c > 0 ? 1.0 : c < 0 ? -1.0 : c;
    w -= f.lr * (sign + as_double(p.weight_decay) * w);
    s[0] = beta2 * s[0] + (1 - beta2) * g;
  }
};

int launch_adagrad_elementwise(Stream* stream, const StepArgs& args) {
  return launch_update(stream, Adagrad{args.params_as<AdagradParams>()},
                       update_operands(args, {2}, 3));
}
int launch_adadelta_elementwise(Stream* stream, const StepArgs& args) {
  return launch_update(stream, Adadelta{args.params_as<AdadeltaParams>()},
                       update_operands(args, {2, 3}, 4));
}
int launch_rmsprop_elementwise(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<RmsPropParams>();
  const bool is_centered = has_operand(args, 3);
  const bool has_momentum = has_operand(args, 4) && p.momentum > 0;
  if (is_centered && has_momentum) {
    return launch_update(stream, RmsProp<true, true>{p}, update_operands(args, {2, 3, 4}, 5));
  }
  if (is_centered) {
    return launch_update(stream, RmsProp<true, false>{p}, update_operands(args, {2, 3}, 5));
  }
  if (has_momentum) {
    return launch_update(stream, RmsProp<false, true>{p}, update_operands(args, {2, 4}, 5));
  }
  return launch_update(stream, RmsProp<false, false>{p}, update_operands(args, {2}, 5));
}
int launch_adamax_elementwise(Stream* stream, const StepArgs& args) {
  return launch_update(stream, Adamax{args.params_as<AdamaxParams>()},
                       update_operands(args, {2, 3}, 4));
}
int launch_nadam_elementwise(Stream* stream, const StepArgs& args) {
  return launch_update(stream, NAdam{args.params_as<NAdamParams>()},
                       update_operands(args, {2, 3}, 4));
}
int launch_radam_elementwise(Stream* stream, const StepArgs& args) {
  return launch_update(stream, RAdam{args.params_as<RAdamParams>()},
                       update_operands(args, {2, 3}, 4));
}
int launch_lion_elementwise(Stream* stream, const StepArgs& args) {
  return launch_update(stream, Lion{args.params_as<LionParams>()}, update_operands(args, {2}, 3));
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

const ImplementationList cuda_adagrad_update{kAdagrad, 1};
const ImplementationList cuda_adadelta_update{kAdadelta, 1};
const ImplementationList cuda_rmsprop_update{kRmsProp, 1};
const ImplementationList cuda_adamax_update{kAdamax, 1};
const ImplementationList cuda_nadam_update{kNAdam, 1};
const ImplementationList cuda_radam_update{kRAdam, 1};
const ImplementationList cuda_lion_update{kLion, 1};

}  // namespace tanul
