// SPDX-License-Identifier: Apache-2.0
// What the mask of dropout promises beside its values (dropout_cases.cpp): rate and scale, the same
// mask backward, other masks in other steps, layers and runs.
#include "kernels/dropout/dropout.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/philox.h"
#include "kernels/op.h"
#include "support/step_runner.h"

namespace tanul::test {
namespace {

constexpr int64_t kElems = 1000000;

struct Draw {
  OpKind kind = OpKind::dropout_fwd;
  float p = 0.3f;
  const char* layer = "drop1";
  uint64_t step = 0;
  uint64_t seed = 1;
  int threads = 2;
  TestDevice* device = &cpu_device();
};

// Dropout of a million ones.
RefTensor masked_ones(const Draw& draw) {
  const RefTensor ones(Shape{kElems}, DType::f32, 1);
  const Params params = Params::of(DropoutParams{draw.p, philox_stream(draw.layer), 0});
  const Step step{draw.kind, params, {ones}, {ones}, {draw.seed, draw.step, 0}};
  const ImplementationList& list = draw.device->implementations(draw.kind);
  RunOptions options;
  options.device = draw.device;
  options.threads = draw.threads;
  const RunResult run = run_step(list.items[0], step, options);
  EXPECT_EQ(run.failure, "");
  return to_ref(ones, run.out.at(0));
}

double share_kept(const RefTensor& y) {
  int64_t kept = 0;
  for (double value : y.v) kept += value != 0 ? 1 : 0;
  return static_cast<double>(kept) / kElems;
}

double share_equal(const RefTensor& a, const RefTensor& b) {
  int64_t equal = 0;
  for (int64_t i = 0; i < kElems; ++i) equal += (a[i] != 0) == (b[i] != 0) ? 1 : 0;
  return static_cast<double>(equal) / kElems;
}

// Five deviations of a share of a million draws.
double margin(double p) { return 5 * std::sqrt(p * (1 - p) / kElems); }

TEST(Dropout, DropsTheAskedShareAndKeepsTheMean) {
  for (float p : {0.05f, 0.3f, 0.5f, 0.9f}) {
    Draw draw;
    draw.p = p;
    const RefTensor y = masked_ones(draw);
    const double kept = 1 - static_cast<double>(p);
    EXPECT_NEAR(share_kept(y), kept, margin(kept));
    double sum = 0;
    for (double value : y.v) {
      sum += value;
      if (value != 0) {
        ASSERT_NEAR(value, 1 / kept, 2 * 0x1p-24 / kept);
      }
    }
    EXPECT_NEAR(sum / kElems, 1, margin(kept) / kept + 1e-6);
  }
}

TEST(Dropout, NeighboursAreIndependent) {
  const RefTensor y = masked_ones({});
  for (int64_t distance : {1, 2, 3, 4, 64, 256}) {
    int64_t both = 0;
    for (int64_t i = 0; i + distance < kElems; ++i)
      both += y[i] != 0 && y[i + distance] != 0 ? 1 : 0;
    const double expected = 0.7 * 0.7;
    // Pairs overlap, so their count varies more than that of independent draws: at most thrice.
    EXPECT_NEAR(static_cast<double>(both) / kElems, expected, std::sqrt(3) * margin(expected))
        << distance;
  }
}

TEST(Dropout, BackwardUsesTheMaskOfForward) {
  Draw draw;
  draw.step = 17;
  const RefTensor forward = masked_ones(draw);
  draw.kind = OpKind::dropout_bwd;
  draw.threads = 3;
  EXPECT_EQ(forward.v, masked_ones(draw).v);
}

TEST(Dropout, MasksOfOtherStepsLayersAndSeedsAreIndependent) {
  const RefTensor first = masked_ones({});
  Draw step, layer, seed, high_seed;
  step.step = 1;
  layer.layer = "drop2";
  seed.seed = 2;
  high_seed.seed = 1 + (uint64_t{1} << 40);
  const double expected = 0.7 * 0.7 + 0.3 * 0.3;
  for (const Draw& other : {step, layer, seed, high_seed}) {
    EXPECT_NEAR(share_equal(first, masked_ones(other)), expected, margin(expected));
  }
}

TEST(Dropout, ThreadsDoNotChangeTheMask) {
  Draw one, three;
  one.threads = 1;
  three.threads = 3;
  EXPECT_EQ(masked_ones(one).v, masked_ones(three).v);
}

TEST(Dropout, IsTheSameOnEveryDevice) {
  for (TestDevice* device : test_devices()) {
    Draw draw;
    draw.step = 5;
    const RefTensor want = masked_ones(draw);
    draw.device = device;
    EXPECT_EQ(masked_ones(draw).v, want.v) << device->name();
  }
}

TEST(Dropout, IsItsInputInEvaluation) {
  EXPECT_TRUE(op_def(OpKind::dropout_fwd).identity_in_evaluation);
  EXPECT_FALSE(op_def(OpKind::relu_fwd).identity_in_evaluation);
}

}  // namespace
}  // namespace tanul::test
