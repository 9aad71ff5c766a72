// SPDX-License-Identifier: Apache-2.0
// The steps of a linear layer as products of own micro-kernels, "panels" and "sample_panels";
// the lists are in linear_cpu.cpp.
#pragma once

#include "kernels/backend_abi.h"

namespace tanul {

#define TANUL_DECLARE_VERBS(name)                             \
  namespace name {                                            \
  const char* supports(const StepArgs& args);                 \
  int64_t workspace_bytes(const StepArgs& args, int threads); \
  int launch(Stream* stream, const StepArgs& args);           \
  }
TANUL_DECLARE_VERBS(linear_fwd_sample_panels)
TANUL_DECLARE_VERBS(linear_fwd_panels)
TANUL_DECLARE_VERBS(linear_bwd_data_panels)
TANUL_DECLARE_VERBS(linear_bwd_weights_panels)
TANUL_DECLARE_VERBS(linear_bwd_weights_sgd_panels)
#undef TANUL_DECLARE_VERBS

// Steps of a chain of multiply-adds; chains are added in order. The same in every product here, so that
// they have the same bits.
constexpr int64_t kLinearDepth = 128;

// dy [N, K] transposed, in chunks: [chunk of kLinearDepth samples][K][samples of the chunk]; db [K] (may be
// null) = its sums over the samples.
void pack_dy(Stream* stream, const float* dy, int64_t N, int64_t K, float* packed, float* db);

}  // namespace tanul
