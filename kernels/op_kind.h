// SPDX-License-Identifier: Apache-2.0
// The enum of step kinds, made of ops.def.
#pragma once

#include <cstdint>

namespace tanul {

enum class OpKind : int32_t {
#define TANUL_STEP(name) name,
#define TANUL_VIEW(name) name,
#include "kernels/ops.def"
#undef TANUL_STEP
#undef TANUL_VIEW
  kCount
};

constexpr int kOpKinds = static_cast<int>(OpKind::kCount);

}  // namespace tanul
