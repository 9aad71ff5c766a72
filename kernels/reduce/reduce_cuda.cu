// SPDX-License-Identifier: Apache-2.0
// reduce_sum, reduce_mean and their gradient on CUDA. Formulas and operands are in reduce.h.
//
//   parts     a team adds up one output, or a part of its summands where there are few outputs: a warp or a
//             block where the summands lie side by side, a thread where those of neighbouring outputs
//             do. Parts are then added up in order, a thread or a warp an output.
//   elements  backward: a thread takes one element of dx
//
// Memory bound: 4 bytes an element of x, or of dx. Numerics: sums in double, rounded once, in an order that
// depends on the shape alone. Deterministic.
#include <algorithm>

#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/strided.h"
#include "kernels/reduce/reduce.h"

namespace tanul {

namespace {

using namespace cuda;

struct ReducePlan {
  StridedAxes kept, summed;
  bool is_row;          // summands lie side by side
  int64_t parts, part;  // of the summands
  double divisor;

  explicit ReducePlan(const ReduceParams& params) : is_row(false) {
    constexpr int64_t kBlocksWanted = 2048;
    int64_t stride = 1;
    bool is_last = true;
    for (int axis = params.in_rank - 1; axis >= 0; --axis) {
      const int64_t extent = params.in_dims[axis];
      const bool is_summed = (params.axes >> axis & 1) != 0;
      (is_summed ? summed : kept).add_outer(extent, stride);
      stride *= extent;
      if (extent == 1) continue;
      if (is_last) is_row = is_summed;
      is_last = false;
    }
    const int64_t shortest = is_row ? 1024 : 32;  // of the parts
    const int64_t teams = is_row ? kTeamsOfBlock<WarpTeam> : kTeamsOfBlock<ThreadTeam>;
    const int64_t wanted = ceil_div(kBlocksWanted, ceil_div(kept.elems, teams));
    part = ceil_div(summed.elems, std::clamp<int64_t>(wanted, 1, ceil_div(summed.elems, shortest)));
    parts = ceil_div(summed.elems, part);
    divisor = params.is_mean != 0 ? static_cast<double>(params.count()) : 1.0;
  }
  int64_t workspace_bytes() const {
    return parts > 1 ? parts * kept.elems * static_cast<int64_t>(sizeof(double)) : 0;
  }
};

// sums [parts, outputs]; null: there is one part.
template <typename Team>
__global__ void reduce_parts_kernel(ReducePlan plan, const float* x, double* sums, float* y) {
  const int64_t begin = blockIdx.y * plan.part;
  const int64_t end = std::min(plan.summed.elems, begin + plan.part);
  for (int64_t o = first_row<Team>(); o < plan.kept.elems; o += row_step<Team>()) {
    const float* from = x + plan.kept.offset(o);
    double own = 0;
    for (int64_t i = begin + Team::rank(); i < end; i += Team::kThreads) {
      own += static_cast<double>(from[plan.summed.offset(i)]);
    }
    const double sum = Team::sum(own);
    if (Team::rank() != 0) continue;
    if (sums == nullptr) {
      y[o] = static_cast<float>(sum / plan.divisor);
    } else {
      sums[blockIdx.y * plan.kept.elems + o] = sum;
    }
  }
}

template <typename Team>
__global__ void reduce_finish_kernel(int64_t outputs, int64_t parts, double divisor,
                                     const double* sums, float* y) {
  for (int64_t o = first_row<Team>(); o < outputs; o += row_step<Team>()) {
    double own = 0;
    for (int64_t part = Team::rank(); part < parts; part += Team::kThreads) {
      own += sums[part * outputs + o];
    }
    const double sum = Team::sum(own);
    if (Team::rank() == 0) y[o] = static_cast<float>(sum / divisor);
  }
}

int64_t workspace_fwd(const StepArgs& args, int) {
  return ReducePlan(args.params_as<ReduceParams>()).workspace_bytes();
}

int launch_fwd(Stream* stream, const StepArgs& args) {
  const ReducePlan plan(args.params_as<ReduceParams>());
  double* sums = plan.parts > 1 ? static_cast<double*>(args.workspace) : nullptr;
  float* y = args.out[0].as<float>();
  const int error = with_team(plan.part, plan.is_row ? 1 : 2, [&](auto team) {
    using Team = decltype(team);
    Dim3 grid = grid_for_rows<Team>(plan.kept.elems);
    grid.y = static_cast<uint32_t>(plan.parts);
    return launch(stream, reduce_parts_kernel<Team>, grid, kBlockThreads, plan,
                  args.in[0].as<float>(), sums, y);
  });
  if (error != 0 || sums == nullptr) return error;
  const auto finish = [&](auto team) {
    using Team = decltype(team);
    return launch(stream, reduce_finish_kernel<Team>, grid_for_rows<Team>(plan.kept.elems),
                  kBlockThreads, plan.kept.elems, plan.parts, plan.divisor, sums, y);
  };
  return plan.parts <= 8 ? finish(ThreadTeam()) : finish(WarpTeam());
}

__global__ void reduce_bwd_elements_kernel(StridedAxes axes, float divisor, const float* dy,
                                           float* dx) {
  for (int64_t i = grid_thread(); i < axes.elems; i += grid_threads()) {
    dx[i] = dy[axes.offset(i)] / divisor;
  }
}

int launch_bwd(Stream* stream, const StepArgs& args) {
  const auto& params = args.params_as<ReduceParams>();
  StridedAxes axes;  // of dx, as they lie in dy
  int64_t stride = 1;
  for (int axis = params.in_rank - 1; axis >= 0; --axis) {
    const bool is_summed = (params.axes >> axis & 1) != 0;
    axes.add_outer(params.in_dims[axis], is_summed ? 0 : stride);
    if (!is_summed) stride *= params.in_dims[axis];
  }
  const float divisor = params.is_mean != 0 ? static_cast<float>(params.count()) : 1.0f;
  return launch(stream, reduce_bwd_elements_kernel, blocks_for(axes.elems), kBlockThreads, axes,
                divisor, args.in[0].as<float>(), args.out[0].as<float>());
}

constexpr Implementation kFwd[] = {{"parts", supports_all, workspace_fwd, launch_fwd}};
constexpr Implementation kBwd[] = {{"elements", supports_all, no_workspace, launch_bwd}};

}  // namespace

const ImplementationList cuda_reduce_sum_fwd{kFwd, 1};
const ImplementationList cuda_reduce_mean_fwd{kFwd, 1};
const ImplementationList cuda_reduce_bwd{kBwd, 1};

}  // namespace tanul
