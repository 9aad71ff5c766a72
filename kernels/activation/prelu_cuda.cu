// SPDX-License-Identifier: Apache-2.0
// prelu on CUDA (kernels/cuda/broadcast.h). One rounding an element, memory roof; dslope is a pass of its
// own, its sums in double, in an order that depends on the shape alone.
#include "kernels/activation/prelu.h"
#include "kernels/cuda/broadcast.h"
#include "kernels/cuda/ops.h"

namespace tanul {

namespace {

using cuda::Extents;

struct Forward {
  __device__ float operator()(int64_t, float x, float slope) const { return x > 0 ? x : slope * x; }
};
struct InputGradient {
  const float* dy;
  __device__ float operator()(int64_t i, float x, float slope) const {
    return x > 0 ? dy[i] : slope * dy[i];
  }
};
struct SlopeTerm {
  __device__ double operator()(float dy, float x, float) const {
    return x > 0 ? 0.0 : static_cast<double>(dy) * static_cast<double>(x);
  }
};

int launch_fwd(Stream* stream, const StepArgs& args) {
  const Extents slopes = Extents::of_channels(args.in[1].dims[0], args.in[0]);
  return cuda::launch_map_broadcast(stream, args.in[0], args.in[0], args.in[0].as<float>(), slopes,
                                    args.in[1].as<float>(), args.out[0].as<float>(), Forward());
}

cuda::BroadcastSums sums_of(const StepArgs& args) {
  const Extents slopes = Extents::of_channels(args.in[2].dims[0], args.in[0]);
  return {args.in[0], args.in[1], slopes, slopes};
}

int64_t workspace_bytes(const StepArgs& args, int) {
  return args.out[1].present() ? sums_of(args).workspace_bytes() : 0;
}

int launch_bwd(Stream* stream, const StepArgs& args) {
  const float* dy = args.in[0].as<float>();
  const float* x = args.in[1].as<float>();
  const float* slope = args.in[2].as<float>();
  if (args.out[1].present()) {
    const int status = cuda::launch_broadcast_sums(stream, sums_of(args), SlopeTerm(), dy, x, slope,
                                                   args.out[1].as<float>(), args.workspace);
    if (status != 0) return status;
  }
  if (!args.out[0].present()) return 0;
  const Extents slopes = Extents::of_channels(args.in[2].dims[0], args.in[0]);
  return cuda::launch_map_broadcast(stream, args.in[0], args.in[0], x, slopes, slope,
                                    args.out[0].as<float>(), InputGradient{dy});
}

constexpr Implementation kFwd[] = {{"elements", supports_all, no_workspace, launch_fwd}};
constexpr Implementation kBwd[] = {{"parts", supports_all, workspace_bytes, launch_bwd}};

}  // namespace

const ImplementationList cuda_prelu_fwd{kFwd, 1};
const ImplementationList cuda_prelu_bwd{kBwd, 1};

}  // namespace tanul
