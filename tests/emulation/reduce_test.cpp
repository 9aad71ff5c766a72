// SPDX-License-Identifier: Apache-2.0
// Sums and maxima of kernels/cuda/reduce.h, alone.
#include "kernels/cuda/reduce.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "emulation/grid.h"

namespace tanul::cuda::emulation {
namespace {

// What is wrong with a kernel of one block, "" where nothing is.
std::string fault_of(uint32_t threads, const std::function<void()>& kernel) {
  try {
    run_grid({1, 1, 1}, {threads, 1, 1}, kernel);
  } catch (const Fault& fault) {
    return fault.what();
  }
  return "";
}

TEST(CudaReduce, BlockSumsFollowEachOtherWithoutABarrierBetween) {
  for (uint32_t threads : {32u, 96u, 256u, 1024u}) {
    std::vector<double> first(threads), second(threads);
    const std::string fault = fault_of(threads, [&] {
      const double a = block_sum(static_cast<double>(threadIdx.x));
      const double b = block_sum(a + 1);
      first[threadIdx.x] = a;
      second[threadIdx.x] = b;
    });
    EXPECT_EQ(fault, "");
    const double want = threads * (threads - 1) / 2.0;
    for (uint32_t i = 0; i < threads; ++i) {
      EXPECT_EQ(first[i], want);
      EXPECT_EQ(second[i], threads * (want + 1));
    }
  }
}

TEST(CudaReduce, EveryThreadGetsTheSameBits) {
  std::vector<double> sums(kBlockThreads), warps(kBlockThreads);
  const std::string fault = fault_of(kBlockThreads, [&] {
    const double own = 1.0 / (1 + threadIdx.x * 7 % 97);
    warps[threadIdx.x] = WarpTeam::sum(own);
    sums[threadIdx.x] = BlockTeam::sum(own);
  });
  EXPECT_EQ(fault, "");
  double all = 0;
  for (uint32_t i = 0; i < kBlockThreads; ++i) {
    EXPECT_EQ(sums[i], sums[0]);
    EXPECT_EQ(warps[i], warps[i / kWarp * kWarp]);
    if (i % kWarp == 0) all += warps[i];
  }
  EXPECT_EQ(sums[0], all);
}

TEST(CudaReduce, PairsAreSummedSideBySide) {
  std::vector<Pair> sums(64);
  const std::string fault = fault_of(64, [&] {
    sums[threadIdx.x] = block_sum(Pair{1, static_cast<double>(threadIdx.x)});
  });
  EXPECT_EQ(fault, "");
  for (const Pair& sum : sums) {
    EXPECT_EQ(sum.a, 64);
    EXPECT_EQ(sum.b, 64 * 63 / 2);
  }
}

// The best of a block whose thread i offers values[i]; NaN: nothing.
Best best_of(const std::vector<float>& values) {
  std::vector<Best> got(values.size());
  const std::string fault = fault_of(static_cast<uint32_t>(values.size()), [&] {
    const float v = values[threadIdx.x];
    const int64_t at = std::isnan(v) ? -1 : static_cast<int64_t>(threadIdx.x);
    got[threadIdx.x] = block_reduce(Best{v, at}, Better());
  });
  EXPECT_EQ(fault, "");
  for (const Best& best : got) EXPECT_EQ(best.at, got[0].at);
  return got[0];
}

TEST(CudaReduce, TheFirstOfEqualValuesIsTheBest) {
  std::vector<float> values(96, 1);
  EXPECT_EQ(best_of(values).at, 0);
  values[70] = values[41] = 3;
  EXPECT_EQ(best_of(values).at, 41);
  values.assign(96, NAN);
  EXPECT_EQ(best_of(values).at, -1);
  values[95] = -HUGE_VALF;
  EXPECT_EQ(best_of(values).at, 95);
}

}  // namespace
}  // namespace tanul::cuda::emulation
