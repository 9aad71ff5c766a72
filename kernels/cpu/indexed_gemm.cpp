// SPDX-License-Identifier: Apache-2.0
// indexed_gemm(), compiled once for each instruction set like simd.cpp.
//
// A block of at most 6 rows and 2 vectors of C stays in 12 registers while t runs: 12 multiply-adds
// for 6 broadcasts and 2 loads, which keeps both multiply-add units of a Zen or Intel core busy.
#include "kernels/cpu/indexed_gemm.h"

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/indexed_gemm.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
// clang-format off
#include <hwy/highway.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace tanul::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Rows [row, row + kRows) and vectors [vector, vector + kVectors) of C.
template <int kRows, int kVectors, class DT>
HWY_INLINE void compute_block(DT d, const IndexedGemm& gemm, int64_t row, int64_t vector) {
  using V = hn::Vec<DT>;
  const float* a[kRows];
  const float* b[kVectors];
  V sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    a[i] = gemm.a + gemm.a_row[row + i];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[i][v] = hn::Zero(d);
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) b[v] = gemm.b + gemm.b_vector[vector + v];
  const int32_t* a_step = gemm.a_step;
  const int32_t* b_step = gemm.b_step;
  for (int64_t t = 0; t < gemm.depth; ++t) {
    const int64_t from_a = a_step[t];
    const int64_t from_b = b_step[t];
    V y[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) y[v] = hn::LoadU(d, b[v] + from_b);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const V x = hn::Set(d, a[i][from_a]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[i][v] = hn::MulAdd(x, y[v], sum[i][v]);
    }
  }
  float* c[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    c[v] = gemm.c + row * gemm.c_row + gemm.c_vector[vector + v];
  }
  const int64_t c_row = gemm.c_row;
  const bool accumulate = gemm.accumulate;
  if (gemm.bias == nullptr && !gemm.is_relu) {
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        float* to = c[v] + i * c_row;
        hn::StoreU(accumulate ? hn::Add(hn::LoadU(d, to), sum[i][v]) : sum[i][v], d, to);
      }
    }
    return;
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    const V bias = gemm.bias == nullptr ? hn::Zero(d) : hn::Set(d, gemm.bias[row + i]);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      float* to = c[v] + i * c_row;
      V x = accumulate ? hn::Add(hn::LoadU(d, to), sum[i][v]) : sum[i][v];
      x = hn::Add(x, bias);
      if (gemm.is_relu) x = hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x);
      hn::StoreU(x, d, to);
    }
  }
}

template <int kVectors, class DT>
void compute_vectors(DT d, const IndexedGemm& gemm, int64_t vector) {
  const RowPanels panels = row_panels(gemm.rows);
  for (int64_t panel = 0; panel < panels.count; ++panel) {
    const int64_t row = panels.begin(panel);
    switch (panels.begin(panel + 1) - row) {
      case 1: compute_block<1, kVectors>(d, gemm, row, vector); break;
      case 2: compute_block<2, kVectors>(d, gemm, row, vector); break;
      case 3: compute_block<3, kVectors>(d, gemm, row, vector); break;
      case 4: compute_block<4, kVectors>(d, gemm, row, vector); break;
      case 5: compute_block<5, kVectors>(d, gemm, row, vector); break;
      default: compute_block<6, kVectors>(d, gemm, row, vector); break;
    }
  }
}

template <class DT>
void compute(DT d, const IndexedGemm& gemm) {
  int64_t vector = 0;
  for (; vector + 2 <= gemm.vectors; vector += 2) compute_vectors<2>(d, gemm, vector);
  if (vector < gemm.vectors) compute_vectors<1>(d, gemm, vector);
}

void Multiply(const IndexedGemm& gemm) {
#if HWY_TARGET == HWY_SCALAR
  compute(hn::ScalableTag<float>(), gemm);
#else
  constexpr size_t kMax = hn::MaxLanes(hn::ScalableTag<float>());
  if constexpr (kMax >= 16) {
    if (gemm.lanes == 16) return compute(hn::CappedTag<float, 16>(), gemm);
  }
  if constexpr (kMax >= 8) {
    if (gemm.lanes == 8) return compute(hn::CappedTag<float, 8>(), gemm);
  }
  compute(hn::CappedTag<float, 4>(), gemm);
#endif
}

int MaxLanes() {
  const size_t lanes = hn::Lanes(hn::ScalableTag<float>());
  return static_cast<int>(lanes < 16 ? lanes : 16);
}

}  // namespace
}  // namespace tanul::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tanul::cpu {

HWY_EXPORT(Multiply);
HWY_EXPORT(MaxLanes);

void indexed_gemm(const IndexedGemm& gemm) { HWY_DYNAMIC_DISPATCH(Multiply)(gemm); }

int indexed_gemm_max_lanes() {
  static const int lanes = HWY_DYNAMIC_DISPATCH(MaxLanes)();
  return lanes;
}

int indexed_gemm_lanes(int64_t extent, int64_t limit) {
  const int widest = indexed_gemm_max_lanes();
  const int narrowest = widest < 4 ? 1 : 4;
  int best = 0;
  int64_t fewest = 0;
  for (int lanes = widest; lanes >= narrowest; lanes /= 2) {
    if (lanes > limit) continue;
    const int64_t vectors = (extent + lanes - 1) / lanes;
    if (best == 0 || vectors <= fewest) {
      best = lanes;
      fewest = vectors;
    }
  }
  return best;
}

}  // namespace tanul::cpu
#endif  // HWY_ONCE
