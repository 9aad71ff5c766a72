// SPDX-License-Identifier: Apache-2.0
// Eigenvectors of a symmetric matrix, by Jacobi's rotations in double.
#pragma once

#include <cstdint>
#include <vector>

namespace tanul {

struct Eigen {
  std::vector<double> values;   // [n], largest first
  std::vector<double> vectors;  // [n, n]: row i belongs to values[i], of length 1
};

// `matrix` [n, n], symmetric. Cyclic Jacobi (C. Jacobi, 1846; G. Golub and C. Van Loan, "Matrix
// Computations", 8.5): sweeps until what lies off the diagonal is below 1e-15 of the whole.
Eigen symmetric_eigen(std::vector<double> matrix, int64_t n);

}  // namespace tanul
