// SPDX-License-Identifier: Apache-2.0
// pad on CUDA. Forward: a thread makes an element of y; exact bits, 8 bytes an element. Backward: a thread
// makes an element of dx and adds up, in the order of dy, the gradients of its places: along each axis at
// most one by mirroring on each side, or those of the whole border where the first or last element was
// repeated; a plain float sum. Deterministic.
#include "kernels/cuda/divide.h"
#include "kernels/cuda/ops.h"
#include "kernels/layout/box.h"
#include "kernels/layout/pad.h"

namespace tanul {

namespace {

using namespace cuda;

struct PadAxes {
  int32_t count;
  PadMode mode;
  float value;
  int64_t outer_elems = 1, inner_elems = 1;
  // From the first axis to the last: of y (or dy) and of x (or dx).
  Divider outer[kMaxOperandRank], inner[kMaxOperandRank];
  int64_t begin[kMaxOperandRank];

  PadAxes(const cpu::Box& box, const PadParams& params)
      : count(box.rank), mode(params.mode), value(params.value) {
    for (int i = 0; i < count; ++i) {
      outer[i] = Divider(box.outer[i]);
      inner[i] = Divider(box.inner[i]);
      begin[i] = box.begin[i];
      outer_elems *= box.outer[i];
      inner_elems *= box.inner[i];
    }
  }
};

__global__ void pad_fwd_kernel(PadAxes axes, const float* x, float* y) {
  for (int64_t i = grid_thread(); i < axes.outer_elems; i += grid_threads()) {
    int64_t rest = i, from = 0, step = 1;
    bool is_inside = true;
    for (int axis = axes.count - 1; axis >= 0; --axis) {
      const int64_t extent = axes.inner[axis].divisor;
      const int64_t at =
          pad_source(axes.mode, split_off(axes.outer[axis], rest), axes.begin[axis], extent);
      is_inside = is_inside && at >= 0;
      from += at * step;
      step *= extent;
    }
    y[i] = is_inside ? x[from] : axes.value;
  }
}

// The places of an element along one axis, from the first to the last: a run of them, one but where an end
// is repeated, and one on each side where it is mirrored.
struct Places {
  int64_t before, begin, end, behind;  // -1: there is none before, or behind

  __device__ Places(const PadAxes& axes, int axis, int64_t at) : before(-1), behind(-1) {
    const int64_t extent = axes.inner[axis].divisor, outer = axes.outer[axis].divisor;
    begin = axes.begin[axis] + at;
    end = begin + 1;
    if (axes.mode == PadMode::replicate) {
      if (at == 0) begin = 0;
      if (at == extent - 1) end = outer;
    } else if (axes.mode == PadMode::reflect) {
      const int64_t first = axes.begin[axis] - at;
      const int64_t last = axes.begin[axis] + 2 * (extent - 1) - at;
      if (at > 0 && first >= 0) before = first;
      if (at < extent - 1 && last < outer) behind = last;
    }
  }
  // -1: no more.
  __device__ int64_t first() const { return before >= 0 ? before : begin; }
  __device__ int64_t next(int64_t place) const {
    if (place == before) return begin;
    if (place == behind) return -1;
    return place + 1 < end ? place + 1 : behind;
  }
};

// Σ dy over the places of an element along the axes from kAxis on.
template <int kAxis>
__device__ float sum_places(const PadAxes& axes, const int64_t* at, int64_t from, const float* dy,
                            float sum) {
  if (kAxis == axes.count) return sum + dy[from];
  if constexpr (kAxis < kMaxOperandRank) {
    const Places places(axes, kAxis, at[kAxis]);
    for (int64_t place = places.first(); place >= 0; place = places.next(place)) {
      sum = sum_places<kAxis + 1>(axes, at, from * axes.outer[kAxis].divisor + place, dy, sum);
    }
  }
  return sum;
}

__global__ void pad_bwd_kernel(PadAxes axes, const float* dy, float* dx) {
  for (int64_t i = grid_thread(); i < axes.inner_elems; i += grid_threads()) {
    int64_t at[kMaxOperandRank];
    int64_t rest = i;
#pragma unroll
    for (int axis = kMaxOperandRank - 1; axis >= 0; --axis) {  // indices known: `at` in registers
      if (axis >= axes.count) continue;
      at[axis] = split_off(axes.inner[axis], rest);
    }
    dx[i] = sum_places<0>(axes, at, 0, dy, 0.0f);
  }
}

int launch_fwd(Stream* stream, const StepArgs& args) {
  const PadParams& params = args.params_as<PadParams>();
  const cpu::Box box(args.out[0].dims, args.in[0].dims, params.begin, params.rank,
                     params.mode != PadMode::constant);
  const PadAxes axes(box, params);
  return launch(stream, pad_fwd_kernel, blocks_for(axes.outer_elems), kBlockThreads, axes,
                args.in[0].as<float>(), args.out[0].as<float>());
}

int launch_bwd(Stream* stream, const StepArgs& args) {
  const PadParams& params = args.params_as<PadParams>();
  const cpu::Box box(args.in[0].dims, args.out[0].dims, params.begin, params.rank, true);
  const PadAxes axes(box, params);
  return launch(stream, pad_bwd_kernel, blocks_for(axes.inner_elems), kBlockThreads, axes,
                args.in[0].as<float>(), args.out[0].as<float>());
}

constexpr Implementation kFwd[] = {{"elements", supports_all, no_workspace, launch_fwd}};
constexpr Implementation kBwd[] = {{"gather", supports_all, no_workspace, launch_bwd}};

}  // namespace

const ImplementationList cuda_pad_fwd{kFwd, 1};
const ImplementationList cuda_pad_bwd{kBwd, 1};

}  // namespace tanul
