// SPDX-License-Identifier: Apache-2.0
// Three-dimensional convolution on CUDA: cuDNN where it is found; "mma", the products on tensor cores, where
// the plan allows operands of fewer bits; "implicit_gemm", kernels/cuda/convolution.h over windows of three
// axes.
#include <iterator>

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

const Implementation kForward[] = {
    conv_cudnn::cudnn_tf32<conv_cudnn::Forward<Conv3dParams>>(),
    conv_cudnn::cudnn_bf16<conv_cudnn::Forward<Conv3dParams>>(),
    conv_cudnn::cudnn_fp16<conv_cudnn::Forward<Conv3dParams>>(),
    TANUL_MMA(Forward<3>),
    conv_cudnn::cudnn<conv_cudnn::Forward<Conv3dParams>>(),
    implicit_gemm<Forward<3>, Tile128x128, int32_t>("implicit_gemm_128x128"),
    implicit_gemm<Forward<3>, Tile32x128, int32_t>("implicit_gemm_32x128"),
    implicit_gemm<Forward<3>, Tile64x64, int32_t>("implicit_gemm_64x64"),
    implicit_gemm<Forward<3>, Tile64x64, int64_t>("implicit_gemm_64_bit")};
const Implementation kBackwardData[] = {
    conv_cudnn::cudnn_tf32<conv_cudnn::BackwardData<Conv3dParams>>(),
    conv_cudnn::cudnn_bf16<conv_cudnn::BackwardData<Conv3dParams>>(),
    conv_cudnn::cudnn_fp16<conv_cudnn::BackwardData<Conv3dParams>>(),
    TANUL_MMA(BackwardData<3>),
    conv_cudnn::cudnn_any_order<conv_cudnn::BackwardData<Conv3dParams>>(),
    conv_cudnn::cudnn<conv_cudnn::BackwardData<Conv3dParams>>(),
    implicit_gemm<BackwardData<3>, Tile128x128, int32_t>("implicit_gemm_128x128"),
    implicit_gemm<BackwardData<3>, Tile32x128, int32_t>("implicit_gemm_32x128"),
    implicit_gemm<BackwardData<3>, Tile64x64, int32_t>("implicit_gemm_64x64"),
    implicit_gemm<BackwardData<3>, Tile64x64, int64_t>("implicit_gemm_64_bit")};
const Implementation kBackwardWeights[] = {
    conv_cudnn::cudnn_tf32<conv_cudnn::BackwardWeights<Conv3dParams>>(),
    conv_cudnn::cudnn_bf16<conv_cudnn::BackwardWeights<Conv3dParams>>(),
    conv_cudnn::cudnn_fp16<conv_cudnn::BackwardWeights<Conv3dParams>>(),
    TANUL_MMA(BackwardWeights<3>),
    conv_cudnn::cudnn_any_order<conv_cudnn::BackwardWeights<Conv3dParams>>(),
    conv_cudnn::cudnn<conv_cudnn::BackwardWeights<Conv3dParams>>(),
    implicit_gemm<BackwardWeights<3>, Tile128x128, int32_t>("implicit_gemm_128x128"),
    implicit_gemm<BackwardWeights<3>, Tile32x32, int32_t>("implicit_gemm_32x32"),
    implicit_gemm<BackwardWeights<3>, Tile64x64, int32_t>("implicit_gemm_64x64"),
    implicit_gemm<BackwardWeights<3>, Tile64x64, int64_t>("implicit_gemm_64_bit")};

}  // namespace

const ImplementationList cuda_conv3d_fwd = {kForward, std::size(kForward)};
const ImplementationList cuda_conv3d_bwd_data = {kBackwardData, std::size(kBackwardData)};
const ImplementationList cuda_conv3d_bwd_weights = {kBackwardWeights, std::size(kBackwardWeights)};

}  // namespace tanul
