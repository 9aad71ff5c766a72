// SPDX-License-Identifier: Apache-2.0
// Convolutions on CUDA that are no matrix product, having too few channels for one.
#pragma once

#include "kernels/backend_abi.h"

namespace tanul {

#define TANUL_CUDA_CONVOLUTION(name)                \
  namespace name {                                  \
  const char* supports(const StepArgs& args);       \
  int launch(Stream* stream, const StepArgs& args); \
  }
TANUL_CUDA_CONVOLUTION(conv2d_fwd_direct)
TANUL_CUDA_CONVOLUTION(conv2d_fwd_depthwise)
TANUL_CUDA_CONVOLUTION(conv2d_bwd_data_depthwise)
TANUL_CUDA_CONVOLUTION(conv2d_bwd_weights_depthwise)
#undef TANUL_CUDA_CONVOLUTION

}  // namespace tanul
