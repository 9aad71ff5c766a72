// SPDX-License-Identifier: Apache-2.0
// lane_sums(), compiled once for each instruction set like simd.cpp.
//
// A block of 4 rows and 6 columns of sums stays in registers (3 and 4 where there are only 16): for 10
// loads that makes 24 multiply-adds. The rows of a should stay in the first-level cache.
#include "kernels/cpu/lane_sums.h"

#include <algorithm>

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/lane_sums.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
// clang-format off
#include <hwy/highway.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace tanul::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

#if (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3) || HWY_ARCH_ARM_A64
constexpr int kMaxRows = 4, kMaxColumns = 6;
#else
constexpr int kMaxRows = 3, kMaxColumns = 4;
#endif

template <int kRows, int kColumns>
HWY_NOINLINE void sum_block(const LaneSums& x, int64_t row, int64_t column) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  float* at = x.sums + (row * x.columns + column) * lanes;
  const int64_t next_row = x.columns * lanes;
  V sum[kRows][kColumns];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 6
    for (int j = 0; j < kColumns; ++j) sum[i][j] = hn::LoadU(d, at + i * next_row + j * lanes);
  }
  const float* HWY_RESTRICT a = x.a + row * x.a_row;
  const int64_t a_row = x.a_row;
  const float* b[kColumns];
#pragma GCC unroll 6
  for (int j = 0; j < kColumns; ++j) b[j] = x.b + x.b_row[column + j];
  const int64_t end = x.vectors * lanes;
  for (int64_t t = 0; t < end; t += lanes) {
    V left[kRows];
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) left[i] = hn::LoadU(d, a + i * a_row + t);
#pragma GCC unroll 6
    for (int j = 0; j < kColumns; ++j) {
      const V right = hn::LoadU(d, b[j] + t);
#pragma GCC unroll 6
      for (int i = 0; i < kRows; ++i) sum[i][j] = hn::MulAdd(left[i], right, sum[i][j]);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 6
    for (int j = 0; j < kColumns; ++j) hn::StoreU(sum[i][j], d, at + i * next_row + j * lanes);
  }
}

template <int kRows>
void sum_rows(const LaneSums& x, int64_t row) {
  const int64_t panels = (x.columns + kMaxColumns - 1) / kMaxColumns;
  int64_t column = 0;
  for (int64_t panel = 0; panel < panels; ++panel) {
    // As even as possible: the first ones are the longer ones.
    const int64_t columns = (x.columns - column + panels - panel - 1) / (panels - panel);
    switch (columns) {
      case 1: sum_block<kRows, 1>(x, row, column); break;
      case 2: sum_block<kRows, 2>(x, row, column); break;
      case 3: sum_block<kRows, 3>(x, row, column); break;
      case 4: sum_block<kRows, 4>(x, row, column); break;
      case 5: sum_block<kRows, std::min(5, kMaxColumns)>(x, row, column); break;
      default: sum_block<kRows, kMaxColumns>(x, row, column); break;
    }
    column += columns;
  }
}

void Sum(const LaneSums& x) {
  int64_t row = 0;
  for (; row + kMaxRows <= x.rows; row += kMaxRows) sum_rows<kMaxRows>(x, row);
  for (; row + 2 <= x.rows; row += 2) sum_rows<2>(x, row);
  if (row < x.rows) sum_rows<1>(x, row);
}

void AddLanes(const float* sums, int64_t count, float* y) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < count; ++i) {
    y[i] = hn::GetLane(hn::SumOfLanes(d, hn::LoadU(d, sums + i * lanes)));
  }
}

int LaneCount() { return static_cast<int>(hn::Lanes(D())); }

}  // namespace
}  // namespace tanul::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tanul::cpu {

HWY_EXPORT(Sum);
HWY_EXPORT(AddLanes);
HWY_EXPORT(LaneCount);

void lane_sums(const LaneSums& operands) { HWY_DYNAMIC_DISPATCH(Sum)(operands); }
void add_lanes(const float* sums, int64_t count, float* y) {
  HWY_DYNAMIC_DISPATCH(AddLanes)(sums, count, y);
}
int lane_sums_lanes() { return HWY_DYNAMIC_DISPATCH(LaneCount)(); }

}  // namespace tanul::cpu
#endif  // HWY_ONCE
