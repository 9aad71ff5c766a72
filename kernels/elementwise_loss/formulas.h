// SPDX-License-Identifier: Apache-2.0
// The formulas of elementwise_loss.h and their derivatives by x, in double. For each loss:
//
//   value(x, t), slope(x, t)   with kHasPositiveWeight: value(x, t, p), slope(x, t, p)
//   kHit, kMiss                what t is for the class that an index names, and for the others
//   kPredicts, is_correct(x, t)   does an element make a prediction, and is it right?
//
// Finite for x of -1e4 to 1e4 in double (poisson_nll as far as exp(x) is), and without cancellation
// between terms of one sign.
#pragma once

#include <cmath>

#include "kernels/elementwise_loss/elementwise_loss.h"
#include "kernels/host_device.h"

namespace tanul::loss_formulas {

// log(1 + exp(x)) = -log s(-x)
TANUL_HOST_DEVICE inline double softplus(double x) {
  return (x > 0 ? x : 0) + std::log1p(std::exp(-std::abs(x)));
}
// 1 / (1 + exp(-x)), both tails to full relative precision
TANUL_HOST_DEVICE inline double logistic(double x) {
  const double e = std::exp(-std::abs(x));
  return (x >= 0 ? 1.0 : e) / (1 + e);
}
// 0 at 0, NaN for NaN
TANUL_HOST_DEVICE inline double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : x; }

struct OneHot {
  static constexpr double kHit = 1, kMiss = 0;
  static constexpr bool kHasPositiveWeight = false;
};

struct Regression : OneHot {
  static constexpr bool kPredicts = false;
  TANUL_HOST_DEVICE static bool is_correct(double, double) { return false; }
};

struct Mse : Regression {
  explicit Mse(const ElementwiseLossParams&) {}
  TANUL_HOST_DEVICE double value(double x, double t) const { return (x - t) * (x - t); }
  TANUL_HOST_DEVICE double slope(double x, double t) const { return 2 * (x - t); }
};

struct Mae : Regression {
  explicit Mae(const ElementwiseLossParams&) {}
  TANUL_HOST_DEVICE double value(double x, double t) const { return std::abs(x - t); }
  TANUL_HOST_DEVICE double slope(double x, double t) const { return sign(x - t); }
};

struct SmoothL1 : Regression {
  double beta;
  explicit SmoothL1(const ElementwiseLossParams& p) : beta(static_cast<double>(p.beta)) {}
  TANUL_HOST_DEVICE double value(double x, double t) const {
    const double d = std::abs(x - t);
    return d < beta ? d * d / (2 * beta) : d - beta / 2;
  }
  TANUL_HOST_DEVICE double slope(double x, double t) const {
    const double d = x - t;
    return std::abs(d) < beta ? d / beta : sign(d);
  }
};

struct Huber : Regression {
  double delta;
  explicit Huber(const ElementwiseLossParams& p) : delta(static_cast<double>(p.delta)) {}
  TANUL_HOST_DEVICE double value(double x, double t) const {
    const double d = std::abs(x - t);
    return d <= delta ? d * d / 2 : delta * (d - delta / 2);
  }
  TANUL_HOST_DEVICE double slope(double x, double t) const {
    const double d = x - t;
    return std::abs(d) <= delta ? d : delta * sign(d);
  }
};

struct BceLogits : OneHot {
  static constexpr bool kHasPositiveWeight = true;
  static constexpr bool kPredicts = true;
  explicit BceLogits(const ElementwiseLossParams&) {}
  TANUL_HOST_DEVICE double value(double x, double t, double p) const {
    return p * t * softplus(-x) + (1 - t) * softplus(x);
  }
  TANUL_HOST_DEVICE double slope(double x, double t, double p) const {
    return (1 - t) * logistic(x) - p * t * logistic(-x);
  }
  TANUL_HOST_DEVICE static bool is_correct(double x, double t) { return (x > 0) == (t > 0.5); }
};

struct Bce : OneHot {
  static constexpr bool kPredicts = true;
  explicit Bce(const ElementwiseLossParams&) {}
  TANUL_HOST_DEVICE static double capped(double log) { return log < -100 ? -100 : log; }
  TANUL_HOST_DEVICE double value(double x, double t) const {
    return -(t * capped(std::log(x)) + (1 - t) * capped(std::log1p(-x)));
  }
  TANUL_HOST_DEVICE double slope(double x, double t) const {
    const double spread = x * (1 - x);
    return (x - t) / (spread < 1e-12 ? 1e-12 : spread);
  }
  TANUL_HOST_DEVICE static bool is_correct(double x, double t) { return (x > 0.5) == (t > 0.5); }
};

struct KlDiv : Regression {
  bool log_target;
  explicit KlDiv(const ElementwiseLossParams& p) : log_target(p.log_target != 0) {}
  TANUL_HOST_DEVICE double value(double x, double t) const {
    if (log_target) return std::exp(t) * (t - x);
    return t == 0 ? 0 : t * (std::log(t) - x);
  }
  TANUL_HOST_DEVICE double slope(double, double t) const { return log_target ? -std::exp(t) : -t; }
};

struct Hinge {
  static constexpr double kHit = 1, kMiss = -1;
  static constexpr bool kHasPositiveWeight = false;
  static constexpr bool kPredicts = true;
  bool is_squared;
  explicit Hinge(const ElementwiseLossParams& p) : is_squared(p.is_squared != 0) {}
  TANUL_HOST_DEVICE double value(double x, double t) const {
    const double lack = 1 - t * x;
    if (lack < 0) return 0;
    return is_squared ? lack * lack : lack;
  }
  TANUL_HOST_DEVICE double slope(double x, double t) const {
    const double lack = 1 - t * x;
    if (lack <= 0) return 0;
    return is_squared ? -2 * t * lack : -t;
  }
  TANUL_HOST_DEVICE static bool is_correct(double x, double t) { return (x > 0) == (t > 0); }
};

struct Focal : OneHot {
  static constexpr bool kPredicts = true;
  double gamma;
  double positive, negative;  // alpha, 1 - alpha
  explicit Focal(const ElementwiseLossParams& p)
      : gamma(static_cast<double>(p.gamma)),
        positive(p.has_alpha != 0 ? static_cast<double>(p.alpha) : 1),
        negative(p.has_alpha != 0 ? 1 - static_cast<double>(p.alpha) : 1) {}
  // s(-x)^gamma (-log s(x)): the loss of a positive element.
  TANUL_HOST_DEVICE double miss(double x) const {
    return std::exp(-gamma * softplus(x)) * softplus(-x);
  }
  TANUL_HOST_DEVICE double miss_slope(double x) const {
    return -std::exp(-gamma * softplus(x)) * (gamma * logistic(x) * softplus(-x) + logistic(-x));
  }
  TANUL_HOST_DEVICE double value(double x, double t) const {
    return positive * t * miss(x) + negative * (1 - t) * miss(-x);
  }
  TANUL_HOST_DEVICE double slope(double x, double t) const {
    return positive * t * miss_slope(x) - negative * (1 - t) * miss_slope(-x);
  }
  TANUL_HOST_DEVICE static bool is_correct(double x, double t) { return (x > 0) == (t > 0.5); }
};

struct PoissonNll : Regression {
  bool log_input, is_full;
  double eps;
  explicit PoissonNll(const ElementwiseLossParams& p)
      : log_input(p.log_input != 0), is_full(p.is_full != 0), eps(static_cast<double>(p.eps)) {}
  TANUL_HOST_DEVICE double value(double x, double t) const {
    constexpr double kTwoPi = 6.283185307179586;
    const double rate = log_input ? std::exp(x) - t * x : x - t * std::log(x + eps);
    if (!is_full || !(t > 1)) return rate;
    return rate + t * std::log(t) - t + 0.5 * std::log(kTwoPi * t);
  }
  TANUL_HOST_DEVICE double slope(double x, double t) const {
    return log_input ? std::exp(x) - t : 1 - t / (x + eps);
  }
};

}  // namespace tanul::loss_formulas
