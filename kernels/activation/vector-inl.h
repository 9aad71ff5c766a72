// SPDX-License-Identifier: Apache-2.0
// A Highway vector with the signs and functions that formulas are written with: the V of definition.h.
// Read once for each instruction set (Highway's convention for -inl.h files).
#if defined(TANUL_ACTIVATION_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TANUL_ACTIVATION_VECTOR_INL_H_
#undef TANUL_ACTIVATION_VECTOR_INL_H_
#else
#define TANUL_ACTIVATION_VECTOR_INL_H_
#endif

// clang-format off
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace tanul::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class D>
struct Pack {
  using Vector = hn::Vec<D>;
  using T = hn::TFromD<D>;
  struct Condition {
    hn::Mask<D> mask;
  };

  Vector v;

  HWY_INLINE Pack(Vector vector) : v(vector) {}  // NOLINT: meant to convert
  HWY_INLINE Pack(double number)                 // NOLINT: meant to convert
      : v(hn::Set(D(), static_cast<T>(number))) {}

  friend HWY_INLINE Pack operator+(Pack a, Pack b) { return hn::Add(a.v, b.v); }
  friend HWY_INLINE Pack operator-(Pack a, Pack b) { return hn::Sub(a.v, b.v); }
  friend HWY_INLINE Pack operator*(Pack a, Pack b) { return hn::Mul(a.v, b.v); }
  friend HWY_INLINE Pack operator/(Pack a, Pack b) { return hn::Div(a.v, b.v); }
  friend HWY_INLINE Pack operator-(Pack a) { return hn::Neg(a.v); }
  friend HWY_INLINE Condition operator<(Pack a, Pack b) { return {hn::Lt(a.v, b.v)}; }
  friend HWY_INLINE Condition operator>(Pack a, Pack b) { return {hn::Gt(a.v, b.v)}; }
  friend HWY_INLINE Pack select(Condition condition, Pack yes, Pack no) {
    return hn::IfThenElse(condition.mask, yes.v, no.v);
  }
  // y, but NaN where x is NaN.
  friend HWY_INLINE Pack keep_nan(Pack x, Pack y) {
    return hn::IfThenElse(hn::IsNaN(x.v), x.v, y.v);
  }

  // Of NaN and a number: either one.
  friend HWY_INLINE Pack min(Pack a, Pack b) { return hn::Min(a.v, b.v); }
  friend HWY_INLINE Pack max(Pack a, Pack b) { return hn::Max(a.v, b.v); }
  friend HWY_INLINE Pack clamp(Pack x, Pack low, Pack high) { return min(max(x, low), high); }
  friend HWY_INLINE Pack abs(Pack x) { return hn::Abs(x.v); }
  friend HWY_INLINE Pack copysign(Pack magnitude, Pack sign) {
    return hn::CopySign(magnitude.v, sign.v);
  }
  // a b + c, fused where the machine can
  friend HWY_INLINE Pack mul_add(Pack a, Pack b, Pack c) { return hn::MulAdd(a.v, b.v, c.v); }

  // Within a few units in the last place; of doubles up to 700 and of floats up to 88, beyond which exp
  // is not finite or not defined.
  friend HWY_INLINE Pack exp(Pack x) { return hn::Exp(D(), x.v); }
  friend HWY_INLINE Pack expm1(Pack x) { return hn::Expm1(D(), x.v); }
  friend HWY_INLINE Pack log1p(Pack x) { return hn::Log1p(D(), x.v); }
};

}  // namespace tanul::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // TANUL_ACTIVATION_VECTOR_INL_H_
