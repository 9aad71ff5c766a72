// SPDX-License-Identifier: Apache-2.0
// Convolutions over two or three axes on CUDA, "cudnn_bf16" and "cudnn_fp16": cuDNN multiplies operands of 16
// bits fastest with channels last, but tensors of the graph are float32 [N, C, …]. So the two operands are
// copied, rounded and with channels last, to the workspace, one call of cuDNN makes the product there, of 16 bits
// too, and a pass copies it to where it belongs, adding the bias and applying the activation on its way. db is
// summed from dy in float32, as by "cudnn".
//
// Channels and filters are filled up with zeros to a multiple of 8 (16 bytes), and products and memory grow by as
// much: 3 channels of an image to 8, 50 filters to 56. cuDNN takes any number, but most of its engines copy what
// is no such multiple to a workspace of their own. Channels of a group stay as they are.
//
// Moves 6 bytes an element of the operands and of the result beside what the product moves. For 3x3 windows and
// 64 channels and up, that is little in comparison with the product; for 1x1 it may be more than it.
//
// Numerics: operands are rounded once, to nearest (kernels/cuda/mma.h), and summed in float32; the sum is
// rounded to the format of the operands, bias and activation are float32. In fp16 a sum from 65520 on is infinite,
// and a small one is a multiple of 2^-24: gradients need a scaled loss. Deterministic, see cudnn_graph.h.
#pragma once

#include "kernels/cuda/channels_last.h"
#include "kernels/cuda/convolution_cudnn.h"

namespace tanul::cuda::conv_cudnn {

// The shape that cuDNN sees.
inline ConvolutionShape filled_up(const ConvolutionShape& shape) {
  ConvolutionShape filled = shape;
  if (shape.w[1] != shape.x[1]) return filled;  // groups
  constexpr int64_t kMultiple = 8;
  const auto fill_up = [](int64_t& extent) { extent = ceil_div(extent, kMultiple) * kMultiple; };
  for (int64_t* extent : {&filled.x[1], &filled.w[1], &filled.w[0], &filled.y[1]}) fill_up(*extent);
  return filled;
}

// One of the three tensors and its copy in the workspace.
struct Copied {
  channels_last::Tiling shapes;
  bool is_result;
  int64_t bytes;  // of the copy, at multiples of kLibraryAlignment

  Copied(const ConvolutionShape::Extents& own, const ConvolutionShape::Extents& filled, int axes,
         bool result)
      : shapes{own[0], own[1], 1, filled[0], filled[1]}, is_result(result) {
    for (int i = 2; i < axes + 2; ++i) shapes.positions *= own[static_cast<size_t>(i)];
    const int64_t elems = shapes.last_images * shapes.positions * shapes.last_channels;
    bytes = ceil_div(elems * 2, kLibraryAlignment) * kLibraryAlignment;
  }
};

struct Copies {
  Copied x, w, y;

  Copies(const ConvolutionShape& own, const ConvolutionShape& filled)
      : x(own.x, filled.x, own.axes, own.kind == ConvolutionKind::backward_data),
        w(own.w, filled.w, own.axes, own.kind == ConvolutionKind::backward_weights),
        y(own.y, filled.y, own.axes, own.kind == ConvolutionKind::forward) {}
  int64_t bytes() const { return x.bytes + w.bytes + y.bytes; }
};

template <class Step, class Format>
const char* supports_16_bit(const StepArgs& args) {
  CudnnOps* ops = planning_cudnn();
  if (ops == nullptr) return kCudnnNotFound;
  const ConvolutionShape shape = Step::shape(args, Format::kPrecision);
  if (!is_whole(shape)) return "y has fewer outputs than fit";
  return ops->convolutions.prepare(filled_up(shape)).why_not();
}

template <class Step, class Format>
int64_t workspace_bytes_16_bit(const StepArgs& args, int) {
  const ConvolutionShape shape = Step::shape(args, Format::kPrecision);
  const ConvolutionShape filled = filled_up(shape);
  const Preparation& prepared = planning_cudnn()->convolutions.find(filled);
  const int64_t own = workspace_of(prepared);  // below 0: a failure
  if (own < 0) return own;
  const int64_t bytes = with_alignment(Copies(shape, filled).bytes() + prepared.workspace_bytes);
  return std::max(bytes, Step::finish_bytes(args));
}

template <class Step, class Format>
int launch_16_bit(Stream* stream, const StepArgs& args) {
  const ConvolutionShape shape = Step::shape(args, Format::kPrecision);
  const ConvolutionShape filled = filled_up(shape);
  const Copies copies(shape, filled);
  const Operands at = Step::operands(args);
  char* x = static_cast<char*>(aligned_workspace(args));
  char* w = x + copies.x.bytes;
  char* y = w + copies.w.bytes;
  StepArgs rest = args;
  rest.workspace = y + copies.y.bytes;

  struct Move {
    const Copied& tensor;
    const float* own;
    void* copy;
  };
  const Move moves[] = {{copies.x, at.x, x}, {copies.w, at.w, w}, {copies.y, at.y, y}};
  for (const Move& move : moves) {
    if (move.tensor.is_result) continue;
    const int error =
        channels_last::launch_to<Format>(stream, move.tensor.shapes, move.own, move.copy);
    if (error != 0) return error;
  }
  const Queue& queue = queue_of(stream);
  if (const int error = running_cudnn(queue).convolutions.launch(
          filled, {{'x', x}, {'w', w}, {'y', y}}, rest, queue.stream)) {
    return error;
  }
  const bool is_forward = shape.kind == ConvolutionKind::forward;
  channels_last::Finish finish{nullptr, ActivationKind::none};
  if (is_forward) {
    finish = {input_or_null(args, 2), plane_of(args.params_as<typename Step::Params>()).activation};
  }
  for (const Move& move : moves) {
    if (!move.tensor.is_result) continue;
    const int error = channels_last::launch_from<Format>(stream, move.tensor.shapes, move.copy,
                                                         const_cast<float*>(move.own), finish);
    if (error != 0) return error;
  }
  return is_forward ? 0 : Step::finish(stream, args);
}

template <class Step, class Format>
constexpr Implementation cudnn_16_bit(const char* name) {
  Implementation made{name, supports_16_bit<Step, Format>, workspace_bytes_16_bit<Step, Format>,
                      launch_16_bit<Step, Format>};
  made.multiplies_in = Format::kPrecision;
  made.least_architecture = kTensorCoreArchitecture;
  return made;
}
template <class Step>
constexpr Implementation cudnn_bf16() {
  return cudnn_16_bit<Step, Bf16>("cudnn_bf16");
}
template <class Step>
constexpr Implementation cudnn_fp16() {
  return cudnn_16_bit<Step, Fp16>("cudnn_fp16");
}

}  // namespace tanul::cuda::conv_cudnn
