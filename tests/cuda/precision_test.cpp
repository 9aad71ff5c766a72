// SPDX-License-Identifier: Apache-2.0
// Training in each precision, and without the promise of equal bits, through the whole CUDA backend on a fake
// device, whose tensor cores are emulated: what the plan says ran is what the numbers show.
#include <gtest/gtest.h>

#include <cmath>

#include "backend/module_loader.h"
#include "core/philox.h"
#include "support/fake_cuda.h"
#include "tanul/trainer.h"

namespace tanul::test {
namespace {

constexpr int64_t kBatch = 8;
constexpr int64_t kSteps = 8;

Model net() {
  ModelBuilder m("net");
  Var x = m.relu(m.conv2d(m.input({8, 6, 6}), {.out = 16, .kernel = 3}));
  x = m.relu(m.conv2d(x, {.out = 16, .kernel = 3}));
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 3}));
  return m.build();
}

// The weight gradient of its convolution sums 8 x 10 x 10 positions: enough to be split.
Model wide_net() {
  ModelBuilder m("wide");
  const Var x = m.relu(m.conv2d(m.input({2, 12, 12}), {.out = 4, .kernel = 3}));
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 3}));
  return m.build();
}

// Maps of eight channels and three classes: one pair of channels is brighter than the others. Or the same numbers
// as two channels of 12 x 12.
DataView maps(int64_t count, bool is_wide = false) {
  Tensor samples(is_wide ? Shape{count, 2, 12, 12} : Shape{count, 8, 6, 6});
  Tensor labels({count}, DType::i32);
  const Philox random{5, philox_stream("maps"), 0};
  for (int64_t i = 0; i < samples.elems(); ++i) {
    const int64_t sample = i / 288, channel = i / 36 % 8;
    const double bright = channel / 2 == sample % 3 ? 1 : 0;
    samples.data<float>()[i] =
        static_cast<float>(bright + 0.5 * random.normal(static_cast<uint64_t>(i)));
  }
  for (int64_t i = 0; i < count; ++i) labels.data<int32_t>()[i] = static_cast<int32_t>(i % 3);
  return DataView(samples, labels);
}

struct Trained {
  PlanInfo plan;
  std::vector<double> losses;  // of each step
  std::string bytes;           // everything that lasts
  int64_t left_out = 0;
};

Trained train(const Model& model, const TrainerOptions& options, const DataView& data, bool walks) {
  Trainer trainer(model, options);
  if (walks) trainer.set_stepwise([](const StepReport&) {}, false);
  Trained run;
  run.plan = trainer.plan();
  double sum = 0;
  trainer.train_epoch(data, [&](const Progress& progress) {
    const double total = progress.loss * static_cast<double>(progress.step);
    run.losses.push_back(total - sum);
    sum = total;
  });
  for (const auto& [name, tensor] : trainer.state().tensors) {
    run.bytes.append(static_cast<const char*>(tensor.raw()), static_cast<size_t>(tensor.bytes()));
  }
  if (trainer.loss_scale()) run.left_out = trainer.loss_scale()->left_out;
  return run;
}

Trained train(Precision precision, bool walks = false) {
  TrainerOptions options;
  options.device = "cuda";
  options.batch = kBatch;
  options.optimizer = Sgd{0.05f, 0.9f};
  options.normalization = Normalization{std::vector<float>(8, 0), std::vector<float>(8, 1)};
  options.precision = precision;
  return train(net(), options, maps(kSteps * kBatch), walks);
}

struct Format {
  Precision precision;
  double roundoff;
};

class CudaPrecision : public testing::TestWithParam<Format> {};

TEST_P(CudaPrecision, TrainsOnTensorCores) {
  FakeCuda fake;
  const ModuleInPlace in_place(fake.module());
  const Trained exact = train(Precision::fp32);
  EXPECT_EQ(exact.plan.products_in_precision, exact.plan.products);
  for (const StepInfo& step : exact.plan.steps) {
    EXPECT_EQ(step.multiplies_in, Precision::fp32) << step.op;
  }

  const Trained run = train(GetParam().precision);
  int64_t in_precision = 0;
  for (const StepInfo& step : run.plan.steps) {
    if (step.multiplies_in == Precision::fp32) continue;
    EXPECT_EQ(step.multiplies_in, GetParam().precision) << step.op;
    EXPECT_TRUE(step.is_product) << step.op;
    ++in_precision;
  }
  EXPECT_GT(in_precision, 0);
  EXPECT_EQ(run.plan.products_in_precision, in_precision);
  // Before the first update the networks are the same: three layers of activations of about 1 with factors
  // that are each off by u.
  EXPECT_NE(run.losses.front(), exact.losses.front());
  EXPECT_NEAR(run.losses.front(), exact.losses.front(), 3 * 2 * 4 * GetParam().roundoff);
  EXPECT_LT(run.losses.back(), 0.7 * run.losses.front());
  EXPECT_LT(run.left_out, kSteps / 2);
  EXPECT_TRUE(train(GetParam().precision, true).bytes == run.bytes) << "replay and walk differ";
}

std::string name_of(const testing::TestParamInfo<Format>& of) {
  return precision_name(of.param.precision);
}

TEST(CudaDeterminism, IsGivenUpWhereItIsNotAskedFor) {
  FakeCuda fake;
  const ModuleInPlace in_place(fake.module());
  const auto run = [](bool deterministic, bool walks) {
    TrainerOptions options;
    options.device = "cuda";
    options.batch = kBatch;
    options.optimizer = Sgd{0.05f, 0.9f};
    options.normalization = Normalization{{0, 0}, {1, 1}};
    options.deterministic = deterministic;
    return train(wide_net(), options, maps(kSteps * kBatch, true), walks);
  };
  const Trained promised = run(true, false), any_order = run(false, false);
  EXPECT_EQ(promised.plan.nondeterministic_steps, 0);
  EXPECT_GT(any_order.plan.nondeterministic_steps, 0);
  bool is_gradient_added = false;
  for (const StepInfo& step : any_order.plan.steps) {
    if (step.op != "conv2d_bwd_weights") continue;
    is_gradient_added = step.implementation == "implicit_gemm_32x32_atomic";
    EXPECT_FALSE(step.is_deterministic);
  }
  EXPECT_TRUE(is_gradient_added);
  // The first forward pass is the same. A gradient is a sum of 800 terms, which each order rounds by at most
  // 800 u of what the terms amount to, so that two differ by twice that, and a step is below what they amount to;
  // with momentum a difference is taken again in every later step: i (i + 1) / 2 times in all.
  ASSERT_EQ(any_order.losses.size(), promised.losses.size());
  EXPECT_EQ(any_order.losses.front(), promised.losses.front());
  for (size_t i = 0; i < promised.losses.size(); ++i) {
    EXPECT_NEAR(any_order.losses[i], promised.losses[i],
                static_cast<double>(i * (i + 1)) * 800 * 0x1p-24 * promised.losses.front());
  }
  // The fake device runs blocks in one order: here alone the bits repeat.
  EXPECT_TRUE(run(false, true).bytes == any_order.bytes) << "replay and walk differ";
}

INSTANTIATE_TEST_SUITE_P(, CudaPrecision,
                         testing::Values(Format{Precision::tf32, 0x1p-11},
                                         Format{Precision::bf16, 0x1p-8},
                                         Format{Precision::fp16, 0x1p-11}),
                         name_of);

}  // namespace
}  // namespace tanul::test
