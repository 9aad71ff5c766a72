// SPDX-License-Identifier: Apache-2.0
// One float or double with the signs and functions that formulas are written with: the V of definition.h
// in device code. vector-inl.h is its sibling.
#pragma once

#include <type_traits>

#include "kernels/cuda/kernel.h"

namespace tanul::cuda {

// Rounded before it is used: compilers for GPUs fuse a product with the sum it goes into, which would move
// the ends of slopes ("x/6 + 1/2 is 1 at 3").
__host__ __device__ inline float product(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}
__host__ __device__ inline double product(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

#define TANUL_SCALAR __host__ __device__ friend inline

template <typename T>
struct Scalar {
  T v;

  template <typename N, typename = std::enable_if_t<std::is_arithmetic_v<N>>>
  __host__ __device__ Scalar(N number) : v(static_cast<T>(number)) {}  // NOLINT: meant to convert

  TANUL_SCALAR Scalar operator+(Scalar a, Scalar b) { return a.v + b.v; }
  TANUL_SCALAR Scalar operator-(Scalar a, Scalar b) { return a.v - b.v; }
  TANUL_SCALAR Scalar operator*(Scalar a, Scalar b) { return product(a.v, b.v); }
  TANUL_SCALAR Scalar operator/(Scalar a, Scalar b) { return a.v / b.v; }
  TANUL_SCALAR Scalar operator-(Scalar a) { return -a.v; }
  TANUL_SCALAR bool operator<(Scalar a, Scalar b) { return a.v < b.v; }
  TANUL_SCALAR bool operator>(Scalar a, Scalar b) { return a.v > b.v; }
  TANUL_SCALAR Scalar select(bool condition, Scalar yes, Scalar no) { return condition ? yes : no; }
  // y, but NaN where x is NaN.
  TANUL_SCALAR Scalar keep_nan(Scalar x, Scalar y) { return x.v != x.v ? x : y; }

  // Of NaN and a number: either one.
  TANUL_SCALAR Scalar min(Scalar a, Scalar b) { return a.v < b.v ? a : b; }
  TANUL_SCALAR Scalar max(Scalar a, Scalar b) { return a.v > b.v ? a : b; }
  TANUL_SCALAR Scalar clamp(Scalar x, Scalar low, Scalar high) { return min(max(x, low), high); }
  TANUL_SCALAR Scalar abs(Scalar x) { return ::fabs(x.v); }
  TANUL_SCALAR Scalar copysign(Scalar magnitude, Scalar sign) {
    return ::copysign(magnitude.v, sign.v);
  }
  // a b + c, fused
  TANUL_SCALAR Scalar mul_add(Scalar a, Scalar b, Scalar c) { return ::fma(a.v, b.v, c.v); }

  TANUL_SCALAR Scalar exp(Scalar x) { return ::exp(x.v); }
  TANUL_SCALAR Scalar expm1(Scalar x) { return ::expm1(x.v); }
  TANUL_SCALAR Scalar log1p(Scalar x) { return ::log1p(x.v); }
};

#undef TANUL_SCALAR

}  // namespace tanul::cuda
