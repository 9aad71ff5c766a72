// SPDX-License-Identifier: Apache-2.0
// reduce_sum, reduce_mean on the CPU: sums in double (kernels/cpu/broadcast.h), rounded once, in an
// order that depends on the shape alone. Memory roof: 4 bytes an element of x.
#include "kernels/cpu/broadcast.h"
#include "kernels/op.h"
#include "kernels/reduce/reduce.h"

namespace tanul {

namespace {

// The shape of y with its summed axes as extents of 1.
struct KeptExtents {
  int64_t dims[kMaxOperandRank];
  int rank;

  explicit KeptExtents(const ReduceParams& params) : rank(params.in_rank) {
    for (int i = 0; i < rank; ++i) dims[i] = (params.axes >> i & 1) != 0 ? 1 : params.in_dims[i];
  }
  operator cpu::Extents() const { return {dims, rank}; }  // NOLINT: stands for its shape
};

cpu::SumPlan plan_of(const StepArgs& args) {
  const KeptExtents kept(args.params_as<ReduceParams>());
  return {args.in[0], kept, kept, kept};
}

int64_t workspace_bytes(const StepArgs& args, int) { return plan_of(args).workspace_bytes(); }

int launch_fwd(Stream* stream, const StepArgs& args) {
  const ReduceParams& params = args.params_as<ReduceParams>();
  const float* x = args.in[0].as<float>();
  const double divisor = params.is_mean != 0 ? static_cast<double>(params.count()) : 1.0;
  cpu::sum_broadcast(stream, plan_of(args), x, x, x, args.out[0].as<float>(), divisor,
                     static_cast<double*>(args.workspace),
                     [](float v, float, float) { return static_cast<double>(v); });
  return 0;
}

int launch_bwd(Stream* stream, const StepArgs& args) {
  const ReduceParams& params = args.params_as<ReduceParams>();
  const KeptExtents kept(params);
  const float* dy = args.in[0].as<float>();
  float* dx = args.out[0].as<float>();
  const float divisor = params.is_mean != 0 ? static_cast<float>(params.count()) : 1.0f;
  cpu::map_broadcast(stream, args.out[0], kept, dy, kept, dy,
                     [dx, divisor](int64_t i, float g, float) { dx[i] = g / divisor; });
  return 0;
}

constexpr Implementation kFwd[] = {{"rows", supports_all, workspace_bytes, launch_fwd}};
constexpr Implementation kBwd[] = {{"rows", supports_all, no_workspace, launch_bwd}};

}  // namespace

const ImplementationList cpu_reduce_sum_fwd{kFwd, 1};
const ImplementationList cpu_reduce_mean_fwd{kFwd, 1};
const ImplementationList cpu_reduce_bwd{kBwd, 1};

}  // namespace tanul
