// SPDX-License-Identifier: Apache-2.0
// transpose: axis i of y is axis perm[i] of x. Its gradient is a transpose back.
//   transpose_fwd  in: x  out: y
#pragma once

#include <cstdint>

namespace tanul {

struct TransposeParams {
  int32_t rank;
  int32_t perm[6];
};

}  // namespace tanul
