// SPDX-License-Identifier: Apache-2.0
// The activations that convolution and linear layers apply to a sum before they write it.
#pragma once

#include "kernels/activation/activation.h"
#include "kernels/cuda/kernel.h"

namespace tanul::cuda {

// NaN stays NaN. Sigmoid and tanh are within 3 units in the last place (CUDA's expf and tanhf are
// within 2).
__device__ inline float activate(ActivationKind kind, float x) {
  switch (kind) {
    case ActivationKind::none: return x;
    case ActivationKind::relu: return x < 0.0f ? 0.0f : x;
    case ActivationKind::sigmoid: return 1.0f / (1.0f + expf(-x));
    case ActivationKind::tanh: return tanhf(x);
  }
  return x;
}

}  // namespace tanul::cuda
