// SPDX-License-Identifier: Apache-2.0
// Training in each precision through the whole CUDA backend on a fake device, whose tensor cores are
// emulated: what the plan says ran is what the numbers show.
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

// Maps of eight channels and three classes: one pair of channels is brighter than the others.
DataView maps(int64_t count) {
  Tensor samples({count, 8, 6, 6});
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

Trained train(Precision precision, bool walks = false) {
  TrainerOptions options;
  options.device = "cuda";
  options.batch = kBatch;
  options.optimizer = Sgd{0.05f, 0.9f};
  options.normalization = Normalization{std::vector<float>(8, 0), std::vector<float>(8, 1)};
  options.precision = precision;
  Trainer trainer(net(), options);
  if (walks) trainer.set_stepwise([](const StepReport&) {}, false);
  Trained run;
  run.plan = trainer.plan();
  double sum = 0;
  trainer.train_epoch(maps(kSteps * kBatch), [&](const Progress& progress) {
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

INSTANTIATE_TEST_SUITE_P(, CudaPrecision,
                         testing::Values(Format{Precision::tf32, 0x1p-11},
                                         Format{Precision::bf16, 0x1p-8},
                                         Format{Precision::fp16, 0x1p-11}),
                         name_of);

}  // namespace
}  // namespace tanul::test
