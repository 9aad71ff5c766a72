// SPDX-License-Identifier: Apache-2.0
// Cross-correlation ("convolution") in one and two dimensions, its data gradient and its weight
// gradient; and transposed convolution, which is the data gradient run forward.
//
//   y[n,k,p,q] = act( b[k] + sum_{c,r,s} x[n, g C/G + c, p stride_h - pad_top + r dilation_h,
//                                            q stride_w - pad_left + s dilation_w] w[k,c,r,s] )
//   x [N, C, H, W]   w [K, C/G, R, S]   b [K]   y [N, K, P, Q]   g = k / (K/G), G = groups
//   P = floor((H + pad_top + pad_bottom - dilation_h (R - 1) - 1) / stride_h) + 1, Q likewise
//
//   conv2d_fwd          in: x, w, b?          out: y
//   conv2d_bwd_data     in: dy, w             out: dx        (H, W from in_h, in_w; dy is before the activation)
//   conv2d_bwd_weights  in: x, dy             out: dw, db?
//
// Signals are images of height 1: x [N, C, L], w [K, C/G, S], y [N, K, Q], and `infer` sets what
// concerns the height.
//
// Transposed convolution of x [N, C, P, Q] with w [C, K/G, R, S] is conv2d_bwd_data with x in the place
// of dy and is_transposed set: it makes y [N, K, H, W] with
//   H = (P - 1) stride_h - pad_top - pad_bottom + dilation_h (R - 1) + output_pad_h + 1, W likewise.
#pragma once

#include <cstdint>

#include "kernels/activation/activation.h"

namespace tanul {

struct Conv2dParams {
  int32_t kernel_h, kernel_w;  // R, S
  int32_t stride_h, stride_w;
  int32_t pad_top, pad_left, pad_bottom, pad_right;
  int32_t dilation_h, dilation_w;
  int32_t groups;
  int32_t in_h, in_w;         // H, W of x: set by infer, read by conv2d_bwd_data
  int32_t has_bias;           // conv2d_bwd_weights: is db wanted?
  ActivationKind activation;  // fused into the write-back of conv2d_fwd
  int32_t is_transposed;      // conv2d_bwd_data is a layer of the user's, and finds H, W itself
  int32_t output_pad_h, output_pad_w;  // rows and columns at the end of its output
  // The first P rows and Q columns of y alone exist; 0: all that fit. (output_pad of a dilated
  // transposed convolution may make room for more than its input has.)
  int32_t out_h, out_w;
};

}  // namespace tanul
