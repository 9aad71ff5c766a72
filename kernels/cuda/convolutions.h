// SPDX-License-Identifier: Apache-2.0
// Convolutions by cuDNN's graph API: fprop, dgrad and wgrad over two or three axes. Numerics and
// determinism: see cudnn_graph.h; inputs are rounded to TF32 only where the shape says so.
//
// In fp32 and TF32 tensors are float32, [N, C, …]. In bf16 and fp16 all three are of 16 bits with channels last,
// [N, …, C]; sums are float32, and the result is rounded once. (cuDNN 9 has engines of 16 bits with float32
// results only where another operation follows the product, and those it compiles when it plans, about a second
// a shape.)
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
  Precision multiplies_in;
  bool wants_any_order;  // of sums: see CudnnGraphBuilder::plan
  Extents x, w, y;       // [N, C, …], [K, C/G, …], [N, K, …], the first 2 + axes of each
  Axes stride, dilation, pad_begin, pad_end;

  auto operator<=>(const ConvolutionShape&) const = default;
  bool is_16_bit() const {
    return multiplies_in == Precision::bf16 || multiplies_in == Precision::fp16;
  }
  bool build(CudnnGraphBuilder& builder) const;
};

using Convolutions = CudnnGraphs<ConvolutionShape>;

}  // namespace tanul::cuda
