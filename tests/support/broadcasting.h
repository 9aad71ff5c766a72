// SPDX-License-Identifier: Apache-2.0
// Naive index arithmetic of broadcasting, and the bound of sums that are made in double.
#pragma once

#include <algorithm>
#include <cmath>

#include "support/rule.h"

namespace tanul::test {

// The shape that a and b are stretched to.
inline Shape broadcast_shape(const Shape& a, const Shape& b) {
  Shape y = a.rank() < b.rank() ? b : a;
  for (int back = 1; back <= std::min(a.rank(), b.rank()); ++back) {
    y[y.rank() - back] = std::max(a[a.rank() - back], b[b.rank() - back]);
  }
  return y;
}

// Where element i of `full` lies in `small`, whose axes of extent 1 are repeated.
inline int64_t broadcast_index(const Shape& full, const Shape& small, int64_t i) {
  int64_t index = 0, step = 1;
  for (int back = 1; back <= full.rank(); ++back) {
    const int64_t extent = full[full.rank() - back];
    const int64_t own = back <= small.rank() ? small[small.rank() - back] : 1;
    if (own != 1) index += i % extent * step;
    step *= own;
    i /= extent;
  }
  return index;
}

// A sum of n terms made in double and rounded once; T is the sum of their absolute values. The
// reference itself, which adds in another order, is as far off as the second part says.
inline std::vector<double> double_sum_bound(const RefTensor& want, const RefTensor& T, double n) {
  std::vector<double> bound;
  for (int64_t i = 0; i < want.elems(); ++i) {
    bound.push_back(1.001 * kU * std::abs(want[i]) + (n + 4) * 0x1p-52 * std::abs(T[i]) +
                    kSmallest);
  }
  return bound;
}

}  // namespace tanul::test
