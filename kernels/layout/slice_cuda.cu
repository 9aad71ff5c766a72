// SPDX-License-Identifier: Apache-2.0
// slice on CUDA: a thread moves an element of y; axes that are whole are merged. Moves only: exact bits,
// 8 bytes an element of y.
#include "kernels/cuda/ops.h"
#include "kernels/cuda/strided.h"
#include "kernels/layout/slice.h"

namespace tanul {

namespace {

using namespace cuda;

__global__ void slice_fwd_kernel(StridedAxes axes, const float* x, float* y) {
  for (int64_t i = grid_thread(); i < axes.elems; i += grid_threads()) y[i] = x[axes.offset(i)];
}

int launch_elements(Stream* stream, const StepArgs& args) {
  const Operand& x = args.in[0];
  const Operand& y = args.out[0];
  const SliceParams& params = args.params_as<SliceParams>();
  StridedAxes axes;  // of y, as they lie in x
  int64_t first = 0, step = 1;
  for (int i = y.rank - 1; i >= 0; --i) {
    axes.add_outer(y.dims[i], step);
    first += params.begin[i] * step;
    step *= x.dims[i];
  }
  return launch(stream, slice_fwd_kernel, blocks_for(axes.elems), kBlockThreads, axes,
                x.as<float>() + first, y.as<float>());
}

constexpr Implementation kFwd[] = {{"elements", supports_all, no_workspace, launch_elements}};

}  // namespace

const ImplementationList cuda_slice_fwd{kFwd, 1};

}  // namespace tanul
