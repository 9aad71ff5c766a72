// SPDX-License-Identifier: Apache-2.0
// The thread pool: every tile exactly once, by workers in range, whatever the pool was doing before.
#include "kernels/cpu/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace tanul {
namespace {

// Runs `tiles` tiles and counts how often each was taken.
void expect_each_tile_once(Stream& stream, int64_t tiles) {
  std::vector<int> taken(static_cast<size_t>(tiles), 0);
  std::atomic<int> outside{0};
  cpu::parallel_for(&stream, tiles, [&](int64_t tile, int worker) {
    if (worker < 0 || worker >= stream.threads()) ++outside;
    ++taken[static_cast<size_t>(tile)];  // a tile belongs to one worker: no lock needed
  });
  EXPECT_EQ(outside.load(), 0);
  for (int count : taken) ASSERT_EQ(count, 1);
}

TEST(Stream, EveryTileIsTakenOnce) {
  for (int threads : {1, 2, 3, 8}) {
    Stream stream(threads);
    EXPECT_EQ(stream.threads(), threads);
    for (int64_t tiles : {0, 1, 2, 3, 7, 100, 1000}) expect_each_tile_once(stream, tiles);
  }
}

// Launches in quick succession, and after a pause in which the workers have gone to sleep.
TEST(Stream, LaunchesFollowEachOtherQuicklyAndAfterSleep) {
  Stream stream(4);
  for (int round = 0; round < 5; ++round) {
    for (int launch = 0; launch < 500; ++launch) expect_each_tile_once(stream, 1 + launch % 9);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

// What the caller wrote before a launch is seen by the workers, and theirs by the caller behind it.
TEST(Stream, WritesAreSeenAcrossALaunch) {
  Stream stream(3);
  std::vector<int64_t> values(64, 0);
  for (int64_t launch = 1; launch <= 300; ++launch) {
    cpu::parallel_for(&stream, 64,
                      [&](int64_t tile, int) { values[static_cast<size_t>(tile)] += launch; });
    for (int64_t v : values) ASSERT_EQ(v, launch * (launch + 1) / 2);
  }
}

// Two pools in two threads do not disturb each other (a host program with two trainers).
TEST(Stream, PoolsAreIndependent) {
  std::thread other([] {
    Stream stream(2);
    for (int i = 0; i < 300; ++i) expect_each_tile_once(stream, 17);
  });
  Stream stream(2);
  for (int i = 0; i < 300; ++i) expect_each_tile_once(stream, 13);
  other.join();
}

TEST(Stream, IsMadeAndDestroyedWithoutWork) {
  for (int i = 0; i < 50; ++i) Stream stream(1 + i % 5);
}

}  // namespace
}  // namespace tanul
