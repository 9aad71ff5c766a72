// SPDX-License-Identifier: Apache-2.0
#include "train/eigen.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tanul {

Eigen symmetric_eigen(std::vector<double> matrix, int64_t n) {
  const auto at = [&](int64_t i, int64_t j) -> double& {
    return matrix[static_cast<size_t>(i * n + j)];
  };
  std::vector<double> v(static_cast<size_t>(n * n), 0.0);  // rows become the eigenvectors
  for (int64_t i = 0; i < n; ++i) v[static_cast<size_t>(i * n + i)] = 1;
  double whole = 0;
  for (double x : matrix) whole += x * x;
  constexpr int kMostSweeps = 60;
  for (int sweep = 0; sweep < kMostSweeps; ++sweep) {
    double off = 0;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = i + 1; j < n; ++j) off += 2 * at(i, j) * at(i, j);
    }
    if (off <= 1e-30 * whole) break;
    for (int64_t p = 0; p < n; ++p) {
      for (int64_t q = p + 1; q < n; ++q) {
        if (at(p, q) == 0) continue;
        // the rotation that makes at(p, q) zero
        const double theta = (at(q, q) - at(p, p)) / (2 * at(p, q));
        const double t =
            (theta >= 0 ? 1.0 : -1.0) / (std::fabs(theta) + std::sqrt(theta * theta + 1));
        const double c = 1 / std::sqrt(t * t + 1);
        const double s = t * c;
        for (int64_t k = 0; k < n; ++k) {
          const double a = at(k, p), b = at(k, q);
          at(k, p) = c * a - s * b;
          at(k, q) = s * a + c * b;
        }
        for (int64_t k = 0; k < n; ++k) {
          const double a = at(p, k), b = at(q, k);
          at(p, k) = c * a - s * b;
          at(q, k) = s * a + c * b;
        }
        for (int64_t k = 0; k < n; ++k) {
          double& a = v[static_cast<size_t>(p * n + k)];
          double& b = v[static_cast<size_t>(q * n + k)];
          const double old = a;
          a = c * old - s * b;
          b = s * old + c * b;
        }
      }
    }
  }
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return at(a, a) > at(b, b); });
  Eigen result;
  for (int64_t i : order) {
    result.values.push_back(at(i, i));
    result.vectors.insert(result.vectors.end(), v.begin() + i * n, v.begin() + (i + 1) * n);
  }
  return result;
}

}  // namespace tanul
