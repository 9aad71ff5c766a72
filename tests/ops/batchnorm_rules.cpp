// SPDX-License-Identifier: Apache-2.0
// Batch normalisation: the formulas of kernels/batchnorm/batchnorm.h in double, and error bounds.
#include <algorithm>
#include <cmath>

#include "kernels/batchnorm/batchnorm.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

constexpr double kU53 = 0x1p-53;  // half the distance of 1 and the next double

// The channel of each element, and what a channel has.
struct Channels {
  int64_t C, inner;
  double count;

  explicit Channels(const RefTensor& x)
      : C(x.shape[1]),
        inner(x.shape.rank() > 2 ? x.shape.elems_from(2) : 1),
        count(static_cast<double>(x.elems() / C)) {}
  int64_t of(int64_t i) const { return i / inner % C; }
};

double at_or(const Tensors& in, size_t operand, int64_t c, double otherwise) {
  return is_present(in, operand) ? in[operand][c] : otherwise;
}

// Mean and biased variance of each channel, in two passes.
Tensors moments(const RefTensor& x) {
  const Channels channels(x);
  RefTensor mean({channels.C}), var({channels.C});
  for (int64_t i = 0; i < x.elems(); ++i) mean[channels.of(i)] += x[i] / channels.count;
  for (int64_t i = 0; i < x.elems(); ++i) {
    const double d = x[i] - mean[channels.of(i)];
    var[channels.of(i)] += d * d / channels.count;
  }
  return {mean, var};
}

// in: x, gamma?, beta?
RefTensor normalized(const Params& params, const Tensors& in, const RefTensor& mean,
                     const RefTensor& var) {
  const BatchNormParams& p = params.as<BatchNormParams>();
  const RefTensor& x = in[0];
  const Channels channels(x);
  RefTensor y(x.shape);
  for (int64_t i = 0; i < x.elems(); ++i) {
    const int64_t c = channels.of(i);
    const double x_hat = (x[i] - mean[c]) / std::sqrt(var[c] + p.eps);
    y[i] = at_or(in, 1, c, 1) * x_hat + at_or(in, 2, c, 0);
    if (p.activation == ActivationKind::relu && y[i] < 0) y[i] = 0;
  }
  return y;
}

Tensors fwd(const Params& params, const Tensors& in, const RefContext&) {
  const Tensors statistics = moments(in[0]);
  return {normalized(params, in, statistics[0], statistics[1]), statistics[0], statistics[1]};
}

Tensors eval_fwd(const Params& params, const Tensors& in, const RefContext&) {
  return {normalized(params, in, in[3], in[4])};
}

// The gradient behind the relu, and x_hat: in: dy, x, gamma?, beta?, mean, var.
struct Backward {
  RefTensor g, x_hat;
  std::vector<double> inv_std;

  Backward(const Params& params, const Tensors& in) : g(in[1].shape), x_hat(in[1].shape) {
    const BatchNormParams& p = params.as<BatchNormParams>();
    const Channels channels(in[1]);
    for (double v : in[5].v) inv_std.push_back(1 / std::sqrt(v + p.eps));
    for (int64_t i = 0; i < g.elems(); ++i) {
      const int64_t c = channels.of(i);
      x_hat[i] = (in[1][i] - in[4][c]) * inv_std[static_cast<size_t>(c)];
      const double y = at_or(in, 2, c, 1) * x_hat[i] + at_or(in, 3, c, 0);
      g[i] = p.activation != ActivationKind::relu || y > 0 ? in[0][i] : 0;
    }
  }
};

template <bool kStatistics>
Tensors bwd(const Params& params, const Tensors& in, const RefContext&) {
  const Backward b(params, in);
  const Channels channels(in[1]);
  RefTensor dx(in[1].shape), dgamma({channels.C}), dbeta({channels.C});
  for (int64_t i = 0; i < dx.elems(); ++i) {
    dbeta[channels.of(i)] += b.g[i];
    dgamma[channels.of(i)] += b.g[i] * b.x_hat[i];
  }
  for (int64_t i = 0; i < dx.elems(); ++i) {
    const int64_t c = channels.of(i);
    const double inner = kStatistics ? (dbeta[c] + b.x_hat[i] * dgamma[c]) / channels.count : 0;
    dx[i] = at_or(in, 2, c, 1) * b.inv_std[static_cast<size_t>(c)] * (b.g[i] - inner);
  }
  return {dx, is_present(in, 2) ? dgamma : RefTensor::absent(),
          is_present(in, 3) ? dbeta : RefTensor::absent()};
}

Tensors stats_update(const Params& params, const Tensors& in, const RefContext&) {
  const BatchNormStatsParams& p = params.as<BatchNormStatsParams>();
  const auto n = static_cast<double>(p.count);
  RefTensor mean = in[0], var = in[2];
  for (int64_t c = 0; c < mean.elems(); ++c) {
    mean[c] = (1 - p.momentum) * mean[c] + p.momentum * in[1][c];
    var[c] = (1 - p.momentum) * var[c] + p.momentum * in[3][c] * n / (n - 1);
  }
  return {mean, var};
}

// y = (x - mean) scale + beta with mean and var rounded to float (u each): the difference, the scale
// (var's share is half a u) and the last sum round once more each.
std::vector<double> y_bound(const BoundArgs& args, const RefTensor& mean, const RefTensor& var) {
  const BatchNormParams& p = args.params.as<BatchNormParams>();
  const Channels channels(args.in[0]);
  std::vector<double> bound;
  for (int64_t i = 0; i < args.in[0].elems(); ++i) {
    const int64_t c = channels.of(i);
    const double scale = std::abs(at_or(args.in, 1, c, 1)) / std::sqrt(var[c] + p.eps);
    const double distance = std::abs(args.in[0][i] - mean[c]);
    const double beta = std::abs(at_or(args.in, 2, c, 0));
    bound.push_back(kU * (scale * (std::abs(mean[c]) + 4 * distance) + beta) + kSmallest);
  }
  return bound;
}

Bounds fwd_bounds(const BoundArgs& args) {
  const RefTensor& x = args.in[0];
  const RefTensor& mean = args.want[1];
  const RefTensor& var = args.want[2];
  const Channels channels(x);
  std::vector<double> farthest(static_cast<size_t>(channels.C), 0.0);
  for (int64_t i = 0; i < x.elems(); ++i) {
    double& far = farthest[static_cast<size_t>(channels.of(i))];
    far = std::max(far, std::abs(x[i] - mean[channels.of(i)]));
  }
  // Rounded once to float; the sums in double, shifted by some element of the channel, have terms of at
  // most 2 farthest and (2 farthest)^2.
  Bounds bounds{y_bound(args, mean, var), {}, {}};
  for (int64_t c = 0; c < channels.C; ++c) {
    const double reach = 2 * farthest[static_cast<size_t>(c)];
    const double n = channels.count;
    bounds[1].push_back(kU * std::abs(mean[c]) + (2 + n) * kU53 * (reach + std::abs(mean[c])) +
                        kSmallest);
    bounds[2].push_back(kU * var[c] + 2 * (2 + n) * kU53 * reach * reach + kSmallest);
  }
  return bounds;
}

Bounds eval_fwd_bounds(const BoundArgs& args) { return {y_bound(args, args.in[3], args.in[4])}; }

// dx = g scale - offset - (x - mean) slope: the three factors, the difference and the two sums round once
// each; the sums in them are double. dgamma and dbeta are rounded once.
template <bool kStatistics>
Bounds bwd_bounds(const BoundArgs& args) {
  const Backward b(args.params, args.in);
  const Channels channels(args.in[1]);
  const double n = channels.count;
  std::vector<double> sum_g(static_cast<size_t>(channels.C), 0.0), sum_gx = sum_g;
  for (int64_t i = 0; i < b.g.elems(); ++i) {
    const auto c = static_cast<size_t>(channels.of(i));
    sum_g[c] += std::abs(b.g[i]);
    sum_gx[c] += std::abs(b.g[i] * b.x_hat[i]);
  }
  Bounds bounds(3);
  for (int64_t i = 0; i < b.g.elems(); ++i) {
    const int64_t c = channels.of(i);
    const auto at = static_cast<size_t>(c);
    const double scale = std::abs(at_or(args.in, 2, c, 1)) * b.inv_std[at];
    double terms = std::abs(b.g[i]);
    if (kStatistics) terms += (sum_g[at] + std::abs(b.x_hat[i]) * sum_gx[at]) / n;
    bounds[0].push_back((5 * kU + (4 + n) * kU53) * scale * terms + kSmallest);
  }
  for (size_t c = 0; c < sum_g.size(); ++c) {
    if (args.want[1].present) {
      bounds[1].push_back(kU * std::abs(args.want[1].v[c]) + (4 + n) * kU53 * sum_gx[c] +
                          kSmallest);
    }
    if (args.want[2].present) {
      bounds[2].push_back(kU * std::abs(args.want[2].v[c]) + (4 + n) * kU53 * sum_g[c] + kSmallest);
    }
  }
  return bounds;
}

// Computed in double, rounded once.
Bounds stats_update_bounds(const BoundArgs& args) {
  const Tensors T = stats_update(args.params, absolute(args.in), args.context);
  Bounds bounds{relative(args.want[0], 1), relative(args.want[1], 1)};
  for (size_t i = 0; i < 2; ++i) {
    for (size_t c = 0; c < bounds[i].size(); ++c) bounds[i][c] += 8 * kU53 * T[i].v[c];
  }
  return bounds;
}

}  // namespace

std::vector<Rule> batchnorm_rules() {
  return {
      {OpKind::batchnorm_fwd, fwd, fwd_bounds},
      {OpKind::batchnorm_bwd, bwd<true>, bwd_bounds<true>},
      {OpKind::batchnorm_eval_fwd, eval_fwd, eval_fwd_bounds},
      {OpKind::batchnorm_eval_bwd, bwd<false>, bwd_bounds<false>},
      {OpKind::batchnorm_stats_update, stats_update, stats_update_bounds},
  };
}

}  // namespace tanul::test
