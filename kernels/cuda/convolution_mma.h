// SPDX-License-Identifier: Apache-2.0
// The convolutions of tensor_convolution.h as implementations, by their declarations: their kernels take
// long to compile and have files of their own.
#pragma once

#include "kernels/cuda/convolution.h"
#include "kernels/cuda/mma.h"

namespace tanul::cuda::conv {

// Step is one of convolution.h, Format one of mma.h.
template <class Step, class Format>
int64_t workspace_mma(const StepArgs& args, int threads);
template <class Step, class Format, gemm::Splits kSplits>
int launch_mma(Stream* stream, const StepArgs& args);
// Why Splits::as_they_end would be of no use, or null.
template <class Step, class Format>
const char* why_not_mma_as_they_end(const StepArgs& args);

template <class Step, class Format>
constexpr Implementation mma(const char* name) {
  Implementation made{name, supports_32_bit<Step>, workspace_mma<Step, Format>,
                      launch_mma<Step, Format, gemm::Splits::in_order>};
  made.multiplies_in = Format::kPrecision;
  made.least_architecture = kTensorCoreArchitecture;
  return made;
}

// Of a weight gradient.
template <class Step, class Format>
const char* supports_mma_atomic(const StepArgs& args) {
  const char* reason = supports_32_bit<Step>(args);
  return reason != nullptr ? reason : why_not_mma_as_they_end<Step, Format>(args);
}
template <class Step, class Format>
constexpr Implementation mma_atomic(const char* name) {
  Implementation made{name, supports_mma_atomic<Step, Format>, no_workspace,
                      launch_mma<Step, Format, gemm::Splits::as_they_end>};
  made.multiplies_in = Format::kPrecision;
  made.least_architecture = kTensorCoreArchitecture;
  made.is_deterministic = false;
  return made;
}

// Entries of a list.
#define TANUL_MMA(Step)                                                \
  ::tanul::cuda::conv::mma<Step, ::tanul::cuda::Tf32>("mma_tf32"),     \
      ::tanul::cuda::conv::mma<Step, ::tanul::cuda::Bf16>("mma_bf16"), \
      ::tanul::cuda::conv::mma<Step, ::tanul::cuda::Fp16>("mma_fp16")
#define TANUL_MMA_ATOMIC(Step)                                                       \
  ::tanul::cuda::conv::mma_atomic<Step, ::tanul::cuda::Tf32>("mma_tf32_atomic"),     \
      ::tanul::cuda::conv::mma_atomic<Step, ::tanul::cuda::Bf16>("mma_bf16_atomic"), \
      ::tanul::cuda::conv::mma_atomic<Step, ::tanul::cuda::Fp16>("mma_fp16_atomic")

}  // namespace tanul::cuda::conv
