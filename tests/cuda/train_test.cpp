// SPDX-License-Identifier: Apache-2.0
// A small LeNet trained through the whole CUDA backend on a fake device: walk, capture and replay, against
// the CPU; memory; and what becomes of an error in any call.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "backend/module_loader.h"
#include "core/philox.h"
#include "support/expect_error.h"
#include "support/fake_cuda.h"
#include "tanul/trainer.h"

namespace tanul::test {
namespace {

constexpr int kSteps = 20;
constexpr int64_t kBatch = 6;

Model lenet() {
  ModelBuilder m("lenet");
  Var x = m.input({1, 12, 12});
  x = m.max_pool2d(m.relu(m.conv2d(x, {.out = 4, .kernel = 3, .pad = 1})), {.kernel = 2});
  x = m.max_pool2d(m.relu(m.conv2d(x, {.out = 6, .kernel = 3})), {.kernel = 2});
  x = m.relu(m.linear(m.flatten(x), {.out = 12}));
  m.softmax_cross_entropy(m.linear(x, {.out = 3}));
  return m.build();
}

// Images of three classes: a bright bar at the top, in the middle or at the bottom, in noise.
DataView bars(int64_t count) {
  Tensor samples({count, 1, 12, 12}, DType::u8);
  Tensor labels({count}, DType::i32);
  const Philox random{3, philox_stream("bars"), 0};
  for (int64_t i = 0; i < count; ++i) {
    const auto label = static_cast<int32_t>(i % 3);
    labels.data<int32_t>()[i] = label;
    for (int64_t p = 0; p < 144; ++p) {
      const uint64_t noise = random.below(static_cast<uint64_t>(2 * (i * 144 + p)), 120);
      samples.data<uint8_t>()[i * 144 + p] =
          static_cast<uint8_t>((p / 12 / 4 == label ? 100 : 30) + noise);
    }
  }
  return DataView(samples, labels);
}

TrainerOptions options_of(const std::string& device) {
  TrainerOptions options;
  options.device = device;
  options.batch = kBatch;
  options.optimizer = Sgd{0.1f, 0.9f};
  options.precise_convolutions = true;
  return options;
}

// The loss of each of kSteps steps.
std::vector<double> train(Trainer& trainer) {
  std::vector<double> losses;
  double sum = 0;
  trainer.train_epoch(bars(kSteps * kBatch), [&](const Progress& progress) {
    const double total = progress.loss * static_cast<double>(progress.step);
    losses.push_back(total - sum);
    sum = total;
  });
  return losses;
}

// Everything that lasts, as bytes.
std::string bytes_of(const Trainer& trainer) {
  std::string bytes;
  for (const auto& [name, tensor] : trainer.state().tensors) {
    bytes.append(static_cast<const char*>(tensor.raw()), static_cast<size_t>(tensor.bytes()));
  }
  return bytes;
}

std::string text_of(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

// What a machine has beside the driver.
struct Libraries {
  const char* name;
  bool has_cublaslt = false;
  bool has_bias_gradient = true;  // of cuBLASLt
  bool has_cudnn = false;
};
constexpr Libraries kNone{"none"};
constexpr Libraries kCublasLt{"cublaslt", true};
constexpr Libraries kPlainCublasLt{"cublaslt_without_bias_gradients", true, false};
constexpr Libraries kCudnn{"cudnn", false, true, true};
constexpr Libraries kBoth{"both", true, true, true};

FakeCudaOptions with(const Libraries& libraries) {
  FakeCudaOptions options;
  options.has_cublaslt = libraries.has_cublaslt;
  options.has_cudnn = libraries.has_cudnn;
  return options;
}

// LeNet's layers are so small that own kernels would take them all.
TrainerOptions options_with(const Libraries& libraries) {
  TrainerOptions options = options_of("cuda");
  if (libraries.has_cudnn) options.force = {{"conv2d_fwd", "cudnn"}};
  return options;
}

std::string name_of(const testing::TestParamInfo<Libraries>& info) { return info.param.name; }

class CudaTraining : public testing::TestWithParam<Libraries> {
 protected:
  FakeCuda fake_{with(GetParam())};
  ModuleInPlace in_place_{fake_.module()};

  void SetUp() override {
    fake_.cublaslt().options.has_bias_gradient = GetParam().has_bias_gradient;
  }
  void TearDown() override {
    EXPECT_EQ(text_of(fake_.violations()), "");
    EXPECT_EQ(text_of(fake_.leaks()), "");
  }
};

// Both sum the same products in float, in another order. A loss is the difference of logits of about 1, so
// its rounding errors are those of numbers of about 1.
constexpr double kRounding = 1e-5;

TEST_P(CudaTraining, HasTheLossesOfTheCpu) {
  Trainer gpu(lenet(), options_with(GetParam()));
  EXPECT_EQ(gpu.device().str(), "cuda:0");
  EXPECT_EQ(gpu.device_description(), "cuda:0: Fake GPU");
  const std::vector<double> on_gpu = train(gpu);
  Trainer cpu(lenet(), options_of("cpu"));
  const std::vector<double> on_cpu = train(cpu);
  ASSERT_EQ(on_gpu.size(), static_cast<size_t>(kSteps));
  ASSERT_EQ(on_cpu.size(), static_cast<size_t>(kSteps));
  for (size_t i = 0; i < on_cpu.size(); ++i) {
    EXPECT_NEAR(on_gpu[i], on_cpu[i], kRounding) << "step " << i;
  }
  EXPECT_LT(on_gpu.back(), 0.8 * on_gpu.front());
  const Evaluation a = gpu.evaluate(bars(20)), b = cpu.evaluate(bars(20));
  EXPECT_NEAR(a.loss, b.loss, kRounding);
  EXPECT_EQ(a.accuracy, b.accuracy);
}

// Walk, capture, 18 replays; against a run that walks every step.
TEST_P(CudaTraining, ReplayHasTheBitsOfTheWalk) {
  std::string replayed;
  std::vector<double> losses;
  {
    Trainer trainer(lenet(), options_with(GetParam()));
    losses = train(trainer);
    replayed = bytes_of(trainer);
  }
  EXPECT_EQ(fake_.calls_of("cudaStreamBeginCapture"), 1);
  EXPECT_EQ(fake_.calls_of("cudaGraphLaunch"), kSteps - 1);
  Trainer walking(lenet(), options_with(GetParam()));
  walking.set_stepwise([](const StepReport& report) { EXPECT_TRUE(report.is_finite); }, true);
  EXPECT_EQ(train(walking), losses);
  EXPECT_TRUE(bytes_of(walking) == replayed);
  EXPECT_EQ(fake_.calls_of("cudaStreamBeginCapture"), 1);
}

TEST_P(CudaTraining, AllocatesNothingBehindTheSecondStep) {
  Trainer trainer(lenet(), options_with(GetParam()));
  const std::vector<const char*> calls = {
      "cudaMalloc",      "cudaFree",         "cudaMallocHost",   "cudaFreeHost",
      "cudaEventCreate", "cudaStreamCreate", "cudaLaunchKernel", "cudaStreamBeginCapture"};
  std::vector<int64_t> before;
  trainer.train_epoch(bars(kSteps * kBatch), [&](const Progress& progress) {
    std::vector<int64_t> now;
    for (const char* call : calls) now.push_back(fake_.calls_of(call));
    if (progress.step == 2) before = now;
    if (progress.step > 2) {
      for (size_t i = 0; i < calls.size(); ++i) {
        EXPECT_EQ(now[i], before[i]) << calls[i] << ", step " << progress.step;
      }
    }
  });
  EXPECT_GT(before.at(0), 0);
}

TEST_P(CudaTraining, MemoryIsAsPredicted) {
  Trainer trainer(lenet(), options_with(GetParam()));
  EXPECT_EQ(trainer.tensor_bytes(), trainer.plan().total_bytes);
}

// A plan with other addresses is recorded anew: a prediction for more samples moves the scratch memory.
TEST_P(CudaTraining, ARecordingDoesNotOutliveItsAddresses) {
  const auto run = [](const std::string& device) {
    Trainer trainer(lenet(), device == "cpu" ? options_of(device) : options_with(GetParam()));
    const std::vector<double> first = train(trainer);
    trainer.predict(Tensor({64, 1, 12, 12}, DType::u8));
    std::vector<double> losses = train(trainer);
    losses.insert(losses.begin(), first.begin(), first.end());
    return losses;
  };
  const std::vector<double> gpu = run("cuda"), cpu = run("cpu");
  for (size_t i = 0; i < cpu.size(); ++i) {
    EXPECT_NEAR(gpu[i], cpu[i], kRounding) << "step " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(With, CudaTraining,
                         testing::Values(kNone, kCublasLt, kPlainCublasLt, kCudnn, kBoth), name_of);

TEST(CudaMemory, APlanThatDoesNotFitNamesTheLargestBatchThatDoes) {
  TrainerOptions options = options_of("cuda");
  options.batch = 4096;
  const FakeCuda fake({.memory_bytes = int64_t{8} << 20});
  const ModuleInPlace in_place(fake.module());
  int64_t largest = 0;
  try {
    const Trainer trainer(lenet(), options);
    ADD_FAILURE() << "a batch of 4096 fitted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::out_of_memory);
    const std::string text = e.what();
    EXPECT_EQ(text.rfind("cuda:0: a batch of 4096 needs ", 0), 0u) << text;
    EXPECT_NE(text.find(" and 8.0 MiB are free; "), std::string::npos) << text;
    const std::string hint = "the largest batch that fits is ";
    const size_t at = text.find(hint);
    ASSERT_NE(at, std::string::npos) << text;
    largest = std::stoll(text.substr(at + hint.size()));
  }
  EXPECT_EQ(text_of(fake.leaks()), "");
  options.batch = largest;
  { const Trainer fits(lenet(), options); }
  options.batch = largest + 1;
  expect_error(Code::out_of_memory, "the largest batch that fits is " + std::to_string(largest),
               [&] { const Trainer trainer(lenet(), options); });
}

TEST(CudaMemory, NotEvenOne) {
  const FakeCuda fake({.memory_bytes = 4096});
  const ModuleInPlace in_place(fake.module());
  expect_error(Code::out_of_memory, "; not even a batch of 1 fits: it needs 0.0",
               [] { const Trainer trainer(lenet(), options_of("cuda")); });
}

// --- errors ---------------------------------------------------------------------------------------

// A kernel that fails when it runs is noticed where the host waits; step by step it has a name.
TEST(CudaErrors, OfAKernelThatRunsAreNamedStepByStep) {
  for (const bool is_stepwise : {false, true}) {
    FakeCuda fake({.runs_kernels = false});
    const ModuleInPlace in_place(fake.module());
    Trainer trainer(lenet(), options_of("cuda"));
    if (is_stepwise) trainer.set_stepwise([](const StepReport&) {}, false);
    fake.break_kernel(2);
    expect_error(Code::device,
                 is_stepwise ? "step 1 (conv2d_fwd of layer \"conv1\", "
                             : "cuda:0: cudaStreamSynchronize: cudaErrorLaunchFailure (unspecified "
                               "launch failure)",
                 [&] { train(trainer); });
  }
}

// --- an error in each single call -----------------------------------------------------------------

struct Outcome {
  std::string error;  // of the training; "" where it came through
  int64_t calls_of_training = 0;
  int64_t calls = 0;
  std::string failed_call;
  std::string violations, leaks;
};

Outcome train_with_error_at(int64_t call, const Libraries& libraries) {
  Outcome outcome;
  // Values do not matter here; without its kernels a run takes milliseconds.
  FakeCudaOptions options = with(libraries);
  options.runs_kernels = false;
  FakeCuda fake(options);
  const ModuleInPlace in_place(fake.module());
  const int64_t before = fake.calls();
  if (call > 0) fake.fail_at(call);
  try {
    Trainer trainer(lenet(), options_with(libraries));
    train(trainer);
    outcome.calls_of_training = fake.calls() - before;
  } catch (const Error& e) {
    outcome.error = e.what();
  }
  outcome.calls = fake.calls() - before;
  outcome.failed_call = fake.failed_call();
  outcome.violations = text_of(fake.violations());
  outcome.leaks = text_of(fake.leaks());
  return outcome;
}

class CudaErrorsInCalls : public testing::TestWithParam<Libraries> {};

TEST_P(CudaErrorsInCalls, EndInAnErrorThatNamesTheCall) {
  const Outcome good = train_with_error_at(0, GetParam());
  ASSERT_EQ(good.error, "");
  ASSERT_EQ(good.violations, "");
  ASSERT_EQ(good.leaks, "");
  ASSERT_GT(good.calls_of_training, 300);
  int failed = 0;
  for (int64_t call = 1; call <= good.calls && failed < 10; ++call) {
    const Outcome outcome = train_with_error_at(call, GetParam());
    SCOPED_TRACE("call " + std::to_string(call) + ", " + outcome.failed_call);
    ASSERT_NE(outcome.failed_call, "");
    // Calls behind the training free what it had; what fails there is not worth an exception.
    const std::string part = call > good.calls_of_training               ? ""
                             : outcome.failed_call == "cudaLaunchKernel" ? "step "
                                                                         : outcome.failed_call;
    EXPECT_EQ(outcome.error.empty(), part.empty()) << outcome.error;
    EXPECT_NE(outcome.error.find(part), std::string::npos) << outcome.error;
    if (part == "step ") {
      EXPECT_NE(outcome.error.find("of layer \""), std::string::npos) << outcome.error;
      EXPECT_NE(outcome.error.find("failed: cudaErrorUnknown (unknown error)"), std::string::npos)
          << outcome.error;
    }
    EXPECT_EQ(outcome.error.find('\n'), std::string::npos) << outcome.error;
    EXPECT_EQ(outcome.violations, "");
    EXPECT_EQ(outcome.leaks, "");
    failed += HasNonfatalFailure() ? 1 : 0;
  }
  RecordProperty("calls", std::to_string(good.calls));
}

INSTANTIATE_TEST_SUITE_P(With, CudaErrorsInCalls, testing::Values(kNone, kBoth), name_of);

}  // namespace
}  // namespace tanul::test
