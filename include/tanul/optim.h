// SPDX-License-Identifier: Apache-2.0
// Optimizers as plain descriptions. g is the gradient of a parameter w, t counts steps from 1, all
// operations are element by element unless norms |…| are written, which are those of a whole tensor.
// Every state starts at 0 unless said. lr is the rate of the step: the optimizer's own times the
// factor of the schedule times that of the parameter's group.
//
// Where `weight_decay` is said to be coupled, g += weight_decay w comes first: an L2 penalty. Where
// it is decoupled, w *= 1 - lr weight_decay comes first, and g stays what it is.
#pragma once

#include <cstdint>
#include <variant>

#include "tanul/export.h"
#include "tanul/schedule.h"

namespace tanul {

// v = momentum v + (1 - dampening) g, v = g in the first step;  w -= lr (nesterov ? g + momentum v : v)
// Weight decay is coupled.
struct Sgd {
  float lr = 0.01f;
  float momentum = 0;
  float dampening = 0;
  float weight_decay = 0;
  bool nesterov = false;
};

// m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  m' = m / (1 - beta1^t);
// v' = v / (1 - beta2^t);  w -= lr m' / (sqrt(v') + eps).  amsgrad: the largest v so far stands in for
// v in v'. Weight decay is coupled. D. Kingma and J. Ba, 2015; AMSGrad: S. Reddi et al., 2018.
struct Adam {
  float lr = 1e-3f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 0;
  bool amsgrad = false;
};

// Adam with decoupled weight decay. I. Loshchilov and F. Hutter, 2019.
struct AdamW {
  float lr = 1e-3f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 0.01f;
  bool amsgrad = false;
};

// s += g^2;  w -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps);  s starts at `initial`.
// Weight decay is coupled. J. Duchi, E. Hazan and Y. Singer, 2011.
struct Adagrad {
  float lr = 0.01f;
  float lr_decay = 0;
  float eps = 1e-10f;
  float initial = 0;
  float weight_decay = 0;
};

// s = rho s + (1 - rho) g^2;  u = sqrt(d + eps) / sqrt(s + eps) g;  d = rho d + (1 - rho) u^2;
// w -= lr u.  Weight decay is coupled. M. Zeiler, 2012.
struct Adadelta {
  float lr = 1;
  float rho = 0.9f;
  float eps = 1e-6f;
  float weight_decay = 0;
};

// v = alpha v + (1 - alpha) g^2;  u = g / (sqrt(v) + eps);  with momentum: b = momentum b + u, u = b;
// w -= lr u.  centered: m = alpha m + (1 - alpha) g, and v - m^2 stands in for v in u.
// Weight decay is coupled. T. Tieleman and G. Hinton, 2012; A. Graves, 2013 (centred).
struct RmsProp {
  float lr = 0.01f;
  float alpha = 0.99f;
  float eps = 1e-8f;
  float momentum = 0;
  float weight_decay = 0;
  bool centered = false;
};

// m as in Adam;  u = max(beta2 u, |g| + eps);  w -= lr / (1 - beta1^t) m / u.
// Weight decay is coupled. D. Kingma and J. Ba, 2015, section 7.
struct Adamax {
  float lr = 2e-3f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 0;
};

// m, v and v' as in Adam;  mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2), M_t = mu_1 … mu_t;
// w -= lr (mu_{t+1} m / (1 - M_{t+1}) + (1 - mu_t) g / (1 - M_t)) / (sqrt(v') + eps)
// Weight decay is coupled unless `decoupled`. T. Dozat, 2016.
struct NAdam {
  float lr = 2e-3f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float momentum_decay = 4e-3f;
  float weight_decay = 0;
  bool decoupled = false;
};

// m, v and m' as in Adam;  R = 2 / (1 - beta2) - 1;  r_t = R - 2 t beta2^t / (1 - beta2^t). Where r_t > 5:
// w -= lr m' sqrt(1 - beta2^t) / (sqrt(v) + eps) sqrt((r_t - 4) (r_t - 2) R / ((R - 4) (R - 2) r_t)),
// otherwise w -= lr m'.  Weight decay is coupled unless `decoupled`. L. Liu et al., 2020.
struct RAdam {
  float lr = 1e-3f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 0;
  bool decoupled = false;
};

// w -= lr (sign(beta1 m + (1 - beta1) g) + weight_decay w), then m = beta2 m + (1 - beta2) g;
// sign(0) = 0.  X. Chen et al., 2023.
struct Lion {
  float lr = 1e-4f;
  float beta1 = 0.9f;
  float beta2 = 0.99f;
  float weight_decay = 0;
};

// trust = trust_coefficient |w| / (|g| + weight_decay |w|), 1 where w or the divisor is 0;
// v = momentum v + lr trust (g + weight_decay w);  w -= v.  Every tensor is scaled, biases too.
// Y. You, I. Gitman and B. Ginsburg, 2017.
struct Lars {
  float lr = 1;
  float momentum = 0.9f;
  float trust_coefficient = 1e-3f;
  float weight_decay = 0;
};

// m' and v' as in Adam;  u = m' / (sqrt(v') + eps) + weight_decay w;  w -= lr |w| / |u| u, the ratio is
// 1 where w or u is 0.  Y. You et al., 2020.
struct Lamb {
  float lr = 1e-3f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-6f;
  float weight_decay = 0;
};

// For w as a matrix of `rows` filters: [K, C], and convolution filters as [K, C R S].
// m = momentum m + (1 - momentum) g;  u = nesterov ? (1 - momentum) g + momentum m : m;
// X = u / max(|u|, eps), then `ns_steps` times X = a X + (b A + c A A) X with A = X X^T, a, b, c = 3.4445,
// -4.7750, 2.0315 (transposed where it is taller than wide), which brings the singular values near 1;
// w = w (1 - lr weight_decay) - lr s X,  s = sqrt(max(1, rows / columns)), or with match_rms_adamw
// 0.2 sqrt(max(rows, columns)).  Parameters of rank 1 (biases, normalisation) are updated by AdamW with
// `adamw`, whose own lr takes the place of this one's under the same schedule. K. Jordan et al., 2024.
struct Muon {
  float lr = 0.02f;
  float momentum = 0.95f;
  float weight_decay = 0;
  float eps = 1e-7f;
  int32_t ns_steps = 5;
  bool nesterov = true;
  bool match_rms_adamw = false;
  AdamW adamw = {3e-4f, 0.9f, 0.95f, 1e-8f, 0.01f, false};
};

using Optimizer = std::variant<Sgd, Adam, AdamW, Adagrad, Adadelta, RmsProp, Adamax, NAdam, RAdam,
                               Lion, Lars, Lamb, Muon>;

// The base learning rate of an optimizer.
TANUL_API float learning_rate(const Optimizer& optimizer);

}  // namespace tanul
