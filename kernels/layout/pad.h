// SPDX-License-Identifier: Apache-2.0
// pad: y is x with elements added in front of and behind each axis.
//   constant    they are `value`
//   reflect     x mirrored at its first and last element, which are not repeated; pads below the extent
//   replicate   the first and the last element again
//
//   pad_fwd  in: x   out: y
//   pad_bwd  in: dy  out: dx   reflect and replicate: each element of x adds up the gradients of all its
//                              places. The gradient of a constant padding is a slice (slice.h).
#pragma once

#include <cstdint>

namespace tanul {

enum class PadMode : int32_t { constant = 0, reflect, replicate };

struct PadParams {
  PadMode mode;
  float value;  // constant
  int32_t rank;
  int32_t begin[6];
  int32_t end[6];
  int32_t in_dims[6];  // of x: set by infer of pad_fwd, read by the gradient
};

// Which element of x lies at place i along an axis of `in` elements with `begin` in front; -1: none.
constexpr int64_t pad_source(PadMode mode, int64_t i, int64_t begin, int64_t in) {
  const int64_t at = i - begin;
  if (at >= 0 && at < in) return at;
  switch (mode) {
    case PadMode::constant: return -1;
    case PadMode::reflect: return at < 0 ? -at : 2 * (in - 1) - at;
    case PadMode::replicate: return at < 0 ? 0 : in - 1;
  }
  return -1;
}

}  // namespace tanul
