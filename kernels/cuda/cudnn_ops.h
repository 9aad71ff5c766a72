// SPDX-License-Identifier: Apache-2.0
// All that cuDNN prepared on one device.
#pragma once

#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/poolings.h"
#include "kernels/cuda/softmaxes.h"

namespace tanul::cuda {

struct CudnnOps {
  explicit CudnnOps(const cudnn::Api& api) : cudnn(api) {}

  Cudnn cudnn;
  Convolutions convolutions{cudnn};
  Poolings poolings{cudnn};
  Softmaxes softmaxes{cudnn};
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

}  // namespace tanul::cuda
