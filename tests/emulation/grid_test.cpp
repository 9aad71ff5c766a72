// SPDX-License-Identifier: Apache-2.0
// Kernels that are wrong on purpose, each caught by the rule it breaks, and right ones that pass.
#include "emulation/grid.h"

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/cuda/kernel.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/vector.h"

namespace tanul::cuda::emulation {
namespace {

// What is wrong with a kernel, "" where nothing is.
std::string fault_of(Dim3 grid, Dim3 block, const std::function<void()>& kernel) {
  try {
    run_grid(grid, block, kernel);
  } catch (const Fault& fault) {
    return fault.what();
  }
  return "";
}
std::string fault_of(uint32_t threads, const std::function<void()>& kernel) {
  return fault_of({1, 1, 1}, {threads, 1, 1}, kernel);
}

#define EXPECT_FAULT(got, text) EXPECT_NE((got).find(text), std::string::npos) << (got)

TEST(EmulationLimits, OfGridsAndBlocks) {
  const auto nothing = [] {};
  EXPECT_EQ(fault_of({2, 3, 4}, {8, 8, 16}, nothing), "");
  EXPECT_FAULT(fault_of({1, 1, 1}, {1025, 1, 1}, nothing), "block of (1025, 1, 1)");
  EXPECT_FAULT(fault_of({1, 1, 1}, {1, 1, 65}, nothing), "at most 64 along z");
  EXPECT_FAULT(fault_of({1, 1, 1}, {0, 1, 1}, nothing), "block of (0, 1, 1)");
  EXPECT_FAULT(fault_of({1, 65536, 1}, {1, 1, 1}, nothing), "grid of (1, 65536, 1)");
  EXPECT_FAULT(fault_of({1, 1, 65536}, {1, 1, 1}, nothing), "grid of (1, 1, 65536)");
  EXPECT_FAULT(fault_of({0, 1, 1}, {1, 1, 1}, nothing), "grid of (0, 1, 1)");
}

TEST(EmulationLimits, OfSharedMemory) {
  EXPECT_EQ(fault_of(32, [] { TANUL_SHARED(float, most, 12 * 1024); }), "");
  const std::string fault = fault_of(32, [] {
    TANUL_SHARED(float, half, 8 * 1024);
    TANUL_SHARED(float, more, 4 * 1024 + 1);
  });
  EXPECT_FAULT(fault, "the shared array more makes 49156 bytes");
}

// Every thread of every block runs once, in any order.
TEST(EmulationGrid, RunsEachThreadOnce) {
  for (Order order : {Order::natural, Order::reversed, Order::shuffled}) {
    set_order(order);
    std::vector<int> runs(2 * 3 * 5 * 4 * 2 * 3, 0);
    run_grid({2, 3, 5}, {4, 2, 3}, [&] {
      const uint32_t block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
      const uint32_t thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
      ++runs[block * 24 + thread];
    });
    EXPECT_EQ(std::count(runs.begin(), runs.end(), 1), static_cast<long>(runs.size()));
  }
  set_order(Order::natural);
}

TEST(EmulationGrid, PassesOnWhatAThreadThrows) {
  const auto kernel = [] {
    const auto held = std::make_shared<int>(1);
    if (threadIdx.x == 40) throw std::string("out of a kernel");
    __syncthreads();
  };
  EXPECT_THROW(run_grid({1, 1, 1}, {64, 1, 1}, kernel), std::string);
}

// A fault ends all threads of the block: what those that wait hold is released.
TEST(EmulationGrid, UnwindsThreadsThatWait) {
  const auto counted = std::make_shared<int>(1);
  const std::string fault = fault_of(64, [&] {
    const std::shared_ptr<int> held = counted;
    if (threadIdx.x == 63) return;
    __syncthreads();
  });
  EXPECT_FAULT(fault, "__syncthreads");
  EXPECT_EQ(counted.use_count(), 1);
}

TEST(EmulationShared, IndexInRange) {
  for (int index : {-1, 4}) {
    EXPECT_FAULT(fault_of(1,
                          [&] {
                            TANUL_SHARED(float, a, 4);
                            a[index] = 1;
                          }),
                 "is outside of the 4 elements of the shared array");
  }
}

TEST(EmulationShared, ReadsOnlyWhatTheBlockHasWritten) {
  EXPECT_FAULT(fault_of(1,
                        [] {
                          TANUL_SHARED(float, a, 4);
                          a[2] += 1;
                        }),
               "reads a[2], which no thread of the block has written");
  // what the block before wrote is gone
  EXPECT_FAULT(fault_of({2, 1, 1}, {1, 1, 1},
                        [] {
                          TANUL_SHARED(float, a, 4);
                          if (blockIdx.x == 0) a[1] = 1;
                          EXPECT_EQ(static_cast<float>(a[1]), 1.0f);
                        }),
               "block (1, 0, 0), thread (0, 0, 0): reads a[1], which no thread");
}

TEST(EmulationRaces, ReadBehindAWrite) {
  EXPECT_FAULT(fault_of(2,
                        [] {
                          TANUL_SHARED(int, a, 2);
                          a[threadIdx.x] = 1;
                          const int other = a[0];
                          a[threadIdx.x] = other;
                        }),
               "thread (1, 0, 0): reads a[0], which thread (0, 0, 0) writes with no barrier");
}

TEST(EmulationRaces, WriteBehindARead) {
  const std::string fault = fault_of(64, [] {
    TANUL_SHARED(int, a, 64);
    a[threadIdx.x] = 1;
    __syncthreads();
    const int next = a[(threadIdx.x + 1) % 64];
    a[threadIdx.x] = next;  // the thread below may not have read it
  });
  EXPECT_FAULT(fault, "writes a[0], which thread (63, 0, 0) reads with no barrier between");
}

// Found also where the last reader is the writer itself.
TEST(EmulationRaces, WriteBehindReadsOfSeveral) {
  for (uint32_t writer : {3u, 40u}) {
    const std::string fault = fault_of(64, [&] {
      TANUL_SHARED(int, a, 1);
      if (threadIdx.x == 0) a[0] = 1;
      __syncthreads();
      const int own = a[0];
      if (threadIdx.x == writer) a[0] = own + 1;
    });
    EXPECT_FAULT(fault, "a[0]");
    EXPECT_FAULT(fault, "with no barrier between");
  }
}

TEST(EmulationRaces, TwoWrites) {
  EXPECT_FAULT(fault_of(2,
                        [] {
                          TANUL_SHARED(int, a, 1);
                          a[0] = 1;
                        }),
               "thread (1, 0, 0): writes a[0], which thread (0, 0, 0) writes");
}

TEST(EmulationRaces, SyncwarpOrdersItsWarpOnly) {
  const auto kernel = [](uint32_t distance) {
    TANUL_SHARED(int, a, 64);
    a[threadIdx.x] = 0;
    __syncthreads();
    a[threadIdx.x] = 1;
    __syncwarp();
    const int other = a[threadIdx.x ^ distance];
    __syncwarp();
    a[threadIdx.x] = other;
  };
  EXPECT_EQ(fault_of(64, [&] { kernel(5); }), "");
  EXPECT_FAULT(fault_of(64, [&] { kernel(32); }), "with no barrier between");
}

TEST(EmulationRaces, ShufflesOrderNoMemory) {
  EXPECT_FAULT(fault_of(32,
                        [] {
                          TANUL_SHARED(int, a, 32);
                          a[threadIdx.x] = 1;
                          __shfl_xor_sync(0xffffffffu, 1, 1);
                          const int other = a[threadIdx.x ^ 1];
                          (void)other;
                        }),
               "with no barrier between");
}

TEST(EmulationRaces, AtomicChangesAreNone) {
  int count = 0;
  EXPECT_EQ(fault_of(64,
                     [&] {
                       TANUL_SHARED(int, a, 1);
                       if (threadIdx.x == 0) a[0] = 0;
                       __syncthreads();
                       atomicAdd(&a[0], 2);
                       __syncthreads();
                       if (threadIdx.x == 0) count = a[0];
                     }),
            "");
  EXPECT_EQ(count, 128);
  EXPECT_FAULT(fault_of(64,
                        [] {
                          TANUL_SHARED(int, a, 1);
                          if (threadIdx.x == 0) a[0] = 0;
                          __syncthreads();
                          if (threadIdx.x != 1) atomicAdd(&a[0], 2);
                          if (threadIdx.x == 1) a[0] = 1;
                        }),
               "with no barrier between");
}

TEST(EmulationBarriers, ReachedByAll) {
  EXPECT_FAULT(fault_of(64,
                        [] {
                          if (threadIdx.x < 40) __syncthreads();
                        }),
               "thread (0, 0, 0): waits in __syncthreads (grid_test.cpp:");
  EXPECT_FAULT(fault_of(64,
                        [] {
                          if (threadIdx.x < 40) __syncthreads();
                        }),
               "which thread (40, 0, 0) does not reach: it has ended");
}

TEST(EmulationBarriers, AtOneLine) {
  const auto kernel = [] {
    if (threadIdx.x == 0) {
      __syncthreads();
    } else {
      __syncthreads();
    }
  };
  EXPECT_FAULT(fault_of(2, kernel), "while thread (0, 0, 0) is at __syncthreads");
}

TEST(EmulationBarriers, NotWhileOthersAreInAShuffle) {
  EXPECT_FAULT(fault_of(32,
                        [] {
                          if (threadIdx.x == 0) {
                            __syncthreads();
                          } else {
                            __shfl_xor_sync(0xffffffffu, 1, 1);
                          }
                        }),
               "does not reach: it waits in __shfl_xor_sync");
}

TEST(EmulationBarriers, CountVoteAndOrder) {
  std::vector<int> counts(64), any(64), all(64);
  EXPECT_EQ(fault_of(64,
                     [&] {
                       const uint32_t i = threadIdx.x;
                       counts[i] = __syncthreads_count(i < 10);
                       any[i] = __syncthreads_or(i == 63);
                       all[i] = __syncthreads_and(i != 63);
                     }),
            "");
  EXPECT_EQ(counts, std::vector<int>(64, 10));
  EXPECT_EQ(any, std::vector<int>(64, 1));
  EXPECT_EQ(all, std::vector<int>(64, 0));
}

TEST(EmulationShuffles, NamedLanesArrive) {
  EXPECT_FAULT(fault_of(32,
                        [] {
                          if (threadIdx.x != 7) __shfl_xor_sync(0xffffffffu, 1.0f, 1);
                        }),
               "which thread (7, 0, 0) does not reach: it has ended");
}

TEST(EmulationShuffles, TheMaskNamesTheCaller) {
  EXPECT_FAULT(fault_of(32, [] { __shfl_down_sync(0x0000ffffu, 1.0f, 0); }),
               "leaves out its own lane 16");
}

TEST(EmulationShuffles, TheMaskNamesLanesThatExist) {
  EXPECT_FAULT(fault_of(48, [] { __shfl_xor_sync(0xffffffffu, 1.0f, 1); }),
               "thread (32, 0, 0): calls __shfl_xor_sync");
}

TEST(EmulationShuffles, ReadsLanesOfTheMask) {
  EXPECT_FAULT(fault_of(32,
                        [] {
                          if (threadIdx.x < 16) __shfl_sync(0x0000ffffu, 1.0f, 16);
                        }),
               "reads lane 16 in __shfl_sync, which the mask 0000ffff leaves out");
}

TEST(EmulationShuffles, WithOneMask) {
  EXPECT_FAULT(fault_of(32,
                        [] {
                          const bool is_low = threadIdx.x < 16;
                          __syncwarp(is_low ? 0x0000ffffu : 0xffffffffu);
                        }),
               "__syncwarp");
}

TEST(EmulationShuffles, MoveValues) {
  std::vector<int> from(64), down(64), up(64), swapped(64), half(64);
  uint32_t ballot = 0;
  EXPECT_EQ(fault_of(64,
                     [&] {
                       const uint32_t i = threadIdx.x;
                       const int v = static_cast<int>(i);
                       from[i] = __shfl_sync(0xffffffffu, v, 3);
                       down[i] = __shfl_down_sync(0xffffffffu, v, 4);
                       up[i] = __shfl_up_sync(0xffffffffu, v, 4);
                       swapped[i] = __shfl_xor_sync(0xffffffffu, v, 16);
                       half[i] = __shfl_down_sync(0xffffffffu, v, 8, 16);
                       const uint32_t bits = __ballot_sync(0xffffffffu, v % 3 == 0);
                       if (i == 0) ballot = bits;
                       EXPECT_EQ(__any_sync(0xffffffffu, v == 5), i < 32 ? 1 : 0);
                       EXPECT_EQ(__all_sync(0xffffffffu, v < 32), i < 32 ? 1 : 0);
                     }),
            "");
  for (int i = 0; i < 64; ++i) {
    const auto at = static_cast<size_t>(i);
    const int lane = i % 32;
    EXPECT_EQ(from[at], i / 32 * 32 + 3);
    EXPECT_EQ(down[at], lane + 4 < 32 ? i + 4 : i);
    EXPECT_EQ(up[at], lane >= 4 ? i - 4 : i);
    EXPECT_EQ(swapped[at], i ^ 16);
    EXPECT_EQ(half[at], lane % 16 < 8 ? i + 8 : i);
  }
  EXPECT_EQ(ballot, 0x49249249u);
}

TEST(EmulationShuffles, HalvesOfAWarpOnTheirOwn) {
  std::vector<int> sums(32);
  EXPECT_EQ(fault_of(32,
                     [&] {
                       const uint32_t i = threadIdx.x;
                       const uint32_t mask = i < 16 ? 0x0000ffffu : 0xffff0000u;
                       int sum = static_cast<int>(i);
                       for (uint32_t lanes = 8; lanes > 0; lanes /= 2) {
                         sum += __shfl_xor_sync(mask, sum, lanes);
                       }
                       sums[i] = sum;
                     }),
            "");
  EXPECT_EQ(sums[0], 120);
  EXPECT_EQ(sums[31], 376);
}

__global__ void sum_rows_kernel(const float* x, double* sums, int64_t n) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    sum += static_cast<double>(x[blockIdx.x * n + i]);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

TEST(EmulatedKernels, BlockReduction) {
  std::vector<float> x(3 * 1000);
  std::iota(x.begin(), x.end(), 0.0f);
  for (Order order : {Order::natural, Order::reversed, Order::shuffled}) {
    set_order(order);
    std::vector<double> sums(3);
    run_grid({3, 1, 1}, {256, 1, 1}, [&] { sum_rows_kernel(x.data(), sums.data(), 1000); });
    EXPECT_EQ(sums, (std::vector<double>{499500, 1499500, 2499500}));
  }
  set_order(Order::natural);
}

// 32 x 32 tiles through shared memory by blocks of 32 x 8.
__global__ void transpose_kernel(const float* x, float* y, int rows, int columns) {
  TANUL_SHARED(float, tile, 32 * 33);
  const int x0 = static_cast<int>(blockIdx.x) * 32, y0 = static_cast<int>(blockIdx.y) * 32;
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = static_cast<int>(threadIdx.y); i < 32; i += 8) {
    if (y0 + i < rows && x0 + lane < columns) {
      tile[i * 33 + lane] = x[(y0 + i) * columns + x0 + lane];
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.y); i < 32; i += 8) {
    if (x0 + i < columns && y0 + lane < rows) {
      y[(x0 + i) * rows + y0 + lane] = tile[lane * 33 + i];
    }
  }
}

TEST(EmulatedKernels, TileTransposition) {
  const int rows = 45, columns = 70;
  std::vector<float> x(static_cast<size_t>(rows * columns)), y(x.size());
  std::iota(x.begin(), x.end(), 0.0f);
  run_grid({3, 2, 1}, {32, 8, 1}, [&] { transpose_kernel(x.data(), y.data(), rows, columns); });
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j) {
      ASSERT_EQ(y[static_cast<size_t>(j * rows + i)], x[static_cast<size_t>(i * columns + j)]);
    }
  }
}

TEST(EmulatedKernels, FourAtOnce) {
  alignas(16) float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  alignas(16) float y[8] = {};
  EXPECT_EQ(fault_of(1,
                     [&] {
                       TANUL_SHARED(float, a, 8);
                       store4(a, 4, load4(x, 4));
                       store4(y, 0, load4(a, 4));
                     }),
            "");
  EXPECT_EQ(y[3], 8.0f);
  EXPECT_FAULT(fault_of(1, [&] { store4(y, 4, load4(x, 1)); }), "is not aligned");
  EXPECT_FAULT(fault_of(1,
                        [&] {
                          TANUL_SHARED(float, a, 8);
                          store4(a, 2, load4(x, 0));
                        }),
               "store4 of a[2]");
}

}  // namespace
}  // namespace tanul::cuda::emulation
