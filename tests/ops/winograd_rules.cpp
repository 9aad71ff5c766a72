// SPDX-License-Identifier: Apache-2.0
#include "ops/winograd_rules.h"

#include <algorithm>
#include <cmath>

#include "kernels/conv2d/conv2d.h"

namespace tanul::test {

namespace {

using Matrix = std::vector<std::vector<double>>;

// Coefficients of the product of (x - p) over all points but one, lowest power first.
std::vector<double> product_without(const std::vector<double>& points, size_t left_out) {
  std::vector<double> c{1};
  for (size_t i = 0; i < points.size(); ++i) {
    if (i == left_out) continue;
    c.push_back(0);
    for (size_t k = c.size() - 1; k > 0; --k) c[k] = c[k - 1] - points[i] * c[k];
    c[0] *= -points[i];
  }
  return c;
}

// The magnitudes of G [n, r], B^T [n, n] and A^T [m, n].
struct Magnitudes {
  Matrix G, BT, AT;

  explicit Magnitudes(const Filtering& f) {
    const size_t n = f.points.size() + 1;
    const auto m = static_cast<size_t>(f.m), r = static_cast<size_t>(f.r);
    G.assign(n, std::vector<double>(r, 0));
    BT.assign(n, std::vector<double>(n, 0));
    AT.assign(m, std::vector<double>(n, 0));
    for (size_t j = 0; j + 1 < n; ++j) {
      double slope = 1;  // of the product of all (x - p) at this point
      for (size_t i = 0; i + 1 < n; ++i) {
        if (i != j) slope *= f.points[j] - f.points[i];
      }
      for (size_t k = 0; k < r; ++k) G[j][k] = std::abs(std::pow(f.points[j], k) / slope);
      for (size_t k = 0; k < m; ++k) AT[k][j] = std::abs(std::pow(f.points[j], k));
      const std::vector<double> c = product_without(f.points, j);
      for (size_t k = 0; k < c.size(); ++k) BT[j][k] = std::abs(c[k]);
    }
    const std::vector<double> all = product_without(f.points, n);
    for (size_t k = 0; k < n; ++k) BT[n - 1][k] = std::abs(all[k]);
    G[n - 1][r - 1] = AT[m - 1][n - 1] = 1;
  }
};

Matrix transposed(const Matrix& a) {
  Matrix t(a[0].size(), std::vector<double>(a.size()));
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < a[0].size(); ++j) t[j][i] = a[i][j];
  }
  return t;
}
Matrix times(const Matrix& a, const Matrix& b) {
  Matrix c(a.size(), std::vector<double>(b[0].size(), 0));
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t k = 0; k < b.size(); ++k) {
      for (size_t j = 0; j < b[0].size(); ++j) c[i][j] += a[i][k] * b[k][j];
    }
  }
  return c;
}
Matrix both_ways(const Matrix& a, const Matrix& x) { return times(times(a, x), transposed(a)); }

void add_product(const Matrix& a, const Matrix& b, Matrix& sum) {
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < a.size(); ++j) sum[i][j] += a[i][j] * b[i][j];
  }
}

// |t| at (row, column) .. of a plane [H, W], zero outside.
Matrix patch(const RefTensor& t, int64_t plane, int64_t row, int64_t column, int size) {
  const int64_t H = t.shape[2], W = t.shape[3];
  Matrix d(static_cast<size_t>(size), std::vector<double>(static_cast<size_t>(size), 0));
  for (int i = 0; i < size; ++i) {
    for (int j = 0; j < size; ++j) {
      const int64_t h = row + i, w = column + j;
      if (h < 0 || h >= H || w < 0 || w >= W) continue;
      d[static_cast<size_t>(i)][static_cast<size_t>(j)] = std::abs(t[(plane * H + h) * W + w]);
    }
  }
  return d;
}

// T of y[n,k,p,q] = sum of x[n, c, p - top + r, q - left + s] taps(k, c), tile by tile.
template <typename Taps>
RefTensor filter(const Filtering& f, const RefTensor& x, const Shape& y_shape, int groups,
                 int64_t top, int64_t left, const Taps& taps) {
  const Magnitudes of(f);
  const int n = f.m + f.r - 1;
  const int64_t C = x.shape[1] / groups, K = y_shape[1] / groups;
  RefTensor y(y_shape);
  std::vector<std::vector<Matrix>> weights(static_cast<size_t>(y_shape[1]));
  for (int64_t k = 0; k < y_shape[1]; ++k) {
    for (int64_t c = 0; c < C; ++c) {
      weights[static_cast<size_t>(k)].push_back(both_ways(of.G, taps(k, c)));
    }
  }
  const size_t size = static_cast<size_t>(n);
  for (int64_t i = 0; i < x.shape[0]; ++i) {
    for (int64_t p = 0; p < y_shape[2]; p += f.m) {
      for (int64_t q = 0; q < y_shape[3]; q += f.m) {
        std::vector<Matrix> inputs;
        for (int64_t c = 0; c < x.shape[1]; ++c) {
          inputs.push_back(both_ways(of.BT, patch(x, i * x.shape[1] + c, p - top, q - left, n)));
        }
        for (int64_t k = 0; k < y_shape[1]; ++k) {
          Matrix sum(size, std::vector<double>(size, 0));
          for (int64_t c = 0; c < C; ++c) {
            add_product(weights[static_cast<size_t>(k)][static_cast<size_t>(c)],
                        inputs[static_cast<size_t>(k / K * C + c)], sum);
          }
          const Matrix out = both_ways(of.AT, sum);
          for (int64_t a = 0; a < std::min<int64_t>(f.m, y_shape[2] - p); ++a) {
            for (int64_t b = 0; b < std::min<int64_t>(f.m, y_shape[3] - q); ++b) {
              y[((i * y_shape[1] + k) * y_shape[2] + p + a) * y_shape[3] + q + b] =
                  out[static_cast<size_t>(a)][static_cast<size_t>(b)];
            }
          }
        }
      }
    }
  }
  return y;
}

// T of dx, from what each tile of dy adds to it. taps(c, k): of channel c and filter k of a group.
template <typename Taps>
RefTensor scatter(const Filtering& f, const RefTensor& dy, const Shape& dx_shape,
                  const Conv2dParams& params, const Taps& taps) {
  const Magnitudes of(f);
  const Matrix A = transposed(of.AT), B = transposed(of.BT);
  const int n = f.m + f.r - 1;
  const int64_t C = dx_shape[1] / params.groups, K = dy.shape[1] / params.groups;
  const size_t size = static_cast<size_t>(n);
  RefTensor dx(dx_shape);
  for (int64_t c = 0; c < dx_shape[1]; ++c) {
    std::vector<Matrix> weights;
    for (int64_t k = 0; k < K; ++k) weights.push_back(both_ways(of.G, taps(c, k)));
    for (int64_t i = 0; i < dy.shape[0]; ++i) {
      for (int64_t p = 0; p < dy.shape[2]; p += f.m) {
        for (int64_t q = 0; q < dy.shape[3]; q += f.m) {
          Matrix sum(size, std::vector<double>(size, 0));
          for (int64_t k = 0; k < K; ++k) {
            const int64_t plane = i * dy.shape[1] + c / C * K + k;
            add_product(weights[static_cast<size_t>(k)], both_ways(A, patch(dy, plane, p, q, f.m)),
                        sum);
          }
          const Matrix out = both_ways(B, sum);
          for (int64_t a = 0; a < n * n; ++a) {
            const int64_t h = p + a / n - params.pad_top, w = q + a % n - params.pad_left;
            if (h < 0 || h >= dx_shape[2] || w < 0 || w >= dx_shape[3]) continue;
            dx[((i * dx_shape[1] + c) * dx_shape[2] + h) * dx_shape[3] + w] +=
                out[static_cast<size_t>(a / n)][static_cast<size_t>(a % n)];
          }
        }
      }
    }
  }
  return dx;
}

// T of dw.
RefTensor filter_weights(const Filtering& f, const RefTensor& x, const RefTensor& dy,
                         const Shape& dw_shape, const Conv2dParams& params) {
  const Magnitudes of(f);
  const Matrix GT = transposed(of.G), A = transposed(of.AT);
  const int n = f.m + f.r - 1;
  const int64_t C = dw_shape[1], K = dw_shape[0] / params.groups;
  const size_t size = static_cast<size_t>(n);
  const Matrix zero(size, std::vector<double>(size, 0));
  std::vector<Matrix> sums(static_cast<size_t>(dw_shape[0] * C), zero);
  for (int64_t i = 0; i < x.shape[0]; ++i) {
    for (int64_t p = 0; p < dy.shape[2]; p += f.m) {
      for (int64_t q = 0; q < dy.shape[3]; q += f.m) {
        std::vector<Matrix> inputs;
        for (int64_t c = 0; c < x.shape[1]; ++c) {
          inputs.push_back(both_ways(
              of.BT, patch(x, i * x.shape[1] + c, p - params.pad_top, q - params.pad_left, n)));
        }
        for (int64_t k = 0; k < dw_shape[0]; ++k) {
          const Matrix gradient = both_ways(A, patch(dy, i * dy.shape[1] + k, p, q, f.m));
          for (int64_t c = 0; c < C; ++c) {
            add_product(gradient, inputs[static_cast<size_t>(k / K * C + c)],
                        sums[static_cast<size_t>(k * C + c)]);
          }
        }
      }
    }
  }
  RefTensor dw(dw_shape);
  int64_t at = 0;
  for (const Matrix& sum : sums) {
    for (const std::vector<double>& row : both_ways(GT, sum)) {
      for (double value : row) dw[at++] = value;
    }
  }
  return dw;
}

}  // namespace

Bounds winograd_bounds(OpKind kind, const Filtering& f, const BoundArgs& args, bool is_scatter) {
  constexpr double kTransforms = 22;  // and 2 that sum_bound adds
  const auto params = args.params.as<Conv2dParams>();
  const auto count = [](int64_t n) { return static_cast<double>(n); };
  const auto taps_of = [&](const RefTensor& w, int64_t filter_index, int64_t channel) {
    Matrix taps(static_cast<size_t>(f.r));
    const int64_t at = (filter_index * w.shape[1] + channel) * f.r * f.r;
    for (int64_t i = 0; i < f.r * f.r; ++i) {
      taps[static_cast<size_t>(i / f.r)].push_back(std::abs(w[at + i]));
    }
    return taps;
  };
  if (kind == OpKind::conv2d_fwd) {
    const RefTensor& w = args.in[1];
    RefTensor T = filter(f, args.in[0], args.want[0].shape, params.groups, params.pad_top,
                         params.pad_left, [&](int64_t k, int64_t c) { return taps_of(w, k, c); });
    const int64_t plane = T.shape.elems_from(2);
    for (int64_t i = 0; is_present(args.in, 2) && i < T.elems(); ++i) {
      T[i] += std::abs(args.in[2][i / plane % T.shape[1]]);
    }
    return {
        through(params.activation, sum_bound(T, count(w.shape[1]) + kTransforms), args.want[0])};
  }
  if (kind == OpKind::conv2d_bwd_data) {
    // Input channels are the filters, and the other way round, within a group.
    const RefTensor& w = args.in[1];
    const int64_t filters = w.shape[0] / params.groups, channels = w.shape[1];
    if (is_scatter) {
      const RefTensor T =
          scatter(f, args.in[0], args.want[0].shape, params, [&](int64_t c, int64_t k) {
            return taps_of(w, c / channels * filters + k, c % channels);
          });
      const int overlapping = (f.m + f.r - 2) / f.m + 1;  // tiles, along an axis
      return {sum_bound(T, count(filters) + kTransforms + overlapping * overlapping)};
    }
    const RefTensor T =
        filter(f, args.in[0], args.want[0].shape, params.groups, f.r - 1 - params.pad_top,
               f.r - 1 - params.pad_left, [&](int64_t c, int64_t k) {
                 Matrix taps = taps_of(w, c / channels * filters + k, c % channels);
                 std::reverse(taps.begin(), taps.end());
                 for (std::vector<double>& row : taps) std::reverse(row.begin(), row.end());
                 return taps;
               });
    return {sum_bound(T, count(filters) + kTransforms)};
  }
  const RefTensor& dy = args.in[1];
  const int64_t tiles =
      dy.shape[0] * ((dy.shape[2] + f.m - 1) / f.m) * ((dy.shape[3] + f.m - 1) / f.m);
  const RefTensor T = filter_weights(f, args.in[0], dy, args.want[0].shape, params);
  Bounds bounds{sum_bound(T, count(tiles) + kTransforms), {}};
  if (!args.want[1].present) return bounds;
  RefTensor sums(args.want[1].shape);  // db is a plain sum
  const int64_t plane = dy.shape.elems_from(2);
  for (int64_t i = 0; i < dy.elems(); ++i) sums[i / plane % dy.shape[1]] += std::abs(dy[i]);
  bounds[1] = sum_bound(sums, count(dy.shape[0] * plane));
  return bounds;
}

namespace {

const Filtering& f4x4_3x3() {
  static const Filtering filtering{4, 3, {0, 0.625, -0.625, 1.5, -1.5}};
  return filtering;
}
const Filtering& f2x2_5x5() {
  static const Filtering filtering{2, 5, {0, 0.625, -0.625, 1.5, -1.5}};
  return filtering;
}
const Filtering& f2x2_3x3() {
  static const Filtering filtering{2, 3, {0, 1, -1}};
  return filtering;
}

template <OpKind kKind, const Filtering& (*kFiltering)(), bool kIsScatter = false>
Bounds bounds_of(const BoundArgs& args) {
  return winograd_bounds(kKind, kFiltering(), args, kIsScatter);
}

bool keeps(const Params& params) { return keeps_integers(params.as<Conv2dParams>().activation); }

template <OpKind kKind>
std::vector<ImplementationRule> rules_of() {
  // All elements of the matrices for the points 0 and +-1 are 0, 1 or 1/2: whole numbers stay exact.
  return {{"winograd_f4x4_3x3", bounds_of<kKind, f4x4_3x3>},
          {"winograd_f2x2_5x5", bounds_of<kKind, f2x2_5x5>},
          {"winograd_f2x2_3x3", bounds_of<kKind, f2x2_3x3>, keeps}};
}

}  // namespace

std::vector<ImplementationRule> winograd_rules(OpKind kind) {
  if (kind == OpKind::conv2d_fwd) return rules_of<OpKind::conv2d_fwd>();
  if (kind == OpKind::conv2d_bwd_data) {
    std::vector<ImplementationRule> rules = rules_of<OpKind::conv2d_bwd_data>();
    rules.push_back(
        {"winograd_scatter_f4x4_3x3", bounds_of<OpKind::conv2d_bwd_data, f4x4_3x3, true>});
    rules.push_back(
        {"winograd_scatter_f2x2_5x5", bounds_of<OpKind::conv2d_bwd_data, f2x2_5x5, true>});
    rules.push_back(
        {"winograd_scatter_f2x2_3x3", bounds_of<OpKind::conv2d_bwd_data, f2x2_3x3, true>, keeps});
    return rules;
  }
  return rules_of<OpKind::conv2d_bwd_weights>();
}

}  // namespace tanul::test
