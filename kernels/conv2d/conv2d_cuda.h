// SPDX-License-Identifier: Apache-2.0
// Convolutions on CUDA besides those of kernels/cuda/convolution.h: the ones that are no matrix product,
// having too few channels for one, and the products on tensor cores.
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

// Step is Forward<2>, BackwardData<2> or BackwardWeights<2> of convolution.h, Format one of mma.h.
namespace conv2d_mma {
template <class Step, class Format>
int64_t workspace_bytes(const StepArgs& args, int threads);
template <class Step, class Format>
int launch(Stream* stream, const StepArgs& args);
}  // namespace conv2d_mma

}  // namespace tanul
