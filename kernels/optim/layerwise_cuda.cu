// SPDX-License-Identifier: Apache-2.0
// LARS and LAMB on CUDA, "two_passes": norms of the whole tensor first, then the update (optim_cuda.h).
// Memory bound: every operand is read twice. Norms are summed in double, a block a tile, then the tiles
// by one block, in an order that the shape fixes. The second pass computes each element in double again
// and rounds once where a float is stored.
#include <algorithm>

#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce.h"
#include "kernels/optim/optim.h"
#include "kernels/optim/optim_cuda.h"

namespace tanul {

namespace {

using namespace cuda;

constexpr int kMostStates = UpdateOperands::kMostStates;
constexpr int64_t kMostTiles = 1024;

__host__ __device__ constexpr double as_double(float value) { return static_cast<double>(value); }

int64_t tiles_of(const StepArgs& args) {
  return std::clamp<int64_t>(ceil_div(args.in[0].elems(), 4 * kBlockThreads), 1, kMostTiles);
}
// Sums of squares of two quantities for each tile; behind them the two norms.
int64_t workspace_norms(const StepArgs& args, int) {
  return (tiles_of(args) + 1) * static_cast<int64_t>(sizeof(Pair));
}

// `rule.squares` gives the terms of an element. A tile is what the threads of one block meet.
template <class Rule>
__global__ void norm_tiles_kernel(Rule rule, UpdateOperands of, Pair* sums) {
  const StepFactors<Rule> f = share_factors(rule, of);
  Pair own{0, 0};
  for (int64_t i = grid_thread(); i < of.elems; i += grid_threads()) {
    double states[kMostStates];
    const double w = load_states<Rule>(of, i, states);
    own = own + rule.squares(f.of_rule, w, as_double(f.scale) * as_double(of.g[i]), states);
  }
  const Pair sum = block_sum(own);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void norms_kernel(const Pair* sums, int64_t tiles, Pair* norms) {
  Pair own{0, 0};
  for (int64_t i = threadIdx.x; i < tiles; i += blockDim.x) own = own + sums[i];
  const Pair sum = block_sum(own);
  if (threadIdx.x == 0) *norms = {sqrt(sum.a), sqrt(sum.b)};
}

template <class Rule>
int launch_two_passes(Stream* stream, const StepArgs& args, Rule rule, const UpdateOperands& of) {
  Pair* sums = static_cast<Pair*>(args.workspace);
  const int64_t tiles = tiles_of(args);
  rule.norms = sums + tiles;
  int status =
      launch(stream, norm_tiles_kernel<typename Rule::First>,
             Dim3{static_cast<uint32_t>(tiles), 1, 1}, kBlockThreads, rule.first(), of, sums);
  if (status == 0) {
    status = launch(stream, norms_kernel, Dim3{1, 1, 1}, kBlockThreads, sums, tiles, sums + tiles);
  }
  return status != 0 ? status : launch_update(stream, rule, of);
}

// Norms of w and g.
struct LarsSquares {
  using Real = double;
  static constexpr int kStates = 0;
  struct Factors {};
  __device__ Factors factors(const StepBlock&) const { return {}; }
  __device__ Pair squares(const Factors&, double w, double g, double (&)[kMostStates]) const {
    return {w * w, g * g};
  }
};

struct Lars {
  LarsParams p;
  const Pair* norms = nullptr;

  using First = LarsSquares;
  First first() const { return {}; }

  using Real = double;
  static constexpr int kStates = 1;
  struct Factors {
    double rate, momentum;
  };
  __device__ Factors factors(const StepBlock& block) const {
    const double of_w = norms->a;
    const double divisor = norms->b + as_double(p.weight_decay) * of_w;
    const bool has_trust = of_w != 0 && divisor != 0;
    const double trust = has_trust ? as_double(p.trust_coefficient) * of_w / divisor : 1;
    return {rate_of(block, p.lr_scale) * trust, momentum_of(block, p.momentum)};
  }
  __device__ void update(const Factors& f, double& w, double g, double (&s)[kMostStates]) const {
    s[0] = f.momentum * s[0] + f.rate * (g + as_double(p.weight_decay) * w);
    w -= s[0];
  }
};

// Moves the moments on; norms of w and of the step before it is scaled.
struct LambMoments {
  LambParams p;

  using Real = double;
  static constexpr int kStates = 2;
  struct Factors {
    double beta1, correction1, correction2;
  };
  __device__ Factors factors(const StepBlock& block) const {
    const double t = step_number(block);
    const double beta1 = momentum_of(block, p.beta1);
    return {beta1, 1 - pow(beta1, t), 1 - pow(as_double(p.beta2), t)};
  }
  __device__ double step(const Factors& f, double w, double g, double (&s)[kMostStates]) const {
    const double beta2 = as_double(p.beta2);
    s[0] = f.beta1 * s[0] + (1 - f.beta1) * g;
    s[1] = beta2 * s[1] + (1 - beta2) * g * g;
    return s[0] / f.correction1 / (sqrt(s[1] / f.correction2) + as_double(p.eps)) +
           as_double(p.weight_decay) * w;
  }
  __device__ Pair squares(const Factors& f, double w, double g, double (&s)[kMostStates]) const {
    const double u = step(f, w, g, s);
    return {w * w, u * u};
  }
};

struct Lamb {
  LambMoments moments;
  const Pair* norms = nullptr;

  using First = LambMoments;
  First first() const { return moments; }

  using Real = double;
  static constexpr int kStates = 2;
  struct Factors {
    LambMoments::Factors of_moments;
    double rate;
  };
  __device__ Factors factors(const StepBlock& block) const {
    const bool has_ratio = norms->a != 0 && norms->b != 0;
    return {moments.factors(block),
            rate_of(block, moments.p.lr_scale) * (has_ratio ? norms->a / norms->b : 1)};
  }
  __device__ void update(const Factors& f, double& w, double g, double (&s)[kMostStates]) const {
    w -= f.rate * moments.step(f.of_moments, w, g, s);
  }
};

int launch_lars_two_passes(Stream* stream, const StepArgs& args) {
  return launch_two_passes(stream, args, Lars{args.params_as<LarsParams>()},
                           update_operands(args, {2}, 3));
}
int launch_lamb_two_passes(Stream* stream, const StepArgs& args) {
  return launch_two_passes(stream, args, Lamb{{args.params_as<LambParams>()}},
                           update_operands(args, {2, 3}, 4));
}

constexpr Implementation kLars[] = {
    {"two_passes", supports_all, workspace_norms, launch_lars_two_passes}};
constexpr Implementation kLamb[] = {
    {"two_passes", supports_all, workspace_norms, launch_lamb_two_passes}};

}  // namespace

const ImplementationList cuda_lars_update{kLars, 1};
const ImplementationList cuda_lamb_update{kLamb, 1};

}  // namespace tanul
