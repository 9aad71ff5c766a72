// SPDX-License-Identifier: Apache-2.0
// Concatenation along one axis, and its gradient (slices).
//   concat_fwd  in: x0, x1, …  out: y, equal extents but along `axis`, where they add up
//   concat_bwd  in: dy         out: dx0?, dx1?, … with extents[i] along `axis`
#pragma once

#include <cstdint>

namespace tanul {

constexpr int kMaxConcatInputs = 14;

struct ConcatParams {
  int32_t axis;
  int32_t count;
  int32_t wanted;  // concat_bwd: bit i says that dxi is asked for
  int32_t reserved;
  int64_t extents[kMaxConcatInputs];  // along `axis`: set by infer of concat_fwd
};

}  // namespace tanul
