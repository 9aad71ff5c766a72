// SPDX-License-Identifier: Apache-2.0
// Reference maths that all losses share: positions of class scores, reductions, statistics, and how the
// error bounds of single losses add up. Written from kernels/loss/loss.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/loss/loss.h"
#include "support/rule.h"

namespace tanul::test {

constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();

// x [N, C, ...] as [N, C, S].
struct ClassScores {
  int64_t N, C, S;
  explicit ClassScores(const Shape& x)
      : N(x[0]), C(x.rank() > 1 ? x[1] : 1), S(x.elems() / (N * C)) {}
  int64_t positions() const { return N * S; }
  int64_t index(int64_t p, int64_t c) const { return (p / S * C + c) * S + p % S; }
  Shape shape(const Shape& x) const {  // of the positions
    std::vector<int64_t> extents{N};
    for (int axis = 2; axis < x.rank(); ++axis) extents.push_back(x[axis]);
    return Shape(extents);
  }
  int64_t arg_max(const RefTensor& x, int64_t p) const {
    int64_t best = 0;
    for (int64_t c = 0; c < C; ++c) {
      if (x[index(p, c)] > x[index(p, best)]) best = c;
    }
    return best;
  }
};

inline bool is_ignored(const LossParams& params, double target) {
  return params.has_ignore_index != 0 && target == params.ignore_index;
}

// {loss, stats} of single losses.
inline Tensors reduced(const Params& params, const RefTensor& each, int64_t N, double divisor,
                       double correct, double counted) {
  const Reduction reduction = params.as<LossParams>().reduction;
  if (reduction == Reduction::batch_mean) divisor = static_cast<double>(N);
  const double sum = std::accumulate(each.v.begin(), each.v.end(), 0.0);
  RefTensor stats({4});
  stats.v = {sum, divisor, correct, counted};
  if (reduction == Reduction::none) return {each, stats};
  RefTensor loss({1});
  loss[0] = reduction == Reduction::sum ? sum : sum / divisor;
  return {loss, stats};
}

// What the derivative of single loss i is multiplied with.
inline double loss_scale(const Params& params, const RefTensor& dloss, int64_t i, int64_t N,
                         double divisor) {
  switch (params.as<LossParams>().reduction) {
    case Reduction::mean: return dloss[0] / divisor;
    case Reduction::sum: return dloss[0];
    case Reduction::none: return dloss[i];
    case Reduction::batch_mean: return dloss[0] / static_cast<double>(N);
  }
  return kNoNumber;
}

// The single losses of a forward step.
inline RefTensor single_losses(OpKind kind, Params params, const Tensors& in,
                               const RefContext& context) {
  params.as<LossParams>().reduction = Reduction::none;
  return reference(kind, params, in, context)[0];
}

// Bounds of {loss, stats}, where `errors` are those of the single losses `each`: sums of n terms add
// (2 + n) u sum |term|, counts are exact.
inline Bounds reduced_bounds(const BoundArgs& args, const RefTensor& each,
                             const std::vector<double>& errors) {
  const double n = static_cast<double>(each.elems());
  double sum_error = 0;
  for (size_t i = 0; i < errors.size(); ++i) {
    sum_error += errors[i] + (2 + n) * kU * std::abs(each.v[i]);
  }
  const double divisor = args.want[1][1];
  const std::vector<double> stats{sum_error, (2 + n) * kU * divisor, 0, 0};
  const Reduction reduction = args.params.as<LossParams>().reduction;
  if (reduction == Reduction::none) return {errors, stats};
  const double loss_error = reduction == Reduction::sum ? sum_error : sum_error / divisor;
  return {{loss_error + (4 + n) * kU * std::abs(args.want[0][0])}, stats};
}

}  // namespace tanul::test
