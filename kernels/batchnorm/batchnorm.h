// SPDX-License-Identifier: Apache-2.0
// Batch normalisation: each channel is shifted and scaled to mean 0 and variance 1 over a batch.
//
//   x [N, C, ...], rank 2 to 5; n = elements of a channel (N H W);  gamma, beta, mean, var [C]
//   mean = sum x / n   var = sum (x - mean)^2 / n   x_hat = (x - mean) / sqrt(var + eps)
//   y = act(gamma x_hat + beta)      gamma left out: 1; beta left out: 0; act: none or relu
//
//   batchnorm_fwd       in: x, gamma?, beta?                  out: y, mean, var   (training; n > 1)
//   batchnorm_bwd       in: dy, x, gamma?, beta?, mean, var   out: dx, dgamma?, dbeta?
//       g = dy where y > 0 or there is no relu, else 0; y is computed again, with the same bits
//       dbeta = sum g   dgamma = sum g x_hat
//       dx = gamma / sqrt(var + eps) (g - dbeta / n - x_hat dgamma / n)
//   batchnorm_eval_fwd  in: x, gamma?, beta?, mean, var       out: y
//       mean and var are given: running statistics, or those of batchnorm_fwd (then y has its bits)
//   batchnorm_eval_bwd  in, out: as batchnorm_bwd;  dx = gamma / sqrt(var + eps) g
//   batchnorm_stats_update  in: running_mean, mean, running_var, var   out: running_mean, running_var
//       running_mean += momentum (mean - running_mean)
//       running_var  += momentum (var n / (n - 1) - running_var)
//
// In a model stands batchnorm_eval_fwd; for a training step it is lowered to batchnorm_fwd and
// batchnorm_stats_update. Source: S. Ioffe and C. Szegedy, "Batch normalization", 2015; momentum and the
// unbiased running variance as PyTorch has them.
#pragma once

#include <cstdint>

#include "kernels/activation/activation.h"

namespace tanul {

struct BatchNormParams {
  double eps;
  double momentum;            // of the running statistics
  ActivationKind activation;  // none or relu
  int32_t is_frozen;          // training, too, uses the running statistics and leaves them alone
};

struct BatchNormStatsParams {
  double momentum;
  int64_t count;  // n
};

}  // namespace tanul
