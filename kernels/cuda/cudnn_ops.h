// SPDX-License-Identifier: Apache-2.0
// All that cuDNN prepared on one device.
#pragma once

#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/poolings.h"

namespace tanul::cuda {

struct CudnnOps {
  explicit CudnnOps(const cudnn::Api& api) : cudnn(api) {}

  Cudnn cudnn;
  Convolutions convolutions{cudnn};
  Poolings poolings{cudnn};
};

constexpr const char* kCudnnNotFound = "cuDNN was not found";

// While a plan is made; null: it was not found.
inline CudnnOps* planning_cudnn() {
  const Libraries* libraries = entered_libraries();
  return libraries != nullptr ? libraries->cudnn() : nullptr;
}
// In a launch of what was planned.
inline const CudnnOps& running_cudnn(const Queue& queue) {
  return *queue.device->libraries->cudnn();
}

// Of a tensor [N, C, …]; a signal is an image of height 1.
inline CudnnExtents image_extents(const Operand& tensor) {
  CudnnExtents extents{};
  for (int i = 0, to = 0; i < tensor.rank; ++i) {
    extents[static_cast<size_t>(to++)] = tensor.dims[i];
    if (tensor.rank == 3 && i == 1) extents[static_cast<size_t>(to++)] = 1;
  }
  return extents;
}

}  // namespace tanul::cuda
