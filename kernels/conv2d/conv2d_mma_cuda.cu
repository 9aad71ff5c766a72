// SPDX-License-Identifier: Apache-2.0
// Convolution in one and two dimensions on tensor cores: kernels/cuda/tensor_convolution.h over windows of
// two axes, in a file of its own since it takes long to compile.
#include "kernels/conv2d/conv2d_cuda.h"
#include "kernels/cuda/tensor_convolution.h"

namespace tanul::conv2d_mma {

namespace conv = cuda::conv;

template <class Step, class Format>
int64_t workspace_bytes(const StepArgs& args, int threads) {
  return conv::workspace_mma<Step, Format>(args, threads);
}
template <class Step, class Format>
int launch(Stream* stream, const StepArgs& args) {
  return conv::launch_mma<Step, Format>(stream, args);
}

#define TANUL_IN(Step, Format)                                                         \
  template int64_t workspace_bytes<conv::Step<2>, cuda::Format>(const StepArgs&, int); \
  template int launch<conv::Step<2>, cuda::Format>(Stream*, const StepArgs&);
#define TANUL_FORMATS(Step) TANUL_IN(Step, Tf32) TANUL_IN(Step, Bf16) TANUL_IN(Step, Fp16)
TANUL_FORMATS(Forward)
TANUL_FORMATS(BackwardData)
TANUL_FORMATS(BackwardWeights)
#undef TANUL_FORMATS
#undef TANUL_IN

}  // namespace tanul::conv2d_mma
