// SPDX-License-Identifier: Apache-2.0
// Pooling on CUDA, "cudnn": one call of cuDNN, on the NCHW tensors as they lie. Signals are images of
// height 1. Formulas are in kernels/pool/pool.h; what cuDNN does not have of them is refused: dilation, the
// positions of maxima (what it calls so is no position in x), and with padding that counts, windows that reach
// beyond it. Adaptive pooling is given to it where all windows of an axis have one size.
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

// Signals are images of height 1.
inline PoolingShape::Extents extents_of(const Operand& tensor) {
  PoolingShape::Extents extents{};
  const int missing = tensor.rank == 3 ? 1 : 0;
  for (int i = 0; i < tensor.rank; ++i) {
    extents[static_cast<size_t>(i < 2 ? i : i + missing)] = tensor.dims[i];
  }
  if (missing == 1) extents[2] = 1;
  return extents;
}

// With the padding at the end that the last window needs: ceil_mode adds to it.
inline void set_windows(PoolingShape& shape, const PoolParams& p) {
  shape.counts_padding = shape.kind != PoolingKind::max_forward && p.count_include_pad != 0;
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
}
inline void set_windows(PoolingShape& shape, const AdaptivePoolParams&) {
  for (size_t at = 0; at < static_cast<size_t>(shape.axes); ++at) {
    shape.window[at] = shape.stride[at] = shape.x[at + 2] / shape.y[at + 2];
  }
}

template <PoolingKind kKind, class Params>
PoolingShape shape_of(const StepArgs& args) {
  PoolingShape shape{};
  shape.kind = kKind;
  shape.axes = std::max(x_of<kKind>(args).rank - 2, 2);
  shape.x = extents_of(x_of<kKind>(args));
  shape.y = extents_of(y_of<kKind>(args));
  set_windows(shape, args.params_as<Params>());
  return shape;
}

// Null: cuDNN may be asked.
inline const char* refusal_of(const PoolingShape& shape, const PoolParams& p) {
  for (int i = 0; i < shape.axes; ++i) {
    const int axis = i + 3 - shape.axes;
    if (p.dilation[axis] != 1) return "cuDNN has no dilation of windows";
    if (shape.counts_padding && shape.pad_end[static_cast<size_t>(i)] != p.pad_end[axis]) {
      return "cuDNN counts what ceil_mode adds behind the padding";
    }
  }
  return nullptr;
}
inline const char* refusal_of(const PoolingShape& shape, const AdaptivePoolParams&) {
  for (size_t at = 0; at < static_cast<size_t>(shape.axes); ++at) {
    if (shape.x[at + 2] % shape.y[at + 2] != 0) return "windows of different sizes";
  }
  return nullptr;
}

template <PoolingKind kKind, class Params>
const char* supports(const StepArgs& args) {
  CudnnOps* ops = planning_cudnn();
  if (ops == nullptr) return kCudnnNotFound;
  if (kKind == PoolingKind::max_forward && args.out[1].present()) {
    return "cuDNN does not say where in x a maximum is";
  }
  const PoolingShape shape = shape_of<kKind, Params>(args);
  if (const char* refusal = refusal_of(shape, args.params_as<Params>())) return refusal;
  return ops->poolings.prepare(shape).why_not();
}
template <PoolingKind kKind, class Params>
int64_t workspace_bytes(const StepArgs& args, int) {
  return workspace_of(planning_cudnn()->poolings.find(shape_of<kKind, Params>(args)));
}
inline int launch_graph(Stream* stream, const PoolingShape& shape, const Operand& x,
                        const Operand& y, const StepArgs& args) {
  const Queue& queue = queue_of(stream);
  return running_cudnn(queue).poolings.launch(shape, {{'x', x.data}, {'y', y.data}}, args,
                                              queue.stream);
}
template <PoolingKind kKind, class Params>
int launch(Stream* stream, const StepArgs& args) {
  return launch_graph(stream, shape_of<kKind, Params>(args), x_of<kKind>(args), y_of<kKind>(args),
                      args);
}

template <PoolingKind kKind, class Params>
constexpr Implementation cudnn() {
  return {"cudnn", supports<kKind, Params>, workspace_bytes<kKind, Params>, launch<kKind, Params>};
}

}  // namespace tanul::cuda::pool_cudnn
