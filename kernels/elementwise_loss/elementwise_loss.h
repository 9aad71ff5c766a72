// SPDX-License-Identifier: Apache-2.0
// Losses that look at each element by itself: loss_i = w_i f(x_i, t_i).
//
//   mse          (x - t)^2
//   mae          |x - t|                                                            gradient 0 at x = t
//   smooth_l1    d = x - t: d^2 / (2 beta) where |d| < beta, else |d| - beta/2      Girshick 2015
//   huber        d^2 / 2 where |d| <= delta, else delta (|d| - delta/2)             Huber 1964
//   bce_logits   -(p t log s(x) + (1 - t) log s(-x)),  s(x) = 1 / (1 + exp(-x)), p positive weight
//   bce          -(t log x + (1 - t) log(1 - x)), each logarithm at least -100; the gradient is
//                (x - t) / max(x (1 - x), 1e-12)
//   kl_div       t (log t - x), 0 where t = 0; with log_target exp(t) (t - x)       x = log q
//   hinge        max(0, 1 - t x), t = -1 or 1; squared on request                   gradient 0 at t x = 1
//   focal        -(a t s(-x)^gamma log s(x) + (1-a) (1-t) s(x)^gamma log s(-x)),
//                a = alpha; without it both factors are 1                           Lin et al. 2017
//   poisson_nll  exp(x) - t x, or x - t log(x + eps) for a rate; with `full` and t > 1 also
//                t log t - t + log(2 pi t) / 2
//
//   <name>_fwd  in: x [N, ...], target, w?, p?           out: loss, stats, see kernels/loss/loss.h
//   <name>_bwd  in: x, target, w?, p?, dloss             out: dx = dloss_i / divisor w_i f'(x_i, t_i)
//
//   target   f32 of the shape of x; or, where x is [N, C, ...], class indices i32 [N, ...]: read as
//            t = 1 for the class and 0 (hinge: -1) for the others. Not for poisson_nll and log_target.
//   w        f32 of the shape of x, or [C]; p (bce_logits only) likewise. C = 1 where x is [N].
//   divisor  the number of elements: weights do not enter it.
//   correct  against class indices: arg max over C hits (ties: the lowest), of all positions. Else of all
//            elements, for bce_logits, focal: (x > 0) = (t > 1/2); bce: (x > 1/2) = (t > 1/2);
//            hinge: (x > 0) = (t > 0). The others count 0 of N.
//   With Reduction::none the loss has the shape of x.
#pragma once

#include "kernels/loss/loss.h"

namespace tanul {

// Each formula reads its own.
struct ElementwiseLossParams {
  LossParams loss;
  float beta;          // smooth_l1: >= 0; 0 is mae
  float delta;         // huber: > 0
  int32_t log_target;  // kl_div
  int32_t is_squared;  // hinge
  float alpha, gamma;  // focal: 0 <= alpha <= 1, gamma >= 0
  int32_t has_alpha;   // focal
  int32_t log_input;   // poisson_nll
  int32_t is_full;     // poisson_nll
  float eps;           // poisson_nll: >= 0
};

}  // namespace tanul
