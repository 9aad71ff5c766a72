// SPDX-License-Identifier: Apache-2.0
// Convolutions over two or three axes on CUDA, "cudnn": the product is one call of cuDNN, on the NCHW
// tensors as they lie. Bias and activation follow in a pass over y, in place, and db is summed by the
// kernels of reduce_sum: cuDNN has both in one with the product only for formats that we do not store.
// Numerics and determinism: see cudnn_graph.h. "cudnn_any_order" is fp32 whose sums have no fixed order; cuDNN
// has such engines for gradients. Signals are images of height 1.
#pragma once

#include <algorithm>

#include "kernels/conv2d/conv2d.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/cuda/bias_gradient.h"
#include "kernels/cuda/broadcast.h"
#include "kernels/cuda/cudnn_ops.h"
#include "kernels/cuda/fused_activation.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/operands.h"

namespace tanul::cuda::conv_cudnn {

// ---- the numbers of a convolution --------------------------------------------------------------

inline void set_axis(ConvolutionShape& shape, int axis, int64_t kernel, int64_t stride,
                     int64_t dilation, int64_t pad_begin, int64_t pad_end) {
  const auto i = static_cast<size_t>(axis);
  shape.w[i + 2] = kernel;
  shape.stride[i] = stride;
  shape.dilation[i] = dilation;
  shape.pad_begin[i] = pad_begin;
  shape.pad_end[i] = pad_end;
}
inline int64_t set_window(ConvolutionShape& shape, const Conv2dParams& p) {
  const int first = shape.axes - 2;
  set_axis(shape, first, p.kernel_h, p.stride_h, p.dilation_h, p.pad_top, p.pad_bottom);
  set_axis(shape, first + 1, p.kernel_w, p.stride_w, p.dilation_w, p.pad_left, p.pad_right);
  return p.groups;
}
inline int64_t set_window(ConvolutionShape& shape, const Conv3dParams& p) {
  set_axis(shape, 0, p.kernel_d, p.stride_d, p.dilation_d, p.pad_front, p.pad_back);
  return set_window(shape, p.plane);
}
inline ConvolutionShape::Extents extents_of(const Operand& tensor) {
  ConvolutionShape::Extents extents{};
  for (int i = 0, to = 0; i < tensor.rank; ++i) {
    extents[static_cast<size_t>(to++)] = tensor.dims[i];
    if (tensor.rank == 3 && i == 1) extents[static_cast<size_t>(to++)] = 1;
  }
  return extents;
}
// Of x [N, C, …], y [N, K, …] or their gradients; signals have no height.
template <class Params>
ConvolutionShape shape_of(ConvolutionKind kind, const Operand& x, const Operand& y,
                          const Params& params, Precision multiplies_in) {
  ConvolutionShape shape{};
  shape.kind = kind;
  shape.axes = std::max(x.rank - 2, 2);
  shape.multiplies_in = multiplies_in;
  shape.x = extents_of(x);
  shape.y = extents_of(y);
  const int64_t groups = set_window(shape, params);
  shape.w[0] = shape.y[1];
  shape.w[1] = shape.x[1] / groups;
  return shape;
}

// y has all the outputs that fit: cuDNN works its extents out by itself.
inline bool is_whole(const ConvolutionShape& shape) {
  for (size_t i = 0; i < static_cast<size_t>(shape.axes); ++i) {
    const int64_t span = shape.dilation[i] * (shape.w[i + 2] - 1) + 1;
    const int64_t room = shape.x[i + 2] + shape.pad_begin[i] + shape.pad_end[i] - span;
    if (shape.y[i + 2] != room / shape.stride[i] + 1) return false;
  }
  return true;
}

struct Operands {
  const float *x, *w, *y;
};

// ---- steps -------------------------------------------------------------------------------------

// y = act(y + b)
struct FinishOutput {
  ActivationKind activation;
  __device__ float operator()(float y) const { return activate(activation, y); }
  __device__ float operator()(int64_t, float y, float b) const {
    return activate(activation, y + b);
  }
};

inline const Conv2dParams& plane_of(const Conv2dParams& params) { return params; }
inline const Conv2dParams& plane_of(const Conv3dParams& params) { return params.plane; }

template <class Params_>
struct Forward {
  using Params = Params_;
  static ConvolutionShape shape(const StepArgs& args, Precision precision) {
    return shape_of(ConvolutionKind::forward, args.in[0], args.out[0], args.params_as<Params>(),
                    precision);
  }
  static Operands operands(const StepArgs& args) {
    return {args.in[0].as<float>(), args.in[1].as<float>(), args.out[0].as<float>()};
  }
  static int64_t finish_bytes(const StepArgs&) { return 0; }
  static int finish(Stream* stream, const StepArgs& args) {
    const FinishOutput f{plane_of(args.params_as<Params>()).activation};
    const Operand& y = args.out[0];
    if (const float* b = input_or_null(args, 2)) {
      return launch_map_broadcast(stream, y, y, y.as<float>(), Extents::of_channels(y.dims[1], y),
                                  b, y.as<float>(), f);
    }
    if (f.activation == ActivationKind::none) return 0;
    return launch_map(stream, f, y.elems(), y.as<float>(),
                      static_cast<const float*>(y.as<float>()));
  }
};

template <class Params_>
struct BackwardData {
  using Params = Params_;
  static ConvolutionShape shape(const StepArgs& args, Precision precision) {
    return shape_of(ConvolutionKind::backward_data, args.out[0], args.in[0],
                    args.params_as<Params>(), precision);
  }
  static Operands operands(const StepArgs& args) {
    return {args.out[0].as<float>(), args.in[1].as<float>(), args.in[0].as<float>()};
  }
  static int64_t finish_bytes(const StepArgs&) { return 0; }
  static int finish(Stream*, const StepArgs&) { return 0; }
};

template <class Params_>
struct BackwardWeights {
  using Params = Params_;
  static ConvolutionShape shape(const StepArgs& args, Precision precision) {
    return shape_of(ConvolutionKind::backward_weights, args.in[0], args.in[1],
                    args.params_as<Params>(), precision);
  }
  static Operands operands(const StepArgs& args) {
    return {args.in[0].as<float>(), args.out[0].as<float>(), args.in[1].as<float>()};
  }
  static int64_t finish_bytes(const StepArgs& args) {
    return args.out[1].present() ? BiasGradient(args.in[1], args.out[1], args).workspace_bytes()
                                 : 0;
  }
  static int finish(Stream* stream, const StepArgs& args) {
    return args.out[1].present() ? BiasGradient(args.in[1], args.out[1], args).launch(stream) : 0;
  }
};

// ---- implementations ---------------------------------------------------------------------------

template <class Step, Precision kPrecision, bool kAnyOrder>
ConvolutionShape product_of(const StepArgs& args) {
  ConvolutionShape shape = Step::shape(args, kPrecision);
  shape.wants_any_order = kAnyOrder;
  return shape;
}

template <class Step, Precision kPrecision, bool kAnyOrder>
const char* supports(const StepArgs& args) {
  CudnnOps* ops = planning_cudnn();
  if (ops == nullptr) return kCudnnNotFound;
  const ConvolutionShape shape = product_of<Step, kPrecision, kAnyOrder>(args);
  if (!is_whole(shape)) return "y has fewer outputs than fit";
  return ops->convolutions.prepare(shape).why_not();
}
template <class Step, Precision kPrecision, bool kAnyOrder>
int64_t workspace_bytes(const StepArgs& args, int) {
  const int64_t bytes = workspace_of(
      planning_cudnn()->convolutions.find(product_of<Step, kPrecision, kAnyOrder>(args)));
  return bytes < 0 ? bytes : std::max(bytes, Step::finish_bytes(args));
}
template <class Step, Precision kPrecision, bool kAnyOrder>
int launch(Stream* stream, const StepArgs& args) {
  const Queue& queue = queue_of(stream);
  const Operands at = Step::operands(args);
  const int error = running_cudnn(queue).convolutions.launch(
      product_of<Step, kPrecision, kAnyOrder>(args), {{'x', at.x}, {'w', at.w}, {'y', at.y}}, args,
      queue.stream);
  return error != 0 ? error : Step::finish(stream, args);
}

template <class Step, Precision kPrecision, bool kAnyOrder = false>
constexpr Implementation made(const char* name) {
  Implementation made{name, supports<Step, kPrecision, kAnyOrder>,
                      workspace_bytes<Step, kPrecision, kAnyOrder>,
                      launch<Step, kPrecision, kAnyOrder>};
  made.multiplies_in = kPrecision;
  made.is_deterministic = !kAnyOrder;
  return made;
}
template <class Step>
constexpr Implementation cudnn() {
  return made<Step, Precision::fp32>("cudnn");
}
template <class Step>
constexpr Implementation cudnn_any_order() {
  return made<Step, Precision::fp32, true>("cudnn_any_order");
}
template <class Step>
constexpr Implementation cudnn_tf32() {
  Implementation tf32 = made<Step, Precision::tf32>("cudnn_tf32");
  tf32.least_architecture = kTensorCoreArchitecture;
  return tf32;
}

}  // namespace tanul::cuda::conv_cudnn
