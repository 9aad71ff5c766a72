// SPDX-License-Identifier: Apache-2.0
// The three steps of a linear layer as products of own micro-kernels, "panels"; the lists are in
// linear_cpu.cpp.
#pragma once

#include "kernels/backend_abi.h"

namespace tanul {

#define TANUL_DECLARE_VERBS(name)                             \
  namespace name {                                            \
  const char* supports(const StepArgs& args);                 \
  int64_t workspace_bytes(const StepArgs& args, int threads); \
  int launch(Stream* stream, const StepArgs& args);           \
  }
TANUL_DECLARE_VERBS(linear_fwd_panels)
TANUL_DECLARE_VERBS(linear_bwd_data_panels)
TANUL_DECLARE_VERBS(linear_bwd_weights_panels)
#undef TANUL_DECLARE_VERBS

}  // namespace tanul
