// SPDX-License-Identifier: Apache-2.0
// slice on CUDA: a thread moves an element of y. Axes that are whole on both sides are merged
// (kernels/layout/box.h). Moves only: exact bits, 8 bytes an element of y.
#include "kernels/cuda/divide.h"
#include "kernels/cuda/ops.h"
#include "kernels/layout/box.h"
#include "kernels/layout/slice.h"

namespace tanul {

namespace {

using namespace cuda;

struct SliceAxes {
  int32_t count;
  int64_t elems = 1;                 // of y
  Divider extents[kMaxOperandRank];  // of y, from the last axis to the first
  int64_t strides[kMaxOperandRank];  // of x
  int64_t first = 0;                 // where y begins in x

  explicit SliceAxes(const cpu::Box& box) : count(box.rank) {
    int64_t step = 1;
    for (int axis = box.rank - 1; axis >= 0; --axis) {
      const int i = box.rank - 1 - axis;
      extents[i] = Divider(box.inner[axis]);
      strides[i] = step;
      elems *= box.inner[axis];
      first += box.begin[axis] * step;
      step *= box.outer[axis];
    }
  }
  __device__ int64_t source(int64_t i) const {
    int64_t at = first;
    for (int32_t axis = 0; axis + 1 < count; ++axis) {
      const Divider::Split split = extents[axis].split(i);
      at += split.rest * strides[axis];
      i = split.quotient;
    }
    return count == 0 ? at : at + i * strides[count - 1];
  }
};

__global__ void slice_fwd_kernel(SliceAxes axes, const float* x, float* y) {
  for (int64_t i = grid_thread(); i < axes.elems; i += grid_threads()) y[i] = x[axes.source(i)];
}

int launch_elements(Stream* stream, const StepArgs& args) {
  const SliceParams& params = args.params_as<SliceParams>();
  const cpu::Box box(args.in[0].dims, args.out[0].dims, params.begin, params.rank, false);
  const SliceAxes axes(box);
  return launch(stream, slice_fwd_kernel, blocks_for(axes.elems), kBlockThreads, axes,
                args.in[0].as<float>(), args.out[0].as<float>());
}

constexpr Implementation kFwd[] = {{"elements", supports_all, no_workspace, launch_elements}};

}  // namespace

const ImplementationList cuda_slice_fwd{kFwd, 1};

}  // namespace tanul
