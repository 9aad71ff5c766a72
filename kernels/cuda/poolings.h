// SPDX-License-Identifier: Apache-2.0
// Pooling of float32 tensors by cuDNN's graph API: resampling over two or three axes, a graph of one
// operation. Maxima: NaN wins, padding is -infinity. See cudnn_graph.h.
#pragma once

#include <array>
#include <compare>

#include "kernels/cuda/cudnn_graph.h"

namespace tanul::cuda {

enum class PoolingKind : int32_t { max_forward, average_forward, average_backward };

// The tensors of the graph are 'x' and 'y', or their gradients.
struct PoolingShape {
  static constexpr int kMostAxes = 3;
  using Extents = std::array<int64_t, kMostAxes + 2>;
  using Axes = std::array<int64_t, kMostAxes>;

  PoolingKind kind;
  int32_t axes;
  bool counts_padding;  // in the divisor of an average
  Extents x, y;         // [N, C, …], the first 2 + axes of each
  Axes window, stride, pad_begin, pad_end;

  auto operator<=>(const PoolingShape&) const = default;
  bool build(CudnnGraphBuilder& builder) const;
};

using Poolings = CudnnGraphs<PoolingShape>;

}  // namespace tanul::cuda
