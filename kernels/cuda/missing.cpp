// SPDX-License-Identifier: Apache-2.0
// Step kinds that have no CUDA kernel yet: a plan for a GPU that needs one is refused with its name.
#include "kernels/cuda/ops.h"

#define TANUL_MISSING(name) \
  const ImplementationList cuda_##name { nullptr, 0 }

namespace tanul {

TANUL_MISSING(muon_update);

}  // namespace tanul
