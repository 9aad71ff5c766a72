// SPDX-License-Identifier: Apache-2.0
// scale_shift on CUDA (kernels/cuda/broadcast.h). Forward: the product and the sum round once each; memory
// roof, 8 bytes an element. Backward: one pass over dy for each gradient; sums in double, in an order that
// depends on the shape alone.
#include <algorithm>

#include "kernels/cuda/broadcast.h"
#include "kernels/cuda/ops.h"
#include "kernels/scale_shift/scale_shift.h"

namespace tanul {

namespace {

using cuda::BroadcastSums;
using cuda::Extents;

struct Shift {
  __device__ float operator()(int64_t, float x, float beta) const { return x + beta; }
};
struct Scale {
  __device__ float operator()(int64_t, float x, float gamma) const { return gamma * x; }
};
struct ScaleShift {
  const float* x;
  __device__ float operator()(int64_t i, float gamma, float beta) const {
    return gamma * x[i] + beta;
  }
};
struct ScaleTerm {
  __device__ double operator()(float dy, float x, float) const {
    return static_cast<double>(dy) * static_cast<double>(x);
  }
};
struct ShiftTerm {
  __device__ double operator()(float dy, float, float) const { return static_cast<double>(dy); }
};

int launch_fwd(Stream* stream, const StepArgs& args) {
  const Operand& shape = args.in[0];
  const Extents channels = Extents::of_channels(shape.dims[1], shape);
  const float* x = shape.as<float>();
  const float* gamma = args.in[1].as<float>();
  const float* beta = args.in[2].as<float>();
  float* y = args.out[0].as<float>();
  if (!args.in[1].present()) {
    return cuda::launch_map_broadcast(stream, shape, shape, x, channels, beta, y, Shift());
  }
  if (!args.in[2].present()) {
    return cuda::launch_map_broadcast(stream, shape, shape, x, channels, gamma, y, Scale());
  }
  return cuda::launch_map_broadcast(stream, shape, channels, gamma, channels, beta, y,
                                    ScaleShift{x});
}

BroadcastSums sums_of(const Operand& dy, bool with_x) {
  const Extents channels = Extents::of_channels(dy.dims[1], dy);
  return {dy, with_x ? Extents(dy) : channels, channels, channels};
}

int64_t workspace_bytes(const StepArgs& args, int) {
  int64_t bytes = 0;
  for (int i = 1; i < 3; ++i) {
    if (!args.out[i].present()) continue;
    bytes = std::max(bytes, sums_of(args.in[0], i == 1).workspace_bytes());
  }
  return bytes;
}

int launch_bwd(Stream* stream, const StepArgs& args) {
  const float* dy = args.in[0].as<float>();
  int status = 0;
  if (args.out[1].present()) {
    status = cuda::launch_broadcast_sums(stream, sums_of(args.in[0], true), ScaleTerm(), dy,
                                         args.in[1].as<float>(), dy, args.out[1].as<float>(),
                                         args.workspace);
  }
  if (status == 0 && args.out[2].present()) {
    status = cuda::launch_broadcast_sums(stream, sums_of(args.in[0], false), ShiftTerm(), dy, dy,
                                         dy, args.out[2].as<float>(), args.workspace);
  }
  if (status == 0 && args.out[0].present()) {
    const Extents channels = Extents::of_channels(args.in[0].dims[1], args.in[0]);
    status = cuda::launch_map_broadcast(stream, args.in[0], args.in[0], dy, channels,
                                        args.in[2].as<float>(), args.out[0].as<float>(), Scale());
  }
  return status;
}

constexpr Implementation kFwd[] = {{"elements", supports_all, no_workspace, launch_fwd}};
constexpr Implementation kBwd[] = {{"parts", supports_all, workspace_bytes, launch_bwd}};

}  // namespace

const ImplementationList cuda_scale_shift_fwd{kFwd, 1};
const ImplementationList cuda_scale_shift_bwd{kBwd, 1};

}  // namespace tanul
