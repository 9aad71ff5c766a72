// SPDX-License-Identifier: Apache-2.0
// Single-threaded float GEMM on row-major matrices through OpenBLAS, callable from several workers
// at a time:  C = alpha op(A) op(B) + beta C,  op(A) [m, k], op(B) [k, n], C [m, n].
//
// OpenBLAS keeps its thread count process-wide. A step that calls gemm() runs between
// BlasSingleThread's constructor and destructor, which set that count to one and put the host
// program's value back; nested and concurrent scopes are counted.
#pragma once

#include <cstdint>
#include <string>

namespace tanul::cpu {

void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
          const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
          int64_t ldc);

class BlasSingleThread {
 public:
  BlasSingleThread();
  ~BlasSingleThread();
  BlasSingleThread(const BlasSingleThread&) = delete;
  BlasSingleThread& operator=(const BlasSingleThread&) = delete;
};

// "OpenBLAS 0.3.21 ... , pthreads": what is loaded, for `tanul info`.
std::string blas_description();

}  // namespace tanul::cpu
