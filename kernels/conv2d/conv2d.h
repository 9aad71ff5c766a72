// SPDX-License-Identifier: Apache-2.0
// Two-dimensional cross-correlation ("convolution"), its data gradient and its weight gradient.
//
//   y[n,k,p,q] = act( b[k] + sum_{c,r,s} x[n, g C/G + c, p stride_h - pad_top + r dilation_h,
//                                            q stride_w - pad_left + s dilation_w] w[k,c,r,s] )
//   x [N, C, H, W]   w [K, C/G, R, S]   b [K]   y [N, K, P, Q]   g = k / (K/G), G = groups
//   P = floor((H + pad_top + pad_bottom - dilation_h (R - 1) - 1) / stride_h) + 1, Q likewise
//
//   conv2d_fwd          in: x, w, b?          out: y
//   conv2d_bwd_data     in: dy, w             out: dx        (H, W from in_h, in_w; dy is before the activation)
//   conv2d_bwd_weights  in: x, dy             out: dw, db?
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
};

}  // namespace tanul
