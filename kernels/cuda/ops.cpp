// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/ops.h"

namespace tanul::cuda {

const ImplementationList& implementations(OpKind kind) {
  static const ImplementationList kNone{nullptr, 0};
  static const ImplementationList* const kLists[kOpKinds] = {
#define TANUL_STEP(name) &cuda_##name,
#define TANUL_VIEW(name) &kNone,
#include "kernels/ops.def"
#undef TANUL_STEP
#undef TANUL_VIEW
  };
  return *kLists[static_cast<int>(kind)];
}

}  // namespace tanul::cuda
