// SPDX-License-Identifier: Apache-2.0
// Maximum and average pooling over windows of a plane.
//   x [N, C, H, W]   y [N, C, P, Q]
//   P = round((H + pad_top + pad_bottom - kernel_h) / stride_h) + 1 with round = floor, or ceil
//   with ceil_mode, where a last window that would start beyond input and begin padding is dropped.
//
//   max_pool2d_fwd  in: x                 out: y, argmax? (i32, position h W + w in the input
//   plane)
//                   padding counts as -infinity; a tie goes to the first in row order; NaN wins
//   max_pool2d_bwd  in: dy, argmax        out: dx (H, W from in_h, in_w)
//   avg_pool2d_fwd  in: x                 out: y
//                   divisor: elements of the window inside the input; with count_include_pad the
//                   elements inside the padded input (what ceil_mode adds beyond is never counted)
//   avg_pool2d_bwd  in: dy                out: dx
#pragma once

#include <cstdint>

namespace tanul {

struct Pool2dParams {
  int32_t kernel_h, kernel_w;
  int32_t stride_h, stride_w;
  int32_t pad_top, pad_left, pad_bottom, pad_right;
  int32_t ceil_mode;
  int32_t count_include_pad;
  int32_t global;      // the window is the whole plane; infer sets kernel and stride
  int32_t in_h, in_w;  // H, W of x: set by infer, read by the backward steps
};

}  // namespace tanul
