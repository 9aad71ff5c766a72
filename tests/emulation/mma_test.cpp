// SPDX-License-Identifier: Apache-2.0
// The main loop of kernels/cuda/gemm.h on tensor cores (kernels/cuda/tensor_gemm.h), emulated.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>
#include <vector>

#include "kernels/cuda/tensor_gemm.h"

namespace tanul::cuda::gemm {
namespace {

// out [rows, columns] = a [rows, depth] b [columns, depth]^T
struct MatrixProduct {
  using Index = int32_t;
  RowMajor<Index> rows, columns_;
  MatrixOut<Index> result;

  Index columns(int) const { return columns_.rows; }
  Index depth(int) const { return rows.depth; }
  const RowMajor<Index>& a(int) const { return rows; }
  const RowMajor<Index>& b(int) const { return columns_; }
  const MatrixOut<Index>& out(int) const { return result; }
};

struct Matrices {
  int rows, columns, depth;
  std::vector<float> a, b;

  template <typename Draw>
  Matrices(int m, int n, int k, const Draw& draw)
      : rows(m),
        columns(n),
        depth(k),
        a(static_cast<size_t>(m) * static_cast<size_t>(k)),
        b(static_cast<size_t>(n) * static_cast<size_t>(k)) {
    for (float& x : a) x = draw();
    for (float& x : b) x = draw();
  }
  const float* row(const std::vector<float>& of, int i) const { return of.data() + i * depth; }
};

template <class Tile, class Format>
std::vector<float> product(const Matrices& m) {
  std::vector<float> out(static_cast<size_t>(m.rows) * static_cast<size_t>(m.columns), NAN);
  const MatrixProduct problem{{m.a.data(), m.rows, m.depth, false},
                              {m.b.data(), m.columns, m.depth, false},
                              {out.data(), nullptr, m.rows, m.columns, false}};
  const Schedule schedule = make_schedule<Tile>(m.rows, m.columns, m.depth, 1);
  std::vector<float> partials(static_cast<size_t>(schedule.partial_elems()), NAN);
  emulation::run_grid({schedule.blocks(), 1, 1}, {Tile::kThreads, 1, 1}, [&] {
    gemm_kernel<Tile, MatrixProduct, TensorFragment<Tile, Format>>(problem, schedule,
                                                                   partials.data());
  });
  if (schedule.splits > 1) {
    emulation::run_grid({1, 1, 1}, {kBlockThreads, 1, 1},
                        [&] { finish_kernel<MatrixProduct>(problem, schedule, partials.data()); });
  }
  return out;
}

// How an operand is rounded: cvt.rna breaks ties away from 0, cvt.rn to even.
struct Rounding {
  int bits;  // significant ones
  double (*to_whole)(double);

  double operator()(float x) const {
    int exponent = 0;
    const double fraction = std::frexp(static_cast<double>(x), &exponent);
    return std::ldexp(to_whole(std::ldexp(fraction, bits)), exponent - bits);
  }
};
const Rounding kTf32{11, std::round};
const Rounding kBf16{8, std::nearbyint};
const Rounding kFp16{11, std::nearbyint};

// Sums are float: (2 + n) u T from the product of the rounded operands.
template <class Tile, class Format>
void expect_product_of_rounded(const Rounding& rounded, int m, int n, int k) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const Matrices matrices(m, n, k, [&] { return normal(random); });
  const std::vector<float> got = product<Tile, Format>(matrices);
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      double want = 0, T = 0;
      for (int d = 0; d < k; ++d) {
        const double term =
            rounded(matrices.row(matrices.a, i)[d]) * rounded(matrices.row(matrices.b, j)[d]);
        want += term;
        T += std::abs(term);
      }
      ASSERT_NEAR(got[static_cast<size_t>(i * n + j)], want, (2 + k) * 0x1p-24 * T)
          << "row " << i << ", column " << j;
    }
  }
}

template <class Tile, class Format>
void expect_exact_on_integers(int m, int n, int k) {
  std::mt19937 random(11);
  std::uniform_int_distribution<int> small(-4, 4);
  const Matrices matrices(m, n, k, [&] { return static_cast<float>(small(random)); });
  const std::vector<float> got = product<Tile, Format>(matrices);
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      float want = 0;
      for (int d = 0; d < k; ++d) {
        want += matrices.row(matrices.a, i)[d] * matrices.row(matrices.b, j)[d];
      }
      ASSERT_EQ(got[static_cast<size_t>(i * n + j)], want) << "row " << i << ", column " << j;
    }
  }
}

template <class Format>
void expect_both_tiles(const Rounding& rounded) {
  expect_product_of_rounded<TensorTile128x128<Format>, Format>(rounded, 129, 70, 37);
  expect_exact_on_integers<TensorTile128x128<Format>, Format>(129, 70, 37);
  expect_product_of_rounded<TensorTile64x64<Format>, Format>(rounded, 67, 130, 41);
  expect_exact_on_integers<TensorTile64x64<Format>, Format>(67, 130, 41);
}

TEST(TensorCoreGemm, Tf32RoundsOperandsTo11Bits) { expect_both_tiles<Tf32>(kTf32); }
TEST(TensorCoreGemm, Bf16RoundsOperandsTo8Bits) { expect_both_tiles<Bf16>(kBf16); }
TEST(TensorCoreGemm, Fp16RoundsOperandsTo11Bits) { expect_both_tiles<Fp16>(kFp16); }

TEST(TensorCoreGemm, LongSumsAreSplit) {
  expect_product_of_rounded<TensorTile128x128<Tf32>, Tf32>(kTf32, 20, 30, 700);
  expect_exact_on_integers<TensorTile128x128<Bf16>, Bf16>(20, 30, 700);
}

// Lanes that touch shared memory at once, `words` each from at(lane) on: 32 words in 32 banks.
template <typename At>
void expect_all_banks(int words, const At& at) {
  std::set<int> banks;
  for (int lane = 0; lane < 32 / words; ++lane) {
    for (int word = 0; word < words; ++word) banks.insert((at(lane) + word) % 32);
  }
  EXPECT_EQ(banks.size(), 32u);
}

TEST(TensorCoreGemm, LanesHitAllBanks) {
  for (int row = 0; row < 32; row += 2) {
    // Pieces of two rows: fragments, and steps of rows that are loaded along the depth.
    expect_all_banks(4, [&](int lane) { return place(row + lane / 4, lane % 4 * 4); });
    expect_all_banks(2, [&](int lane) { return place(row + lane / 8, lane % 8 * 2); });
  }
  for (int row = 0; row < 32; row += 8) {
    for (int word = 0; word < kWords; word += 4) {
      // Rows by lanes.
      expect_all_banks(4, [&](int lane) { return place(row + lane, word); });
    }
    for (int j = 0; j < 4; ++j) {
      // Row j of units of 4 rows.
      expect_all_banks(2, [&](int lane) { return place(row + lane / 8 * 4 + j, lane % 8 * 2); });
    }
  }
}

// One product of a by 1, through fp16.
float through_fp16(float a) {
  Matrices one(1, 1, 1, [] { return 1.0f; });
  one.a[0] = a;
  return product<TensorTile64x64<Fp16>, Fp16>(one)[0];
}

TEST(TensorCoreGemm, Fp16IsInfiniteBeyondItsRange) {
  EXPECT_EQ(through_fp16(65504.0f), 65504.0f);
  EXPECT_EQ(through_fp16(65519.99f), 65504.0f);
  EXPECT_EQ(through_fp16(65520.0f), INFINITY);  // a tie, to even
  EXPECT_EQ(through_fp16(-1e6f), -INFINITY);
  EXPECT_TRUE(std::isnan(through_fp16(NAN)));
}

TEST(TensorCoreGemm, Fp16HasMultiplesOfItsSmallestNumberBelowItsNormalOnes) {
  EXPECT_EQ(through_fp16(0x1p-14f), 0x1p-14f);
  EXPECT_EQ(through_fp16(0x1.ff8p-15f), 0x1.ff8p-15f);  // 1023 of them
  EXPECT_EQ(through_fp16(0x1.ffcp-15f), 0x1p-14f);
  EXPECT_EQ(through_fp16(0x1p-24f), 0x1p-24f);
  EXPECT_EQ(through_fp16(0x1.8p-24f), 0x1p-23f);  // ties to even
  EXPECT_EQ(through_fp16(0x1p-25f), 0.0f);
  EXPECT_EQ(through_fp16(-0x1.8p-25f), -0x1p-24f);
}

// 16 bits there and back.
TEST(TensorCoreGemm, EveryFp16IsKept) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const float value = emulation::from_fp16(half);
    if (std::isnan(value)) continue;
    ASSERT_EQ(emulation::to_fp16(value), half) << value;
  }
}

}  // namespace
}  // namespace tanul::cuda::gemm
