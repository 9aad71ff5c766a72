// SPDX-License-Identifier: Apache-2.0
#include "plan/pack.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/philox.h"

namespace tanul {
namespace {

int64_t aligned(int64_t bytes) {
  return (std::max<int64_t>(bytes, 1) + kPackAlignment - 1) / kPackAlignment * kPackAlignment;
}

void expect_sound(const std::vector<Lifetime>& lifetimes, const Packing& packing) {
  int64_t end = 0;
  for (size_t i = 0; i < lifetimes.size(); ++i) {
    ASSERT_GE(packing.offsets[i], 0);
    ASSERT_EQ(packing.offsets[i] % kPackAlignment, 0);
    end = std::max(end, packing.offsets[i] + aligned(lifetimes[i].bytes));
    for (size_t j = 0; j < i; ++j) {
      const bool meet =
          lifetimes[i].first <= lifetimes[j].last && lifetimes[j].first <= lifetimes[i].last;
      const bool overlap = packing.offsets[i] < packing.offsets[j] + lifetimes[j].bytes &&
                           packing.offsets[j] < packing.offsets[i] + lifetimes[i].bytes;
      ASSERT_FALSE(meet && overlap) << "buffers " << i << " and " << j << " are alive together at "
                                    << packing.offsets[i] << " and " << packing.offsets[j];
    }
  }
  ASSERT_EQ(packing.bytes, end);
  // The lower bound, by its definition.
  int64_t bound = 0;
  for (const Lifetime& at : lifetimes) {
    int64_t alive = 0;
    for (const Lifetime& life : lifetimes) {
      if (life.first <= at.first && at.first <= life.last) alive += aligned(life.bytes);
    }
    bound = std::max(bound, alive);
  }
  ASSERT_EQ(packing.lower_bound, bound);
  ASSERT_GE(packing.bytes, bound);
}

TEST(Pack, NothingNeedsNothing) {
  const Packing packing = pack({});
  EXPECT_EQ(packing.bytes, 0);
  EXPECT_EQ(packing.lower_bound, 0);
}

TEST(Pack, ReusesMemoryOfTheDead) {
  const Packing packing = pack({{0, 1, 640}, {1, 2, 640}, {2, 3, 640}});
  EXPECT_EQ(packing.bytes, 1280);
}

// Lifetimes without structure: any first and last step, sizes over four orders of magnitude.
TEST(Pack, RandomLifetimesNeverOverlap) {
  double worst = 1;
  for (uint32_t graph = 0; graph < 2000; ++graph) {
    const Philox random{7, philox_stream("pack"), graph};
    const uint64_t count = 1 + random.below(0, 60);
    const uint64_t steps = 1 + random.below(2, 40);
    std::vector<Lifetime> lifetimes;
    for (uint64_t i = 0; i < count; ++i) {
      const auto a = static_cast<int32_t>(random.below(100 + 8 * i, steps));
      const auto b = static_cast<int32_t>(random.below(102 + 8 * i, steps));
      const auto magnitude = static_cast<int64_t>(1) << random.below(104 + 8 * i, 14);
      const auto bytes = magnitude + static_cast<int64_t>(random.below(106 + 8 * i, 1000));
      lifetimes.push_back({std::min(a, b), std::max(a, b), bytes});
    }
    const Packing packing = pack(lifetimes);
    ASSERT_NO_FATAL_FAILURE(expect_sound(lifetimes, packing)) << "graph " << graph;
    worst = std::max(worst,
                     static_cast<double>(packing.bytes) / static_cast<double>(packing.lower_bound));
    // Asked for less than there is to have, it says so; for this much, it is the same packing.
    EXPECT_EQ(pack(lifetimes, packing.bytes).bytes, packing.bytes);
    EXPECT_EQ(pack(lifetimes, packing.bytes / 2).bytes, packing.bytes / 2);
    EXPECT_EQ(pack(lifetimes, packing.bytes + 1).offsets, packing.offsets);
  }
  RecordProperty("worst_ratio_to_lower_bound", std::to_string(worst));
  EXPECT_LT(worst, 1.6);
}

// Lifetimes as training makes them: activation i lives from layer i forward to layer i backward, its
// gradient for a few steps, workspaces for one. There the packing comes close to the bound.
TEST(Pack, TrainingLikeLifetimesComeNearTheLowerBound) {
  double sum = 0;
  constexpr uint32_t kGraphs = 2000;
  for (uint32_t graph = 0; graph < kGraphs; ++graph) {
    const Philox random{8, philox_stream("pack"), graph};
    const auto layers = static_cast<int32_t>(2 + random.below(0, 30));
    std::vector<Lifetime> lifetimes;
    const auto draw = [&](int32_t layer, uint64_t what) {
      const uint64_t at = 10 + 8 * static_cast<uint64_t>(layer) + 2 * what;
      return static_cast<int64_t>(64 + random.below(at, 100000));
    };
    for (int32_t layer = 0; layer < layers; ++layer) {
      const int32_t backward = 2 * layers - 1 - layer;
      lifetimes.push_back({layer, backward, draw(layer, 0)});
      lifetimes.push_back({backward - 1, backward, draw(layer, 0)});
      lifetimes.push_back({layer, layer, draw(layer, 1)});
    }
    const Packing packing = pack(lifetimes);
    ASSERT_NO_FATAL_FAILURE(expect_sound(lifetimes, packing)) << "graph " << graph;
    sum += static_cast<double>(packing.bytes) / static_cast<double>(packing.lower_bound);
  }
  RecordProperty("mean_ratio_to_lower_bound", std::to_string(sum / kGraphs));
  EXPECT_LT(sum / kGraphs, 1.05);
}

}  // namespace
}  // namespace tanul
