// SPDX-License-Identifier: Apache-2.0
// Loss scaling on CUDA. The check is memory bound, 4 bytes an element, its sum in double and an order that
// the shapes fix (kernels/cuda/tensor_list.h); the rest are scalars, one thread.
#include "kernels/cuda/ops.h"
#include "kernels/cuda/tensor_list.h"
#include "kernels/optim/loss_scale.h"

namespace tanul {

namespace {

__global__ void loss_scale_seed_kernel(const float* state, float weight, float* d) {
  d[0] = weight * state[0];
}

int launch_seed_scalar(Stream* stream, const StepArgs& args) {
  return cuda::launch(stream, loss_scale_seed_kernel, cuda::Dim3{1, 1, 1}, 1,
                      args.in[0].as<const float>(), args.params_as<LossScaleSeedParams>().weight,
                      args.out[0].as<float>());
}

// The step as one of its gradients alone.
StepArgs of_gradients(const StepArgs& args) {
  StepArgs gradients = args;
  ++gradients.in;
  --gradients.in_count;
  return gradients;
}

int64_t workspace_check(const StepArgs& args, int threads) {
  return cuda::workspace_of_tiles(of_gradients(args), threads);
}

struct StoreCheck {
  const float* state;
  double max_norm;
  __device__ void operator()(double sum, float* clip) const {
    loss_scale::check(sum, max_norm, state, clip);
  }
};

int launch_check_tiles(Stream* stream, const StepArgs& args) {
  const StoreCheck finish{args.in[0].as<float>(),
                          static_cast<double>(args.params_as<LossScaleCheckParams>().max_norm)};
  return cuda::launch_sum_of_tensors(stream, of_gradients(args), cuda::Square(), finish);
}

__global__ void loss_scale_update_kernel(LossScaleParams p, const float* clip, float* state) {
  loss_scale::update(p, clip, state);
}

int launch_update_scalar(Stream* stream, const StepArgs& args) {
  return cuda::launch(stream, loss_scale_update_kernel, cuda::Dim3{1, 1, 1}, 1,
                      args.params_as<LossScaleParams>(), args.in[1].as<const float>(),
                      args.out[0].as<float>());
}

constexpr Implementation kSeed[] = {{"scalar", supports_all, no_workspace, launch_seed_scalar}};
constexpr Implementation kCheck[] = {{"tiles", supports_all, workspace_check, launch_check_tiles}};
constexpr Implementation kUpdate[] = {{"scalar", supports_all, no_workspace, launch_update_scalar}};

}  // namespace

const ImplementationList cuda_loss_scale_seed{kSeed, 1};
const ImplementationList cuda_loss_scale_check{kCheck, 1};
const ImplementationList cuda_loss_scale_update{kUpdate, 1};

}  // namespace tanul
