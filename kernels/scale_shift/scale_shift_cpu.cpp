// SPDX-License-Identifier: Apache-2.0
// scale_shift on the CPU: rows of [N, C, everything behind] (kernels/cpu/broadcast.h). Forward: the
// product and the sum round once each; memory roof, 8 bytes an element. Backward: one pass over dy for
// each gradient; sums in double, in an order that depends on the shape alone.
#include <algorithm>

#include "kernels/cpu/broadcast.h"
#include "kernels/op.h"
#include "kernels/scale_shift/scale_shift.h"

namespace tanul {

namespace {

// [C] as the shape [C, 1, …] that stands below x [N, C, …].
struct ChannelExtents {
  int64_t dims[kMaxOperandRank];
  int rank;

  explicit ChannelExtents(const Operand& x) : rank(x.rank - 1) {
    std::fill(dims, dims + kMaxOperandRank, 1);
    dims[0] = x.dims[1];
  }
  operator cpu::Extents() const { return {dims, rank}; }  // NOLINT: stands for its shape
};

int launch_fwd(Stream* stream, const StepArgs& args) {
  const ChannelExtents channels(args.in[0]);
  const float* x = args.in[0].as<float>();
  const float* gamma = args.in[1].present() ? args.in[1].as<float>() : nullptr;
  const float* beta = args.in[2].present() ? args.in[2].as<float>() : nullptr;
  float* y = args.out[0].as<float>();
  if (gamma == nullptr) {
    cpu::map_broadcast(stream, args.in[0], args.in[0], x, channels, beta,
                       [y](int64_t i, float v, float b) { y[i] = v + b; });
  } else if (beta == nullptr) {
    cpu::map_broadcast(stream, args.in[0], args.in[0], x, channels, gamma,
                       [y](int64_t i, float v, float g) { y[i] = g * v; });
  } else {
    cpu::map_broadcast(stream, args.in[0], channels, gamma, channels, beta,
                       [x, y](int64_t i, float g, float b) { y[i] = g * x[i] + b; });
  }
  return 0;
}

cpu::SumPlan sums_of(const Operand& dy, bool with_x) {
  const ChannelExtents channels(dy);
  return {dy, with_x ? cpu::Extents(dy) : channels, channels, channels};
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
  const ChannelExtents channels(args.in[0]);
  const float* dy = args.in[0].as<float>();
  double* sums = static_cast<double*>(args.workspace);
  if (args.out[1].present()) {
    const float* x = args.in[1].as<float>();
    cpu::sum_broadcast(
        stream, sums_of(args.in[0], true), dy, x, dy, args.out[1].as<float>(), 1.0, sums,
        [](float g, float v, float) { return static_cast<double>(g) * static_cast<double>(v); });
  }
  if (args.out[2].present()) {
    cpu::sum_broadcast(stream, sums_of(args.in[0], false), dy, dy, dy, args.out[2].as<float>(), 1.0,
                       sums, [](float g, float, float) { return static_cast<double>(g); });
  }
  if (args.out[0].present()) {
    float* dx = args.out[0].as<float>();
    cpu::map_broadcast(stream, args.in[0], args.in[0], dy, channels, args.in[2].as<float>(),
                       [dx](int64_t i, float g, float gamma) { dx[i] = gamma * g; });
  }
  return 0;
}

constexpr Implementation kFwd[] = {{"rows", supports_all, no_workspace, launch_fwd}};
constexpr Implementation kBwd[] = {{"rows", supports_all, workspace_bytes, launch_bwd}};

}  // namespace

const ImplementationList cpu_scale_shift_fwd{kFwd, 1};
const ImplementationList cpu_scale_shift_bwd{kBwd, 1};

}  // namespace tanul
