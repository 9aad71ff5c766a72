// SPDX-License-Identifier: Apache-2.0
// Softmax cross-entropy: the reference maths and error bounds.
#include "kernels/softmax_xent/softmax_xent.h"
#include "ops/cases.h"
#include "ops/loss_rules.h"

namespace tanul::test {

namespace {

// One position: log p, q, and whether it counts.
struct Position {
  std::vector<double> log_p, q;
  double q_sum = 0;
  double weight = 0;   // what the divisor of the mean gets
  double largest = 0;  // |z|
  bool is_ignored = false;
  bool is_correct = false;
};

Position position(const Params& params, const Tensors& in, const ClassScores& at, int64_t p) {
  const SoftmaxXentParams& options = params.as<SoftmaxXentParams>();
  const RefTensor& z = in[0];
  const double s = static_cast<double>(options.label_smoothing);
  const double C = static_cast<double>(at.C);
  const bool has_labels = in[1].dtype == DType::i32;
  Position here;
  here.is_ignored = has_labels && is_ignored(options.loss, in[1][p]);
  double max = z[at.index(p, 0)], sum = 0;
  for (int64_t c = 0; c < at.C; ++c) max = std::fmax(max, z[at.index(p, c)]);
  for (int64_t c = 0; c < at.C; ++c) sum += std::exp(z[at.index(p, c)] - max);
  const double t = has_labels ? in[1][p] : 0;
  const bool is_valid = !has_labels || (t >= 0 && t < C);
  for (int64_t c = 0; c < at.C; ++c) {
    const double v = is_present(in, 2) ? in[2][c] : 1;
    const double share =
        has_labels ? (static_cast<double>(c) == t ? 1.0 : 0.0) : in[1][at.index(p, c)];
    here.log_p.push_back(z[at.index(p, c)] - max - std::log(sum));
    here.q.push_back(is_valid ? v * ((1 - s) * share + s / C) : kNoNumber);
    here.q_sum += here.q.back();
    here.largest = std::fmax(here.largest, std::abs(z[at.index(p, c)]));
  }
  if (!is_valid) return here;
  here.weight = !has_labels ? 1 : is_present(in, 2) ? in[2][static_cast<int64_t>(t)] : 1;
  const int64_t wanted = has_labels ? static_cast<int64_t>(t) : at.arg_max(in[1], p);
  here.is_correct = at.arg_max(z, p) == wanted;
  return here;
}

Tensors forward(const Params& params, const Tensors& in, const RefContext&) {
  const ClassScores at(in[0].shape);
  RefTensor each(at.shape(in[0].shape));
  double divisor = 0, correct = 0, counted = 0;
  for (int64_t p = 0; p < at.positions(); ++p) {
    const Position here = position(params, in, at, p);
    if (here.is_ignored) continue;
    for (size_t c = 0; c < here.q.size(); ++c) {
      if (here.q[c] != 0) each[p] -= here.q[c] * here.log_p[c];
    }
    divisor += here.weight;
    correct += here.is_correct ? 1 : 0;
    ++counted;
  }
  return reduced(params, each, at.N, divisor, correct, counted);
}

Tensors backward(const Params& params, const Tensors& in, const RefContext&) {
  const ClassScores at(in[0].shape);
  RefTensor dz(in[0].shape);
  for (int64_t p = 0; p < at.positions(); ++p) {
    const Position here = position(params, in, at, p);
    if (here.is_ignored) continue;
    const double scale = loss_scale(params, in[3], p, at.N, in[4][1]);
    for (int64_t c = 0; c < at.C; ++c) {
      const size_t i = static_cast<size_t>(c);
      dz[at.index(p, c)] = scale * (here.q_sum * std::exp(here.log_p[i]) - here.q[i]);
    }
  }
  return {dz};
}

// log p rounds at the size of the logits and of log C; the sum of C exponentials has a relative error
// of C u; the sum over q adds its own.
Bounds forward_bounds(const BoundArgs& args) {
  const ClassScores at(args.in[0].shape);
  const double C = static_cast<double>(at.C);
  std::vector<double> errors;
  for (int64_t p = 0; p < at.positions(); ++p) {
    const Position here = position(args.params, args.in, at, p);
    errors.push_back(
        here.is_ignored ? 0 : here.q_sum * kU * (4 * here.largest + 2 * C + 8) + kSmallest);
  }
  const RefTensor each =
      single_losses(OpKind::softmax_xent_fwd, args.params, args.in, args.context);
  return reduced_bounds(args, each, errors);
}

// dz = scale (q_sum p - q): p has a relative error of C u (the sum) plus the absolute error u |z - max|
// of the exponent, which beyond 104 has underflowed anyway.
Bounds backward_bounds(const BoundArgs& args) {
  const Tensors& in = args.in;
  const ClassScores at(in[0].shape);
  std::vector<double> bound(static_cast<size_t>(in[0].elems()), 0.0);
  for (int64_t p = 0; p < at.positions(); ++p) {
    const Position here = position(args.params, in, at, p);
    if (here.is_ignored) continue;
    const double scale = std::abs(loss_scale(args.params, in[3], p, at.N, in[4][1]));
    const double top = *std::max_element(here.log_p.begin(), here.log_p.end());
    for (int64_t c = 0; c < at.C; ++c) {
      const double log_p = here.log_p[static_cast<size_t>(c)];
      const double distance = std::fmin(top - log_p, 104.0);
      bound[static_cast<size_t>(at.index(p, c))] =
          scale * here.q_sum * kU * std::exp(log_p) * (static_cast<double>(at.C) + 8 + distance) +
          4 * kU * std::abs(args.want[0][at.index(p, c)]) + (1 + scale) * kSmallest;
    }
  }
  return {bound};
}

}  // namespace

std::vector<Rule> softmax_xent_rules() {
  return {{OpKind::softmax_xent_fwd, forward, forward_bounds},
          {OpKind::softmax_xent_bwd, backward, backward_bounds}};
}

}  // namespace tanul::test
