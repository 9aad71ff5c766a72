// SPDX-License-Identifier: Apache-2.0
// softmax and its logarithm over one axis of float32 tensors by cuDNN's own functions for them: its graph
// API has no engine. The descriptor of a tensor is made while a plan is made.
#pragma once

#include <compare>
#include <map>

#include "kernels/cuda/cudnn_graph.h"

namespace tanul::cuda {

// Tensors of [outer, axis, inner], dense.
struct SoftmaxShape {
  int64_t outer, axis, inner;

  auto operator<=>(const SoftmaxShape&) const = default;
};

enum class SoftmaxKind : int32_t { plain, logarithm };

class Softmaxes {
 public:
  explicit Softmaxes(Cudnn& cudnn) : cudnn_(cudnn) {}
  ~Softmaxes();
  Softmaxes(const Softmaxes&) = delete;
  Softmaxes& operator=(const Softmaxes&) = delete;

  // Describes the tensors where that was not done before, or failed.
  const Preparation& prepare(const SoftmaxShape& shape);
  // What was prepared.
  const Preparation& find(const SoftmaxShape& shape) const { return tensor_of(shape).preparation; }

  // y does not lie over x.
  int forward(SoftmaxKind kind, const SoftmaxShape& shape, const void* x, void* y,
              StreamHandle stream) const;
  // dx may lie over dy.
  int backward(SoftmaxKind kind, const SoftmaxShape& shape, const void* y, const void* dy, void* dx,
               StreamHandle stream) const;

 private:
  struct Tensor {
    Preparation preparation;
    cudnn::TensorDescriptor descriptor = nullptr;
    bool is_ready = false;
  };
  const Tensor& tensor_of(const SoftmaxShape& shape) const;
  template <class Compute>
  int launch(const SoftmaxShape& shape, StreamHandle stream, const char* call,
             const Compute& compute) const;

  Cudnn& cudnn_;
  std::map<SoftmaxShape, Tensor> tensors_;
  const Tensor not_prepared_{{"", "softmax by cuDNN of a tensor that was not prepared", 0}};
};

}  // namespace tanul::cuda
