// SPDX-License-Identifier: Apache-2.0
// Convolution in one and two dimensions on tensor cores: kernels/cuda/tensor_convolution.h over windows of
// two axes.
#include "kernels/cuda/tensor_convolution.h"

namespace tanul::cuda::conv {

TANUL_MMA_KERNELS(Forward<2>)
TANUL_MMA_KERNELS(BackwardData<2>)
TANUL_MMA_KERNELS(BackwardWeights<2>)
TANUL_MMA_ATOMIC_KERNELS(BackwardWeights<2>)

}  // namespace tanul::cuda::conv
