// SPDX-License-Identifier: Apache-2.0
// Normalisations over a contiguous group of n values of one sample; training and evaluation are the same.
//
//   mean = sum x / n   var = sum (x - mean)^2 / n   inv_std = 1 / sqrt(var + eps)
//   y = (x - mean) inv_std gamma + beta             gamma left out: 1; beta left out: 0
//
//   layer_norm     a group is the last `axes` axes of a sample; gamma and beta have their shape
//   rms_norm       the same with mean = 0 (so var is the mean square) and without beta
//   group_norm     x [N, C, ...]: a group is C / groups channels; gamma and beta [C]
//   instance_norm  a group is one channel: group_norm with groups = C
//
//   layer_norm_fwd     in: x, gamma?, beta?                out: y, mean [groups of x], inv_std
//   rms_norm_fwd       in: x, gamma?                       out: y, none, inv_std
//   layer_norm_bwd     in: dy, x, gamma?, mean?, inv_std   out: dx, dgamma?, dbeta?   (both kinds above)
//   group_norm_fwd     in: x, gamma?, beta?                out: y, mean, inv_std
//   instance_norm_fwd  in: x, gamma?, beta?                out: y, mean, inv_std
//   group_norm_bwd     in: dy, x, gamma?, mean, inv_std    out: dx, dgamma?, dbeta?   (both kinds above)
//       x_hat = (x - mean) inv_std   g = dy gamma
//       dx = inv_std (g - sum g / n - x_hat sum (g x_hat) / n)   (RMS: without sum g / n)
//       dgamma = sum dy x_hat   dbeta = sum dy, over all groups
//
// Sources: J. Ba, J. Kiros, G. Hinton, "Layer normalization", 2016; D. Ulyanov et al., "Instance
// normalization", 2016; Y. Wu and K. He, "Group normalization", 2018; B. Zhang and R. Sennrich, "Root mean
// square layer normalization", 2019.
#pragma once

#include <cstdint>

namespace tanul {

struct GroupNormParams {
  double eps;
  int32_t groups;    // group_norm: of the channels; instance_norm: set to C by infer
  int32_t axes;      // layer_norm, rms_norm
  int32_t has_beta;  // set by infer: is there a dbeta?
};

}  // namespace tanul
