// SPDX-License-Identifier: Apache-2.0
// Pooling of pool_planes.h, compiled once for each instruction set like simd.cpp.
//
// For a 3x3 window of stride 2 that makes per 16 windows 2 · 3 loads of x, and 3 loads of every second
// column, where a window at a time needs 9 of these. The passes go over several rows of windows each, so
// that what one has stored is not loaded, at another offset, while it is on its way. What is no whole vector
// is taken by 8, 4 and 1 lanes.
#include "kernels/cpu/pool_planes.h"

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/pool_planes.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
// clang-format off
#include <hwy/highway.h>
// clang-format on

#include <algorithm>
#include <cstring>
#include <limits>

#ifndef TANUL_POOL_PLANES_ONCE
#define TANUL_POOL_PLANES_ONCE
namespace tanul::cpu {
constexpr int64_t kPoolBuffer = 2048;       // of several rows with their margins, on the stack
constexpr int64_t kMostPoolColumns = 1024;  // of one
constexpr int64_t kPoolSlack = 64;          // two vectors may begin at the last column
constexpr int64_t kMostPoolKernel = 32;

// Columns that the windows of a row reach, margins included.
inline int64_t pool_columns(const PoolPlane& plane) {
  return std::max(plane.pad_w + plane.W, (plane.Q - 1) * plane.stride_w + plane.kernel_w);
}
// Rows of windows that are computed together.
inline int64_t pool_batch(const PoolPlane& plane, int64_t columns) {
  return std::min(plane.P, kPoolBuffer / columns);
}
struct PoolRows {
  int64_t begin, end;
};
inline PoolRows pool_rows(const PoolPlane& plane, int64_t p) {
  const int64_t first = p * plane.stride_h - plane.pad_h;
  return {std::max<int64_t>(0, first), std::min(plane.H, first + plane.kernel_h)};
}
}  // namespace tanul::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace tanul::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

template <class DT, class Body>
HWY_INLINE int64_t whole_vectors(DT d, int64_t i, int64_t n, const Body& body) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (; i + lanes <= n; i += lanes) body(d, i);
  return i;
}
// body(d, i) for vectors of d at i that cover [0, n) and nothing else, each element once.
template <class Body>
HWY_INLINE void over_once(int64_t n, const Body& body) {
  int64_t i = whole_vectors(D(), 0, n, body);
  i = whole_vectors(hn::CappedTag<float, 8>(), i, n, body);
  i = whole_vectors(hn::CappedTag<float, 4>(), i, n, body);
  whole_vectors(hn::CappedTag<float, 1>(), i, n, body);
}
// The same, some elements twice: for bodies that write what does not depend on what they wrote.
template <class Body>
HWY_INLINE void over(int64_t n, const Body& body) {
  const hn::CappedTag<float, 4> quarter;
  const int64_t last = n - static_cast<int64_t>(hn::Lanes(quarter));
  if (last < 0) return over_once(n, body);
  int64_t i = whole_vectors(D(), 0, n, body);
  i = whole_vectors(hn::CappedTag<float, 8>(), i, n, body);
  i = whole_vectors(quarter, i, n, body);
  if (i < n) body(quarter, last);
}

// Elements 0, stride, 2 stride, … ; two vectors may be read. stride is 1 or 2.
template <class T, class DT>
HWY_INLINE hn::Vec<DT> load_columns(DT d, const T* from, [[maybe_unused]] int64_t stride) {
  const auto low = hn::LoadU(d, from);
#if HWY_TARGET == HWY_SCALAR
  return low;
#else
  if constexpr (hn::MaxLanes(DT()) == 1) {
    return low;
  } else {
    return stride == 1 ? low : hn::ConcatEven(d, hn::LoadU(d, from + hn::Lanes(d)), low);
  }
#endif
}

// value, at [W]: the maxima of the columns in these rows, and where they are.
HWY_INLINE void max_of_columns(const PoolPlane& plane, const float* x, const PoolRows& rows,
                               float* value, int32_t* at) {
  over(plane.W, [&](auto d, int64_t c) HWY_ATTR {
    const hn::RebindToSigned<decltype(d)> di;
    int64_t place = rows.begin * plane.W + c;
    auto best = hn::LoadU(d, x + place);
    auto index = hn::Iota(di, static_cast<int32_t>(place));
    auto best_at = index;
    const auto down = hn::Set(di, static_cast<int32_t>(plane.W));
    for (int64_t r = rows.begin + 1; r < rows.end; ++r) {
      place += plane.W;
      index = hn::Add(index, down);
      const auto v = hn::LoadU(d, x + place);
      // greater, or the first NaN
      const auto take = hn::AndNot(hn::IsNaN(best), hn::Not(hn::Le(v, best)));
      best = hn::IfThenElse(take, v, best);
      best_at = hn::IfThenElse(hn::RebindMask(di, take), index, best_at);
    }
    hn::StoreU(best, d, value + c);
    hn::StoreU(best_at, di, at + c);
  });
}

// What stands left and right of the plane in each of `rows` rows of a buffer.
template <class T>
void fill_margins(const PoolPlane& plane, int64_t rows, int64_t columns, T value, T* buffer) {
  for (int64_t r = 0; r < rows; ++r, buffer += columns) {
    std::fill(buffer, buffer + plane.pad_w, value);
    std::fill(buffer + plane.pad_w + plane.W, buffer + columns, value);
  }
  std::fill(buffer, buffer + kPoolSlack, value);  // nobody's, but defined
}

HWY_INLINE void max_of_row(const PoolPlane& plane, const float* value, const int32_t* at, float* y,
                           int32_t* argmax) {
  over(plane.Q, [&](auto d, int64_t q) HWY_ATTR {
    const hn::RebindToSigned<decltype(d)> di;
    const int64_t c = q * plane.stride_w;
    auto best = load_columns(d, value + c, plane.stride_w);
    auto best_at = load_columns(di, at + c, plane.stride_w);
    for (int64_t s = 1; s < plane.kernel_w; ++s) {
      const auto v = load_columns(d, value + c + s, plane.stride_w);
      const auto v_at = load_columns(di, at + c + s, plane.stride_w);
      const auto is_nan = hn::IsNaN(v), is_best_nan = hn::IsNaN(best);
      const auto is_equal = hn::Or(hn::Eq(v, best), hn::And(is_nan, is_best_nan));
      const auto is_before = hn::RebindMask(d, hn::Lt(v_at, best_at));
      const auto is_greater = hn::Or(hn::Gt(v, best), hn::AndNot(is_best_nan, is_nan));
      const auto take = hn::Or(is_greater, hn::And(is_equal, is_before));
      best = hn::IfThenElse(take, v, best);
      best_at = hn::IfThenElse(hn::RebindMask(di, take), v_at, best_at);
    }
    hn::StoreU(best, d, y + q);
    if (argmax != nullptr) hn::StoreU(best_at, di, argmax + q);
  });
}

void MaxPoolPlane(const PoolPlane& plane, const float* x, float* y, int32_t* argmax) {
  float value[kPoolBuffer + kPoolSlack];
  int32_t at[kPoolBuffer + kPoolSlack];
  const int64_t columns = pool_columns(plane), batch = pool_batch(plane, columns);
  // A margin loses against every element: it comes behind all of them.
  fill_margins(plane, batch, columns, -std::numeric_limits<float>::infinity(), value);
  fill_margins(plane, batch, columns, std::numeric_limits<int32_t>::max(), at);
  for (int64_t first = 0; first < plane.P; first += batch) {
    const int64_t rows = std::min(batch, plane.P - first);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t to = r * columns + plane.pad_w;
      max_of_columns(plane, x, pool_rows(plane, first + r), value + to, at + to);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t to = (first + r) * plane.Q;
      max_of_row(plane, value + r * columns, at + r * columns, y + to,
                 argmax == nullptr ? nullptr : argmax + to);
    }
  }
}

HWY_INLINE void sum_of_columns(const PoolPlane& plane, const float* x, const PoolRows& rows,
                               float* sums) {
  over(plane.W, [&](auto d, int64_t c) HWY_ATTR {
    const float* from = x + rows.begin * plane.W + c;
    auto sum = hn::LoadU(d, from);
    for (int64_t r = rows.begin + 1; r < rows.end; ++r) {
      from += plane.W;
      sum = hn::Add(sum, hn::LoadU(d, from));
    }
    hn::StoreU(sum, d, sums + c);
  });
}

void AveragePoolPlane(const PoolPlane& plane, const float* x, const float* counts, float* y) {
  float sums[kPoolBuffer + kPoolSlack];
  const int64_t columns = pool_columns(plane), batch = pool_batch(plane, columns);
  fill_margins(plane, batch, columns, 0.0f, sums);
  for (int64_t first = 0; first < plane.P; first += batch) {
    const int64_t rows = std::min(batch, plane.P - first);
    for (int64_t r = 0; r < rows; ++r) {
      sum_of_columns(plane, x, pool_rows(plane, first + r), sums + r * columns + plane.pad_w);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t to = (first + r) * plane.Q;
      over(plane.Q, [&](auto d, int64_t q) HWY_ATTR {
        const float* from = sums + r * columns + q * plane.stride_w;
        auto sum = load_columns(d, from, plane.stride_w);
        for (int64_t s = 1; s < plane.kernel_w; ++s) {
          sum = hn::Add(sum, load_columns(d, from + s, plane.stride_w));
        }
        hn::StoreU(hn::Div(sum, hn::LoadU(d, counts + to + q)), d, y + to + q);
      });
    }
  }
}

// spread [columns] = the sums of the shares of the windows that hold a column; a vector more is written.
// `share` has kMostPoolKernel zeros in front, and behind it as many as the kernel has columns.
HWY_INLINE void spread_shares(const PoolPlane& plane, int64_t columns, const float* share,
                              float* spread) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), stride = plane.stride_w;
  for (int64_t j = 0; j * stride < columns; j += lanes) {
    V even = hn::LoadU(d, share + j);
    for (int64_t s = stride; s < plane.kernel_w; s += stride) {
      even = hn::Add(even, hn::LoadU(d, share + j - s / stride));
    }
    if (stride == 1) {
      hn::StoreU(even, d, spread + j);
      continue;
    }
    V odd = hn::Zero(d);
    for (int64_t s = 1; s < plane.kernel_w; s += 2) {
      odd = hn::Add(odd, hn::LoadU(d, share + j - s / 2));
    }
    hn::StoreInterleaved2(even, odd, d, spread + 2 * j);
  }
}

void AveragePoolPlaneBwd(const PoolPlane& plane, const float* dy, const float* counts, float* dx) {
  constexpr int64_t kRows = 32;
  float shares[kMostPoolKernel + kPoolBuffer + kRows * kMostPoolKernel + kPoolSlack];
  float spread[kPoolBuffer + kPoolSlack];
  const int64_t columns = pool_columns(plane);
  const int64_t batch = std::min(kRows, pool_batch(plane, columns));
  const int64_t row =
      plane.Q + kMostPoolKernel;  // of shares, the zeros in front of the next one included
  std::fill(shares, shares + kMostPoolKernel + batch * row + kPoolSlack, 0.0f);
  int64_t written = 0;  // rows of dx
  const auto clear_to = [&](int64_t end) {
    if (end <= written) return;
    std::fill(dx + written * plane.W, dx + end * plane.W, 0.0f);
    written = end;
  };
  for (int64_t first = 0; first < plane.P; first += batch) {
    const int64_t rows = std::min(batch, plane.P - first);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t from = (first + r) * plane.Q;
      float* share = shares + kMostPoolKernel + r * row;
      over(plane.Q, [&](auto d, int64_t q) HWY_ATTR {
        const auto count = hn::LoadU(d, counts + from + q);
        hn::StoreU(hn::Div(hn::LoadU(d, dy + from + q), count), d, share + q);
      });
    }
    for (int64_t r = 0; r < rows; ++r) {
      spread_shares(plane, columns, shares + kMostPoolKernel + r * row, spread + r * columns);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const float* from = spread + r * columns + plane.pad_w;
      const PoolRows inside = pool_rows(plane, first + r);
      clear_to(inside.begin);
      for (int64_t h = inside.begin; h < inside.end; ++h) {
        float* to = dx + h * plane.W;
        const bool is_first = h >= written;
        over_once(plane.W, [&](auto d, int64_t c) HWY_ATTR {
          const auto v = hn::LoadU(d, from + c);
          hn::StoreU(is_first ? v : hn::Add(hn::LoadU(d, to + c), v), d, to + c);
        });
      }
      written = std::max(written, inside.end);
    }
  }
  clear_to(plane.H);
}

}  // namespace
}  // namespace tanul::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tanul::cpu {

HWY_EXPORT(MaxPoolPlane);
HWY_EXPORT(AveragePoolPlane);
HWY_EXPORT(AveragePoolPlaneBwd);

const char* pool_plane_refusal(const PoolPlane& plane) {
  if (plane.kernel_w <= plane.stride_w) return "windows that do not overlap";
  if (plane.stride_w > 2) return "a stride above 2";
  if (plane.kernel_w > kMostPoolKernel) return "a window of more than 32 columns";
  if (pool_columns(plane) > kMostPoolColumns) return "more than 1024 columns";
  return nullptr;
}
void max_pool_plane(const PoolPlane& plane, const float* x, float* y, int32_t* argmax) {
  HWY_DYNAMIC_DISPATCH(MaxPoolPlane)(plane, x, y, argmax);
}
void average_pool_plane(const PoolPlane& plane, const float* x, const float* counts, float* y) {
  HWY_DYNAMIC_DISPATCH(AveragePoolPlane)(plane, x, counts, y);
}
void average_pool_plane_bwd(const PoolPlane& plane, const float* dy, const float* counts,
                            float* dx) {
  HWY_DYNAMIC_DISPATCH(AveragePoolPlaneBwd)(plane, dy, counts, dx);
}

}  // namespace tanul::cpu
#endif  // HWY_ONCE
