// SPDX-License-Identifier: Apache-2.0
#include "bench/energy.h"

#include <gtest/gtest.h>

#include "support/temp_folder.h"

namespace tanul::bench {
namespace {

using test::TempFolder;

constexpr Device kCpu{DeviceType::cpu, 0};

void write_zone(const TempFolder& folder, const std::string& zone, const std::string& energy) {
  std::filesystem::create_directories(folder.path() + "/" + zone);
  folder.write(zone + "/energy_uj", energy);
  folder.write(zone + "/max_energy_range_uj", "10000000\n");
}

// Two packages, one of which starts again; a part of a package is not counted twice.
TEST(Energy, OfAllPackages) {
  const TempFolder folder;
  write_zone(folder, "intel-rapl:0", "1000000\n");
  write_zone(folder, "intel-rapl:0:0", "500000\n");
  write_zone(folder, "intel-rapl:1", "9000000\n");
  std::string why_not;
  const auto meter = open_energy_meter(kCpu, why_not, folder.path());
  ASSERT_NE(meter, nullptr) << why_not;
  EXPECT_DOUBLE_EQ(meter->joules(), 0);
  write_zone(folder, "intel-rapl:0", "3000000\n");
  write_zone(folder, "intel-rapl:0:0", "2500000\n");
  write_zone(folder, "intel-rapl:1", "500000\n");
  EXPECT_NEAR(meter->joules(), 2 + 1.5, 1e-9);
}

TEST(Energy, SaysWhyThereIsNone) {
  const TempFolder folder;
  std::string why_not;
  EXPECT_EQ(open_energy_meter(kCpu, why_not, folder.path()), nullptr);
  EXPECT_EQ(why_not, "no counters in " + folder.path());
  std::filesystem::create_directories(folder.path() + "/intel-rapl:0");
  EXPECT_EQ(open_energy_meter(kCpu, why_not, folder.path()), nullptr);
  EXPECT_EQ(why_not, folder.path() + " may not be read");
}

}  // namespace
}  // namespace tanul::bench
