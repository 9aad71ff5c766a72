// SPDX-License-Identifier: Apache-2.0
// Averages of weights and of gradients on CUDA, "elementwise", one thread an element. Memory bound: 12 bytes
// an element (lookahead 16 every k-th step, nothing in between). Numerics: double inside, one rounding where
// a float is stored.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/operands.h"
#include "kernels/cuda/ops.h"
#include "kernels/optim/averaging.h"
#include "kernels/optim/optim_cuda.h"

namespace tanul {

namespace {

__host__ __device__ constexpr double as_double(float value) { return static_cast<double>(value); }

struct Ema {
  double decay;
  const float* clip;  // [4] of a scaled loss, or null
  __device__ float operator()(float average, float w) const {
    if (clip != nullptr && clip[2] == 0) return average;  // the step is left out
    return static_cast<float>(decay * as_double(average) + (1 - decay) * as_double(w));
  }
};

int launch_ema_elementwise(Stream* stream, const StepArgs& args) {
  const Ema ema{as_double(args.params_as<EmaParams>().decay), cuda::input_or_null(args, 2)};
  float* average = args.out[0].as<float>();
  return cuda::launch_map(stream, ema, args.in[0].elems(), average,
                          static_cast<const float*>(average), args.in[1].as<const float>());
}

__global__ void lookahead_kernel(const StepBlock* block, const float* clip, LookaheadParams p,
                                 int64_t n, float* slow, float* w) {
  if (clip != nullptr && clip[2] == 0) return;
  const uint64_t before = clip == nullptr ? block->step : cuda::steps_before(*block, clip);
  if ((before + 1) % static_cast<uint64_t>(p.k) != 0) return;
  const double alpha = as_double(p.alpha);
  for (int64_t i = cuda::grid_thread(); i < n; i += cuda::grid_threads()) {
    const double from = as_double(slow[i]);
    w[i] = slow[i] = static_cast<float>(from + alpha * (as_double(w[i]) - from));
  }
}

int launch_lookahead_elementwise(Stream* stream, const StepArgs& args) {
  const int64_t n = args.in[0].elems();
  return cuda::launch(stream, lookahead_kernel, cuda::blocks_for(n), cuda::kBlockThreads,
                      args.block, cuda::input_or_null(args, 2), args.params_as<LookaheadParams>(),
                      n, args.out[0].as<float>(), args.out[1].as<float>());
}

// stats and total lie in device memory; without them (is_sum) every divisor is 1.
struct Accumulated {
  const float* stats;
  const float* total;

  explicit Accumulated(const StepArgs& args)
      : stats(args.params_as<AccumulateParams>().is_sum != 0 ? nullptr : args.in[2].as<float>()),
        total(args.in[3].as<float>()) {}
  __device__ double divisor() const { return stats == nullptr ? 1 : as_double(stats[1]); }
  // What is accumulated so far; nothing is where the total is 0.
  __device__ double before(float sum) const { return *total == 0 ? 0.0 : as_double(sum); }
  __device__ double inverse() const {
    const double all = stats == nullptr ? 1 : as_double(*total) + divisor();
    return all == 0 ? 0 : 1 / all;
  }
};

struct AccumulateAdd : Accumulated {
  using Accumulated::Accumulated;
  __device__ float operator()(float sum, float g) const {
    return static_cast<float>(before(sum) + divisor() * as_double(g));
  }
};
struct AccumulateMean : Accumulated {
  using Accumulated::Accumulated;
  __device__ float operator()(float g, float sum) const {
    return static_cast<float>((before(sum) + divisor() * as_double(g)) * inverse());
  }
};

template <class Formula>
int launch_accumulate_elementwise(Stream* stream, const StepArgs& args) {
  return cuda::launch_map(stream, Formula(args), args.in[0].elems(), args.out[0].as<float>(),
                          args.in[0].as<const float>(), args.in[1].as<const float>());
}

__global__ void accumulate_total_kernel(float* total, const float* stats, bool is_reset) {
  total[0] = is_reset ? 0.0f : total[0] + stats[1];
}

int launch_accumulate_total_scalar(Stream* stream, const StepArgs& args) {
  return cuda::launch(stream, accumulate_total_kernel, cuda::Dim3{1, 1, 1}, 1,
                      args.out[0].as<float>(), args.in[1].as<float>(),
                      args.params_as<AccumulateTotalParams>().reset != 0);
}

constexpr Implementation kEma[] = {
    {"elementwise", supports_all, no_workspace, launch_ema_elementwise}};
constexpr Implementation kLookahead[] = {
    {"elementwise", supports_all, no_workspace, launch_lookahead_elementwise}};
constexpr Implementation kAdd[] = {
    {"elementwise", supports_all, no_workspace, launch_accumulate_elementwise<AccumulateAdd>}};
constexpr Implementation kMean[] = {
    {"elementwise", supports_all, no_workspace, launch_accumulate_elementwise<AccumulateMean>}};
constexpr Implementation kTotal[] = {
    {"scalar", supports_all, no_workspace, launch_accumulate_total_scalar}};

}  // namespace

const ImplementationList cuda_ema_update{kEma, 1};
const ImplementationList cuda_lookahead_update{kLookahead, 1};
const ImplementationList cuda_accumulate_add{kAdd, 1};
const ImplementationList cuda_accumulate_mean{kMean, 1};
const ImplementationList cuda_accumulate_total{kTotal, 1};

}  // namespace tanul
