// SPDX-License-Identifier: Apache-2.0
// Operands that may be left out.
#pragma once

#include "kernels/backend_abi.h"

namespace tanul::cuda {

// Null where the step ends before input i or leaves it out.
inline const float* input_or_null(const StepArgs& args, int i) {
  return i < args.in_count && args.in[i].present() ? args.in[i].as<float>() : nullptr;
}
inline float* output_or_null(const StepArgs& args, int i) {
  return args.out[i].present() ? args.out[i].as<float>() : nullptr;
}

}  // namespace tanul::cuda
