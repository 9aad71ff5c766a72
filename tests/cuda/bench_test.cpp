// SPDX-License-Identifier: Apache-2.0
// tanul-bench ops with a GPU: on the fake device, whose kernels run by emulation.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "backend/module_loader.h"
#include "bench/device_roof.h"
#include "bench/ops.h"
#include "support/expect_error.h"
#include "support/fake_cuda.h"

namespace tanul::bench {
namespace {

using nlohmann::ordered_json;
using test::FakeCuda;

OpsOptions on_the_gpu(const std::string& ops) {
  OpsOptions o;
  o.device = "cuda";
  o.threads = 1;
  o.ops = ops;
  o.shapes = {"tiny"};
  o.repeats = 1;
  o.seconds = 0;
  o.with_roof = false;
  o.most_copies = 2;
  return o;
}

class BenchOnFakeGpu : public testing::Test {
 protected:
  FakeCuda fake_;
  ModuleInPlace in_place_{fake_.module()};

  void TearDown() override {
    EXPECT_TRUE(fake_.violations().empty()) << fake_.violations().front();
    EXPECT_TRUE(fake_.leaks().empty()) << fake_.leaks().front();
  }
};

TEST_F(BenchOnFakeGpu, EveryKernelAgreesWithTheCpu) {
  const ordered_json result = run_ops(on_the_gpu("*"));
  EXPECT_TRUE(result["mismatches"].empty()) << result["mismatches"].dump(1);
  ASSERT_EQ(result["devices"].size(), 2u);
  EXPECT_EQ(result["devices"][1]["description"], "cuda:0: Fake GPU");
  for (const ordered_json& one : result["cases"]) {
    size_t of_gpu = 0;
    for (const ordered_json& row : one["results"]) {
      if (row["device"] != "cuda:0") continue;
      ++of_gpu;
      EXPECT_EQ(row["check"], "agrees") << one["op"];
      // The fake's clock counts kernels, a millisecond each.
      const double ms = row["ms"];
      EXPECT_GE(ms, 1.0) << one["op"];
      EXPECT_EQ(ms, std::floor(ms)) << one["op"];
      EXPECT_TRUE(row.contains("speed_up"));
    }
    EXPECT_GT(of_gpu, 0u) << one["op"];
  }
}

// With time to spare launches are recorded and replayed, as many as were asked for.
TEST_F(BenchOnFakeGpu, LaunchesAreReplayed) {
  OpsOptions o = on_the_gpu("relu_fwd");
  o.seconds = 0.1;
  const ordered_json result = run_ops(o);
  EXPECT_GT(fake_.calls_of("cudaGraphLaunch"), 1);
  const ordered_json& row = result["cases"][0]["results"].back();
  EXPECT_EQ(row["device"], "cuda:0");
  EXPECT_GT(row["launches"].get<int64_t>(), 1);
  EXPECT_EQ(row["check"], "agrees");
}

const ImplementationList& wrong_scales(Backend& backend, OpKind kind) {
  // On the GPU gelu in place of relu: right shapes, wrong numbers.
  return backend.implementations(backend.device().type == DeviceType::cuda ? OpKind::gelu_fwd
                                                                           : kind);
}

TEST_F(BenchOnFakeGpu, AWrongKernelFailsTheRun) {
  OpsOptions o = on_the_gpu("relu_fwd");
  o.implementations = wrong_scales;
  const ordered_json result = run_ops(o);
  ASSERT_FALSE(result["mismatches"].empty());
  const std::string text = result["mismatches"][0];
  EXPECT_EQ(text.rfind("relu_fwd 2x10 -> 2x10: ", 0), 0u) << text;
  EXPECT_NE(text.find(" on cuda:0 against simd on the CPU: output 0: element "), std::string::npos)
      << text;
}

// A kernel that breaks ends the GPU's part; the CPU's goes on.
TEST_F(BenchOnFakeGpu, AnErrorOfTheDeviceIsReported) {
  fake_.break_kernel(1);
  const ordered_json result = run_ops(on_the_gpu("*relu_fwd"));
  ASSERT_EQ(result["mismatches"].size(), 1u);
  const std::string text = result["mismatches"][0];
  EXPECT_NE(text.find("cudaErrorLaunchFailure"), std::string::npos) << text;
  for (const ordered_json& one : result["cases"]) {
    EXPECT_EQ(one["results"][0]["device"], "cpu");
    EXPECT_TRUE(one["results"][0].contains("ms"));
  }
}

TEST(BenchWithoutGpu, RunsTheCpusHalfAndSaysWhy) {
  const FakeCuda fake({.driver = 0});
  const ModuleInPlace in_place(fake.module());
  OpsOptions o = on_the_gpu("relu_fwd");
  test::expect_error(Code::device, "no GPU can be used: ", [&] { run_ops(o); });
  o.device = "auto";
  const ordered_json result = run_ops(o);
  EXPECT_EQ(result["devices"].size(), 1u);
  EXPECT_FALSE(result["no_gpu"].get<std::string>().empty());
  EXPECT_TRUE(result["mismatches"].empty());
}

}  // namespace
}  // namespace tanul::bench
