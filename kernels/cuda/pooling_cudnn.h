// SPDX-License-Identifier: Apache-2.0
// Pooling on CUDA, "cudnn": one call of cuDNN, on the NCHW tensors as they lie. Signals are images of
// height 1. Formulas are in kernels/pool/pool.h; what cuDNN does not have of them is refused: dilation, the
// positions of maxima (its own are places in the window), and with padding that counts, windows that reach
// beyond it.
//
// Numerics: maxima are exact. Averages are sums in float32 of the elements of a window (backward: of the
// windows that hold an element), in an order of cuDNN's, times or by the divisor: off by at most
// (2 + n) u of the sum of the n absolute terms, whole planes included, which "planes" sums in double.
// Deterministic by cuDNN's numerical notes (cudnn_graph.h).
#pragma once

#include <algorithm>

#include "kernels/cuda/cudnn_ops.h"
#include "kernels/cuda/kernel.h"
#include "kernels/pool/pool.h"

namespace tanul::cuda::pool_cudnn {

// x and y are the operands in which the windows lie and which they give, or their gradients.
template <PoolingKind kKind>
const Operand& x_of(const StepArgs& args) {
  return kKind == PoolingKind::average_backward ? args.out[0] : args.in[0];
}
template <PoolingKind kKind>
const Operand& y_of(const StepArgs& args) {
  return kKind == PoolingKind::average_backward ? args.in[0] : args.out[0];
}

// With the padding at the end that the last window needs: ceil_mode adds to it.
template <PoolingKind kKind>
PoolingShape shape_of(const StepArgs& args) {
  const auto& p = args.params_as<PoolParams>();
  PoolingShape shape{};
  shape.kind = kKind;
  shape.axes = std::max(x_of<kKind>(args).rank - 2, 2);
  shape.counts_padding = kKind != PoolingKind::max_forward && p.count_include_pad != 0;
  shape.x = image_extents(x_of<kKind>(args));
  shape.y = image_extents(y_of<kKind>(args));
  for (int i = 0; i < shape.axes; ++i) {
    const auto at = static_cast<size_t>(i);
    const int axis = i + 3 - shape.axes;
    shape.window[at] = p.kernel[axis];
    shape.stride[at] = p.stride[axis];
    shape.pad_begin[at] = p.pad_begin[axis];
    const int64_t reach = (shape.y[at + 2] - 1) * p.stride[axis] + p.kernel[axis];
    shape.pad_end[at] =
        std::max<int64_t>(p.pad_end[axis], reach - p.pad_begin[axis] - shape.x[at + 2]);
  }
  return shape;
}

template <PoolingKind kKind>
const char* supports(const StepArgs& args) {
  CudnnOps* ops = planning_cudnn();
  if (ops == nullptr) return kCudnnNotFound;
  const auto& p = args.params_as<PoolParams>();
  if (kKind == PoolingKind::max_forward) {
    if (args.out[1].present()) return "cuDNN does not say where in x a maximum is";
    for (const int32_t dilation : p.dilation) {
      if (dilation != 1) return "cuDNN has no dilation of windows";
    }
  }
  const PoolingShape shape = shape_of<kKind>(args);
  for (int i = 0; shape.counts_padding && i < shape.axes; ++i) {
    if (shape.pad_end[static_cast<size_t>(i)] != p.pad_end[i + 3 - shape.axes]) {
      return "cuDNN counts what ceil_mode adds behind the padding";
    }
  }
  return ops->poolings.prepare(shape).why_not();
}
template <PoolingKind kKind>
int64_t workspace_bytes(const StepArgs& args, int) {
  return workspace_of(planning_cudnn()->poolings.find(shape_of<kKind>(args)));
}
template <PoolingKind kKind>
int launch(Stream* stream, const StepArgs& args) {
  const Queue& queue = queue_of(stream);
  return running_cudnn(queue).poolings.launch(
      shape_of<kKind>(args), {{'x', x_of<kKind>(args).data}, {'y', y_of<kKind>(args).data}}, args,
      queue.stream);
}

template <PoolingKind kKind>
constexpr Implementation cudnn() {
  return {"cudnn", supports<kKind>, workspace_bytes<kKind>, launch<kKind>};
}

}  // namespace tanul::cuda::pool_cudnn
