// SPDX-License-Identifier: Apache-2.0
// The maths of the optimizers beyond SGD and Adam, element by element or a tensor at a time, from
// their formulas in include/tanul/optim.h.
#include <algorithm>
#include <cmath>

#include "kernels/optim/optim.h"
#include "ops/cases.h"
#include "ops/loss_scaled.h"

namespace tanul::test {

namespace {

double wide(float value) { return static_cast<double>(value); }

double clip_of(const Tensors& in, size_t i) { return is_present(in, i) ? in[i][1] : 1; }

// What every update begins with.
struct Begin {
  double lr, t;
  template <typename P>
  Begin(const P& p, const RefContext& context)
      : lr(wide(context.lr) * wide(p.lr_scale)), t(static_cast<double>(context.step) + 1) {}
};

double norm_of(const RefTensor& x) {
  double sum = 0;
  for (double value : x.v) sum += value * value;
  return std::sqrt(sum);
}

// The scaled gradient, with weight_decay w where that is coupled.
RefTensor gradient_of(const Tensors& in, size_t clip, double weight_decay) {
  RefTensor g = in[1];
  for (int64_t i = 0; i < g.elems(); ++i) {
    g[i] = clip_of(in, clip) * g[i] + weight_decay * in[0][i];
  }
  return g;
}

Tensors adagrad(const Params& params, const Tensors& in, const RefContext& context) {
  const auto& p = params.as<AdagradParams>();
  const Begin at(p, context);
  const RefTensor g = gradient_of(in, 3, wide(p.weight_decay));
  RefTensor w = in[0], s = in[2];
  for (int64_t i = 0; i < w.elems(); ++i) {
    s[i] += g[i] * g[i];
    w[i] -= at.lr / (1 + (at.t - 1) * wide(p.lr_decay)) * g[i] / (std::sqrt(s[i]) + wide(p.eps));
  }
  return {w, s};
}

Tensors adadelta(const Params& params, const Tensors& in, const RefContext& context) {
  const auto& p = params.as<AdadeltaParams>();
  const Begin at(p, context);
  const double rho = wide(p.rho), eps = wide(p.eps);
  const RefTensor g = gradient_of(in, 4, wide(p.weight_decay));
  RefTensor w = in[0], s = in[2], d = in[3];
  for (int64_t i = 0; i < w.elems(); ++i) {
    s[i] = rho * s[i] + (1 - rho) * g[i] * g[i];
    const double u = std::sqrt((d[i] + eps) / (s[i] + eps)) * g[i];
    d[i] = rho * d[i] + (1 - rho) * u * u;
    w[i] -= at.lr * u;
  }
  return {w, s, d};
}

Tensors rmsprop(const Params& params, const Tensors& in, const RefContext& context) {
  const auto& p = params.as<RmsPropParams>();
  const Begin at(p, context);
  const double alpha = wide(p.alpha);
  const RefTensor g = gradient_of(in, 5, wide(p.weight_decay));
  RefTensor w = in[0], v = in[2];
  RefTensor m = is_present(in, 3) ? in[3] : RefTensor::absent();
  RefTensor b = is_present(in, 4) ? in[4] : RefTensor::absent();
  for (int64_t i = 0; i < w.elems(); ++i) {
    v[i] = alpha * v[i] + (1 - alpha) * g[i] * g[i];
    double variance = v[i];
    if (m.present) {
      m[i] = alpha * m[i] + (1 - alpha) * g[i];
      variance = std::max(0.0, v[i] - m[i] * m[i]);
    }
    double u = g[i] / (std::sqrt(variance) + wide(p.eps));
    if (b.present) u = b[i] = wide(p.momentum) * b[i] + u;
    w[i] -= at.lr * u;
  }
  return {w, v, m, b};
}

Tensors adamax(const Params& params, const Tensors& in, const RefContext& context) {
  const auto& p = params.as<AdamaxParams>();
  const Begin at(p, context);
  const double beta1 = wide(p.beta1);
  const RefTensor g = gradient_of(in, 4, wide(p.weight_decay));
  RefTensor w = in[0], m = in[2], u = in[3];
  for (int64_t i = 0; i < w.elems(); ++i) {
    m[i] = beta1 * m[i] + (1 - beta1) * g[i];
    u[i] = std::max(wide(p.beta2) * u[i], std::abs(g[i]) + wide(p.eps));
    w[i] -= at.lr / (1 - std::pow(beta1, at.t)) * m[i] / u[i];
  }
  return {w, m, u};
}

// Moves m and v of the Adam family on by g.
void move_moments(double beta1, double beta2, double g, double& m, double& v) {
  m = beta1 * m + (1 - beta1) * g;
  v = beta2 * v + (1 - beta2) * g * g;
}

Tensors nadam(const Params& params, const Tensors& in, const RefContext& context) {
  const auto& p = params.as<NAdamParams>();
  const Begin at(p, context);
  const double beta1 = wide(p.beta1), beta2 = wide(p.beta2), decay = wide(p.weight_decay);
  const auto mu = [&](double t) {
    return beta1 * (1 - 0.5 * std::pow(0.96, t * wide(p.momentum_decay)));
  };
  double product = 1;
  for (double t = 1; t <= at.t; ++t) product *= mu(t);
  const RefTensor g = gradient_of(in, 4, p.decoupled != 0 ? 0 : decay);
  RefTensor w = in[0], m = in[2], v = in[3];
  for (int64_t i = 0; i < w.elems(); ++i) {
    if (p.decoupled != 0) w[i] *= 1 - at.lr * decay;
    move_moments(beta1, beta2, g[i], m[i], v[i]);
    const double ahead =
        mu(at.t + 1) * m[i] / (1 - product * mu(at.t + 1)) + (1 - mu(at.t)) * g[i] / (1 - product);
    w[i] -= at.lr * ahead / (std::sqrt(v[i] / (1 - std::pow(beta2, at.t))) + wide(p.eps));
  }
  return {w, m, v};
}

Tensors radam(const Params& params, const Tensors& in, const RefContext& context) {
  const auto& p = params.as<RAdamParams>();
  const Begin at(p, context);
  const double beta1 = wide(p.beta1), beta2 = wide(p.beta2), decay = wide(p.weight_decay);
  const double R = 2 / (1 - beta2) - 1;
  const double r = R - 2 * at.t * std::pow(beta2, at.t) / (1 - std::pow(beta2, at.t));
  const RefTensor g = gradient_of(in, 4, p.decoupled != 0 ? 0 : decay);
  RefTensor w = in[0], m = in[2], v = in[3];
  for (int64_t i = 0; i < w.elems(); ++i) {
    if (p.decoupled != 0) w[i] *= 1 - at.lr * decay;
    move_moments(beta1, beta2, g[i], m[i], v[i]);
    const double m_hat = m[i] / (1 - std::pow(beta1, at.t));
    double scale = 1;
    if (r > 5) {
      scale = std::sqrt(1 - std::pow(beta2, at.t)) / (std::sqrt(v[i]) + wide(p.eps)) *
              std::sqrt((r - 4) * (r - 2) * R / ((R - 4) * (R - 2) * r));
    }
    w[i] -= at.lr * m_hat * scale;
  }
  return {w, m, v};
}

Tensors lion(const Params& params, const Tensors& in, const RefContext& context) {
  const auto& p = params.as<LionParams>();
  const Begin at(p, context);
  const double beta1 = wide(p.beta1), beta2 = wide(p.beta2);
  const RefTensor g = gradient_of(in, 3, 0);
  RefTensor w = in[0], m = in[2];
  for (int64_t i = 0; i < w.elems(); ++i) {
    const double c = beta1 * m[i] + (1 - beta1) * g[i];
    const double sign = c > 0 ? 1 : c < 0 ? -1 : 0;
    w[i] -= at.lr * (sign + wide(p.weight_decay) * w[i]);
    m[i] = beta2 * m[i] + (1 - beta2) * g[i];
  }
  return {w, m};
}

Tensors lars(const Params& params, const Tensors& in, const RefContext& context) {
  const auto& p = params.as<LarsParams>();
  const Begin at(p, context);
  const double decay = wide(p.weight_decay);
  const double w_norm = norm_of(in[0]), g_norm = norm_of(gradient_of(in, 3, 0));
  const double divisor = g_norm + decay * w_norm;
  const double trust = w_norm > 0 && divisor > 0 ? wide(p.trust_coefficient) * w_norm / divisor : 1;
  const RefTensor g = gradient_of(in, 3, decay);
  RefTensor w = in[0], v = in[2];
  for (int64_t i = 0; i < w.elems(); ++i) {
    v[i] = wide(p.momentum) * v[i] + at.lr * trust * g[i];
    w[i] -= v[i];
  }
  return {w, v};
}

Tensors lamb(const Params& params, const Tensors& in, const RefContext& context) {
  const auto& p = params.as<LambParams>();
  const Begin at(p, context);
  const double beta1 = wide(p.beta1), beta2 = wide(p.beta2);
  const RefTensor g = gradient_of(in, 4, 0);
  RefTensor w = in[0], m = in[2], v = in[3], u = in[0];
  for (int64_t i = 0; i < w.elems(); ++i) {
    move_moments(beta1, beta2, g[i], m[i], v[i]);
    u[i] = m[i] / (1 - std::pow(beta1, at.t)) /
               (std::sqrt(v[i] / (1 - std::pow(beta2, at.t))) + wide(p.eps)) +
           wide(p.weight_decay) * w[i];
  }
  const double w_norm = norm_of(w), u_norm = norm_of(u);
  const double ratio = w_norm > 0 && u_norm > 0 ? w_norm / u_norm : 1;
  for (int64_t i = 0; i < w.elems(); ++i) w[i] -= at.lr * ratio * u[i];
  return {w, m, v};
}

// --- Muon -------------------------------------------------------------------------------------------

struct Matrix {
  int64_t rows = 0, columns = 0;
  std::vector<double> v;
  Matrix(int64_t r, int64_t c) : rows(r), columns(c), v(static_cast<size_t>(r * c), 0.0) {}
  double& at(int64_t i, int64_t j) { return v[static_cast<size_t>(i * columns + j)]; }
  double at(int64_t i, int64_t j) const { return v[static_cast<size_t>(i * columns + j)]; }
  double norm() const {
    double sum = 0;
    for (double x : v) sum += x * x;
    return std::sqrt(sum);
  }
};

Matrix times(const Matrix& a, const Matrix& b) {
  Matrix c(a.rows, b.columns);
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t k = 0; k < a.columns; ++k) {
      for (int64_t j = 0; j < b.columns; ++j) c.at(i, j) += a.at(i, k) * b.at(k, j);
    }
  }
  return c;
}

Matrix transposed(const Matrix& a) {
  Matrix t(a.columns, a.rows);
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t j = 0; j < a.columns; ++j) t.at(j, i) = a.at(i, j);
  }
  return t;
}

// The iteration, and a bound of what float makes of it in the Frobenius norm. With singular values s up
// to 1.2024 (the largest value of the polynomial on 0 … 1.2024), an error of X grows by at most
// max |a + 3 b s^2 + 5 c s^4| = 3.97 a step; a product over n terms of float matrices adds at most
// (n + 2) u times the product of their norms.
struct NewtonSchulz {
  Matrix x;
  double error;
};

NewtonSchulz newton_schulz(Matrix x, double eps, int steps) {
  constexpr double a = 3.4445, b = -4.7750, c = 2.0315, kLargest = 1.2024, kGrowth = 3.97;
  const bool is_tall = x.rows > x.columns;
  if (is_tall) x = transposed(x);
  const double scale = 1 / std::max(x.norm(), eps);
  for (double& value : x.v) value *= scale;
  double error = 3 * kU * x.norm() + kSmallest;  // u as float, its quotient
  const double n = static_cast<double>(x.columns), r = static_cast<double>(x.rows);
  for (int step = 0; step < steps; ++step) {
    const Matrix A = times(x, transposed(x));
    const Matrix AA = times(A, A);
    Matrix B = A;
    for (size_t i = 0; i < B.v.size(); ++i) B.v[i] = b * A.v[i] + c * AA.v[i];
    const Matrix Bx = times(B, x);
    const double of_A = (n + 2) * kU * x.norm() * x.norm();
    const double of_B = (std::abs(b) + 2 * c * kLargest * kLargest) * of_A +
                        (r + 4) * kU * (std::abs(b) * A.norm() + c * A.norm() * A.norm());
    error = kGrowth * error + kLargest * of_B + (r + 4) * kU * (a + B.norm()) * x.norm();
    for (size_t i = 0; i < x.v.size(); ++i) x.v[i] = a * x.v[i] + Bx.v[i];
  }
  return {is_tall ? transposed(x) : x, error};
}

struct MuonStep {
  RefTensor w, m;
  double w_error;  // what the iteration adds
};

MuonStep muon_step(const Params& params, const Tensors& in, const RefContext& context) {
  const auto& p = params.as<MuonParams>();
  const Begin at(p, context);
  const double momentum = wide(p.momentum);
  const RefTensor g = gradient_of(in, 3, 0);
  RefTensor w = in[0], m = in[2];
  const int64_t rows = w.shape[0], columns = w.elems() / rows;
  Matrix u(rows, columns);
  for (int64_t i = 0; i < w.elems(); ++i) {
    m[i] = momentum * m[i] + (1 - momentum) * g[i];
    u.v[static_cast<size_t>(i)] = p.nesterov != 0 ? (1 - momentum) * g[i] + momentum * m[i] : m[i];
  }
  const NewtonSchulz orthogonal = newton_schulz(u, wide(p.eps), p.ns_steps);
  const double tall = static_cast<double>(rows) / static_cast<double>(columns);
  const double size = p.match_rms_adamw != 0
                          ? 0.2 * std::sqrt(static_cast<double>(std::max(rows, columns)))
                          : std::sqrt(std::max(1.0, tall));
  for (int64_t i = 0; i < w.elems(); ++i) {
    w[i] = w[i] * (1 - at.lr * wide(p.weight_decay)) -
           at.lr * size * orthogonal.x.v[static_cast<size_t>(i)];
  }
  return {w, m, at.lr * size * orthogonal.error};
}

Tensors muon(const Params& params, const Tensors& in, const RefContext& context) {
  MuonStep step = muon_step(params, in, context);
  return {step.w, step.m};
}

// --- bounds -----------------------------------------------------------------------------------------

// Computed in double and rounded once, to u of itself. Besides, doubles that were added in another order:
// norms over n elements and a few operations, at the size of the terms: what was there, and what came
// to it. `pairs`: the input that an output replaces.
Bounds rounded_once(const BoundArgs& a, const std::vector<size_t>& replaced) {
  const double slack = (64 + static_cast<double>(a.in[0].elems())) * 0x1p-53;
  Bounds bounds(a.want.size());
  for (size_t k = 0; k < a.want.size(); ++k) {
    if (!a.want[k].present) continue;
    for (int64_t i = 0; i < a.want[k].elems(); ++i) {
      const double to = std::abs(a.want[k][i]), from = std::abs(a.in[replaced[k]][i]);
      bounds[k].push_back(1.000001 * kU * to + slack * (to + from) + kSmallest);
    }
  }
  return bounds;
}

Bounds one_state(const BoundArgs& a) { return rounded_once(a, {0, 2}); }
Bounds two_states(const BoundArgs& a) { return rounded_once(a, {0, 2, 3}); }
Bounds three_states(const BoundArgs& a) { return rounded_once(a, {0, 2, 3, 4}); }

Bounds muon_bounds(const BoundArgs& a) {
  Bounds bounds = rounded_once(a, {0, 2});
  const double more = muon_step(a.params, a.in, a.context).w_error;
  for (double& bound : bounds[0]) bound += more;
  return bounds;
}

template <ReferenceOf kOf, BoundsOf kBounds, size_t kClip>
Rule rule(OpKind kind) {
  return {kind, loss_scaled<kOf, kClip>, loss_scaled_bounds<kBounds, kClip>};
}

}  // namespace

std::vector<Rule> adaptive_rules() {
  return {
      rule<adagrad, one_state, 3>(OpKind::adagrad_update),
      rule<adadelta, two_states, 4>(OpKind::adadelta_update),
      rule<rmsprop, three_states, 5>(OpKind::rmsprop_update),
      rule<adamax, two_states, 4>(OpKind::adamax_update),
      rule<nadam, two_states, 4>(OpKind::nadam_update),
      rule<radam, two_states, 4>(OpKind::radam_update),
      rule<lion, one_state, 3>(OpKind::lion_update),
      rule<lars, one_state, 3>(OpKind::lars_update),
      rule<lamb, two_states, 4>(OpKind::lamb_update),
      rule<muon, muon_bounds, 3>(OpKind::muon_update),
  };
}

}  // namespace tanul::test
