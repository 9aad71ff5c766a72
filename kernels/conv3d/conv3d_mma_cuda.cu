// SPDX-License-Identifier: Apache-2.0
// Convolution in three dimensions on tensor cores: kernels/cuda/tensor_convolution.h over windows of
// three axes.
#include "kernels/cuda/tensor_convolution.h"

namespace tanul::cuda::conv {

TANUL_MMA_KERNELS(Forward<3>)
TANUL_MMA_KERNELS(BackwardData<3>)
TANUL_MMA_KERNELS(BackwardWeights<3>)

}  // namespace tanul::cuda::conv
