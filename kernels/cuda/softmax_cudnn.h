// SPDX-License-Identifier: Apache-2.0
// softmax and log_softmax on CUDA, "cudnn": cudnnSoftmaxForward or cudnnSoftmaxBackward on the
// tensors as they lie, [outer, axis, inner] as NCHW of {outer, axis, inner, 1} with the softmax
// over C. Formulas are in kernels/softmax/softmax.h. dx may lie over dy for cuDNN too; of y over x
// it says nothing, so x is then copied to a workspace of its size first.
//
// Numerics: float32, shifted by the largest element. cuDNN documents neither the order of the sums
// nor the precision of its exponentials; the bounds in the tests suppose sums of n terms in float32
// in any order and e^x within 4 ulp. Softmax is not among the functions whose bits it says may
// differ from run to run. Nor does it say what becomes of NaN and infinity, which cannot be
// refused: that a row with NaN, +infinity, or nothing but -infinity is NaN follows from the
// formula, whatever its maximum makes of NaN.
#pragma once

#include "kernels/cuda/cudnn_ops.h"
#include "kernels/cuda/kernel.h"
#include "kernels/softmax/softmax.h"

namespace tanul::cuda::softmax_cudnn {

inline SoftmaxShape shape_of(const StepArgs& args) {
  const Operand& x = args.in[0];
  const int axis = args.params_as<SoftmaxParams>().axis;
  SoftmaxShape shape{1, x.dims[axis], 1};
  for (int i = 0; i < axis; ++i) shape.outer *= x.dims[i];
  for (int i = axis + 1; i < x.rank; ++i) shape.inner *= x.dims[i];
  return shape;
}

inline const char* supports(const StepArgs& args) {
  CudnnOps* ops = planning_cudnn();
  return ops == nullptr ? kCudnnNotFound : ops->softmaxes.prepare(shape_of(args)).why_not();
}
inline int64_t bytes_of(const Operand& x) {
  return x.elems() * static_cast<int64_t>(sizeof(float));
}
// Forward also room for a copy of x.
template <bool kIsForward>
int64_t workspace_bytes(const StepArgs& args, int) {
  const int64_t none = workspace_of(planning_cudnn()->softmaxes.find(shape_of(args)));
  return none < 0 || !kIsForward ? none : bytes_of(args.in[0]);
}

template <SoftmaxKind kKind>
int launch_fwd(Stream* stream, const StepArgs& args) {
  const Queue& queue = queue_of(stream);
  const Operand& x = args.in[0];
  const void* from = x.data;
  if (x.data == args.out[0].data) {
    from = args.workspace;
    if (int e = queue.api->copy(args.workspace, x.data, static_cast<size_t>(bytes_of(x)),
                                CopyKind::on_device, queue.stream)) {
      return e;
    }
  }
  return running_cudnn(queue).softmaxes.forward(kKind, shape_of(args), from, args.out[0].data,
                                                queue.stream);
}
template <SoftmaxKind kKind>
int launch_bwd(Stream* stream, const StepArgs& args) {
  const Queue& queue = queue_of(stream);
  return running_cudnn(queue).softmaxes.backward(kKind, shape_of(args), args.in[1].data,
                                                 args.in[0].data, args.out[0].data, queue.stream);
}

template <SoftmaxKind kKind>
constexpr Implementation forward() {
  return {"cudnn", supports, workspace_bytes<true>, launch_fwd<kKind>};
}
template <SoftmaxKind kKind>
constexpr Implementation backward() {
  return {"cudnn", supports, workspace_bytes<false>, launch_bwd<kKind>};
}

}  // namespace tanul::cuda::softmax_cudnn
