// SPDX-License-Identifier: Apache-2.0
// Transposition of squares in registers, for the files that are compiled once for each instruction
// set: included inside of foreach_target, behind highway.h.
//
// A vector is built of 128-bit blocks of four elements from rows that are four apart; then a square of
// four by four in each block is transposed at once, which leaves whole vectors of a column.
#if defined(TANUL_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TANUL_TRANSPOSE_INL_H_
#undef TANUL_TRANSPOSE_INL_H_
#else
#define TANUL_TRANSPOSE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace tanul::cpu::HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR

// One vector of blocks from `at(block)`, and back; blocks whose place is null are dropped.
template <class DT, class At>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<DT> load_blocks(DT d, int first, const At& at) {
  namespace hn = hwy::HWY_NAMESPACE;
  if constexpr (hn::MaxLanes(DT()) == 4) {
    return hn::LoadU(d, at(first));
  } else {
    const hn::Half<DT> half;
    constexpr int kHalf = static_cast<int>(hn::MaxLanes(DT())) / 8;
    return hn::Combine(d, load_blocks(half, first + kHalf, at), load_blocks(half, first, at));
  }
}
template <class DT, class At>
HWY_INLINE void store_blocks(DT d, hwy::HWY_NAMESPACE::Vec<DT> v, int first, const At& at) {
  namespace hn = hwy::HWY_NAMESPACE;
  if constexpr (hn::MaxLanes(DT()) == 4) {
    float* to = at(first);
    if (to != nullptr) hn::StoreU(v, d, to);
  } else {
    const hn::Half<DT> half;
    constexpr int kHalf = static_cast<int>(hn::MaxLanes(DT())) / 8;
    store_blocks(half, hn::LowerHalf(half, v), first, at);
    store_blocks(half, hn::UpperHalf(half, v), first + kHalf, at);
  }
}

// Four vectors as the rows of a 4x4 matrix in each block, transposed.
template <class DT>
HWY_INLINE void transpose_blocks(DT d, hwy::HWY_NAMESPACE::Vec<DT> (&v)[4]) {
  namespace hn = hwy::HWY_NAMESPACE;
  const auto a = hn::InterleaveLower(d, v[0], v[2]), b = hn::InterleaveLower(d, v[1], v[3]);
  const auto c = hn::InterleaveUpper(d, v[0], v[2]), e = hn::InterleaveUpper(d, v[1], v[3]);
  v[0] = hn::InterleaveLower(d, a, b);
  v[1] = hn::InterleaveUpper(d, a, b);
  v[2] = hn::InterleaveLower(d, c, e);
  v[3] = hn::InterleaveUpper(d, c, e);
}

// y = the transpose of a square x of as many rows as the vector has lanes. All elements of a row are
// read together: rows are often a multiple of 4 KiB apart and then share a set of the cache.
template <class DT>
HWY_INLINE void transpose_square(DT d, const float* x, int64_t ld_x, float* y, int64_t ld_y) {
  namespace hn = hwy::HWY_NAMESPACE;
  constexpr int kGroups = static_cast<int>(hn::MaxLanes(DT())) / 4;
  hn::Vec<DT> v[kGroups][4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      v[g][i] =
          load_blocks(d, 0, [&](int block) HWY_ATTR { return x + (block * 4 + i) * ld_x + g * 4; });
    }
  }
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    transpose_blocks(d, v[g]);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) hn::StoreU(v[g][i], d, y + (g * 4 + i) * ld_y);
  }
}

#endif  // HWY_TARGET != HWY_SCALAR

}  // namespace tanul::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
