// SPDX-License-Identifier: Apache-2.0
// Convolutions of float32 tensors by cuDNN's graph API: fprop, dgrad and wgrad over two or three axes, each
// a graph of one operation. Numerics and determinism: see cudnn_graph.h; inputs are rounded to TF32 only
// where the shape says so.
#pragma once

#include <array>
#include <compare>

#include "kernels/cuda/cudnn_graph.h"

namespace tanul::cuda {

enum class ConvolutionKind : int32_t { forward, backward_data, backward_weights };

// The tensors of the graph are 'x', 'w' and 'y', or their gradients: the one that `kind` makes is written.
struct ConvolutionShape {
  static constexpr int kMostAxes = 3;
  using Extents = std::array<int64_t, kMostAxes + 2>;
  using Axes = std::array<int64_t, kMostAxes>;

  ConvolutionKind kind;
  int32_t axes;
  bool rounds_to_tf32;
  Extents x, w, y;  // [N, C, …], [K, C/G, …], [N, K, …], the first 2 + axes of each
  Axes stride, dilation, pad_begin, pad_end;

  auto operator<=>(const ConvolutionShape&) const = default;
  bool build(CudnnGraphBuilder& builder) const;
};

using Convolutions = CudnnGraphs<ConvolutionShape>;

}  // namespace tanul::cuda
