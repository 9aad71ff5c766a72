// SPDX-License-Identifier: Apache-2.0
// CUDA's implementations of every step kind: the ordered lists `cuda_<name>` that
// kernels/<family>/*_cuda.cu define. A line of ops.def without one is a link error that names it.
#pragma once

#include "kernels/backend_abi.h"
#include "kernels/op_kind.h"

namespace tanul {

#define TANUL_STEP(name) extern const ImplementationList cuda_##name;
#define TANUL_VIEW(name)
#include "kernels/ops.def"
#undef TANUL_STEP
#undef TANUL_VIEW

namespace cuda {

// Empty for a view.
const ImplementationList& implementations(OpKind kind);

}  // namespace cuda
}  // namespace tanul
