// SPDX-License-Identifier: Apache-2.0
// Maximum and average pooling over windows of signals, images and volumes.
//   x [N, C, D, H, W]   y [N, C, Z, P, Q], or without D and Z, or without H and P too; each spatial axis:
//   P = round((H + pads - dilation (kernel - 1) - 1) / stride) + 1 with round = floor, or ceil with
//   ceil_mode, where a last window that would start beyond input and begin padding is dropped.
//
//   max_pool_fwd  in: x            out: y, argmax? (i32, position (d H + h) W + w in the input's volume)
//                 padding counts as -infinity; a tie goes to the first in row order; NaN wins
//   max_pool_bwd  in: dy, argmax   out: dx (D, H, W from in)
//   avg_pool_fwd  in: x            out: y
//                 divisor: elements of the window inside the input; with count_include_pad the
//                 elements inside the padded input (what ceil_mode adds beyond is never counted)
//   avg_pool_bwd  in: dy           out: dx
//
// Adaptive pooling: the number of windows is given, and window i of an axis is
//   floor(i in / out) … ceil((i + 1) in / out), the end exclusive.
//
//   adaptive_max_pool_fwd  in: x   out: y, argmax?   (its backward step is max_pool_bwd)
//   adaptive_avg_pool_fwd  in: x   out: y            divisor: elements of the window
//   adaptive_avg_pool_bwd  in: dy  out: dx
#pragma once

#include <cstdint>

namespace tanul {

// Axes are depth, height, width; infer sets those that x does not have, so that a signal is an image
// of height 1 and an image a volume of depth 1.
struct PoolParams {
  int32_t kernel[3];
  int32_t stride[3];
  int32_t pad_begin[3], pad_end[3];
  int32_t dilation[3];  // of maximum pooling; 1 of average pooling
  int32_t ceil_mode;
  int32_t count_include_pad;
  int32_t global;  // the window is the whole volume; infer sets the rest
  int32_t in[3];   // D, H, W of x: set by infer, read by the backward steps
};

struct AdaptivePoolParams {
  int32_t out[3];  // Z, P, Q
  int32_t in[3];   // as in PoolParams
};

}  // namespace tanul
