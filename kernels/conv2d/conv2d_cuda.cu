// SPDX-License-Identifier: Apache-2.0
// Convolution in one and two dimensions on CUDA. Where a product would be mostly padding, the kernels of
// conv2d_cuda.h; otherwise cuDNN where it is found; "mma", the products on tensor cores, where the plan allows
// operands of fewer bits; "implicit_gemm", kernels/cuda/convolution.h over windows of two axes. "atomic": where
// the plan does not ask for determinism, blocks that share a sum add to it as they end.
#include <iterator>

#include "kernels/conv2d/conv2d_cuda.h"
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/convolution_cudnn_16_bit.h"
#include "kernels/cuda/convolution_mma.h"
#include "kernels/cuda/ops.h"

namespace tanul {

namespace {

using namespace cuda::conv;
namespace conv_cudnn = cuda::conv_cudnn;
using cuda::gemm::Tile128x128;
using cuda::gemm::Tile32x128;
using cuda::gemm::Tile32x32;
using cuda::gemm::Tile64x64;

#define TANUL_DEPTHWISE(step) \
  { "depthwise", step##_depthwise::supports, no_workspace, step##_depthwise::launch }

const Implementation kForward[] = {
    TANUL_DEPTHWISE(conv2d_fwd),
    {"direct", conv2d_fwd_direct::supports, no_workspace, conv2d_fwd_direct::launch},
    conv_cudnn::cudnn_tf32<conv_cudnn::Forward<Conv2dParams>>(),
    conv_cudnn::cudnn_bf16<conv_cudnn::Forward<Conv2dParams>>(),
    conv_cudnn::cudnn_fp16<conv_cudnn::Forward<Conv2dParams>>(),
    TANUL_MMA(Forward<2>),
    conv_cudnn::cudnn<conv_cudnn::Forward<Conv2dParams>>(),
    implicit_gemm<Forward<2>, Tile128x128, int32_t>("implicit_gemm_128x128"),
    implicit_gemm<Forward<2>, Tile32x128, int32_t>("implicit_gemm_32x128"),
    implicit_gemm<Forward<2>, Tile64x64, int32_t>("implicit_gemm_64x64"),
    implicit_gemm<Forward<2>, Tile64x64, int64_t>("implicit_gemm_64_bit")};
const Implementation kBackwardData[] = {
    TANUL_DEPTHWISE(conv2d_bwd_data),
    conv_cudnn::cudnn_tf32<conv_cudnn::BackwardData<Conv2dParams>>(),
    conv_cudnn::cudnn_bf16<conv_cudnn::BackwardData<Conv2dParams>>(),
    conv_cudnn::cudnn_fp16<conv_cudnn::BackwardData<Conv2dParams>>(),
    TANUL_MMA(BackwardData<2>),
    conv_cudnn::cudnn_any_order<conv_cudnn::BackwardData<Conv2dParams>>(),
    conv_cudnn::cudnn<conv_cudnn::BackwardData<Conv2dParams>>(),
    implicit_gemm<BackwardData<2>, Tile128x128, int32_t>("implicit_gemm_128x128"),
    implicit_gemm<BackwardData<2>, Tile32x128, int32_t>("implicit_gemm_32x128"),
    implicit_gemm<BackwardData<2>, Tile64x64, int32_t>("implicit_gemm_64x64"),
    implicit_gemm<BackwardData<2>, Tile64x64, int64_t>("implicit_gemm_64_bit")};
const Implementation kBackwardWeights[] = {
    TANUL_DEPTHWISE(conv2d_bwd_weights),
    conv_cudnn::cudnn_tf32<conv_cudnn::BackwardWeights<Conv2dParams>>(),
    conv_cudnn::cudnn_bf16<conv_cudnn::BackwardWeights<Conv2dParams>>(),
    conv_cudnn::cudnn_fp16<conv_cudnn::BackwardWeights<Conv2dParams>>(),
    TANUL_MMA_ATOMIC(BackwardWeights<2>),
    TANUL_MMA(BackwardWeights<2>),
    conv_cudnn::cudnn_any_order<conv_cudnn::BackwardWeights<Conv2dParams>>(),
    conv_cudnn::cudnn<conv_cudnn::BackwardWeights<Conv2dParams>>(),
    implicit_gemm<BackwardWeights<2>, Tile128x128, int32_t>("implicit_gemm_128x128"),
    implicit_gemm_atomic<BackwardWeights<2>, Tile32x32>("implicit_gemm_32x32_atomic"),
    implicit_gemm<BackwardWeights<2>, Tile32x32, int32_t>("implicit_gemm_32x32"),
    implicit_gemm_atomic<BackwardWeights<2>, Tile64x64>("implicit_gemm_64x64_atomic"),
    implicit_gemm<BackwardWeights<2>, Tile64x64, int32_t>("implicit_gemm_64x64"),
    implicit_gemm<BackwardWeights<2>, Tile64x64, int64_t>("implicit_gemm_64_bit")};

#undef TANUL_DEPTHWISE

}  // namespace

const ImplementationList cuda_conv2d_fwd = {kForward, std::size(kForward)};
const ImplementationList cuda_conv2d_bwd_data = {kBackwardData, std::size(kBackwardData)};
const ImplementationList cuda_conv2d_bwd_weights = {kBackwardWeights, std::size(kBackwardWeights)};

}  // namespace tanul
