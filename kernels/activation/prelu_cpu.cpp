// SPDX-License-Identifier: Apache-2.0
// prelu on the CPU: rows of [N, C, everything behind] (kernels/cpu/broadcast.h). One rounding an
// element, memory roof; dslope is a second pass, its sums in double, in an order that depends on the
// shape alone.
#include <algorithm>

#include "kernels/activation/prelu.h"
#include "kernels/cpu/broadcast.h"
#include "kernels/op.h"

namespace tanul {

namespace {

// [C] or [1] as the shape [C, 1, …] that stands below x [N, C, …].
struct SlopeExtents {
  int64_t dims[kMaxOperandRank];
  int rank;

  SlopeExtents(const Operand& x, const Operand& slope) : rank(x.rank - 1) {
    std::fill(dims, dims + kMaxOperandRank, 1);
    dims[0] = slope.dims[0];
  }
  operator cpu::Extents() const { return {dims, rank}; }  // NOLINT: stands for its shape
};

int launch_fwd(Stream* stream, const StepArgs& args) {
  float* y = args.out[0].as<float>();
  cpu::map_broadcast(stream, args.in[0], args.in[0], args.in[0].as<float>(),
                     SlopeExtents(args.in[0], args.in[1]), args.in[1].as<float>(),
                     [y](int64_t i, float x, float slope) { y[i] = x > 0 ? x : slope * x; });
  return 0;
}

cpu::SumPlan sums_of(const StepArgs& args) {
  const SlopeExtents slopes(args.in[0], args.in[2]);
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
    cpu::sum_broadcast(stream, sums_of(args), dy, x, slope, args.out[1].as<float>(), 1.0,
                       static_cast<double*>(args.workspace), [](float g, float v, float) {
                         return v > 0 ? 0.0 : static_cast<double>(g) * static_cast<double>(v);
                       });
  }
  if (args.out[0].present()) {
    float* dx = args.out[0].as<float>();
    cpu::map_broadcast(
        stream, args.in[0], args.in[0], x, SlopeExtents(args.in[0], args.in[2]), slope,
        [dy, dx](int64_t i, float v, float s) { dx[i] = v > 0 ? dy[i] : s * dy[i]; });
  }
  return 0;
}

constexpr Implementation kFwd[] = {{"rows", supports_all, no_workspace, launch_fwd}};
constexpr Implementation kBwd[] = {{"rows", supports_all, workspace_bytes, launch_bwd}};

}  // namespace

const ImplementationList cpu_prelu_fwd{kFwd, 1};
const ImplementationList cpu_prelu_bwd{kBwd, 1};

}  // namespace tanul
