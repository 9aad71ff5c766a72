// SPDX-License-Identifier: Apache-2.0
// Operands of different shapes that are stretched to one (numpy's broadcasting: shapes are aligned at their
// last axis, an extent of 1 is repeated), and sums back to a smaller shape. Serves arithmetic and the
// gradients of parameters that have one number per channel.
//
//   map   a thread takes an element of the full shape; neighbours read neighbours along the last axis
//   sums  a team adds up one output, or a part of its terms where there are few outputs: a warp where the
//         terms lie side by side, a thread where those of neighbouring outputs do; then a warp an output
//         adds up the parts
//
// Memory bound. Sums are in double, in an order that depends on the shapes alone.
#pragma once

#include <algorithm>

#include "kernels/cuda/divide.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/reduce.h"

namespace tanul::cuda {

// The extents of an operand, aligned at its last axis.
struct Extents {
  int64_t dims[kMaxOperandRank] = {};
  int rank = 0;

  Extents(const Operand& operand) : Extents(operand.dims, operand.rank) {}  // NOLINT
  Extents(const int64_t* from, int count) : rank(count) { std::copy(from, from + count, dims); }
  // [C] or [1] as the shape [C, 1, …] that stands below x [N, C, …].
  static Extents of_channels(int64_t channels, const Operand& x) {
    int64_t dims[kMaxOperandRank];
    std::fill(dims, dims + kMaxOperandRank, 1);
    dims[0] = channels;
    return {dims, x.rank - 1};
  }
  // Along axis `axis` of a shape of `of` axes.
  int64_t at(int axis, int of) const { return axis < of - rank ? 1 : dims[axis - (of - rank)]; }
  int64_t elems() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[i];
    return n;
  }
};

// Some axes as one index: where its element i lies in each of kCount operands. Neighbouring axes along
// which all operands lie the same way are merged, and axes of one element vanish.
template <int kCount>
struct BroadcastAxes {
  struct Offsets {
    int64_t at[kCount];
  };

  int32_t count = 0;
  int64_t elems = 1;
  Divider extents[kMaxOperandRank];  // from the last axis to the first
  Offsets strides[kMaxOperandRank] = {};

  // Puts an axis before those that are there; neighbours along it lie `stride` apart.
  void add_outer(int64_t extent, const Offsets& stride) {
    elems *= extent;
    if (extent == 1) return;
    bool merges = count > 0;
    for (int k = 0; k < kCount && merges; ++k) {
      merges = stride.at[k] == strides[count - 1].at[k] * extents[count - 1].divisor;
    }
    if (merges) {
      extents[count - 1] = Divider(extents[count - 1].divisor * extent);
      return;
    }
    extents[count] = Divider(extent);
    strides[count++] = stride;
  }
  __device__ Offsets offsets(int64_t i) const {
    Offsets of{};
    for (int32_t axis = 0; axis < count; ++axis) {
      const int64_t at = axis + 1 < count ? split_off(extents[axis], i) : i;
      for (int k = 0; k < kCount; ++k) of.at[k] += at * strides[axis].at[k];
    }
    return of;
  }
};

// Calls body(axis, extent, strides) from the last axis of `full` to the first: the strides of each operand
// in elements, 0 where it is repeated.
template <int kCount, typename Body>
void for_axes(const Extents& full, const Extents (&operands)[kCount], const Body& body) {
  typename BroadcastAxes<kCount>::Offsets step, stride;
  for (int64_t& s : step.at) s = 1;  // elements behind the axis
  for (int axis = full.rank - 1; axis >= 0; --axis) {
    for (int k = 0; k < kCount; ++k) {
      const int64_t own = operands[k].at(axis, full.rank);
      stride.at[k] = own == 1 ? 0 : step.at[k];
      step.at[k] *= own;
    }
    body(axis, full.dims[axis], stride);
  }
}

template <typename F>
__global__ void map_broadcast_kernel(BroadcastAxes<2> axes, F f, const float* a, const float* b,
                                     float* y) {
  for (int64_t i = grid_thread(); i < axes.elems; i += grid_threads()) {
    const auto offsets = axes.offsets(i);
    y[i] = f(i, a[offsets.at[0]], b[offsets.at[1]]);
  }
}

// y[i] = f(i, a, b) for each element i of the shape `full`, with the elements of a and b that lie there.
// y may lie over an operand of the full shape.
template <typename F>
int launch_map_broadcast(Stream* stream, const Extents& full, const Extents& a_extents,
                         const float* a, const Extents& b_extents, const float* b, float* y,
                         const F& f) {
  BroadcastAxes<2> axes;
  for_axes<2>(full, {a_extents, b_extents},
              [&](int, int64_t extent, const auto& stride) { axes.add_outer(extent, stride); });
  return launch(stream, map_broadcast_kernel<F>, blocks_for(axes.elems), kBlockThreads, axes, f, a,
                b, y);
}

// How sums back to the shape `target` are cut.
struct BroadcastSums {
  BroadcastAxes<3> kept, summed;  // of x with the full shape, a, b
  bool is_row = false;            // terms lie side by side
  int64_t parts, part;            // of the terms

  BroadcastSums(const Extents& full, const Extents& a, const Extents& b, const Extents& target) {
    constexpr int64_t kBlocksWanted = 2048;
    bool is_last = true;
    for_axes<3>(full, {full, a, b}, [&](int axis, int64_t extent, const auto& stride) {
      const bool is_summed = target.at(axis, full.rank) == 1;
      (is_summed ? summed : kept).add_outer(extent, stride);
      if (extent > 1 && is_last) {
        is_row = is_summed;
        is_last = false;
      }
    });
    const int64_t shortest = is_row ? 1024 : 32;  // of the parts
    const int64_t teams = is_row ? kTeamsOfBlock<WarpTeam> : kTeamsOfBlock<ThreadTeam>;
    const int64_t wanted = ceil_div(kBlocksWanted, ceil_div(kept.elems, teams));
    const int64_t most = std::max<int64_t>(1, ceil_div(summed.elems, shortest));
    part = ceil_div(summed.elems, std::clamp<int64_t>(wanted, 1, most));
    parts = ceil_div(summed.elems, part);
  }
  int64_t workspace_bytes() const {
    return parts > 1 ? parts * kept.elems * static_cast<int64_t>(sizeof(double)) : 0;
  }
};

// sums [parts, outputs]; null: there is one part.
template <typename Team, typename Term>
__global__ void broadcast_parts_kernel(BroadcastSums plan, Term term, const float* x,
                                       const float* a, const float* b, double* sums, float* out) {
  const int64_t begin = blockIdx.y * plan.part;
  const int64_t end = std::min(plan.summed.elems, begin + plan.part);
  for (int64_t o = first_row<Team>(); o < plan.kept.elems; o += row_step<Team>()) {
    const auto from = plan.kept.offsets(o);
    double own = 0;
    for (int64_t i = begin + Team::rank(); i < end; i += Team::kThreads) {
      const auto at = plan.summed.offsets(i);
      own += term(x[from.at[0] + at.at[0]], a[from.at[1] + at.at[1]], b[from.at[2] + at.at[2]]);
    }
    const double sum = Team::sum(own);
    if (Team::rank() != 0) continue;
    if (sums == nullptr) {
      out[o] = static_cast<float>(sum);
    } else {
      sums[blockIdx.y * plan.kept.elems + o] = sum;
    }
  }
}

static __global__ void broadcast_finish_kernel(int64_t outputs, int64_t parts, const double* sums,
                                               float* out) {
  for (int64_t o = first_row<WarpTeam>(); o < outputs; o += row_step<WarpTeam>()) {
    double own = 0;
    for (int64_t part = WarpTeam::rank(); part < parts; part += kWarp) {
      own += sums[part * outputs + o];
    }
    const double sum = WarpTeam::sum(own);
    if (WarpTeam::rank() == 0) out[o] = static_cast<float>(sum);
  }
}

// out[...] = Σ term(x, a, b) over what `out` has not; term gives a double.
template <typename Term>
int launch_broadcast_sums(Stream* stream, const BroadcastSums& plan, const Term& term,
                          const float* x, const float* a, const float* b, float* out,
                          void* workspace) {
  const int64_t outputs = plan.kept.elems;
  double* sums = plan.parts > 1 ? static_cast<double*>(workspace) : nullptr;
  Dim3 grid = plan.is_row ? grid_for_rows<WarpTeam>(outputs) : grid_for_rows<ThreadTeam>(outputs);
  grid.y = static_cast<uint32_t>(plan.parts);
  const int status = launch(stream,
                            plan.is_row ? broadcast_parts_kernel<WarpTeam, Term>
                                        : broadcast_parts_kernel<ThreadTeam, Term>,
                            grid, kBlockThreads, plan, term, x, a, b, sums, out);
  if (status != 0 || sums == nullptr) return status;
  return launch(stream, broadcast_finish_kernel, grid_for_rows<WarpTeam>(outputs), kBlockThreads,
                outputs, plan.parts, sums, out);
}

}  // namespace tanul::cuda
