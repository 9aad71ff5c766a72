// SPDX-License-Identifier: Apache-2.0
// Convolutions of float32 tensors by cuDNN's graph API: fprop, dgrad and wgrad over two or three axes, each
// a graph of one operation.
//
// Engines are tried in the order of cuDNN's heuristics. One is taken if it keeps the promises of the
// formula, by what its numerical notes say: terms as they stand (no Winograd, no FFT), sums in float32, the
// same bits in every run, and inputs rounded to TF32 only where the shape says so. Deterministic so for one
// GPU and one version of the library.
#pragma once

#include <array>
#include <compare>
#include <map>
#include <vector>

#include "kernels/cuda/api.h"
#include "kernels/cuda/libraries.h"

namespace tanul::cuda {

enum class ConvolutionKind : int32_t { forward, backward_data, backward_weights };

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
};

// x, w and y, or their gradients: the one that `kind` makes is written.
struct ConvolutionOperands {
  const float *x, *w, *y;
};

class Convolutions {
 public:
  explicit Convolutions(const cudnn::Api& api) : api_(api) {}
  ~Convolutions();
  Convolutions(const Convolutions&) = delete;
  Convolutions& operator=(const Convolutions&) = delete;

  // Looks for an engine where that was not done before, or failed.
  const Preparation& prepare(const ConvolutionShape& shape);
  // What was prepared.
  const Preparation& find(const ConvolutionShape& shape) const;
  int launch(const ConvolutionShape& shape, const ConvolutionOperands& operands,
             const StepArgs& args, StreamHandle stream) const;

 private:
  class Builder;
  struct Convolution {
    Preparation preparation;
    std::vector<cudnn::Descriptor> descriptors;  // all that it is made of, in the order of making
    cudnn::Descriptor plan = nullptr;            // one of them; null: not ready
  };

  void free(Convolution& convolution) const;

  const cudnn::Api& api_;
  cudnn::Handle handle_ = nullptr;
  std::map<ConvolutionShape, Convolution> convolutions_;
};

}  // namespace tanul::cuda
