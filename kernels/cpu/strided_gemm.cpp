// SPDX-License-Identifier: Apache-2.0
// strided_gemm(), compiled once for each instruction set like simd.cpp.
//
// A block of rows and two vectors of C stays in registers while t runs: 8 rows where there are 32
// registers, 6 where there are 16. For 2 loads and a broadcast per row that makes two multiply-adds
// a row: the multiply-add units are the limit on every x86 core. A panel of b [depth, 2 lanes] is
// read once for each block of rows and should stay in the first-level cache.
#include "kernels/cpu/strided_gemm.h"

#include <algorithm>

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/strided_gemm.cpp"
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
#define TANUL_HAS_32_REGISTERS 1
constexpr int kMaxRows = 8;
#else
#define TANUL_HAS_32_REGISTERS 0
constexpr int kMaxRows = 6;
#endif

// Where the elements of `a` lie: those of a row side by side, or those of a step.
enum class Order { rows_contiguous, steps_contiguous };

template <int kRows, int kVectors, Order kOrder>
HWY_NOINLINE void compute_block(const StridedGemm& gemm, const float* HWY_RESTRICT a,
                                const float* HWY_RESTRICT b, float* HWY_RESTRICT c) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  V sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sum[i][v] = hn::Zero(d);
  }
  const float* row[kRows];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) row[i] = a + i * gemm.a_row;
  const int64_t depth = gemm.depth;
  const int64_t b_step = gemm.b_step;
  const int64_t a_step = gemm.a_step;
  for (int64_t t = 0; t < depth; ++t) {
    V y[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) y[v] = hn::LoadU(d, b + v * lanes);
    b += b_step;
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const V x = hn::Set(d, kOrder == Order::steps_contiguous ? row[i][t] : a[i]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[i][v] = hn::MulAdd(x, y[v], sum[i][v]);
    }
    if (kOrder == Order::rows_contiguous) a += a_step;
  }
  const bool accumulate = gemm.accumulate;
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i, c += gemm.c_row) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      float* to = c + v * lanes;
      hn::StoreU(accumulate ? hn::Add(hn::LoadU(d, to), sum[i][v]) : sum[i][v], d, to);
    }
  }
}

// A line that another core has read is taken from it here and not while it is being stored to.
inline void prefetch_to_write(const float* p) {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*p));  // does nothing where the machine does not have it
#else
  __builtin_prefetch(p, 1, 2);
#endif
}

// Fetches what is upcoming, a share of its lines behind each of `blocks` blocks.
class Fetcher {
 public:
  Fetcher(const StridedGemm& gemm, int64_t blocks) : regions_(gemm.upcoming) {
    int64_t lines = 0;
    for (const Upcoming& region : gemm.upcoming) lines += region.rows * lines_of(region);
    share_ = (lines + blocks - 1) / std::max<int64_t>(1, blocks);
    find_row();
  }

  void fetch_share() {
    for (int64_t i = 0; i < share_ && region_ < kMostUpcoming; ++i) {
      if (regions_[region_].is_written) {
        prefetch_to_write(at_);
      } else {
        __builtin_prefetch(at_, 0, 2);
      }
      at_ += kLineFloats;
      if (--left_ > 0) continue;
      ++row_;
      find_row();
    }
  }

 private:
  static constexpr int64_t kLineFloats = 16;
  static int64_t lines_of(const Upcoming& region) {  // of a row
    return (region.floats + kLineFloats - 1) / kLineFloats;
  }
  void find_row() {
    while (region_ < kMostUpcoming &&
           (row_ == regions_[region_].rows || regions_[region_].floats == 0)) {
      ++region_;
      row_ = 0;
    }
    if (region_ == kMostUpcoming) return;
    at_ = regions_[region_].data + row_ * regions_[region_].row;
    left_ = lines_of(regions_[region_]);
  }

  const Upcoming* regions_;
  int64_t share_ = 0;
  int region_ = 0;
  int64_t row_ = 0;
  const float* at_ = nullptr;
  int64_t left_ = 0;  // lines of this row
};

template <int kVectors, Order kOrder>
void compute_panel(const StridedGemm& gemm, const float* b, float* c, Fetcher& fetcher) {
  const int64_t panels = (gemm.rows + kMaxRows - 1) / kMaxRows;
  int64_t row = 0;
  for (int64_t panel = 0; panel < panels; ++panel) {
    // As even as possible: the first ones are the longer ones.
    const int64_t rows = (gemm.rows - row + panels - panel - 1) / (panels - panel);
    const float* a = gemm.a + row * gemm.a_row;
    float* to = c + row * gemm.c_row;
    switch (rows) {
      case 1: compute_block<1, kVectors, kOrder>(gemm, a, b, to); break;
      case 2: compute_block<2, kVectors, kOrder>(gemm, a, b, to); break;
      case 3: compute_block<3, kVectors, kOrder>(gemm, a, b, to); break;
      case 4: compute_block<4, kVectors, kOrder>(gemm, a, b, to); break;
      case 5: compute_block<5, kVectors, kOrder>(gemm, a, b, to); break;
      case 6: compute_block<6, kVectors, kOrder>(gemm, a, b, to); break;
#if TANUL_HAS_32_REGISTERS
      case 7: compute_block<7, kVectors, kOrder>(gemm, a, b, to); break;
      default: compute_block<8, kVectors, kOrder>(gemm, a, b, to); break;
#else
      default: break;
#endif
    }
    row += rows;
    fetcher.fetch_share();
  }
}

template <Order kOrder>
void compute(const StridedGemm& gemm) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(D()));
  const float* b = gemm.b;
  float* c = gemm.c;
  const int64_t row_blocks = (gemm.rows + kMaxRows - 1) / kMaxRows;
  Fetcher fetcher(gemm, row_blocks * ((gemm.vectors + 1) / 2));
  int64_t vector = 0;
  for (; vector + 2 <= gemm.vectors; vector += 2, b += gemm.b_panel, c += 2 * lanes) {
    compute_panel<2, kOrder>(gemm, b, c, fetcher);
  }
  if (vector < gemm.vectors) compute_panel<1, kOrder>(gemm, b, c, fetcher);
}

void Multiply(const StridedGemm& gemm) {
  if (gemm.a_step == 1) {
    compute<Order::steps_contiguous>(gemm);
  } else {
    compute<Order::rows_contiguous>(gemm);
  }
}

#undef TANUL_HAS_32_REGISTERS

int LaneCount() { return static_cast<int>(hn::Lanes(D())); }

}  // namespace
}  // namespace tanul::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tanul::cpu {

HWY_EXPORT(Multiply);
HWY_EXPORT(LaneCount);

void strided_gemm(const StridedGemm& gemm) { HWY_DYNAMIC_DISPATCH(Multiply)(gemm); }
int strided_gemm_lanes() { return HWY_DYNAMIC_DISPATCH(LaneCount)(); }

}  // namespace tanul::cpu
#endif  // HWY_ONCE
