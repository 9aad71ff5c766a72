// SPDX-License-Identifier: Apache-2.0
// concat on CUDA: y seen as [outer, rows of all parts], outer = extents before the axis. A thread moves an
// element of y (forward) or dy (backward); the part it belongs to is looked for among at most 14. Moves
// only: exact bits. Bytes: each element is read once and written once.
#include "kernels/concat/concat.h"
#include "kernels/cuda/divide.h"
#include "kernels/cuda/ops.h"

namespace tanul {

namespace {

using namespace cuda;

// The parts, and where each begins within one outer index. The memory of one that is left out is null.
struct Parts {
  int32_t count;
  int64_t elems;  // of the whole
  Divider whole;  // elements of one outer index
  int64_t begin[kMaxConcatInputs + 1];
  float* data[kMaxConcatInputs];

  Parts(const Operand& y, const ConcatParams& params, const Operand* operands)
      : count(params.count), elems(y.elems()) {
    int64_t inner = 1;
    for (int i = params.axis + 1; i < y.rank; ++i) inner *= y.dims[i];
    begin[0] = 0;
    for (int i = 0; i < count; ++i) {
      begin[i + 1] = begin[i] + params.extents[i] * inner;
      data[i] = operands[i].present() ? operands[i].as<float>() : nullptr;
    }
    whole = Divider(begin[count]);
  }
  // Where element i of the whole lies in its part; null where that is left out.
  __device__ float* at(int64_t i) const {
    const auto split = whole.split(i);
    int part = 0;
    while (split.rest >= begin[part + 1]) ++part;
    if (data[part] == nullptr) return nullptr;
    const int64_t length = begin[part + 1] - begin[part];
    return data[part] + split.quotient * length + (split.rest - begin[part]);
  }
};

__global__ void concat_fwd_kernel(Parts parts, float* y) {
  for (int64_t i = grid_thread(); i < parts.elems; i += grid_threads()) y[i] = *parts.at(i);
}

__global__ void concat_bwd_kernel(Parts parts, const float* dy) {
  for (int64_t i = grid_thread(); i < parts.elems; i += grid_threads()) {
    float* dx = parts.at(i);
    if (dx != nullptr) *dx = dy[i];
  }
}

int launch_concat_fwd_copy(Stream* stream, const StepArgs& args) {
  const Parts parts(args.out[0], args.params_as<ConcatParams>(), args.in);
  if (parts.elems == 0) return 0;
  return launch(stream, concat_fwd_kernel, blocks_for(parts.elems), kBlockThreads, parts,
                args.out[0].as<float>());
}

int launch_concat_bwd_copy(Stream* stream, const StepArgs& args) {
  const Parts parts(args.in[0], args.params_as<ConcatParams>(), args.out);
  if (parts.elems == 0) return 0;
  return launch(stream, concat_bwd_kernel, blocks_for(parts.elems), kBlockThreads, parts,
                args.in[0].as<float>());
}

constexpr Implementation kFwd[] = {{"copy", supports_all, no_workspace, launch_concat_fwd_copy}};
constexpr Implementation kBwd[] = {{"copy", supports_all, no_workspace, launch_concat_bwd_copy}};

}  // namespace

const ImplementationList cuda_concat_fwd{kFwd, 1};
const ImplementationList cuda_concat_bwd{kBwd, 1};

}  // namespace tanul
