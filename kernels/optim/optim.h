// SPDX-License-Identifier: Apache-2.0
// Optimizer updates, in place on the parameter and its state. All g are first scaled by clip[1].
//
//   clip_scale   in: g0, g1, …   out: clip [2] = {norm, min(1, max_norm / (norm + 1e-6))}, norm over all
//                elements of all inputs together, accumulated in double in a fixed order
//   sgd_update   in: w, g, v?, clip?   out: w, v?
//                g += weight_decay w;  v = momentum v + (1 - dampening) g (v = g in step 0);
//                w -= lr (nesterov ? g + momentum v : v);  without v: w -= lr g
//   adam_update  in: w, g, m, v, clip?   out: w, m, v;   t = step + 1
//                decoupled (AdamW): w *= 1 - lr weight_decay;  else g += weight_decay w
//                m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//                w -= lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)
// lr = StepBlock.lr * lr_scale. Sources: PyTorch's definitions; D. Kingma and J. Ba, "Adam", 2015;
// I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", 2019.
#pragma once

#include <cstdint>

namespace tanul {

struct ClipParams {
  float max_norm;
};

struct SgdParams {
  float momentum;
  float dampening;
  float weight_decay;
  float lr_scale;
  int32_t nesterov;
};

struct AdamParams {
  float beta1, beta2, eps;
  float weight_decay;
  float lr_scale;
  int32_t decoupled;
};

}  // namespace tanul
