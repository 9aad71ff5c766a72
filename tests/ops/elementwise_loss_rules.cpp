// SPDX-License-Identifier: Apache-2.0
// Element-wise losses: the reference maths, written from elementwise_loss.h, and error bounds.
#include "kernels/elementwise_loss/elementwise_loss.h"
#include "ops/cases.h"
#include "ops/loss_rules.h"

namespace tanul::test {

namespace {

// A number and what its rounding errors are measured by: the sum of its terms without their signs.
struct Number {
  double value = 0;
  double terms = 0;
};

Number operator+(Number a, Number b) { return {a.value + b.value, a.terms + b.terms}; }
Number term(double value) { return {value, std::abs(value)}; }
// An exponential: its relative error is that of its argument.
Number exponential(double x) { return {std::exp(x), std::exp(x) * (1 + std::abs(x))}; }
Number times(double factor, Number n) { return {factor * n.value, std::abs(factor) * n.terms}; }

double log_sigmoid(double x) {
  return x > 0 ? -std::log1p(std::exp(-x)) : x - std::log1p(std::exp(x));
}
double sigmoid(double x) { return std::exp(log_sigmoid(x)); }
double sign_of(double d) { return d > 0 ? 1 : d < 0 ? -1 : d; }

// s(-x)^gamma: a power rounds by as many u as its logarithm.
Number focal_factor(double gamma, double x) { return exponential(gamma * log_sigmoid(-x)); }

Number value(OpKind kind, const ElementwiseLossParams& p, double x, double t, double positive) {
  const double d = x - t;
  switch (kind) {
    case OpKind::mse_fwd: return term(d * d);
    case OpKind::mae_fwd: return term(std::abs(d));
    case OpKind::smooth_l1_fwd: {
      const double beta = static_cast<double>(p.beta);
      return std::abs(d) < beta ? term(d * d / (2 * beta)) : term(std::abs(d)) + term(-beta / 2);
    }
    case OpKind::huber_fwd: {
      const double delta = static_cast<double>(p.delta);
      if (std::abs(d) <= delta) return term(d * d / 2);
      return term(delta * std::abs(d)) + term(-delta * delta / 2);
    }
    case OpKind::bce_logits_fwd:
      return term(-positive * t * log_sigmoid(x)) + term(-(1 - t) * log_sigmoid(-x));
    case OpKind::bce_fwd: {
      const double log_x = std::log(x), log_rest = std::log1p(-x);
      return term(-t * (log_x < -100 ? -100 : log_x)) +
             term(-(1 - t) * (log_rest < -100 ? -100 : log_rest));
    }
    case OpKind::kl_div_fwd:
      if (p.log_target != 0) {
        return times(t, exponential(t)) + times(-x, exponential(t));
      }
      return t == 0 ? Number{} : term(t * std::log(t)) + term(-t * x);
    case OpKind::hinge_fwd: {
      const double lack = 1 - t * x;
      if (lack < 0) return {0, 1 + std::abs(t * x)};
      const double size = 1 + std::abs(t * x);
      return p.is_squared != 0 ? Number{lack * lack, lack * size} : Number{lack, size};
    }
    case OpKind::focal_fwd: {
      const double gamma = static_cast<double>(p.gamma), alpha = static_cast<double>(p.alpha);
      const double a = p.has_alpha != 0 ? alpha : 1, b = p.has_alpha != 0 ? 1 - alpha : 1;
      return times(-a * t * log_sigmoid(x), focal_factor(gamma, x)) +
             times(-b * (1 - t) * log_sigmoid(-x), focal_factor(gamma, -x));
    }
    case OpKind::poisson_nll_fwd: {
      Number sum;
      if (p.log_input != 0) {
        sum = exponential(x) + term(-t * x);
      } else {
        sum = term(x) + term(-t * std::log(x + static_cast<double>(p.eps))) + Number{0, t};
      }
      if (p.is_full == 0 || !(t > 1)) return sum;
      return sum + term(t * std::log(t)) + term(-t) + term(std::log(2 * M_PI * t) / 2);
    }
    default: return {kNoNumber, 0};
  }
}

// The derivative of value() by x; `kind` is the forward step's.
Number slope(OpKind kind, const ElementwiseLossParams& p, double x, double t, double positive) {
  const double d = x - t;
  switch (kind) {
    case OpKind::mse_fwd: return term(2 * d);
    case OpKind::mae_fwd: return term(sign_of(d));
    case OpKind::smooth_l1_fwd: {
      const double beta = static_cast<double>(p.beta);
      return term(std::abs(d) < beta ? d / beta : sign_of(d));
    }
    case OpKind::huber_fwd: {
      const double delta = static_cast<double>(p.delta);
      return term(std::abs(d) <= delta ? d : delta * sign_of(d));
    }
    case OpKind::bce_logits_fwd:
      return term(-positive * t * sigmoid(-x)) + term((1 - t) * sigmoid(x));
    case OpKind::bce_fwd: return term(d / std::fmax(x * (1 - x), 1e-12));
    case OpKind::kl_div_fwd: return p.log_target != 0 ? times(-1, exponential(t)) : term(-t);
    case OpKind::hinge_fwd: {
      const double lack = 1 - t * x;
      if (lack <= 0) return {};
      if (p.is_squared == 0) return term(-t);
      return {-2 * t * lack, 2 * std::abs(t) * (1 + std::abs(t * x))};
    }
    case OpKind::focal_fwd: {
      const double gamma = static_cast<double>(p.gamma), alpha = static_cast<double>(p.alpha);
      const double a = p.has_alpha != 0 ? alpha : 1, b = p.has_alpha != 0 ? 1 - alpha : 1;
      // d/dx -s(-x)^g log s(x) = s(-x)^g (g s(x) log s(x) - s(-x))
      const Number up = times(gamma * sigmoid(x) * log_sigmoid(x), focal_factor(gamma, x)) +
                        times(-sigmoid(-x), focal_factor(gamma, x));
      const Number down = times(-gamma * sigmoid(-x) * log_sigmoid(-x), focal_factor(gamma, -x)) +
                          times(sigmoid(x), focal_factor(gamma, -x));
      return times(a * t, up) + times(b * (1 - t), down);
    }
    case OpKind::poisson_nll_fwd:
      if (p.log_input != 0) {
        return exponential(x) + term(-t);
      }
      return term(1) + term(-t / (x + static_cast<double>(p.eps)));
    default: return {kNoNumber, 0};
  }
}

enum class Decision { none, score, probability, sign };
Decision decision(OpKind kind) {
  switch (kind) {
    case OpKind::bce_logits_fwd:
    case OpKind::focal_fwd: return Decision::score;
    case OpKind::bce_fwd: return Decision::probability;
    case OpKind::hinge_fwd: return Decision::sign;
    default: return Decision::none;
  }
}

// One element: its target as a number, its weights.
struct Element {
  double t, weight, positive;
};
Element element(OpKind kind, const Tensors& in, const ClassScores& at, int64_t i) {
  const int64_t c = i / at.S % at.C, p = i / (at.C * at.S) * at.S + i % at.S;
  const auto weight = [&](size_t operand) {
    if (!is_present(in, operand)) return 1.0;
    return in[operand].elems() == in[0].elems() ? in[operand][i] : in[operand][c];
  };
  Element e{0, weight(2), weight(3)};
  if (in[1].dtype != DType::i32) {
    e.t = in[1][i];
  } else if (in[1][p] < 0 || in[1][p] >= static_cast<double>(at.C)) {
    e.t = kNoNumber;
  } else {
    e.t = in[1][p] == static_cast<double>(c) ? 1 : kind == OpKind::hinge_fwd ? -1 : 0;
  }
  return e;
}

template <OpKind kKind>
Tensors forward(const Params& params, const Tensors& in, const RefContext&) {
  const ElementwiseLossParams& options = params.as<ElementwiseLossParams>();
  const ClassScores at(in[0].shape);
  RefTensor each(in[0].shape);
  double correct = 0, counted = 0;
  for (int64_t i = 0; i < each.elems(); ++i) {
    const Element e = element(kKind, in, at, i);
    const double x = in[0][i];
    each[i] = e.weight * value(kKind, options, x, e.t, e.positive).value;
    switch (decision(kKind)) {
      case Decision::none: break;
      case Decision::score: correct += (x > 0) == (e.t > 0.5); break;
      case Decision::probability: correct += (x > 0.5) == (e.t > 0.5); break;
      case Decision::sign: correct += (x > 0) == (e.t > 0); break;
    }
  }
  counted = static_cast<double>(decision(kKind) == Decision::none ? at.N : each.elems());
  if (in[1].dtype == DType::i32) {
    correct = 0;
    counted = static_cast<double>(at.positions());
    for (int64_t p = 0; p < at.positions(); ++p) {
      correct += static_cast<double>(at.arg_max(in[0], p)) == in[1][p] ? 1 : 0;
    }
  }
  return reduced(params, each, at.N, static_cast<double>(each.elems()), correct, counted);
}

template <OpKind kKind>
Tensors backward(const Params& params, const Tensors& in, const RefContext&) {
  const ClassScores at(in[0].shape);
  RefTensor dx(in[0].shape);
  for (int64_t i = 0; i < dx.elems(); ++i) {
    const Element e = element(kKind, in, at, i);
    const double scale = loss_scale(params, in[4], i, at.N, static_cast<double>(dx.elems()));
    dx[i] = scale * e.weight *
            slope(kKind, params.as<ElementwiseLossParams>(), in[0][i], e.t, e.positive).value;
  }
  return {dx};
}

// A few units in the last place of the terms.
template <OpKind kKind>
Bounds forward_bounds(const BoundArgs& args) {
  const ClassScores at(args.in[0].shape);
  std::vector<double> errors;
  for (int64_t i = 0; i < args.in[0].elems(); ++i) {
    const Element e = element(kKind, args.in, at, i);
    const Number n =
        value(kKind, args.params.as<ElementwiseLossParams>(), args.in[0][i], e.t, e.positive);
    errors.push_back(kTranscendental * std::abs(e.weight) * n.terms + kSmallest);
  }
  return reduced_bounds(args, single_losses(kKind, args.params, args.in, args.context), errors);
}

template <OpKind kKind>
Bounds backward_bounds(const BoundArgs& args) {
  const Tensors& in = args.in;
  const ClassScores at(in[0].shape);
  std::vector<double> bound;
  for (int64_t i = 0; i < in[0].elems(); ++i) {
    const Element e = element(kKind, in, at, i);
    const double scale =
        loss_scale(args.params, in[4], i, at.N, static_cast<double>(in[0].elems()));
    const Number n =
        slope(kKind, args.params.as<ElementwiseLossParams>(), in[0][i], e.t, e.positive);
    bound.push_back(kTranscendental * std::abs(scale * e.weight) * n.terms +
                    (1 + std::abs(scale)) * kSmallest);
  }
  return {bound};
}

template <OpKind kForward, OpKind kBackward>
void add_rules(std::vector<Rule>& rules) {
  rules.push_back({kForward, forward<kForward>, forward_bounds<kForward>});
  rules.push_back({kBackward, backward<kForward>, backward_bounds<kForward>});
}

}  // namespace

std::vector<Rule> elementwise_loss_rules() {
  std::vector<Rule> rules;
  add_rules<OpKind::mse_fwd, OpKind::mse_bwd>(rules);
  add_rules<OpKind::mae_fwd, OpKind::mae_bwd>(rules);
  add_rules<OpKind::smooth_l1_fwd, OpKind::smooth_l1_bwd>(rules);
  add_rules<OpKind::huber_fwd, OpKind::huber_bwd>(rules);
  add_rules<OpKind::bce_logits_fwd, OpKind::bce_logits_bwd>(rules);
  add_rules<OpKind::bce_fwd, OpKind::bce_bwd>(rules);
  add_rules<OpKind::kl_div_fwd, OpKind::kl_div_bwd>(rules);
  add_rules<OpKind::hinge_fwd, OpKind::hinge_bwd>(rules);
  add_rules<OpKind::focal_fwd, OpKind::focal_bwd>(rules);
  add_rules<OpKind::poisson_nll_fwd, OpKind::poisson_nll_bwd>(rules);
  return rules;
}

}  // namespace tanul::test
