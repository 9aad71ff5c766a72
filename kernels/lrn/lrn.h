// SPDX-License-Identifier: Apache-2.0
// Local response normalisation across channels: each value is divided by a power of the energy of its
// neighbours at the same place.
//
//   x [N, C, ...], rank 3 to 5;   t[c] = k + a sum of x[c']^2,  c' = c - size / 2 … c + (size - 1) / 2
//   (those that exist);   y = x t^-beta;   a = alpha / size, or alpha
//
//   lrn_fwd  in: x      out: y
//   lrn_bwd  in: dy, x  out: dx = dy t^-beta - 2 a beta x sum over the c'' whose window holds c of
//                            dy[c''] x[c''] t[c'']^(-beta - 1)
// Nothing but x is kept for the backward pass. Source: A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet
// classification with deep convolutional neural networks", 2012, section 3.3.
#pragma once

#include <cstdint>

namespace tanul {

struct LrnParams {
  double alpha, beta, k;
  int32_t size;
  int32_t alpha_divided_by_size;
};

}  // namespace tanul
