// SPDX-License-Identifier: Apache-2.0
// The vector primitives of simd.h. This file is compiled once for each instruction set (Highway's
// foreach_target); at run time a table picks the best that the machine has.
//
// The last, partial vector of a range goes through the same operations as the others, with masked
// loads and stores where the machine has them and through a small buffer elsewhere.
#include "kernels/cpu/simd.h"

#include <cmath>
#include <cstring>

#include "kernels/activation/definition.h"

// SSSE3 and the finer AVX-512 variants would only add build time.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/simd.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
// clang-format off
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
#include "kernels/activation/vector-inl.h"
#include "kernels/cpu/transpose-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace tanul::cpu::HWY_NAMESPACE {
namespace {

// The formulas of the activations that layers apply while they write their output.
#include "kernels/activation/relu.h"
#include "kernels/activation/sigmoid.h"
#include "kernels/activation/tanh.h"

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Loads the first `count` floats, zeros behind them; never reads further.
HWY_INLINE V load_part(D d, const float* x, size_t count) {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  return hn::MaskedLoad(hn::FirstN(d, count), d, x);
#else
  HWY_ALIGN float buffer[hn::MaxLanes(D())] = {};
  std::memcpy(buffer, x, count * sizeof(float));
  return hn::Load(d, buffer);
#endif
}

HWY_INLINE void store_part(V v, D d, float* y, size_t count) {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  hn::BlendedStore(v, hn::FirstN(d, count), d, y);
#else
  HWY_ALIGN float buffer[hn::MaxLanes(D())];
  hn::Store(v, d, buffer);
  std::memcpy(y, buffer, count * sizeof(float));
#endif
}

// Calls vector_at(load, store, i) for each vector of [0, n), where load(p) and store(v, p) reach
// only the elements that exist.
template <class Body>
HWY_INLINE void for_vectors(int64_t n, const Body& body) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto load = [d](const float* p) HWY_ATTR { return hn::LoadU(d, p); };
  const auto store = [d](V v, float* p) HWY_ATTR { hn::StoreU(v, d, p); };
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) body(i, load, store);
  if (i < n) {
    const size_t rest = static_cast<size_t>(n - i);
    body(
        i, [d, rest](const float* p) HWY_ATTR { return load_part(d, p, rest); },
        [d, rest](V v, float* p) HWY_ATTR { store_part(v, d, p, rest); });
  }
}

// y = op(x), y = op(a, b)
template <class Op>
HWY_INLINE void map(const float* x, float* y, int64_t n, const Op& op) {
  for_vectors(n, [&](int64_t i, const auto& load, const auto& store)
                     HWY_ATTR { store(op(load(x + i)), y + i); });
}
template <class Op>
HWY_INLINE void map(const float* a, const float* b, float* y, int64_t n, const Op& op) {
  for_vectors(n, [&](int64_t i, const auto& load, const auto& store)
                     HWY_ATTR { store(op(load(a + i), load(b + i)), y + i); });
}

template <class A>
HWY_INLINE V activate(V x) {
  return A::forward(Pack<D>(x), nullptr).v;
}

template <class Op>
HWY_INLINE void bias_map(float* y, float bias, int64_t n, const Op& op) {
  const V b = hn::Set(D(), bias);
  map(y, y, n, [&](V v) HWY_ATTR { return op(hn::Add(v, b)); });
}
template <class Op>
HWY_INLINE void bias_row_map(float* y, const float* bias, int64_t n, const Op& op) {
  if (bias == nullptr) {
    map(y, y, n, [&](V v) HWY_ATTR { return op(v); });
  } else {
    map(y, bias, y, n, [&](V v, V b) HWY_ATTR { return op(hn::Add(v, b)); });
  }
}

// ---- the functions of simd.h ------------------------------------------------------------------

void Add(const float* a, const float* b, float* y, int64_t n) {
  map(a, b, y, n, [](V u, V v) HWY_ATTR { return hn::Add(u, v); });
}
void Accumulate(const float* x, float* y, int64_t n) {
  map(x, y, y, n, [](V u, V v) HWY_ATTR { return hn::Add(u, v); });
}
void MultiplyAdd(float alpha, const float* x, float* y, int64_t n) {
  const V a = hn::Set(D(), alpha);
  map(x, y, y, n, [&](V u, V v) HWY_ATTR { return hn::MulAdd(a, u, v); });
}
void Scale(float alpha, const float* x, float* y, int64_t n) {
  const V a = hn::Set(D(), alpha);
  map(x, y, n, [&](V u) HWY_ATTR { return hn::Mul(a, u); });
}

// Four running vectors hide the latency of the addition.
float Sum(const float* x, int64_t n) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    s0 = hn::Add(s0, hn::LoadU(d, x + i));
    s1 = hn::Add(s1, hn::LoadU(d, x + i + lanes));
    s2 = hn::Add(s2, hn::LoadU(d, x + i + 2 * lanes));
    s3 = hn::Add(s3, hn::LoadU(d, x + i + 3 * lanes));
  }
  for (; i + lanes <= n; i += lanes) s0 = hn::Add(s0, hn::LoadU(d, x + i));
  if (i < n) s1 = hn::Add(s1, load_part(d, x + i, static_cast<size_t>(n - i)));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

#if HWY_TARGET != HWY_SCALAR
// Rows and columns in whole squares of as many rows as the vector has lanes.
template <class DT>
HWY_INLINE void transpose_squares(DT d, const float* x, int64_t ld_x, int64_t rows, int64_t columns,
                                  float* y, int64_t ld_y) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < rows; i += lanes) {
    for (int64_t j = 0; j < columns; j += lanes) {
      transpose_square(d, x + i * ld_x + j, ld_x, y + j * ld_y + i, ld_y);
    }
  }
}
#endif

// Squares of whole vectors, then of 4x4 elements, what is left over one by one.
void Transpose(const float* x, int64_t ld_x, int64_t rows, int64_t columns, float* y,
               int64_t ld_y) {
  int64_t done_rows = 0, done_columns = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::CappedTag<float, 16> d;
  const hn::CappedTag<float, 4> quarter;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t wide_rows = rows / lanes * lanes, wide_columns = columns / lanes * lanes;
  done_rows = rows / 4 * 4;
  done_columns = columns / 4 * 4;
  transpose_squares(d, x, ld_x, wide_rows, wide_columns, y, ld_y);
  transpose_squares(quarter, x + wide_columns, ld_x, wide_rows, done_columns - wide_columns,
                    y + wide_columns * ld_y, ld_y);
  transpose_squares(quarter, x + wide_rows * ld_x, ld_x, done_rows - wide_rows, done_columns,
                    y + wide_rows, ld_y);
#endif
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t i = j < done_columns ? done_rows : 0; i < rows; ++i) {
      y[j * ld_y + i] = x[i * ld_x + j];
    }
  }
}

void ExpShifted(const float* x, const float* shift, int64_t shift_step, double* e, int64_t n) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> d_float;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto subtrahend = hn::Set(d, static_cast<double>(shift[0]));
  const auto value = [&](const float* from, const float* minus) HWY_ATTR {
    if (shift_step != 0) subtrahend = hn::PromoteTo(d, hn::LoadU(d_float, minus));
    const auto v = hn::Sub(hn::PromoteTo(d, hn::LoadU(d_float, from)), subtrahend);
    return hn::IfThenElse(hn::IsNaN(v), v, hn::Exp(d, v));
  };
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(value(x + i, shift + i * shift_step), d, e + i);
  if (i < n) {
    const size_t rest = static_cast<size_t>(n - i);
    HWY_ALIGN float from[hn::MaxLanes(D())] = {};
    HWY_ALIGN float minus[hn::MaxLanes(D())] = {};
    HWY_ALIGN double to[hn::MaxLanes(D())];
    std::memcpy(from, x + i, rest * sizeof(float));
    if (shift_step != 0) std::memcpy(minus, shift + i, rest * sizeof(float));
    hn::StoreU(value(from, minus), d, to);
    std::memcpy(e + i, to, rest * sizeof(double));
  }
}

HWY_FLATTEN void BiasActivation(float* y, float bias, int64_t n, ActivationKind activation) {
  switch (activation) {
    case ActivationKind::none: bias_map(y, bias, n, [](V v) HWY_ATTR { return v; }); break;
    case ActivationKind::relu:
      bias_map(y, bias, n, [](V v) HWY_ATTR { return activate<Relu>(v); });
      break;
    case ActivationKind::sigmoid:
      bias_map(y, bias, n, [](V v) HWY_ATTR { return activate<Sigmoid>(v); });
      break;
    case ActivationKind::tanh:
      bias_map(y, bias, n, [](V v) HWY_ATTR { return activate<Tanh>(v); });
      break;
  }
}
HWY_FLATTEN void BiasRowActivation(float* y, const float* bias, int64_t n,
                                   ActivationKind activation) {
  switch (activation) {
    case ActivationKind::none:
      if (bias != nullptr) Accumulate(bias, y, n);
      break;
    case ActivationKind::relu:
      bias_row_map(y, bias, n, [](V v) HWY_ATTR { return activate<Relu>(v); });
      break;
    case ActivationKind::sigmoid:
      bias_row_map(y, bias, n, [](V v) HWY_ATTR { return activate<Sigmoid>(v); });
      break;
    case ActivationKind::tanh:
      bias_row_map(y, bias, n, [](V v) HWY_ATTR { return activate<Tanh>(v); });
      break;
  }
}

void AffineU8(const uint8_t* x, float* y, int64_t n, float scale, float shift) {
  const D d;
  const hn::Rebind<uint8_t, D> d8;
  const hn::Rebind<int32_t, D> d32;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const V a = hn::Set(d, scale);
  const V b = hn::Set(d, shift);
  const auto convert = [&](const uint8_t* p) HWY_ATTR {
    return hn::MulAdd(hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, p))), a, b);
  };
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(convert(x + i), d, y + i);
  if (i < n) {
    const size_t rest = static_cast<size_t>(n - i);
    HWY_ALIGN uint8_t buffer[hn::MaxLanes(D())] = {};
    std::memcpy(buffer, x + i, rest);
    store_part(convert(buffer), d, y + i, rest);
  }
}

void SgdUpdate(float* w, float* v, int64_t ld, const float* g, int64_t ld_g, int64_t rows,
               int64_t columns, const SgdRates& rates) {
  const D d;
  const V rate = hn::Set(d, rates.lr);
  const V keep = hn::Set(d, rates.momentum);
  const V fresh = hn::Set(d, 1.0f - rates.dampening);
  const V decay = hn::Set(d, rates.weight_decay);
  const V factor = hn::Set(d, rates.grad_scale);
  const bool first_step = rates.first_step, nesterov = rates.nesterov;
  for (int64_t r = 0; r < rows; ++r, w += ld, g += ld_g) {
    for_vectors(columns, [&](int64_t i, const auto& load, const auto& store) HWY_ATTR {
      const V weight = load(w + i);
      const V gradient = hn::MulAdd(decay, weight, hn::Mul(load(g + i), factor));
      V step = gradient;
      if (v != nullptr) {
        if (!first_step) {
          step = hn::MulAdd(keep, load(v + i), hn::Mul(fresh, gradient));
        }
        store(step, v + i);
        if (nesterov) step = hn::MulAdd(keep, step, gradient);
      }
      store(hn::NegMulAdd(rate, step, weight), w + i);
    });
    if (v != nullptr) v += ld;
  }
}

void AdamUpdate(float* w, const float* g, float* m, float* v, int64_t n, float step_size,
                float beta1, float beta2, float eps, float inv_sqrt_correction2, float decay_factor,
                float l2, float grad_scale) {
  const D d;
  const V rate = hn::Set(d, step_size);
  const V keep1 = hn::Set(d, beta1);
  const V keep2 = hn::Set(d, beta2);
  const V fresh1 = hn::Set(d, 1.0f - beta1);
  const V fresh2 = hn::Set(d, 1.0f - beta2);
  const V floor = hn::Set(d, eps);
  const V correction = hn::Set(d, inv_sqrt_correction2);
  const V shrink = hn::Set(d, decay_factor);
  const V decay = hn::Set(d, l2);
  const V factor = hn::Set(d, grad_scale);
  for_vectors(n, [&](int64_t i, const auto& load, const auto& store) HWY_ATTR {
    const V weight = hn::Mul(load(w + i), shrink);
    const V gradient = hn::MulAdd(decay, weight, hn::Mul(load(g + i), factor));
    const V mean = hn::MulAdd(keep1, load(m + i), hn::Mul(fresh1, gradient));
    const V square = hn::MulAdd(keep2, load(v + i), hn::Mul(fresh2, hn::Mul(gradient, gradient)));
    store(mean, m + i);
    store(square, v + i);
    const V divisor = hn::MulAdd(hn::Sqrt(square), correction, floor);
    store(hn::NegMulAdd(rate, hn::Div(mean, divisor), weight), w + i);
  });
}

// The vector of elements s of consecutive windows: at p, p + stride, p + 2 stride, …. Two vectors
// in a row hold one element more than stride 2 needs, in front (s > 0) or behind (s = 0): it lies
// inside a window either way, but for windows of width 1.
template <class DT>
HWY_INLINE hn::Vec<DT> load_strided(DT d, const float* p, int32_t stride, int64_t s) {
#if HWY_TARGET == HWY_SCALAR
  (void)stride;
  (void)s;
  return hn::LoadU(d, p);
#else
  if (stride == 1) return hn::LoadU(d, p);
  const size_t lanes = hn::Lanes(d);
  if (s > 0) return hn::ConcatOdd(d, hn::LoadU(d, p - 1 + lanes), hn::LoadU(d, p - 1));
  return hn::ConcatEven(d, hn::LoadU(d, p + lanes), hn::LoadU(d, p));
#endif
}

// How many windows the vector loops may take.
HWY_INLINE int64_t safe_windows(const PoolRow& row) {
  return row.stride_w == 2 && row.kernel_w == 1 ? row.count - 1 : row.count;
}

template <class DT>
HWY_INLINE int64_t max_pool_vectors(DT d, const PoolRow& row, int64_t q, int32_t x_index, float* y,
                                    int32_t* argmax) {
  const hn::Rebind<int32_t, DT> di;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (; q + lanes <= safe_windows(row); q += lanes) {
    const int64_t first = q * row.stride_w;
    const float* x = row.x + first;
    auto best = load_strided(d, x, row.stride_w, 0);
    auto offset = hn::Zero(di);
    for (int64_t r = 0; r < row.kernel_h; ++r) {
      for (int64_t s = r == 0 ? 1 : 0; s < row.kernel_w; ++s) {
        const int64_t at = r * row.ldx + s;
        const auto v = load_strided(d, x + at, row.stride_w, s);
        const auto take = hn::AndNot(hn::Le(v, best), hn::Eq(best, best));
        best = hn::IfThenElse(take, v, best);
        offset =
            hn::IfThenElse(hn::RebindMask(di, take), hn::Set(di, static_cast<int32_t>(at)), offset);
      }
    }
    hn::StoreU(best, d, y + q);
    if (argmax != nullptr) {
      const auto step = hn::Iota(di, 0);
      const auto base = hn::Set(di, static_cast<int32_t>(x_index + first));
      const auto window = row.stride_w == 1 ? step : hn::Add(step, step);
      hn::StoreU(hn::Add(hn::Add(base, window), offset), di, argmax + q);
    }
  }
  return q;
}

void MaxPoolRow(const PoolRow& row, int32_t x_index, float* y, int32_t* argmax) {
  int64_t q = max_pool_vectors(D(), row, 0, x_index, y, argmax);
#if HWY_TARGET != HWY_SCALAR
  const hn::CappedTag<float, 4> quarter;
  q = max_pool_vectors(hn::CappedTag<float, 8>(), row, q, x_index, y, argmax);
  q = max_pool_vectors(quarter, row, q, x_index, y, argmax);
  // What is left: the last four windows, some of them a second time.
  const int64_t last = safe_windows(row) - 4;
  if (q > last && q < last + 4 && last >= 0)
    q = max_pool_vectors(quarter, row, last, x_index, y, argmax);
#endif
  for (; q < row.count; ++q) {
    const float* x = row.x + q * row.stride_w;
    float best = x[0];
    int64_t offset = 0;
    for (int64_t r = 0; r < row.kernel_h; ++r) {
      for (int64_t s = 0; s < row.kernel_w; ++s) {
        const float v = x[r * row.ldx + s];
        const bool take = !(v <= best) && best == best;
        best = take ? v : best;
        offset = take ? r * row.ldx + s : offset;
      }
    }
    y[q] = best;
    if (argmax != nullptr) {
      argmax[q] = static_cast<int32_t>(x_index + q * row.stride_w + offset);
    }
  }
}

template <class DT>
HWY_INLINE int64_t average_pool_vectors(DT d, const PoolRow& row, int64_t q, float divisor,
                                        float* y) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (; q + lanes <= safe_windows(row); q += lanes) {
    const float* x = row.x + q * row.stride_w;
    auto total = hn::Zero(d);
    for (int64_t r = 0; r < row.kernel_h; ++r) {
      for (int64_t s = 0; s < row.kernel_w; ++s) {
        total = hn::Add(total, load_strided(d, x + r * row.ldx + s, row.stride_w, s));
      }
    }
    hn::StoreU(hn::Div(total, hn::Set(d, divisor)), d, y + q);
  }
  return q;
}

void AveragePoolRow(const PoolRow& row, float divisor, float* y) {
  int64_t q = average_pool_vectors(D(), row, 0, divisor, y);
#if HWY_TARGET != HWY_SCALAR
  const hn::CappedTag<float, 4> quarter;
  q = average_pool_vectors(hn::CappedTag<float, 8>(), row, q, divisor, y);
  q = average_pool_vectors(quarter, row, q, divisor, y);
  // What is left: the last four windows, some of them a second time.
  const int64_t last = safe_windows(row) - 4;
  if (q > last && q < last + 4 && last >= 0)
    q = average_pool_vectors(quarter, row, last, divisor, y);
#endif
  for (; q < row.count; ++q) {
    const float* x = row.x + q * row.stride_w;
    float total = 0;
    for (int64_t r = 0; r < row.kernel_h; ++r) {
      for (int64_t s = 0; s < row.kernel_w; ++s) total += x[r * row.ldx + s];
    }
    y[q] = total / divisor;
  }
}

template <class DT>
HWY_INLINE int64_t copy_vectors(DT d, const float* x, float* y, int64_t i, int64_t n) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (; i + lanes <= n; i += lanes) hn::StoreU(hn::LoadU(d, x + i), d, y + i);
  return i;
}

void CopyRows(const float* x, int64_t ld_x, int64_t rows, int64_t columns, float* y, int64_t ld_y) {
  for (int64_t r = 0; r < rows; ++r, x += ld_x, y += ld_y) {
    int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
    i = copy_vectors(D(), x, y, i, columns);
    i = copy_vectors(hn::CappedTag<float, 8>(), x, y, i, columns);
    i = copy_vectors(hn::CappedTag<float, 4>(), x, y, i, columns);
#endif
    for (; i < columns; ++i) y[i] = x[i];
  }
}

template <class DT>
HWY_INLINE int64_t every_second_vectors(DT d, const float* x, float* y, int64_t i, int64_t n) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  // A pair of vectors holds one element more than is wanted of it: it has to exist, behind it or, for
  // the last vector, in front of it.
  for (; i + lanes < n; i += lanes) hn::StoreU(load_strided(d, x + 2 * i, 2, 0), d, y + i);
  if (i < n && n > lanes) {
    hn::StoreU(load_strided(d, x + 2 * (n - lanes), 2, 1), d, y + n - lanes);
    i = n;
  }
  return i;
}

void EverySecond(const float* x, float* y, int64_t n) {
  int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  i = every_second_vectors(D(), x, y, i, n);
  i = every_second_vectors(hn::CappedTag<float, 4>(), x, y, i, n);
#endif
  for (; i < n; ++i) y[i] = x[2 * i];
}

const char* Target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace
}  // namespace tanul::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tanul::cpu {

HWY_EXPORT(Add);
HWY_EXPORT(Accumulate);
HWY_EXPORT(MultiplyAdd);
HWY_EXPORT(Scale);
HWY_EXPORT(Sum);
HWY_EXPORT(Transpose);
HWY_EXPORT(ExpShifted);
HWY_EXPORT(BiasActivation);
HWY_EXPORT(BiasRowActivation);
HWY_EXPORT(AffineU8);
HWY_EXPORT(SgdUpdate);
HWY_EXPORT(AdamUpdate);
HWY_EXPORT(MaxPoolRow);
HWY_EXPORT(AveragePoolRow);
HWY_EXPORT(CopyRows);
HWY_EXPORT(EverySecond);
HWY_EXPORT(Target);

const char* simd_target() { return HWY_DYNAMIC_DISPATCH(Target)(); }

void add(const float* a, const float* b, float* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(Add)(a, b, y, n);
}
void accumulate(const float* x, float* y, int64_t n) { HWY_DYNAMIC_DISPATCH(Accumulate)(x, y, n); }
void multiply_add(float alpha, const float* x, float* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(MultiplyAdd)(alpha, x, y, n);
}
void scale(float alpha, const float* x, float* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(Scale)(alpha, x, y, n);
}
float sum(const float* x, int64_t n) { return HWY_DYNAMIC_DISPATCH(Sum)(x, n); }
void copy_rows(const float* x, int64_t ld_x, int64_t rows, int64_t columns, float* y,
               int64_t ld_y) {
  HWY_DYNAMIC_DISPATCH(CopyRows)(x, ld_x, rows, columns, y, ld_y);
}
void every_second(const float* x, float* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(EverySecond)(x, y, n);
}
void transpose(const float* x, int64_t ld_x, int64_t rows, int64_t columns, float* y,
               int64_t ld_y) {
  HWY_DYNAMIC_DISPATCH(Transpose)(x, ld_x, rows, columns, y, ld_y);
}

void exp_shifted(const float* x, const float* shift, int64_t shift_step, double* e, int64_t n) {
  HWY_DYNAMIC_DISPATCH(ExpShifted)(x, shift, shift_step, e, n);
}

void bias_activation(float* y, float bias, int64_t n, ActivationKind activation) {
  HWY_DYNAMIC_DISPATCH(BiasActivation)(y, bias, n, activation);
}
void bias_row_activation(float* y, const float* bias, int64_t n, ActivationKind activation) {
  HWY_DYNAMIC_DISPATCH(BiasRowActivation)(y, bias, n, activation);
}

void affine_u8(const uint8_t* x, float* y, int64_t n, float scale, float shift) {
  HWY_DYNAMIC_DISPATCH(AffineU8)(x, y, n, scale, shift);
}

void sgd_update(float* w, const float* g, float* v, int64_t n, const SgdRates& rates) {
  HWY_DYNAMIC_DISPATCH(SgdUpdate)(w, v, n, g, n, 1, n, rates);
}
void sgd_update_rows(float* w, float* v, int64_t ld, const float* g, int64_t ld_g, int64_t rows,
                     int64_t columns, const SgdRates& rates) {
  HWY_DYNAMIC_DISPATCH(SgdUpdate)(w, v, ld, g, ld_g, rows, columns, rates);
}
void adam_update(float* w, const float* g, float* m, float* v, int64_t n, float step_size,
                 float beta1, float beta2, float eps, float inv_sqrt_correction2,
                 float decay_factor, float l2, float grad_scale) {
  HWY_DYNAMIC_DISPATCH(AdamUpdate)
  (w, g, m, v, n, step_size, beta1, beta2, eps, inv_sqrt_correction2, decay_factor, l2, grad_scale);
}

void max_pool_row(const PoolRow& row, int32_t x_index, float* y, int32_t* argmax) {
  HWY_DYNAMIC_DISPATCH(MaxPoolRow)(row, x_index, y, argmax);
}
void average_pool_row(const PoolRow& row, float divisor, float* y) {
  HWY_DYNAMIC_DISPATCH(AveragePoolRow)(row, divisor, y);
}

}  // namespace tanul::cpu
#endif  // HWY_ONCE
