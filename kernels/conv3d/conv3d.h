// SPDX-License-Identifier: Apache-2.0
// Cross-correlation ("convolution") in three dimensions, its gradients, and transposed convolution:
// conv2d.h with a depth in front of height and width.
//
//   y[n,k,z,p,q] = act( b[k] + sum_{c,t,r,s} x[n, g C/G + c, z stride_d - pad_front + t dilation_d,
//                                              h(p, r), w(q, s)] w[k,c,t,r,s] )
//   x [N, C, D, H, W]   w [K, C/G, T, R, S]   b [K]   y [N, K, Z, P, Q]
//   Z = floor((D + pad_front + pad_back - dilation_d (T - 1) - 1) / stride_d) + 1
//
//   conv3d_fwd          in: x, w, b?          out: y
//   conv3d_bwd_data     in: dy, w             out: dx        (D, H, W from in_d, plane.in_h, plane.in_w)
//   conv3d_bwd_weights  in: x, dy             out: dw, db?
#pragma once

#include <cstdint>

#include "kernels/conv2d/conv2d.h"

namespace tanul {

struct Conv3dParams {
  Conv2dParams plane;  // height and width, groups, bias, activation
  int32_t kernel_d;    // T
  int32_t stride_d;
  int32_t pad_front, pad_back;
  int32_t dilation_d;
  int32_t in_d;          // D of x: set by infer
  int32_t output_pad_d;  // see conv2d.h
  int32_t out_d;
};

}  // namespace tanul
