// SPDX-License-Identifier: Apache-2.0
// What scripts/gpu_check.sh wants to know of a GPU beside the tests of ops: whole training against the CPU,
// memory, and a plan that does not fit. On the device that TANUL_TEST_DEVICE names.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/philox.h"
#include "support/gpu_under_test.h"
#include "tanul/error.h"
#include "tanul/models.h"
#include "tanul/trainer.h"

namespace tanul::test {
namespace {

class GpuCheck : public testing::Test {
 protected:
  GpuUnderTest* gpu_ = nullptr;

  void SetUp() override {
    gpu_ = GpuUnderTest::get();
    if (gpu_ == nullptr) GTEST_SKIP() << "TANUL_TEST_DEVICE names no device";
  }
};

// Pictures of random noise, brighter in a quarter that belongs to the class.
DataView pictures(const Model& model, int64_t count) {
  const Shape shape = model.input_shape();
  const int64_t C = shape[0], H = shape[1], W = shape[2];
  Tensor samples({count, C, H, W}, DType::u8);
  Tensor labels({count}, DType::i32);
  const Philox random{5, philox_stream("pictures"), 0};
  for (int64_t n = 0; n < count; ++n) {
    const int64_t label = n % 4;
    labels.data<int32_t>()[n] = static_cast<int32_t>(label);
    for (int64_t i = 0; i < C * H * W; ++i) {
      const int64_t h = i / W % H, w = i % W;
      const bool is_bright = (h >= H / 2) == (label >= 2) && (w >= W / 2) == (label % 2 == 1);
      const auto at = static_cast<uint64_t>(n * C * H * W + i);
      samples.data<uint8_t>()[n * C * H * W + i] =
          static_cast<uint8_t>((is_bright ? 90 : 30) + random.word(at) % 120);
    }
  }
  return DataView(samples, labels);
}

TrainerOptions options_of(const std::string& device, int64_t batch) {
  TrainerOptions options;
  options.device = device;
  options.batch = batch;
  options.optimizer = Sgd{.lr = 0.01f, .momentum = 0.9f};
  return options;
}

Normalization plain(const Model& model) {
  const auto channels = static_cast<size_t>(model.input_shape()[0]);
  return {std::vector<float>(channels, 0.35f), std::vector<float>(channels, 0.2f)};
}

// The loss of each step of one epoch.
std::vector<double> losses_of(Trainer& trainer, const DataView& data) {
  std::vector<double> losses;
  double sum = 0;
  trainer.train_epoch(data, [&](const Progress& progress) {
    const double total = progress.loss * static_cast<double>(progress.step);
    losses.push_back(total - sum);
    sum = total;
  });
  return losses;
}

// NaN where one is in them.
double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size() && !std::isnan(largest); ++i) {
    const double off = std::fabs(a[i] - b[i]);
    if (!(off <= largest)) largest = off;
  }
  return largest;
}

// Each weight off by four units of rounding, up or down: what sums of a few hundred terms differ by when
// they are added in another order.
void round_weights(Trainer& trainer) {
  const Philox random{6, philox_stream("rounding"), 0};
  uint64_t at = 0;
  for (const ParameterInfo& info : trainer.model().parameters()) {
    Tensor value = trainer.parameter(info.name);
    for (int64_t i = 0; i < value.elems(); ++i) {
      value.data<float>()[i] *= random.word(at++) % 2 == 0 ? 1 + 0x1p-22f : 1 - 0x1p-22f;
    }
    trainer.set_parameter(info.name, value);
  }
}

// How far rounding alone drives training apart is what the CPU shows with rounded weights. The device may be
// ten times as far away.
void expect_curves_of_the_cpu(const GpuUnderTest& gpu, const Model& model, int64_t batch) {
  const int64_t steps = gpu.steps(200);
  const DataView data = pictures(model, steps * batch);
  const auto curve = [&](const std::string& device, bool is_rounded) {
    TrainerOptions options = options_of(device, batch);
    options.normalization = plain(model);
    options.precise_convolutions = true;
    Trainer trainer(model, options);
    if (is_rounded) round_weights(trainer);
    return losses_of(trainer, data);
  };
  const std::vector<double> cpu = curve("cpu", false), other = curve("cpu", true);
  const std::vector<double> device = curve(gpu.device(), false);
  ASSERT_EQ(device.size(), static_cast<size_t>(steps));
  // No less than the last place of a loss.
  const double rounding = std::max(largest_difference(cpu, other), 1e-6);
  const double off = largest_difference(cpu, device);
  std::printf(
      "%s, %d steps: loss %.4f to %.4f; rounding moves it by %.3g, the device by "
      "%.3g\n",
      model.name().c_str(), static_cast<int>(steps), cpu.front(), cpu.back(), rounding, off);
  EXPECT_LE(off, 10 * rounding);
  if (steps >= 200) {
    EXPECT_LT(cpu.back(), 0.5 * cpu.front());
  }
}

TEST_F(GpuCheck, LeNetHasTheCurveOfTheCpu) {
  expect_curves_of_the_cpu(*gpu_, models::lenet5(), gpu_->is_fake() ? 2 : 32);
}

TEST_F(GpuCheck, ResNet20HasTheCurveOfTheCpu) {
  if (gpu_->is_fake()) GTEST_SKIP() << "takes minutes by emulation";
  expect_curves_of_the_cpu(*gpu_, models::cifar_resnet(20), 16);
}

void expect_steady_memory(const GpuUnderTest& gpu, const Model& model, int64_t batch, int steps) {
  constexpr int kStepsOfAnEpoch = 50;
  const DataView data = pictures(model, std::min(steps, kStepsOfAnEpoch) * batch);
  TrainerOptions options = options_of(gpu.device(), batch);
  options.normalization = plain(model);
  options.steps_ahead = 1;  // the first look is behind the second step
  Trainer trainer(model, options);
  int64_t looked = 0, allocations = 0, free = 0, tensors = 0;
  while (trainer.steps_done() < steps) {
    trainer.train_epoch(data, [&](const Progress& progress) {
      if (trainer.steps_done() < 2) return;
      if (++looked == 1) {
        allocations = gpu.allocations();
        free = gpu.free_bytes();
        tensors = trainer.peak_tensor_bytes();
        return;
      }
      ASSERT_EQ(gpu.allocations(), allocations)
          << "epoch " << progress.epoch << ", step " << progress.step;
    });
  }
  EXPECT_GE(looked, steps - 1);
  EXPECT_EQ(gpu.free_bytes(), free);
  EXPECT_EQ(trainer.peak_tensor_bytes(), tensors);
  EXPECT_EQ(trainer.tensor_bytes(), trainer.plan().total_bytes + trainer.data_bytes());
  std::printf("%s, %d steps: %.1f MiB of tensors, as planned\n", model.name().c_str(), steps,
              static_cast<double>(tensors) / (1 << 20));
}

TEST_F(GpuCheck, LeNetAllocatesNothingIn1000Steps) {
  expect_steady_memory(*gpu_, models::lenet5(), gpu_->is_fake() ? 2 : 64, gpu_->steps(1000));
}

TEST_F(GpuCheck, ResNet20AllocatesNothingIn1000Steps) {
  if (gpu_->is_fake()) GTEST_SKIP() << "takes minutes by emulation";
  // The CPU needs a minute for so many and has nothing to show that fewer do not.
  const bool is_cpu = gpu_->device() == "cpu";
  expect_steady_memory(*gpu_, models::cifar_resnet(20), is_cpu ? 2 : 64, gpu_->steps(1000));
}

TEST_F(GpuCheck, ReplayHasTheBitsOfTheWalk) {
  const Model model = models::lenet5();
  const int64_t batch = gpu_->is_fake() ? 2 : 64;
  const DataView data = pictures(model, gpu_->steps(50) * batch);
  std::string bytes[2];
  for (int is_walk : {0, 1}) {
    TrainerOptions options = options_of(gpu_->device(), batch);
    options.normalization = plain(model);
    Trainer trainer(model, options);
    if (is_walk == 1) trainer.set_stepwise([](const StepReport&) {}, false);
    losses_of(trainer, data);
    for (const auto& [name, tensor] : trainer.state().tensors) {
      bytes[is_walk].append(static_cast<const char*>(tensor.raw()),
                            static_cast<size_t>(tensor.bytes()));
    }
  }
  EXPECT_TRUE(bytes[0] == bytes[1]);
}

TEST_F(GpuCheck, APlanThatDoesNotFitIsRefusedWithTheLargestBatchThatDoes) {
  const int64_t free = gpu_->free_bytes();
  if (free < 0) GTEST_SKIP() << "the CPU does not say how much memory is free";
  const Model model = models::lenet5();
  TrainerOptions options = options_of(gpu_->device(), 64);
  options.tune = false;  // memory is what is asked for here
  // Twice what would fit, by the memory that 64 more samples take.
  const int64_t at_64 = make_plan(model, options).total_bytes;
  options.batch = 128;
  const int64_t each = (make_plan(model, options).total_bytes - at_64) / 64;
  options.batch = 2 * free / each;
  const int64_t allocations = gpu_->allocations();
  try {
    const Trainer trainer(model, options);
    FAIL() << "a batch of " << options.batch << " fitted into " << free << " bytes";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::out_of_memory);
    const std::string text = e.what(), hint = "the largest batch that fits is ";
    std::printf("%s\n", text.c_str());
    const size_t at = text.find(hint);
    ASSERT_NE(at, std::string::npos) << text;
    const int64_t fits = std::stoll(text.substr(at + hint.size()));
    EXPECT_GT(fits, options.batch / 4);
    EXPECT_LT(fits, options.batch);
  }
  // A stream, and nothing of the plan's.
  EXPECT_LE(gpu_->allocations() - allocations, 2);
}

}  // namespace
}  // namespace tanul::test
