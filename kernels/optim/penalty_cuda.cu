// SPDX-License-Identifier: Apache-2.0
// Penalties on CUDA. Forward: a block sums a tile, a last block the tiles (kernels/cuda/tensor_list.h);
// backward: one thread an element. Memory bound: 4 bytes an element forward, 8 backward. Numerics: sums
// in double, in an order that the shapes fix; dw in double, rounded once.
#include "kernels/cuda/ops.h"
#include "kernels/cuda/tensor_list.h"
#include "kernels/optim/penalty.h"

namespace tanul {

namespace {

struct PenaltyTerm {
  double l1, half_l2;
  __device__ double operator()(double w) const { return l1 * fabs(w) + half_l2 * w * w; }
};
struct Store {
  __device__ void operator()(double sum, float* out) const { *out = static_cast<float>(sum); }
};

int launch_penalty_fwd_tiles(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<PenaltyParams>();
  const PenaltyTerm term{static_cast<double>(p.l1), static_cast<double>(p.l2) / 2};
  return cuda::launch_sum_of_tensors(stream, args, term, Store());
}

__global__ void penalty_bwd_kernel(const float* w, const float* d, float* dw, int64_t n, double l1,
                                   double l2) {
  for (int64_t i = cuda::grid_thread(); i < n; i += cuda::grid_threads()) {
    const double value = static_cast<double>(w[i]);
    const double sign = value > 0 ? 1.0 : value < 0 ? -1.0 : value;  // NaN stays NaN
    dw[i] = static_cast<float>(static_cast<double>(*d) * (l1 * sign + l2 * value));
  }
}

int launch_penalty_bwd_elementwise(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<PenaltyParams>();
  const int64_t n = args.in[0].elems();
  return cuda::launch(stream, penalty_bwd_kernel, cuda::blocks_for(n), cuda::kBlockThreads,
                      args.in[0].as<float>(), args.in[1].as<float>(), args.out[0].as<float>(), n,
                      static_cast<double>(p.l1), static_cast<double>(p.l2));
}

constexpr Implementation kForward[] = {
    {"tiles", supports_all, cuda::workspace_of_tiles, launch_penalty_fwd_tiles}};
constexpr Implementation kBackward[] = {
    {"elementwise", supports_all, no_workspace, launch_penalty_bwd_elementwise}};

}  // namespace

const ImplementationList cuda_penalty_fwd{kForward, 1};
const ImplementationList cuda_penalty_bwd{kBackward, 1};

}  // namespace tanul
