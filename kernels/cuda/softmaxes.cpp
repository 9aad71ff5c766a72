// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/softmaxes.h"

#include <algorithm>
#include <limits>

#include "kernels/cuda/last_error.h"

namespace tanul::cuda {

namespace {

int algorithm_of(SoftmaxKind kind) {
  return kind == SoftmaxKind::logarithm ? cudnn::kSoftmaxLogarithm : cudnn::kSoftmaxAccurate;
}

// The result as it is, over what was there.
constexpr float kAlpha = 1, kBeta = 0;

}  // namespace

Softmaxes::~Softmaxes() {
  for (auto& [shape, tensor] : tensors_) {
    if (tensor.descriptor != nullptr) cudnn_.api.destroy_tensor(tensor.descriptor);
  }
}

const Preparation& Softmaxes::prepare(const SoftmaxShape& shape) {
  Tensor& tensor = tensors_[shape];
  Preparation& made = tensor.preparation;
  if (tensor.is_ready || made.why_not() != nullptr) return made;
  if (std::max({shape.outer, shape.axis, shape.inner}) > std::numeric_limits<int>::max()) {
    made.refusal = "cuDNN takes extents below 2^31";
    return made;
  }
  made = {};
  const cudnn::Api& api = cudnn_.api;
  const auto is_good = [&](int status, const char* call) {
    if (status != 0) made.failure = cudnn_.text_of(call, status);
    return status == 0;
  };
  if (!cudnn_.open(made)) return made;
  if (tensor.descriptor == nullptr &&
      !is_good(api.create_tensor(&tensor.descriptor), "cudnnCreateTensorDescriptor")) {
    return made;
  }
  const int status = api.set_tensor(tensor.descriptor, cudnn::kTensorNchw, cudnn::kDataFloat,
                                    static_cast<int>(shape.outer), static_cast<int>(shape.axis),
                                    static_cast<int>(shape.inner), 1);
  if (Cudnn::is_refusal(status)) {
    made.refusal = cudnn_.text_of("cuDNN does not take it", status);
  } else {
    tensor.is_ready = is_good(status, "cudnnSetTensor4dDescriptor");
  }
  return made;
}

const Softmaxes::Tensor& Softmaxes::tensor_of(const SoftmaxShape& shape) const {
  const auto found = tensors_.find(shape);
  return found == tensors_.end() ? not_prepared_ : found->second;
}

template <class Compute>
int Softmaxes::launch(const SoftmaxShape& shape, StreamHandle stream, const char* call,
                      const Compute& compute) const {
  const Tensor& tensor = tensor_of(shape);
  if (!tensor.is_ready) {
    keep_error("%s of a tensor that was not prepared", call);
    return kLibraryError;
  }
  const auto check = [&](int status, const char* name) {
    if (status == 0) return 0;
    keep_error("%s", cudnn_.text_of(name, status).c_str());
    return kLibraryError;
  };
  const int error = check(cudnn_.api.set_stream(cudnn_.handle, stream), "cudnnSetStream");
  return error != 0 ? error : check(compute(tensor.descriptor), call);
}

int Softmaxes::forward(SoftmaxKind kind, const SoftmaxShape& shape, const void* x, void* y,
                       StreamHandle stream) const {
  return launch(shape, stream, "cudnnSoftmaxForward", [&](cudnn::TensorDescriptor tensor) {
    return cudnn_.api.softmax_forward(cudnn_.handle, algorithm_of(kind),
                                      cudnn::kSoftmaxOverChannels, &kAlpha, tensor, x, &kBeta,
                                      tensor, y);
  });
}

int Softmaxes::backward(SoftmaxKind kind, const SoftmaxShape& shape, const void* y, const void* dy,
                        void* dx, StreamHandle stream) const {
  return launch(shape, stream, "cudnnSoftmaxBackward", [&](cudnn::TensorDescriptor tensor) {
    return cudnn_.api.softmax_backward(cudnn_.handle, algorithm_of(kind),
                                       cudnn::kSoftmaxOverChannels, &kAlpha, tensor, y, tensor, dy,
                                       &kBeta, tensor, dx);
  });
}

}  // namespace tanul::cuda
