// SPDX-License-Identifier: Apache-2.0
// The transforms of winograd.h, compiled once for each instruction set like simd.cpp.
//
// A two-dimensional transform is a one-dimensional one over the columns, whose results go to a small
// buffer that stays in the first-level cache, then one over the rows. The points +-p share work: with
// even and odd parts e and o of a polynomial the values at p and -p are e + p o and e - p o.
#include "kernels/cpu/winograd.h"

#include <algorithm>
#include <cstring>

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/winograd.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
// clang-format off
#include <hwy/highway.h>
#include "kernels/cpu/transpose-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace tanul::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));

HWY_INLINE V load(const float* p) { return hn::LoadU(D(), p); }
HWY_INLINE void store(V v, float* p) { hn::StoreU(v, D(), p); }
HWY_INLINE V set(float x) { return hn::Set(D(), x); }
// c x + y and y - c x
HWY_INLINE V fma(float c, V x, V y) { return hn::MulAdd(set(c), x, y); }
HWY_INLINE V fnma(float c, V x, V y) { return hn::NegMulAdd(set(c), x, y); }

// ---- one dimension ----------------------------------------------------------------------------

// The points 0, +-a, +-b, infinity.
constexpr float kA = 5.0f / 8, kB = 3.0f / 2;
constexpr float kA2 = kA * kA, kB2 = kB * kB;
// f(x) = x (x^2 - a^2) (x^2 - b^2) = x^5 - kSum x^3 + kProduct x
constexpr float kSum = kA2 + kB2, kProduct = kA2 * kB2;
// 1 / f'(p) at 0, a and b
constexpr double kExactA2 = 25.0 / 64, kExactB2 = 9.0 / 4;
constexpr float kF0 = static_cast<float>(1 / (kExactA2 * kExactB2));
constexpr float kFa = static_cast<float>(1 / (2 * kExactA2 * (kExactA2 - kExactB2)));
constexpr float kFb = static_cast<float>(1 / (2 * kExactB2 * (kExactB2 - kExactA2)));

// B^T d, 6 of 6
HWY_INLINE void input_transform(const V (&d)[6], V (&t)[6]) {
  const V even_a = fnma(kB2, d[2], d[4]), odd_a = fnma(kB2, d[1], d[3]);
  const V even_b = fnma(kA2, d[2], d[4]), odd_b = fnma(kA2, d[1], d[3]);
  t[0] = fma(kProduct, d[0], fnma(kSum, d[2], d[4]));
  t[1] = fma(kA, odd_a, even_a);
  t[2] = fnma(kA, odd_a, even_a);
  t[3] = fma(kB, odd_b, even_b);
  t[4] = fnma(kB, odd_b, even_b);
  t[5] = fma(kProduct, d[1], fnma(kSum, d[3], d[5]));
}
// The same for n = 4: points 0, 1, -1, infinity; f(x) = x^3 - x. Row 0 has its sign turned here and
// in G.
HWY_INLINE void input_transform(const V (&d)[4], V (&t)[4]) {
  t[0] = hn::Sub(d[0], d[2]);
  t[1] = hn::Add(d[2], d[1]);
  t[2] = hn::Sub(d[2], d[1]);
  t[3] = hn::Sub(d[3], d[1]);
}

// B t, 6 of 6
HWY_INLINE void scatter_transform(const V (&t)[6], V (&d)[6]) {
  const V even_a = hn::Add(t[1], t[2]), odd_a = hn::Mul(set(kA), hn::Sub(t[1], t[2]));
  const V even_b = hn::Add(t[3], t[4]), odd_b = hn::Mul(set(kB), hn::Sub(t[3], t[4]));
  d[0] = hn::Mul(set(kProduct), t[0]);
  d[1] = fnma(kB2, odd_a, fnma(kA2, odd_b, hn::Mul(set(kProduct), t[5])));
  d[2] = fnma(kB2, even_a, fnma(kA2, even_b, hn::Mul(set(-kSum), t[0])));
  d[3] = fnma(kSum, t[5], hn::Add(odd_a, odd_b));
  d[4] = hn::Add(t[0], hn::Add(even_a, even_b));
  d[5] = t[5];
}
// 4 of 4
HWY_INLINE void scatter_transform(const V (&t)[4], V (&d)[4]) {
  d[0] = t[0];
  d[1] = hn::Sub(hn::Sub(t[1], t[2]), t[3]);
  d[2] = hn::Sub(hn::Add(t[1], t[2]), t[0]);
  d[3] = t[3];
}

// A y, 6 of 4
HWY_INLINE void gradient_transform(const V (&y)[4], V (&t)[6]) {
  const V even_a = fma(kA2, y[2], y[0]), odd_a = fma(kA2, y[3], y[1]);
  const V even_b = fma(kB2, y[2], y[0]), odd_b = fma(kB2, y[3], y[1]);
  t[0] = y[0];
  t[1] = fma(kA, odd_a, even_a);
  t[2] = fnma(kA, odd_a, even_a);
  t[3] = fma(kB, odd_b, even_b);
  t[4] = fnma(kB, odd_b, even_b);
  t[5] = y[3];
}
// 6 of 2
HWY_INLINE void gradient_transform(const V (&y)[2], V (&t)[6]) {
  t[0] = y[0];
  t[1] = fma(kA, y[1], y[0]);
  t[2] = fnma(kA, y[1], y[0]);
  t[3] = fma(kB, y[1], y[0]);
  t[4] = fnma(kB, y[1], y[0]);
  t[5] = y[1];
}
// 4 of 2
HWY_INLINE void gradient_transform(const V (&y)[2], V (&t)[4]) {
  t[0] = y[0];
  t[1] = hn::Add(y[0], y[1]);
  t[2] = hn::Sub(y[0], y[1]);
  t[3] = y[1];
}

// A^T e, 4 of 6
HWY_INLINE void output_transform(const V (&e)[6], V (&y)[4]) {
  const V even_a = hn::Add(e[1], e[2]), odd_a = hn::Sub(e[1], e[2]);
  const V even_b = hn::Add(e[3], e[4]), odd_b = hn::Sub(e[3], e[4]);
  y[0] = hn::Add(e[0], hn::Add(even_a, even_b));
  y[1] = fma(kA, odd_a, hn::Mul(set(kB), odd_b));
  y[2] = fma(kA2, even_a, hn::Mul(set(kB2), even_b));
  y[3] = fma(kA2 * kA, odd_a, fma(kB2 * kB, odd_b, e[5]));
}
// 2 of 6
HWY_INLINE void output_transform(const V (&e)[6], V (&y)[2]) {
  y[0] = hn::Add(e[0], hn::Add(hn::Add(e[1], e[2]), hn::Add(e[3], e[4])));
  y[1] = fma(kA, hn::Sub(e[1], e[2]), fma(kB, hn::Sub(e[3], e[4]), e[5]));
}
// 2 of 4
HWY_INLINE void output_transform(const V (&e)[4], V (&y)[2]) {
  y[0] = hn::Add(e[0], hn::Add(e[1], e[2]));
  y[1] = hn::Add(hn::Sub(e[1], e[2]), e[3]);
}

// G w, 6 of 3
HWY_INLINE void weights_transform(const V (&w)[3], V (&t)[6]) {
  const V even_a = fma(kA2, w[2], w[0]), even_b = fma(kB2, w[2], w[0]);
  t[0] = hn::Mul(set(kF0), w[0]);
  t[1] = hn::Mul(set(kFa), fma(kA, w[1], even_a));
  t[2] = hn::Mul(set(kFa), fnma(kA, w[1], even_a));
  t[3] = hn::Mul(set(kFb), fma(kB, w[1], even_b));
  t[4] = hn::Mul(set(kFb), fnma(kB, w[1], even_b));
  t[5] = w[2];
}
// 6 of 5
HWY_INLINE void weights_transform(const V (&w)[5], V (&t)[6]) {
  const V even_a = fma(kA2, fma(kA2, w[4], w[2]), w[0]), odd_a = fma(kA2, w[3], w[1]);
  const V even_b = fma(kB2, fma(kB2, w[4], w[2]), w[0]), odd_b = fma(kB2, w[3], w[1]);
  t[0] = hn::Mul(set(kF0), w[0]);
  t[1] = hn::Mul(set(kFa), fma(kA, odd_a, even_a));
  t[2] = hn::Mul(set(kFa), fnma(kA, odd_a, even_a));
  t[3] = hn::Mul(set(kFb), fma(kB, odd_b, even_b));
  t[4] = hn::Mul(set(kFb), fnma(kB, odd_b, even_b));
  t[5] = w[4];
}
// 4 of 3
HWY_INLINE void weights_transform(const V (&w)[3], V (&t)[4]) {
  const V even = hn::Add(w[0], w[2]), half = set(0.5f);
  t[0] = w[0];
  t[1] = hn::Mul(half, hn::Add(even, w[1]));
  t[2] = hn::Mul(half, hn::Sub(even, w[1]));
  t[3] = w[2];
}

// G^T e, 3 of 6
HWY_INLINE void weights_gradient_transform(const V (&e)[6], V (&w)[3]) {
  const V even_a = hn::Mul(set(kFa), hn::Add(e[1], e[2]));
  const V odd_a = hn::Mul(set(kFa), hn::Sub(e[1], e[2]));
  const V even_b = hn::Mul(set(kFb), hn::Add(e[3], e[4]));
  const V odd_b = hn::Mul(set(kFb), hn::Sub(e[3], e[4]));
  w[0] = fma(kF0, e[0], hn::Add(even_a, even_b));
  w[1] = fma(kA, odd_a, hn::Mul(set(kB), odd_b));
  w[2] = fma(kA2, even_a, fma(kB2, even_b, e[5]));
}
// 5 of 6
HWY_INLINE void weights_gradient_transform(const V (&e)[6], V (&w)[5]) {
  const V even_a = hn::Mul(set(kFa), hn::Add(e[1], e[2]));
  const V odd_a = hn::Mul(set(kFa), hn::Sub(e[1], e[2]));
  const V even_b = hn::Mul(set(kFb), hn::Add(e[3], e[4]));
  const V odd_b = hn::Mul(set(kFb), hn::Sub(e[3], e[4]));
  w[0] = fma(kF0, e[0], hn::Add(even_a, even_b));
  w[1] = fma(kA, odd_a, hn::Mul(set(kB), odd_b));
  w[2] = fma(kA2, even_a, hn::Mul(set(kB2), even_b));
  w[3] = fma(kA2 * kA, odd_a, hn::Mul(set(kB2 * kB), odd_b));
  w[4] = fma(kA2 * kA2, even_a, fma(kB2 * kB2, even_b, e[5]));
}
// 3 of 4
HWY_INLINE void weights_gradient_transform(const V (&e)[4], V (&w)[3]) {
  const V half = set(0.5f);
  const V even = hn::Mul(half, hn::Add(e[1], e[2]));
  w[0] = hn::Add(e[0], even);
  w[1] = hn::Mul(half, hn::Sub(e[1], e[2]));
  w[2] = hn::Add(even, e[3]);
}

// ---- two dimensions ---------------------------------------------------------------------------

// Tiles of a row that go through the buffer of columns together.
constexpr int64_t kTilesTogether = 8;

// Both transforms of pixels into tiles: kIn pixels of a column and then of a row make kOut; tile t
// begins at pixel t kStep - left.
template <int kIn, int kOut, int kStep, class Transform>
HWY_INLINE void pixels_to_tiles(const PixelRows& from, const WinogradTiles& to,
                                const Transform& transform) {
  constexpr int64_t kColumns = (kTilesTogether - 1) * kStep + kIn;
  HWY_ALIGN float columns[kOut * kColumns * kLanes];
  const int64_t row = from.width * kLanes;
  for (int64_t first = 0; first < to.count; first += kTilesTogether) {
    const int64_t tiles = std::min(kTilesTogether, to.count - first);
    const int64_t begin = first * kStep - from.left;
    const int64_t count = (tiles - 1) * kStep + kIn;
    for (int64_t i = 0; i < count; ++i) {
      float* column = columns + i * kLanes;
      const int64_t pixel = begin + i;
      if (pixel < 0 || pixel >= from.width) {
        for (int r = 0; r < kOut; ++r) store(hn::Zero(D()), column + r * kColumns * kLanes);
        continue;
      }
      const float* p = from.data + pixel * kLanes;
      V in[kIn], out[kOut];
#pragma GCC unroll 6
      for (int r = 0; r < kIn; ++r) in[r] = load(p + r * row);
      transform(in, out);
#pragma GCC unroll 6
      for (int r = 0; r < kOut; ++r) store(out[r], column + r * kColumns * kLanes);
    }
    for (int64_t t = 0; t < tiles; ++t) {
      float* tile = to.data + (first + t) * to.tile_stride;
      for (int r = 0; r < kOut; ++r, tile += kOut * to.elem_stride) {
        const float* p = columns + (r * kColumns + t * kStep) * kLanes;
        V in[kIn], out[kOut];
#pragma GCC unroll 6
        for (int s = 0; s < kIn; ++s) in[s] = load(p + s * kLanes);
        transform(in, out);
#pragma GCC unroll 6
        for (int s = 0; s < kOut; ++s) store(out[s], tile + s * to.elem_stride);
      }
    }
  }
}

// Both transforms of kIn x kIn elements, elem_stride apart, into kOut x kOut in `out`.
template <int kIn, int kOut, class Transform>
HWY_INLINE void shrink_tile(const float* from, int64_t elem_stride, const Transform& transform,
                            V (&out)[kOut][kOut]) {
  HWY_ALIGN float rows[kIn * kOut * kLanes];  // [kOut][kIn]
  for (int r = 0; r < kIn; ++r, from += kIn * elem_stride) {
    V in[kIn], part[kOut];
#pragma GCC unroll 6
    for (int s = 0; s < kIn; ++s) in[s] = load(from + s * elem_stride);
    transform(in, part);
#pragma GCC unroll 6
    for (int s = 0; s < kOut; ++s) store(part[s], rows + (s * kIn + r) * kLanes);
  }
#pragma GCC unroll 6
  for (int s = 0; s < kOut; ++s) {
    V in[kIn], part[kOut];
#pragma GCC unroll 6
    for (int r = 0; r < kIn; ++r) in[r] = load(rows + (s * kIn + r) * kLanes);
    transform(in, part);
#pragma GCC unroll 6
    for (int r = 0; r < kOut; ++r) out[r][s] = part[r];
  }
}

HWY_INLINE V relu(V v) { return hn::IfThenZeroElse(hn::Lt(v, hn::Zero(D())), v); }  // keeps NaN

template <int N, int M>
void output_row(const WinogradTiles& from, const float* bias, bool is_relu, const PixelRows& to,
                int64_t rows) {
  const V b = bias == nullptr ? hn::Zero(D()) : load(bias);
  for (int64_t t = 0; t < from.count; ++t) {
    V y[M][M];
    shrink_tile<N, M>(
        from.data + t * from.tile_stride, from.elem_stride,
        [](const V(&in)[N], V(&out)[M]) HWY_ATTR { output_transform(in, out); }, y);
    const int64_t pixels = std::min<int64_t>(M, to.width - t * M);
    float* pixel = to.data + t * M * kLanes;
    if (pixels == M && rows == M) {
#pragma GCC unroll 6
      for (int r = 0; r < M; ++r) {
#pragma GCC unroll 6
        for (int s = 0; s < M; ++s) {
          const V v = hn::Add(y[r][s], b);
          store(is_relu ? relu(v) : v, pixel + (r * to.width + s) * kLanes);
        }
      }
      continue;
    }
#pragma GCC unroll 6
    for (int r = 0; r < M; ++r) {
#pragma GCC unroll 6
      for (int s = 0; s < M; ++s) {
        if (r >= rows || s >= pixels) continue;
        const V v = hn::Add(y[r][s], b);
        store(is_relu ? relu(v) : v, pixel + (r * to.width + s) * kLanes);
      }
    }
  }
}

// Adds n x n pixels of each tile, tile t beginning at pixel t m - left.
template <int N, int M>
void scatter_row(const WinogradTiles& from, const PixelRows& to) {
  const int64_t row = to.width * kLanes;
  for (int64_t t = 0; t < from.count; ++t) {
    V d[N][N];
    shrink_tile<N, N>(
        from.data + t * from.tile_stride, from.elem_stride,
        [](const V(&in)[N], V(&out)[N]) HWY_ATTR { scatter_transform(in, out); }, d);
    const int64_t first = t * M - to.left;
    float* pixels = to.data + first * kLanes;
#pragma GCC unroll 6
    for (int s = 0; s < N; ++s) {
      if (first + s < 0 || first + s >= to.width) continue;
#pragma GCC unroll 6
      for (int r = 0; r < N; ++r) {
        float* p = pixels + r * row + s * kLanes;
        store(hn::Add(load(p), d[r][s]), p);
      }
    }
  }
}

template <int R, int N>
void weights_tiles(const float* w, bool is_backwards, const WinogradTiles& to) {
  constexpr int kTaps = R * R;
  HWY_ALIGN float columns[N * R * kLanes];  // [N][R]
  for (int64_t t = 0; t < to.count; ++t, w += kTaps * kLanes) {
    const auto tap = [&](int i)
                         HWY_ATTR { return load(w + (is_backwards ? kTaps - 1 - i : i) * kLanes); };
    for (int s = 0; s < R; ++s) {
      V in[R], out[N];
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) in[r] = tap(r * R + s);
      weights_transform(in, out);
#pragma GCC unroll 6
      for (int i = 0; i < N; ++i) store(out[i], columns + (i * R + s) * kLanes);
    }
    float* tile = to.data + t * to.tile_stride;
    for (int i = 0; i < N; ++i, tile += N * to.elem_stride) {
      V in[R], out[N];
#pragma GCC unroll 6
      for (int s = 0; s < R; ++s) in[s] = load(columns + (i * R + s) * kLanes);
      weights_transform(in, out);
#pragma GCC unroll 6
      for (int j = 0; j < N; ++j) store(out[j], tile + j * to.elem_stride);
    }
  }
}

template <int N, int R>
void weights_gradient_tiles(const WinogradTiles& from, float* w) {
  for (int64_t t = 0; t < from.count; ++t, w += R * R * kLanes) {
    V out[R][R];
    shrink_tile<N, R>(
        from.data + t * from.tile_stride, from.elem_stride,
        [](const V(&in)[N], V(&part)[R]) HWY_ATTR { weights_gradient_transform(in, part); }, out);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 6
      for (int s = 0; s < R; ++s) store(out[r][s], w + (r * R + s) * kLanes);
    }
  }
}

void Input(Winograd kind, const PixelRows& from, const WinogradTiles& to) {
  switch (kind) {
    case Winograd::f4x4_3x3:
      return pixels_to_tiles<6, 6, 4>(
          from, to, [](const V(&in)[6], V(&out)[6]) HWY_ATTR { input_transform(in, out); });
    case Winograd::f2x2_5x5:
      return pixels_to_tiles<6, 6, 2>(
          from, to, [](const V(&in)[6], V(&out)[6]) HWY_ATTR { input_transform(in, out); });
    case Winograd::f2x2_3x3:
      return pixels_to_tiles<4, 4, 2>(
          from, to, [](const V(&in)[4], V(&out)[4]) HWY_ATTR { input_transform(in, out); });
  }
}

void Gradient(Winograd kind, const PixelRows& from, const WinogradTiles& to) {
  switch (kind) {
    case Winograd::f4x4_3x3:
      return pixels_to_tiles<4, 6, 4>(
          from, to, [](const V(&in)[4], V(&out)[6]) HWY_ATTR { gradient_transform(in, out); });
    case Winograd::f2x2_5x5:
      return pixels_to_tiles<2, 6, 2>(
          from, to, [](const V(&in)[2], V(&out)[6]) HWY_ATTR { gradient_transform(in, out); });
    case Winograd::f2x2_3x3:
      return pixels_to_tiles<2, 4, 2>(
          from, to, [](const V(&in)[2], V(&out)[4]) HWY_ATTR { gradient_transform(in, out); });
  }
}

void Output(Winograd kind, const WinogradTiles& from, const float* bias, bool is_relu,
            const PixelRows& to, int64_t rows) {
  switch (kind) {
    case Winograd::f4x4_3x3: return output_row<6, 4>(from, bias, is_relu, to, rows);
    case Winograd::f2x2_5x5: return output_row<6, 2>(from, bias, is_relu, to, rows);
    case Winograd::f2x2_3x3: return output_row<4, 2>(from, bias, is_relu, to, rows);
  }
}

void Scatter(Winograd kind, const WinogradTiles& from, const PixelRows& to) {
  switch (kind) {
    case Winograd::f4x4_3x3: return scatter_row<6, 4>(from, to);
    case Winograd::f2x2_5x5: return scatter_row<6, 2>(from, to);
    case Winograd::f2x2_3x3: return scatter_row<4, 2>(from, to);
  }
}

void Weights(Winograd kind, const float* w, bool is_backwards, const WinogradTiles& to) {
  switch (kind) {
    case Winograd::f4x4_3x3: return weights_tiles<3, 6>(w, is_backwards, to);
    case Winograd::f2x2_5x5: return weights_tiles<5, 6>(w, is_backwards, to);
    case Winograd::f2x2_3x3: return weights_tiles<3, 4>(w, is_backwards, to);
  }
}

void WeightsGradient(Winograd kind, const WinogradTiles& from, float* w) {
  switch (kind) {
    case Winograd::f4x4_3x3: return weights_gradient_tiles<6, 3>(from, w);
    case Winograd::f2x2_5x5: return weights_gradient_tiles<6, 5>(from, w);
    case Winograd::f2x2_3x3: return weights_gradient_tiles<4, 3>(from, w);
  }
}

// ---- planes and pixels ------------------------------------------------------------------------

#if HWY_TARGET != HWY_SCALAR
constexpr int kBlocks = kLanes / 4;  // of 128 bits

// The planes of a vector of channels. Those that do not exist are stood in for by the last one.
template <class Float>
struct Planes {
  Float* plane[kLanes];
  int64_t channels;

  Planes(Float* first, int64_t stride, int64_t count) : channels(count) {
    for (int64_t l = 0; l < kLanes; ++l) plane[l] = first + std::min(l, count - 1) * stride;
  }
  bool has(int channel) const { return channel < channels; }
};

// kGroups times 4 pixels of all channels. Every channel's pixels are read together, and written
// together: planes are often a multiple of 4 KiB apart and then share a set of the cache.
template <int kGroups, bool kAll>
HWY_INLINE void gather_groups(const Planes<const float>& planes, int64_t pixel, float* to) {
  V v[kGroups][4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      v[g][i] = load_blocks(
          D(), 0, [&](int block) HWY_ATTR { return planes.plane[block * 4 + i] + pixel + g * 4; });
    }
  }
  const auto present = hn::FirstN(D(), static_cast<size_t>(planes.channels));
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    transpose_blocks(D(), v[g]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      store(kAll ? v[g][i] : hn::IfThenElseZero(present, v[g][i]), to + (g * 4 + i) * kLanes);
    }
  }
}
template <int kGroups, bool kAll>
HWY_INLINE void scatter_groups(const float* from, const Planes<float>& planes, int64_t pixel) {
  V v[kGroups][4];
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) v[g][i] = load(from + (g * 4 + i) * kLanes);
    transpose_blocks(D(), v[g]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      store_blocks(D(), v[g][i], 0, [&](int block) HWY_ATTR {
        return kAll || planes.has(block * 4 + i) ? planes.plane[block * 4 + i] + pixel + g * 4
                                                 : nullptr;
      });
    }
  }
}

template <bool kAll>
HWY_INLINE int64_t gather_pixels(const Planes<const float>& planes, int64_t pixels, float* to) {
  int64_t pixel = 0;
  for (; pixel + kLanes <= pixels; pixel += kLanes) {
    gather_groups<kBlocks, kAll>(planes, pixel, to + pixel * kLanes);
  }
  for (; pixel + 4 <= pixels; pixel += 4) {
    gather_groups<1, kAll>(planes, pixel, to + pixel * kLanes);
  }
  return pixel;
}
template <bool kAll>
HWY_INLINE int64_t scatter_pixels(const float* from, const Planes<float>& planes, int64_t pixels) {
  int64_t pixel = 0;
  for (; pixel + kLanes <= pixels; pixel += kLanes) {
    scatter_groups<kBlocks, kAll>(from + pixel * kLanes, planes, pixel);
  }
  for (; pixel + 4 <= pixels; pixel += 4) {
    scatter_groups<1, kAll>(from + pixel * kLanes, planes, pixel);
  }
  return pixel;
}
#endif  // HWY_TARGET != HWY_SCALAR

void PlanesToPixels(const float* planes, int64_t plane_stride, int64_t channels, int64_t pixels,
                    float* to) {
  int64_t pixel = 0;
#if HWY_TARGET != HWY_SCALAR
  const Planes<const float> all(planes, plane_stride, channels);
  pixel = channels == kLanes ? gather_pixels<true>(all, pixels, to)
                             : gather_pixels<false>(all, pixels, to);
#endif
  for (; pixel < pixels; ++pixel) {
    float* p = to + pixel * kLanes;
    for (int64_t l = 0; l < channels; ++l) p[l] = planes[l * plane_stride + pixel];
    for (int64_t l = channels; l < kLanes; ++l) p[l] = 0.0f;
  }
}

void PixelsToPlanes(const float* from, int64_t channels, int64_t pixels, float* planes,
                    int64_t plane_stride) {
  int64_t pixel = 0;
#if HWY_TARGET != HWY_SCALAR
  const Planes<float> all(planes, plane_stride, channels);
  pixel = channels == kLanes ? scatter_pixels<true>(from, all, pixels)
                             : scatter_pixels<false>(from, all, pixels);
#endif
  for (; pixel < pixels; ++pixel) {
    const float* p = from + pixel * kLanes;
    for (int64_t l = 0; l < channels; ++l) planes[l * plane_stride + pixel] = p[l];
  }
}

}  // namespace
}  // namespace tanul::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tanul::cpu {

HWY_EXPORT(Input);
HWY_EXPORT(Gradient);
HWY_EXPORT(Output);
HWY_EXPORT(Scatter);
HWY_EXPORT(Weights);
HWY_EXPORT(WeightsGradient);
HWY_EXPORT(PlanesToPixels);
HWY_EXPORT(PixelsToPlanes);

void planes_to_pixels(const float* planes, int64_t plane_stride, int64_t channels, int64_t pixels,
                      float* to) {
  HWY_DYNAMIC_DISPATCH(PlanesToPixels)(planes, plane_stride, channels, pixels, to);
}
void pixels_to_planes(const float* from, int64_t channels, int64_t pixels, float* planes,
                      int64_t plane_stride) {
  HWY_DYNAMIC_DISPATCH(PixelsToPlanes)(from, channels, pixels, planes, plane_stride);
}
void winograd_input(Winograd kind, const PixelRows& from, const WinogradTiles& to) {
  HWY_DYNAMIC_DISPATCH(Input)(kind, from, to);
}
void winograd_gradient(Winograd kind, const PixelRows& from, const WinogradTiles& to) {
  HWY_DYNAMIC_DISPATCH(Gradient)(kind, from, to);
}
void winograd_output(Winograd kind, const WinogradTiles& from, const float* bias,
                     ActivationKind activation, const PixelRows& to, int64_t rows) {
  HWY_DYNAMIC_DISPATCH(Output)
  (kind, from, bias, activation == ActivationKind::relu, to, rows);
}
void winograd_scatter(Winograd kind, const WinogradTiles& from, const PixelRows& to) {
  HWY_DYNAMIC_DISPATCH(Scatter)(kind, from, to);
}
void winograd_weights(Winograd kind, const float* w, bool is_backwards, const WinogradTiles& to) {
  HWY_DYNAMIC_DISPATCH(Weights)(kind, w, is_backwards, to);
}
void winograd_weights_gradient(Winograd kind, const WinogradTiles& from, float* w) {
  HWY_DYNAMIC_DISPATCH(WeightsGradient)(kind, from, w);
}

}  // namespace tanul::cpu
#endif  // HWY_ONCE
