// SPDX-License-Identifier: Apache-2.0
// layer_norm, rms_norm, group_norm and instance_norm: the formulas of kernels/groupnorm/groupnorm.h in
// double, and error bounds.
#include <algorithm>
#include <cmath>

#include "kernels/groupnorm/groupnorm.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

constexpr double kU53 = 0x1p-53;

// Which group an element belongs to, and which gamma and beta.
struct Layout {
  int64_t n;       // of a group
  int64_t groups;  // all
  Shape affine;

  Layout(const Params& params, const RefTensor& x, bool layer, bool instance = false) {
    const GroupNormParams& p = params.as<GroupNormParams>();
    affine = layer ? x.shape.tail(x.shape.rank() - p.axes) : Shape{x.shape[1]};
    n = layer ? affine.elems()
              : x.shape.elems_from(1) / (instance ? x.shape[1] : static_cast<int64_t>(p.groups));
    groups = x.elems() / n;
    inner_ = layer ? 1 : x.shape.elems_from(1) / x.shape[1];
  }
  int64_t group(int64_t i) const { return i / n; }
  int64_t parameter(int64_t i) const { return i / inner_ % affine.elems(); }

 private:
  int64_t inner_;
};

double at_or(const Tensors& in, size_t operand, int64_t at, double otherwise) {
  return is_present(in, operand) ? in[operand][at] : otherwise;
}

Tensors forward(const Params& params, const Tensors& in, const Layout& layout, bool has_mean) {
  const double eps = params.as<GroupNormParams>().eps;
  const RefTensor& x = in[0];
  const auto n = static_cast<double>(layout.n);
  RefTensor y(x.shape), mean({layout.groups}), inv_std({layout.groups});
  for (int64_t i = 0; has_mean && i < x.elems(); ++i) mean[layout.group(i)] += x[i] / n;
  for (int64_t i = 0; i < x.elems(); ++i) {
    const double d = x[i] - mean[layout.group(i)];
    inv_std[layout.group(i)] += d * d / n;
  }
  for (double& v : inv_std.v) v = 1 / std::sqrt(v + eps);
  for (int64_t i = 0; i < x.elems(); ++i) {
    const double x_hat = (x[i] - mean[layout.group(i)]) * inv_std[layout.group(i)];
    const int64_t a = layout.parameter(i);
    y[i] = at_or(in, 1, a, 1) * x_hat + at_or(in, 2, a, 0);
  }
  return {y, has_mean ? mean : RefTensor::absent(), inv_std};
}

template <bool kMean>
Tensors layer_fwd(const Params& params, const Tensors& in, const RefContext&) {
  return forward(params, in, Layout(params, in[0], true), kMean);
}
template <bool kInstance>
Tensors group_fwd(const Params& params, const Tensors& in, const RefContext&) {
  return forward(params, in, Layout(params, in[0], false, kInstance), true);
}

// in: dy, x, gamma?, mean?, inv_std
template <bool kLayer>
Tensors bwd(const Params& params, const Tensors& in, const RefContext&) {
  const Layout layout(params, in[1], kLayer);
  const auto n = static_cast<double>(layout.n);
  const int64_t elems = in[1].elems();
  RefTensor dx(in[1].shape), dgamma(layout.affine), dbeta(layout.affine);
  RefTensor sum({layout.groups}), dot({layout.groups});
  const auto x_hat = [&](int64_t i) {
    const int64_t r = layout.group(i);
    return (in[1][i] - at_or(in, 3, r, 0)) * in[4][r];
  };
  const auto g = [&](int64_t i) { return in[0][i] * at_or(in, 2, layout.parameter(i), 1); };
  for (int64_t i = 0; i < elems; ++i) {
    if (in[3].present) sum[layout.group(i)] += g(i) / n;
    dot[layout.group(i)] += g(i) * x_hat(i) / n;
    dgamma[layout.parameter(i)] += in[0][i] * x_hat(i);
    dbeta[layout.parameter(i)] += in[0][i];
  }
  for (int64_t i = 0; i < elems; ++i) {
    const int64_t r = layout.group(i);
    dx[i] = in[4][r] * (g(i) - sum[r] - x_hat(i) * dot[r]);
  }
  const bool has_beta = params.as<GroupNormParams>().has_beta != 0;
  return {dx, in[2].present ? dgamma : RefTensor::absent(), has_beta ? dbeta : RefTensor::absent()};
}

// y = (x - mean) inv_std gamma + beta with mean and inv_std rounded to float: the difference, two products
// and the sum round once more each. The sums are double, with terms of at most 2 farthest (squared).
Bounds fwd_bounds(const BoundArgs& args, const Layout& layout) {
  const RefTensor& x = args.in[0];
  const RefTensor& inv_std = args.want[2];
  const bool has_mean = args.want[1].present;
  const auto mean = [&](int64_t r) { return has_mean ? args.want[1][r] : 0; };
  const auto n = static_cast<double>(layout.n);
  std::vector<double> reach(static_cast<size_t>(layout.groups), 0.0);
  for (int64_t i = 0; i < x.elems(); ++i) {
    double& far = reach[static_cast<size_t>(layout.group(i))];
    far = std::max(far, 2 * std::abs(x[i] - mean(layout.group(i))));
  }
  Bounds bounds(3);
  std::vector<double> relative_of_inv_std;  // beside the rounding to float
  for (int64_t r = 0; r < layout.groups; ++r) {
    const double far = reach[static_cast<size_t>(r)];
    const double in_sums = (2 + n) * kU53;
    relative_of_inv_std.push_back(in_sums * far * far * inv_std[r] * inv_std[r] + 4 * kU53);
    if (has_mean) {
      bounds[1].push_back(kU * std::abs(mean(r)) + in_sums * (far + std::abs(mean(r))) + kSmallest);
    }
    bounds[2].push_back((kU + relative_of_inv_std.back()) * inv_std[r]);
  }
  for (int64_t i = 0; i < x.elems(); ++i) {
    const int64_t r = layout.group(i);
    const int64_t a = layout.parameter(i);
    const double scale = std::abs(at_or(args.in, 1, a, 1)) * inv_std[r];
    const double distance = std::abs(x[i] - mean(r));
    const double sums = relative_of_inv_std[static_cast<size_t>(r)];
    bounds[0].push_back(
        kU * (scale * (std::abs(mean(r)) + 5 * distance) + std::abs(at_or(args.in, 2, a, 0))) +
        scale * distance * sums + kSmallest);
  }
  return bounds;
}

Bounds layer_fwd_bounds(const BoundArgs& args) {
  return fwd_bounds(args, Layout(args.params, args.in[0], true));
}
template <bool kInstance>
Bounds group_fwd_bounds(const BoundArgs& args) {
  return fwd_bounds(args, Layout(args.params, args.in[0], false, kInstance));
}

// dx = dy gamma inv_std - offset - (x - mean) slope: two products, a difference, two factors and two sums
// round once each; the sums in them are double. dgamma and dbeta are rounded once.
template <bool kLayer>
Bounds bwd_bounds(const BoundArgs& args) {
  const Layout layout(args.params, args.in[1], kLayer);
  const auto n = static_cast<double>(layout.n);
  const int64_t elems = args.in[1].elems();
  std::vector<double> sum(static_cast<size_t>(layout.groups), 0.0), dot = sum;
  RefTensor terms(layout.affine), terms_x(layout.affine);  // of dbeta, dgamma
  const auto x_hat = [&](int64_t i) {
    const int64_t r = layout.group(i);
    return std::abs((args.in[1][i] - at_or(args.in, 3, r, 0)) * args.in[4][r]);
  };
  const auto g = [&](int64_t i) {
    return std::abs(args.in[0][i] * at_or(args.in, 2, layout.parameter(i), 1));
  };
  for (int64_t i = 0; i < elems; ++i) {
    const auto r = static_cast<size_t>(layout.group(i));
    sum[r] += g(i) / n;
    dot[r] += g(i) * x_hat(i) / n;
    terms[layout.parameter(i)] += std::abs(args.in[0][i]);
    terms_x[layout.parameter(i)] += std::abs(args.in[0][i]) * x_hat(i);
  }
  Bounds bounds(3);
  for (int64_t i = 0; i < elems; ++i) {
    const auto r = static_cast<size_t>(layout.group(i));
    const double all = g(i) + sum[r] + x_hat(i) * dot[r];
    bounds[0].push_back((6 * kU + (4 + n) * kU53) * args.in[4].v[r] * all + kSmallest);
  }
  const double count = static_cast<double>(elems / layout.affine.elems());
  for (int64_t a = 0; a < layout.affine.elems(); ++a) {
    const auto bound = [&](const RefTensor& want, double of_terms) {
      return kU * std::abs(want[a]) + (4 + count) * kU53 * of_terms + kSmallest;
    };
    if (args.want[1].present) bounds[1].push_back(bound(args.want[1], terms_x[a]));
    if (args.want[2].present) bounds[2].push_back(bound(args.want[2], terms[a]));
  }
  return bounds;
}

}  // namespace

std::vector<Rule> groupnorm_rules() {
  return {
      {OpKind::layer_norm_fwd, layer_fwd<true>, layer_fwd_bounds},
      {OpKind::rms_norm_fwd, layer_fwd<false>, layer_fwd_bounds},
      {OpKind::layer_norm_bwd, bwd<true>, bwd_bounds<true>},
      {OpKind::group_norm_fwd, group_fwd<false>, group_fwd_bounds<false>},
      {OpKind::instance_norm_fwd, group_fwd<true>, group_fwd_bounds<true>},
      {OpKind::group_norm_bwd, bwd<false>, bwd_bounds<false>},
  };
}

}  // namespace tanul::test
