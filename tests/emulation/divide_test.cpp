// SPDX-License-Identifier: Apache-2.0
// Division by product and shift (kernels/cuda/divide.h), and positions that are made of it.
#include "kernels/cuda/divide.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/cuda/strided.h"

namespace tanul::cuda {
namespace {

constexpr int64_t kMost = std::numeric_limits<int32_t>::max();

TEST(CudaDivide, QuotientsAreThoseOfDivision) {
  std::vector<int64_t> divisors{kMost, kMost - 1, 46341, 65536, 1 << 30, (1 << 30) + 1};
  for (int64_t d = 1; d <= 300; ++d) divisors.push_back(d);
  for (int64_t d : divisors) {
    const Divider by(d);
    std::vector<int64_t> dividends{0, 1, kMost, kMost - 1, kMost / 2, kMost / 2 + 1};
    for (int64_t k : {int64_t{1}, int64_t{2}, int64_t{7}, kMost / d / 2, kMost / d}) {
      for (int64_t near = -1; near <= 1; ++near) dividends.push_back(k * d + near);
    }
    for (int64_t n : dividends) {
      if (n < 0 || n > kMost) continue;
      ASSERT_EQ(by.quotient(static_cast<int32_t>(n)), n / d) << n << " / " << d;
      ASSERT_EQ(by.split(n).quotient, n / d) << n << " / " << d;
      ASSERT_EQ(by.split(n).rest, n % d) << n << " / " << d;
    }
  }
}

TEST(CudaDivide, NumbersBeyond32BitsAreDivided) {
  const int64_t large = int64_t{1} << 40;
  EXPECT_EQ(Divider(7).quotient(large), large / 7);
  EXPECT_EQ(Divider(large).quotient(3 * large + 5), 3);
  EXPECT_EQ(Divider(large).split(large + 5).rest, 5);
  EXPECT_EQ(Divider(kMost + 1).quotient(kMost), 0);
}

TEST(CudaDivide, StridedAxesMergeNeighboursAndSkipAxesOfOneElement) {
  StridedAxes axes;  // [3, 1, 4, 5] of which the last two are contiguous, the first lies 100 apart
  axes.add_outer(5, 1);
  axes.add_outer(4, 5);
  axes.add_outer(1, 77);
  axes.add_outer(3, 100);
  EXPECT_EQ(axes.count, 2);
  EXPECT_EQ(axes.elems, 60);
  for (int64_t i = 0; i < 60; ++i) EXPECT_EQ(axes.offset(i), i / 20 * 100 + i % 20);
  EXPECT_EQ(StridedAxes().offset(0), 0);
}

}  // namespace
}  // namespace tanul::cuda
