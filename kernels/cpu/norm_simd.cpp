// SPDX-License-Identifier: Apache-2.0
// The loops of norm_simd.h, compiled once for each instruction set like simd.cpp.
//
// Sums: a vector of doubles takes as many floats (D2F); converting while loading costs no more than
// the additions, and memory is slower than both. Four pairs of sums run side by side to hide the
// latency of the addition.
#include "kernels/cpu/norm_simd.h"

#include <cmath>
#include <cstring>
#include <type_traits>

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm_simd.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
// clang-format off
#include <hwy/highway.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace tanul::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
constexpr int64_t kMostLanes = 8;  // of doubles
using DF = hn::ScalableTag<float>;
using DD = hn::CappedTag<double, kMostLanes>;
using D2F = hn::Rebind<float, DD>;  // as many floats
using VD = hn::Vec<DD>;

template <class DT>
HWY_INLINE int64_t lanes_of(DT d) {
  return static_cast<int64_t>(hn::Lanes(d));
}

// Reaches whole vectors.
struct Whole {
  template <class DT>
  HWY_INLINE hn::Vec<DT> load(DT d, const float* p) const {
    return hn::LoadU(d, p);
  }
  // `fill` stands for the elements that do not exist
  template <class DT>
  HWY_INLINE hn::Vec<DT> load(DT d, const float* p, float /*fill*/) const {
    return hn::LoadU(d, p);
  }
  template <class DT>
  HWY_INLINE void store(hn::Vec<DT> v, DT d, float* p) const {
    hn::StoreU(v, d, p);
  }
};

// Reaches the first `count` elements.
struct Part {
  size_t count;

  template <class DT>
  HWY_INLINE hn::Vec<DT> load(DT d, const float* p) const {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
    return hn::MaskedLoad(hn::FirstN(d, count), d, p);
#else
    HWY_ALIGN float buffer[hn::MaxLanes(DT())] = {};
    std::memcpy(buffer, p, count * sizeof(float));
    return hn::Load(d, buffer);
#endif
  }
  template <class DT>
  HWY_INLINE hn::Vec<DT> load(DT d, const float* p, float fill) const {
    return hn::IfThenElse(hn::FirstN(d, count), load(d, p), hn::Set(d, fill));
  }
  template <class DT>
  HWY_INLINE void store(hn::Vec<DT> v, DT d, float* p) const {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
    hn::BlendedStore(v, hn::FirstN(d, count), d, p);
#else
    HWY_ALIGN float buffer[hn::MaxLanes(DT())];
    hn::Store(v, d, buffer);
    std::memcpy(p, buffer, count * sizeof(float));
#endif
  }
};

// Calls body(d, access, i) for the vectors of [0, n): whole ones, then a shorter one, then its part.
template <class Body>
HWY_INLINE void for_vectors(int64_t n, const Body& body) {
  const DF d;
  const D2F half;
  int64_t i = 0;
  for (; i + lanes_of(d) <= n; i += lanes_of(d)) body(d, Whole{}, i);
  for (; i + lanes_of(half) <= n; i += lanes_of(half)) body(half, Whole{}, i);
  if (i < n) body(half, Part{static_cast<size_t>(n - i)}, i);
}

// Two sums, spread over the lanes of a vector.
struct Lanes {
  HWY_ALIGN double a[kMostLanes];
  double b[kMostLanes];
};

HWY_INLINE double total(const double* lanes) {
  double sum = 0;
  for (int64_t i = 0; i < lanes_of(DD()); ++i) sum += lanes[i];
  return sum;
}

// Adds a run of n elements to the sums: term(access, i, a, b) adds one vector.
template <class Term>
HWY_INLINE void accumulate(int64_t n, Lanes& sums, const Term& term) {
  const DD d;
  const int64_t lanes = lanes_of(d);
  VD a0 = hn::Load(d, sums.a);
  VD b0 = hn::Load(d, sums.b);
  int64_t i = 0;
  if (n >= 4 * lanes) {
    VD a1 = hn::Zero(d), a2 = a1, a3 = a1, b1 = a1, b2 = a1, b3 = a1;
    for (; i + 4 * lanes <= n; i += 4 * lanes) {
      term(Whole{}, i, a0, b0);
      term(Whole{}, i + lanes, a1, b1);
      term(Whole{}, i + 2 * lanes, a2, b2);
      term(Whole{}, i + 3 * lanes, a3, b3);
    }
    a0 = hn::Add(hn::Add(a0, a1), hn::Add(a2, a3));
    b0 = hn::Add(hn::Add(b0, b1), hn::Add(b2, b3));
  }
  for (; i + lanes <= n; i += lanes) term(Whole{}, i, a0, b0);
  if (i < n) term(Part{static_cast<size_t>(n - i)}, i, a0, b0);
  hn::Store(a0, d, sums.a);
  hn::Store(b0, d, sums.b);
}

// Sums over rows, one pair per column, in registers while the rows run: term(access, row, column, a, b).
template <class Term>
HWY_INLINE void accumulate_columns(int64_t rows, int64_t columns, Sums* sums, const Term& term) {
  const DD d;
  const int64_t lanes = lanes_of(d);
  const auto write = [&](int64_t column, int64_t count, VD a, VD b) HWY_ATTR {
    Lanes from = {};
    hn::Store(a, d, from.a);
    hn::Store(b, d, from.b);
    for (int64_t i = 0; i < count; ++i) sums[column + i] = {from.a[i], from.b[i]};
  };
  int64_t c = 0;
  for (; c + 4 * lanes <= columns; c += 4 * lanes) {
    VD a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    for (int64_t r = 0; r < rows; ++r) {
      term(Whole{}, r, c, a0, b0);
      term(Whole{}, r, c + lanes, a1, b1);
      term(Whole{}, r, c + 2 * lanes, a2, b2);
      term(Whole{}, r, c + 3 * lanes, a3, b3);
    }
    write(c, lanes, a0, b0);
    write(c + lanes, lanes, a1, b1);
    write(c + 2 * lanes, lanes, a2, b2);
    write(c + 3 * lanes, lanes, a3, b3);
  }
  for (; c < columns; c += lanes) {
    VD a = hn::Zero(d), b = a;
    const int64_t count = c + lanes <= columns ? lanes : columns - c;
    for (int64_t r = 0; r < rows; ++r) {
      if (count == lanes) {
        term(Whole{}, r, c, a, b);
      } else {
        term(Part{static_cast<size_t>(count)}, r, c, a, b);
      }
    }
    write(c, count, a, b);
  }
}

// --- moments -----------------------------------------------------------------------------------

HWY_INLINE void add_moments(const float* x, int64_t n, float shift, Lanes& sums) {
  const DD d;
  const D2F df;
  const VD from = hn::Set(d, static_cast<double>(shift));
  accumulate(n, sums, [&](const auto& access, int64_t i, VD& a, VD& b) HWY_ATTR {
    const VD distance = hn::Sub(hn::PromoteTo(d, access.load(df, x + i, shift)), from);
    a = hn::Add(a, distance);
    b = hn::MulAdd(distance, distance, b);
  });
}

// From sum (x - shift) and sum (x - shift)^2.
HWY_INLINE Sums moments_of(float shift, double sum, double squares, int64_t count) {
  const double distance = sum / static_cast<double>(count);
  const double m2 = squares - sum * distance;
  return {static_cast<double>(shift) + distance, m2 < 0 ? 0 : m2};  // NaN stays
}

void column_moments(const ChannelBlock& block, const float* x, Sums* sums) {
  const DD d;
  const D2F df;
  accumulate_columns(block.samples, block.channels, sums,
                     [&](const auto& access, int64_t n, int64_t c, VD& a, VD& b) HWY_ATTR {
                       const float* row = x + n * block.sample_stride;
                       const VD from = hn::PromoteTo(d, access.load(df, x + c));
                       const VD distance =
                           hn::Sub(hn::PromoteTo(d, access.load(df, row + c)), from);
                       a = hn::Add(a, distance);
                       b = hn::MulAdd(distance, distance, b);
                     });
  for (int64_t c = 0; c < block.channels; ++c) {
    sums[c] = moments_of(x[c], sums[c].a, sums[c].b, block.samples);
  }
}

void ChannelMoments(const ChannelBlock& block, const float* x, Sums* sums) {
  if (block.inner == 1) return column_moments(block, x, sums);
  Lanes lanes[kMostBlockChannels];
  std::memset(static_cast<void*>(lanes), 0, static_cast<size_t>(block.channels) * sizeof(Lanes));
  for (int64_t n = 0; n < block.samples; ++n) {
    for (int64_t c = 0; c < block.channels; ++c) {
      const int64_t at = c * block.channel_stride;
      add_moments(x + n * block.sample_stride + at, block.inner, x[at], lanes[c]);
    }
  }
  for (int64_t c = 0; c < block.channels; ++c) {
    sums[c] = moments_of(x[c * block.channel_stride], total(lanes[c].a), total(lanes[c].b),
                         block.samples * block.inner);
  }
}

Sums RowMoments(const float* x, int64_t n) {
  Lanes lanes = {};
  add_moments(x, n, x[0], lanes);
  return moments_of(x[0], total(lanes.a), total(lanes.b), n);
}

double RowSquares(const float* x, int64_t n) {
  Lanes lanes = {};
  add_moments(x, n, 0, lanes);
  return total(lanes.b);
}

// --- per channel -------------------------------------------------------------------------------

// The gradient behind the relu: 0 where (x - mean) scale + shift is not above 0.
template <bool kRelu, class DT, class V = hn::Vec<DT>>
HWY_INLINE V behind_relu(DT d, V dy, V distance, V scale, V shift) {
  if constexpr (!kRelu) return dy;
  return hn::IfThenElseZero(hn::Gt(hn::MulAdd(distance, scale, shift), hn::Zero(d)), dy);
}

template <bool kRelu>
void gradient_sums(const ChannelBlock& block, const float* dy, const float* x,
                   const ChannelAffine& affine, Sums* sums) {
  const DD d;
  const D2F df;
  // Elements that do not exist have dy = 0.
  const auto add = [&](auto g, auto v, auto mean, auto scale, auto shift, VD& a, VD& b) HWY_ATTR {
    const VD gradient = hn::PromoteTo(d, behind_relu<kRelu>(df, g, hn::Sub(v, mean), scale, shift));
    const VD distance = hn::Sub(hn::PromoteTo(d, v), hn::PromoteTo(d, mean));
    a = hn::Add(a, gradient);
    b = hn::MulAdd(gradient, distance, b);
  };
  if (block.inner == 1) {
    accumulate_columns(block.samples, block.channels, sums,
                       [&](const auto& access, int64_t n, int64_t c, VD& a, VD& b) HWY_ATTR {
                         const int64_t at = n * block.sample_stride + c;
                         add(access.load(df, dy + at), access.load(df, x + at),
                             access.load(df, affine.mean + c), access.load(df, affine.scale + c),
                             access.load(df, affine.shift + c), a, b);
                       });
    return;
  }
  Lanes lanes[kMostBlockChannels];
  std::memset(static_cast<void*>(lanes), 0, static_cast<size_t>(block.channels) * sizeof(Lanes));
  for (int64_t n = 0; n < block.samples; ++n) {
    for (int64_t c = 0; c < block.channels; ++c) {
      const int64_t at = n * block.sample_stride + c * block.channel_stride;
      const auto mean = hn::Set(df, affine.mean[c]);
      const auto scale = hn::Set(df, affine.scale[c]);
      const auto shift = hn::Set(df, affine.shift[c]);
      accumulate(block.inner, lanes[c], [&](const auto& access, int64_t i, VD& a, VD& b) HWY_ATTR {
        add(access.load(df, dy + at + i), access.load(df, x + at + i), mean, scale, shift, a, b);
      });
    }
  }
  for (int64_t c = 0; c < block.channels; ++c) {
    sums[c] = {total(lanes[c].a), total(lanes[c].b)};
  }
}

void ChannelGradientSums(const ChannelBlock& block, const float* dy, const float* x,
                         const ChannelAffine& affine, Sums* sums) {
  if (affine.has_relu) return gradient_sums<true>(block, dy, x, affine, sums);
  gradient_sums<false>(block, dy, x, affine, sums);
}

// Calls run(first, count, channel) for the pieces of [begin, end): runs of one channel, or, where a
// channel has one element, of the channels from `channel` on.
template <class Run>
HWY_INLINE void for_runs(int64_t begin, int64_t end, int64_t channels, int64_t inner,
                         const Run& run) {
  const int64_t row = inner == 1 ? channels : inner;
  int64_t at = begin % row;
  int64_t channel = inner == 1 ? 0 : begin / row % channels;
  while (begin < end) {
    const int64_t count = row - at < end - begin ? row - at : end - begin;
    run(begin, count, inner == 1 ? at : channel);
    begin += count;
    at = 0;
    if (++channel == channels) channel = 0;
  }
}

template <bool kRelu, class DT, class V = hn::Vec<DT>>
HWY_INLINE V normalized(DT d, V x, V mean, V scale, V shift) {
  const V y = hn::MulAdd(hn::Sub(x, mean), scale, shift);
  if constexpr (!kRelu) return y;
  return hn::IfThenZeroElse(hn::Lt(y, hn::Zero(d)), y);  // keeps NaN
}

template <bool kRelu>
void normalize(int64_t begin, int64_t end, int64_t channels, int64_t inner, const float* x,
               const ChannelAffine& affine, float* y) {
  for_runs(begin, end, channels, inner, [&](int64_t first, int64_t count, int64_t c) HWY_ATTR {
    const float* from = x + first;
    float* to = y + first;
    const float* mean = affine.mean + c;
    const float* scale = affine.scale + c;
    const float* shift = affine.shift + c;
    if (inner == 1) {
      for_vectors(count, [&](auto d, const auto& access, int64_t i) HWY_ATTR {
        access.store(normalized<kRelu>(d, access.load(d, from + i), access.load(d, mean + i),
                                       access.load(d, scale + i), access.load(d, shift + i)),
                     d, to + i);
      });
    } else {
      for_vectors(count, [&, m = *mean, a = *scale, b = *shift](auto d, const auto& access,
                                                                int64_t i) HWY_ATTR {
        access.store(normalized<kRelu>(d, access.load(d, from + i), hn::Set(d, m), hn::Set(d, a),
                                       hn::Set(d, b)),
                     d, to + i);
      });
    }
  });
}

void ChannelNormalize(int64_t begin, int64_t end, int64_t channels, int64_t inner, const float* x,
                      const ChannelAffine& affine, float* y) {
  if (affine.has_relu) return normalize<true>(begin, end, channels, inner, x, affine, y);
  normalize<false>(begin, end, channels, inner, x, affine, y);
}

// kStatistics: the mean and the variance depend on x.
template <bool kRelu, bool kStatistics>
void input_gradient(int64_t begin, int64_t end, int64_t channels, int64_t inner, const float* dy,
                    const float* x, const ChannelAffine& affine, const float* offset,
                    const float* slope, float* dx) {
  const auto gradient = [](auto d, auto g, auto v, auto mean, auto scale, auto shift, auto off,
                           auto k) HWY_ATTR {
    const auto distance = hn::Sub(v, mean);
    const auto behind = behind_relu<kRelu>(d, g, distance, scale, shift);
    if constexpr (!kStatistics) {
      return hn::Mul(behind, scale);
    } else {
      return hn::NegMulAdd(distance, k, hn::MulSub(behind, scale, off));
    }
  };
  for_runs(begin, end, channels, inner, [&](int64_t first, int64_t count, int64_t c) HWY_ATTR {
    const float* g = dy + first;
    const float* from = x + first;
    float* to = dx + first;
    const float* mean = affine.mean + c;
    const float* scale = affine.scale + c;
    const float* shift = affine.shift + c;
    const float* off = kStatistics ? offset + c : shift;  // not used where there are none
    const float* k = kStatistics ? slope + c : shift;
    if (inner == 1) {
      for_vectors(count, [&](auto d, const auto& access, int64_t i) HWY_ATTR {
        access.store(
            gradient(d, access.load(d, g + i), access.load(d, from + i), access.load(d, mean + i),
                     access.load(d, scale + i), access.load(d, shift + i), access.load(d, off + i),
                     access.load(d, k + i)),
            d, to + i);
      });
    } else {
      for_vectors(count, [&, m = *mean, a = *scale, b = *shift, o = *off, s = *k](
                             auto d, const auto& access, int64_t i) HWY_ATTR {
        access.store(gradient(d, access.load(d, g + i), access.load(d, from + i), hn::Set(d, m),
                              hn::Set(d, a), hn::Set(d, b), hn::Set(d, o), hn::Set(d, s)),
                     d, to + i);
      });
    }
  });
}

void ChannelInputGradient(int64_t begin, int64_t end, int64_t channels, int64_t inner,
                          const float* dy, const float* x, const ChannelAffine& affine,
                          const float* offset, const float* slope, float* dx) {
  const auto run = [&](auto relu) HWY_ATTR {
    constexpr bool kRelu = decltype(relu)::value;
    if (offset == nullptr) {
      input_gradient<kRelu, false>(begin, end, channels, inner, dy, x, affine, offset, slope, dx);
    } else {
      input_gradient<kRelu, true>(begin, end, channels, inner, dy, x, affine, offset, slope, dx);
    }
  };
  if (affine.has_relu) return run(std::true_type());
  run(std::false_type());
}

// --- per row -----------------------------------------------------------------------------------

void RowNormalize(const float* x, int64_t n, float mean, float inv_std, const float* gamma,
                  const float* beta, float* y) {
  for_vectors(n, [&](auto d, const auto& access, int64_t i) HWY_ATTR {
    auto v = hn::Mul(hn::Sub(access.load(d, x + i), hn::Set(d, mean)), hn::Set(d, inv_std));
    if (gamma != nullptr && beta != nullptr) {
      v = hn::MulAdd(v, access.load(d, gamma + i), access.load(d, beta + i));
    } else if (gamma != nullptr) {
      v = hn::Mul(v, access.load(d, gamma + i));
    } else if (beta != nullptr) {
      v = hn::Add(v, access.load(d, beta + i));
    }
    access.store(v, d, y + i);
  });
}

Sums RowGradientSums(const float* dy, const float* x, int64_t n, float mean, const float* gamma) {
  const DD d;
  const D2F df;
  const VD from = hn::Set(d, static_cast<double>(mean));
  Lanes lanes = {};
  accumulate(n, lanes, [&](const auto& access, int64_t i, VD& a, VD& b) HWY_ATTR {
    VD g = hn::PromoteTo(d, access.load(df, dy + i));
    if (gamma != nullptr) g = hn::Mul(g, hn::PromoteTo(d, access.load(df, gamma + i)));
    a = hn::Add(a, g);
    b = hn::MulAdd(g, hn::Sub(hn::PromoteTo(d, access.load(df, x + i)), from), b);
  });
  return {total(lanes.a), total(lanes.b)};
}

void RowInputGradient(const float* dy, const float* x, int64_t n, float mean, float inv_std,
                      const float* gamma, float offset, float slope, float* dx) {
  for_vectors(n, [&](auto d, const auto& access, int64_t i) HWY_ATTR {
    auto g = access.load(d, dy + i);
    if (gamma != nullptr) g = hn::Mul(g, access.load(d, gamma + i));
    const auto distance = hn::Sub(access.load(d, x + i), hn::Set(d, mean));
    const auto first = hn::MulSub(g, hn::Set(d, inv_std), hn::Set(d, offset));
    access.store(hn::NegMulAdd(distance, hn::Set(d, slope), first), d, dx + i);
  });
}

// Rows run outside: a row's piece is contiguous, while two rows may be megabytes apart.
void RowParameterSums(const float* dy, const float* x, int64_t rows, int64_t stride, int64_t n,
                      const float* mean, const float* inv_std, Sums* sums) {
  constexpr int64_t kColumns = 512;
  const DD d;
  const D2F df;
  HWY_ALIGN double a[kColumns];
  HWY_ALIGN double b[kColumns];
  for (int64_t first = 0; first < n; first += kColumns) {
    const int64_t columns = n - first < kColumns ? n - first : kColumns;
    std::memset(a, 0, sizeof a);
    std::memset(b, 0, sizeof b);
    for (int64_t r = 0; r < rows; ++r) {
      const float* dy_row = dy + r * stride + first;
      const float* x_row = x + r * stride + first;
      const VD from = hn::Set(d, mean == nullptr ? 0.0 : static_cast<double>(mean[r]));
      const VD scale = hn::Set(d, static_cast<double>(inv_std[r]));
      const auto add = [&](const auto& access, int64_t c) HWY_ATTR {
        const VD g = hn::PromoteTo(d, access.load(df, dy_row + c));
        const VD distance = hn::Sub(hn::PromoteTo(d, access.load(df, x_row + c)), from);
        hn::Store(hn::Add(hn::Load(d, a + c), g), d, a + c);
        hn::Store(hn::MulAdd(hn::Mul(g, scale), distance, hn::Load(d, b + c)), d, b + c);
      };
      int64_t c = 0;
      for (; c + lanes_of(d) <= columns; c += lanes_of(d)) add(Whole{}, c);
      if (c < columns) add(Part{static_cast<size_t>(columns - c)}, c);
    }
    for (int64_t c = 0; c < columns; ++c) sums[first + c] = {a[c], b[c]};
  }
}

// --- across channels ---------------------------------------------------------------------------

// t^-beta: roots where they do, else the power in double, one by one.
template <class DT, class V = hn::Vec<DT>>
HWY_INLINE V to_minus_beta(DT d, V t, double beta) {
  const V one = hn::Set(d, 1.0f);
  if (beta == 0.75) {
    const V root = hn::Sqrt(t);
    return hn::Div(one, hn::Mul(root, hn::Sqrt(root)));
  }
  if (beta == 0.5) return hn::Div(one, hn::Sqrt(t));
  if (beta == 1) return hn::Div(one, t);
  HWY_ALIGN float lanes[hn::MaxLanes(DT())];
  hn::Store(t, d, lanes);
  for (int64_t i = 0; i < lanes_of(d); ++i) {
    lanes[i] = static_cast<float>(std::pow(static_cast<double>(lanes[i]), -beta));
  }
  return hn::Load(d, lanes);
}

// k + alpha sum of squares round channel c, at position i
template <class DT, class Access>
HWY_INLINE hn::Vec<DT> lrn_base(DT d, const Access& access, const LrnWindow& w, const float* x,
                                int64_t c, int64_t i) {
  auto sum = hn::Zero(d);
  const int64_t first = c < w.back ? 0 : c - w.back;
  const int64_t last = c + w.ahead < w.channels ? c + w.ahead : w.channels - 1;
  for (int64_t at = first; at <= last; ++at) {
    const auto v = access.load(d, x + at * w.stride + i);
    sum = hn::MulAdd(v, v, sum);
  }
  return hn::MulAdd(sum, hn::Set(d, w.alpha), hn::Set(d, w.k));
}

void LrnFwd(const LrnWindow& w, const float* x, int64_t n, float* y) {
  for (int64_t c = 0; c < w.channels; ++c) {
    for_vectors(n, [&](auto d, const auto& access, int64_t i) HWY_ATTR {
      const auto t = lrn_base(d, access, w, x, c, i);
      const auto v = access.load(d, x + c * w.stride + i);
      access.store(hn::Mul(v, to_minus_beta(d, t, w.beta)), d, y + c * w.stride + i);
    });
  }
}

void LrnBwd(const LrnWindow& w, const float* dy, const float* x, int64_t n, float* scratch,
            float* dx) {
  float* factors = scratch;                  // [C, n]: t^-beta
  float* shares = scratch + w.channels * n;  // [C, n]: dy x t^(-beta - 1)
  for (int64_t c = 0; c < w.channels; ++c) {
    for_vectors(n, [&](auto d, const auto& access, int64_t i) HWY_ATTR {
      const auto t = lrn_base(d, access, w, x, c, i);
      const auto factor = to_minus_beta(d, t, w.beta);
      const auto g = access.load(d, dy + c * w.stride + i);
      const auto v = access.load(d, x + c * w.stride + i);
      access.store(factor, d, factors + c * n + i);
      access.store(hn::Div(hn::Mul(hn::Mul(g, v), factor), t), d, shares + c * n + i);
    });
  }
  const float weight = static_cast<float>(2 * static_cast<double>(w.alpha) * w.beta);
  for (int64_t c = 0; c < w.channels; ++c) {
    const int64_t first = c < w.ahead ? 0 : c - w.ahead;
    const int64_t last = c + w.back < w.channels ? c + w.back : w.channels - 1;
    for_vectors(n, [&](auto d, const auto& access, int64_t i) HWY_ATTR {
      auto sum = hn::Zero(d);
      for (int64_t at = first; at <= last; ++at) {
        sum = hn::Add(sum, access.load(d, shares + at * n + i));
      }
      const int64_t at = c * w.stride + i;
      const auto own = hn::Mul(access.load(d, dy + at), access.load(d, factors + c * n + i));
      const auto v = hn::Mul(hn::Set(d, weight), access.load(d, x + at));
      access.store(hn::NegMulAdd(v, sum, own), d, dx + at);
    });
  }
}

}  // namespace
}  // namespace tanul::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tanul::cpu {

HWY_EXPORT(ChannelMoments);
HWY_EXPORT(ChannelGradientSums);
HWY_EXPORT(ChannelNormalize);
HWY_EXPORT(ChannelInputGradient);
HWY_EXPORT(RowMoments);
HWY_EXPORT(RowSquares);
HWY_EXPORT(RowNormalize);
HWY_EXPORT(RowGradientSums);
HWY_EXPORT(RowInputGradient);
HWY_EXPORT(RowParameterSums);
HWY_EXPORT(LrnFwd);
HWY_EXPORT(LrnBwd);

void channel_moments(const ChannelBlock& block, const float* x, Sums* sums) {
  HWY_DYNAMIC_DISPATCH(ChannelMoments)(block, x, sums);
}
void channel_gradient_sums(const ChannelBlock& block, const float* dy, const float* x,
                           const ChannelAffine& affine, Sums* sums) {
  HWY_DYNAMIC_DISPATCH(ChannelGradientSums)(block, dy, x, affine, sums);
}
void channel_normalize(int64_t begin, int64_t end, int64_t channels, int64_t inner, const float* x,
                       const ChannelAffine& affine, float* y) {
  HWY_DYNAMIC_DISPATCH(ChannelNormalize)(begin, end, channels, inner, x, affine, y);
}
void channel_input_gradient(int64_t begin, int64_t end, int64_t channels, int64_t inner,
                            const float* dy, const float* x, const ChannelAffine& affine,
                            const float* offset, const float* slope, float* dx) {
  HWY_DYNAMIC_DISPATCH(ChannelInputGradient)
  (begin, end, channels, inner, dy, x, affine, offset, slope, dx);
}

Sums row_moments(const float* x, int64_t n) { return HWY_DYNAMIC_DISPATCH(RowMoments)(x, n); }
double row_squares(const float* x, int64_t n) { return HWY_DYNAMIC_DISPATCH(RowSquares)(x, n); }
void row_normalize(const float* x, int64_t n, float mean, float inv_std, const float* gamma,
                   const float* beta, float* y) {
  HWY_DYNAMIC_DISPATCH(RowNormalize)(x, n, mean, inv_std, gamma, beta, y);
}
Sums row_gradient_sums(const float* dy, const float* x, int64_t n, float mean, const float* gamma) {
  return HWY_DYNAMIC_DISPATCH(RowGradientSums)(dy, x, n, mean, gamma);
}
void row_input_gradient(const float* dy, const float* x, int64_t n, float mean, float inv_std,
                        const float* gamma, float offset, float slope, float* dx) {
  HWY_DYNAMIC_DISPATCH(RowInputGradient)(dy, x, n, mean, inv_std, gamma, offset, slope, dx);
}
void row_parameter_sums(const float* dy, const float* x, int64_t rows, int64_t stride, int64_t n,
                        const float* mean, const float* inv_std, Sums* sums) {
  HWY_DYNAMIC_DISPATCH(RowParameterSums)(dy, x, rows, stride, n, mean, inv_std, sums);
}

void lrn_fwd(const LrnWindow& window, const float* x, int64_t n, float* y) {
  HWY_DYNAMIC_DISPATCH(LrnFwd)(window, x, n, y);
}
void lrn_bwd(const LrnWindow& window, const float* dy, const float* x, int64_t n, float* scratch,
             float* dx) {
  HWY_DYNAMIC_DISPATCH(LrnBwd)(window, dy, x, n, scratch, dx);
}

}  // namespace tanul::cpu
#endif  // HWY_ONCE
