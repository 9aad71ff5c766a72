// SPDX-License-Identifier: Apache-2.0
// A small LeNet trained through the whole CUDA backend on a fake device: walk, capture and replay, against
// the CPU; memory; and what becomes of an error in any call.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <set>
#include <string>

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
  options.tune = false;  // the CPU's choices and the GPU's are both by order
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

class CudaTraining : public testing::Test {
 protected:
  FakeCuda fake_;
  ModuleInPlace in_place_{fake_.module()};

  void TearDown() override {
    EXPECT_EQ(text_of(fake_.violations()), "");
    EXPECT_EQ(text_of(fake_.leaks()), "");
  }
};

// Both sum the same products in float, in another order. A loss is the difference of logits of about 1, so
// its rounding errors are those of numbers of about 1.
constexpr double kRounding = 1e-5;

TEST_F(CudaTraining, HasTheLossesOfTheCpu) {
  Trainer gpu(lenet(), options_of("cuda"));
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
TEST_F(CudaTraining, ReplayHasTheBitsOfTheWalk) {
  std::string replayed;
  std::vector<double> losses;
  {
    Trainer trainer(lenet(), options_of("cuda"));
    losses = train(trainer);
    replayed = bytes_of(trainer);
  }
  EXPECT_EQ(fake_.calls_of("cudaStreamBeginCapture"), 1);
  EXPECT_EQ(fake_.calls_of("cudaGraphLaunch"), kSteps - 1);
  Trainer walking(lenet(), options_of("cuda"));
  walking.set_stepwise([](const StepReport& report) { EXPECT_TRUE(report.is_finite); }, true);
  EXPECT_EQ(train(walking), losses);
  EXPECT_TRUE(bytes_of(walking) == replayed);
  EXPECT_EQ(fake_.calls_of("cudaStreamBeginCapture"), 1);
}

TEST_F(CudaTraining, AllocatesNothingBehindTheSecondStep) {
  const std::vector<const char*> calls = {
      "cudaMalloc",      "cudaFree",         "cudaMallocHost",        "cudaFreeHost",
      "cudaEventCreate", "cudaStreamCreate", "cudaStreamBeginCapture"};
  for (const bool data_on_device : {true, false}) {
    TrainerOptions options = options_of("cuda");
    options.data_on_device = data_on_device;
    options.steps_ahead = 0;  // so that each step is looked at
    Trainer trainer(lenet(), options);
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
}

// What changes in goes with a kernel, and so come the statistics back; nobody waits for the stream.
TEST_F(CudaTraining, AStepOfALaterEpochIsThreeLaunches) {
  Trainer trainer(lenet(), options_of("cuda"));
  const DataView data = bars(kSteps * kBatch);
  trainer.train_epoch(data);
  const std::vector<const char*> calls = {"cudaMemcpyAsync",  "cudaGraphLaunch",
                                          "cudaLaunchKernel", "cudaStreamSynchronize",
                                          "cudaMalloc",       "cudaMallocHost"};
  std::vector<int64_t> before;
  for (const char* call : calls) before.push_back(fake_.calls_of(call));
  trainer.train_epoch(data);
  const std::vector<int64_t> want = {1, kSteps, 2 * kSteps, 0, 0, 0};  // 1: the order
  for (size_t i = 0; i < calls.size(); ++i) {
    EXPECT_EQ(fake_.calls_of(calls[i]) - before[i], want[i]) << calls[i];
  }
}

TEST_F(CudaTraining, MemoryIsAsPredicted) {
  Trainer trainer(lenet(), options_of("cuda"));
  EXPECT_EQ(trainer.tensor_bytes(), trainer.plan().total_bytes);
  EXPECT_EQ(trainer.data_bytes(), 0);
  train(trainer);
  EXPECT_GE(trainer.data_bytes(), kSteps * kBatch * (144 + 4 + 4));
  EXPECT_EQ(trainer.tensor_bytes(), trainer.plan().total_bytes + trainer.data_bytes());
}

// --- batches that the device makes, steps that nobody waits for -----------------------------------

struct Trained {
  std::vector<double> losses;
  std::string bytes;
  double evaluated = 0;
  int64_t data_bytes = 0;
};

// Two epochs, so that the order changes, of which the last batch is smaller, and an evaluation.
Trained train_two_epochs(const Model& model, const TrainerOptions& options, const DataView& data) {
  Trainer trainer(model, options);
  Trained result;
  for (int epoch = 0; epoch < 2; ++epoch) {
    trainer.train_epoch(data, [&](const Progress& progress) {
      result.losses.push_back(progress.loss);
      EXPECT_EQ(progress.step, static_cast<int64_t>(result.losses.size()) - epoch * progress.steps);
    });
  }
  result.evaluated = trainer.evaluate(data.first(10)).loss;
  result.bytes = bytes_of(trainer);
  result.data_bytes = trainer.data_bytes();
  return result;
}

void expect_same(const Trained& a, const Trained& b, const std::string& what) {
  EXPECT_EQ(a.losses, b.losses) << what;
  EXPECT_EQ(a.evaluated, b.evaluated) << what;
  EXPECT_TRUE(a.bytes == b.bytes) << what;
}

TEST_F(CudaTraining, BatchesOfTheDeviceHaveTheBitsOfThoseOfTheHost) {
  const DataView all = bars(50);
  std::vector<int64_t> odd;
  for (int64_t i = 49; i > 0; i -= 2) odd.push_back(i);
  for (const bool augments : {false, true}) {
    for (const int accumulate : {1, 2}) {
      TrainerOptions options = options_of("cuda");
      if (augments) options.augmentation = {2, true};
      options.accumulate = accumulate;
      for (const DataView& data : {all, all.subset(odd)}) {
        options.data_on_device = true;
        const Trained on_device = train_two_epochs(lenet(), options, data);
        options.data_on_device = false;
        const Trained on_host = train_two_epochs(lenet(), options, data);
        EXPECT_GT(on_device.data_bytes, 0);
        EXPECT_EQ(on_host.data_bytes, 0);
        expect_same(on_device, on_host, augments ? "augmented" : "plain");
      }
    }
  }
}

TEST_F(CudaTraining, StepsAheadChangeNoNumber) {
  TrainerOptions options = options_of("cuda");
  options.l2 = 1e-3;  // a penalty comes with the statistics
  for (const bool data_on_device : {true, false}) {
    options.data_on_device = data_on_device;
    options.steps_ahead = 0;
    const Trained waited = train_two_epochs(lenet(), options, bars(50));
    for (const int64_t ahead : {1, 3, 8, 100}) {
      options.steps_ahead = ahead;
      expect_same(train_two_epochs(lenet(), options, bars(50)), waited, std::to_string(ahead));
    }
  }
}

// Samples of 70 KiB a batch of 8: they cross on the stream of the inputs.
constexpr int64_t kFeatures = 9000;
Model classifier_of_features() {
  ModelBuilder m("features");
  Var x = m.relu(m.linear(m.input({kFeatures}), {.out = 4}));
  m.softmax_cross_entropy(m.linear(x, {.out = 3}));
  return m.build();
}
DataView features(int64_t count) {
  Tensor samples({count, kFeatures}, DType::u8);
  Tensor labels({count}, DType::i32);
  const Philox random{5, philox_stream("features"), 0};
  for (int64_t i = 0; i < count; ++i) {
    labels.data<int32_t>()[i] = static_cast<int32_t>(i % 3);
    for (int64_t k = 0; k < kFeatures; ++k) {
      const uint32_t noise = random.word(static_cast<uint64_t>(i * kFeatures + k)) % 200;
      samples.data<uint8_t>()[i * kFeatures + k] =
          static_cast<uint8_t>(noise + (k % 3 == i % 3 ? 20 : 0));
    }
  }
  return DataView(samples, labels);
}

TEST_F(CudaTraining, LargeBatchesAreStagedAndHaveTheSameBits) {
  TrainerOptions options = options_of("cuda");
  options.batch = 8;
  options.optimizer = Sgd{0.01f, 0.9f};
  const DataView data = features(12 * 8);
  const Trained on_device = train_two_epochs(classifier_of_features(), options, data);
  const int64_t streams_before = fake_.calls_of("cudaStreamWaitEvent");
  options.data_on_device = false;
  expect_same(train_two_epochs(classifier_of_features(), options, data), on_device, "staged");
  EXPECT_GT(fake_.calls_of("cudaStreamWaitEvent"), streams_before);
}

// The device's copy is of the content, not of the place where it lay.
TEST_F(CudaTraining, AChangedDataSetIsCopiedAgain) {
  TrainerOptions options = options_of("cuda");
  const auto losses_of = [&](bool data_on_device) {
    options.data_on_device = data_on_device;
    Tensor samples({2 * kBatch, 1, 12, 12}, DType::u8);
    Tensor labels({2 * kBatch}, DType::i32);
    const DataView data(samples, labels);
    Trainer trainer(lenet(), options);
    std::vector<double> losses;
    for (int epoch = 0; epoch < 7; ++epoch) {
      // the samples or the targets
      if (epoch % 2 == 0) samples.data<uint8_t>()[144 * epoch + 70] = 200;
      if (epoch % 2 == 1) labels.data<int32_t>()[epoch] = 2;
      losses.push_back(trainer.train_epoch(data).loss);
    }
    return losses;
  };
  EXPECT_EQ(losses_of(true), losses_of(false));
}

TEST(CudaMemory, ADataSetThatDoesNotFitStaysOnTheHost) {
  const FakeCuda fake({.memory_bytes = int64_t{1} << 20, .runs_kernels = false});
  const ModuleInPlace in_place(fake.module());
  Trainer trainer(lenet(), options_of("cuda"));
  const DataView large = bars(6000);  // 864,000 bytes
  trainer.evaluate(large.first(60));
  const int64_t small = trainer.data_bytes();
  EXPECT_GT(small, 0);
  trainer.evaluate(large);
  EXPECT_EQ(trainer.data_bytes(), small);
  EXPECT_EQ(text_of(fake.violations()), "");
}

TEST_F(CudaTraining, TheStepThatDivergedIsNamedHoweverLateItIsSeen) {
  const auto error_of = [](int64_t steps_ahead) {
    TrainerOptions options = options_of("cuda");
    options.optimizer = Sgd{1e18f};
    options.steps_ahead = steps_ahead;
    Trainer trainer(lenet(), options);
    std::string text;
    try {
      train(trainer);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::diverged);
      text = e.what();
    }
    // what was under way is forgotten
    EXPECT_THROW(trainer.train_epoch(bars(kBatch)), Error);
    return text;
  };
  const std::string at_once = error_of(0);
  EXPECT_NE(at_once.find(" in step "), std::string::npos) << at_once;
  EXPECT_EQ(error_of(8), at_once);
}

// A plan with other addresses is recorded anew: a prediction for more samples moves the scratch memory.
TEST_F(CudaTraining, ARecordingDoesNotOutliveItsAddresses) {
  const auto run = [](const std::string& device) {
    Trainer trainer(lenet(), options_of(device));
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

// By the fake device's clock: who needs fewer kernels is quicker.
TEST_F(CudaTraining, ATunedPlanTrainsAsWell) {
  TrainerOptions options = options_of("cuda");
  options.tune = {};  // on
  Trainer tuned(lenet(), options);
  int choices = 0;
  for (const StepInfo& step : tuned.plan().steps) choices += step.tuned.empty() ? 0 : 1;
  EXPECT_GT(choices, 0);
  EXPECT_EQ(tuned.peak_tensor_bytes(), tuned.plan().total_bytes);
  Trainer cpu(lenet(), options_of("cpu"));
  const std::vector<double> on_gpu = train(tuned), on_cpu = train(cpu);
  for (size_t i = 0; i < on_cpu.size(); ++i) {
    EXPECT_NEAR(on_gpu[i], on_cpu[i], kRounding) << "step " << i;
  }
}

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
    trainer.parameter("conv1.weight");  // waits for what the start put there
    // Behind two that put the normalisation and one that puts what changes, two that take the batch and one
    // that loads it.
    fake.break_kernel(7);
    expect_error(Code::device,
                 is_stepwise ? "step 3 (conv2d_fwd of layer \"conv1\", "
                             : "cuda:0: cudaEventSynchronize: cudaErrorLaunchFailure (unspecified "
                               "launch failure)",
                 [&] { train(trainer); });
  }
}

// --- an error in each single call -----------------------------------------------------------------

struct Outcome {
  std::string error;  // of the training; "" where it came through
  int64_t calls_of_planning = 0;
  int64_t calls_of_training = 0;  // and planning
  int64_t calls = 0;
  std::string failed_call;
  std::string violations, leaks;
};

// Where batches come from.
enum class Batches { of_device, of_host, staged, of_device_tuned };

Outcome train_with_error_at(int64_t call, Batches batches) {
  Outcome outcome;
  const bool is_staged = batches == Batches::staged;
  TrainerOptions options = options_of("cuda");
  const bool is_tuned = batches == Batches::of_device_tuned;
  options.data_on_device = batches == Batches::of_device || is_tuned;
  options.tune = is_tuned;
  options.steps_ahead = 3;
  if (is_staged) options.batch = 8;
  static const Model models[] = {lenet(), classifier_of_features()};
  static const DataView data[] = {bars(kSteps * kBatch), features(kSteps * 8)};
  // Values do not matter here; without its kernels a run takes milliseconds.
  FakeCuda fake({.runs_kernels = false});
  const ModuleInPlace in_place(fake.module());
  const int64_t before = fake.calls();
  if (call > 0) fake.fail_at(call);
  try {
    Trainer trainer(models[is_staged], options);
    outcome.calls_of_planning = fake.calls() - before;
    trainer.train_epoch(data[is_staged]);
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

class CudaErrorsWithBatches : public testing::TestWithParam<Batches> {};

TEST_P(CudaErrorsWithBatches, InAnyCallEndsInAnErrorThatNamesIt) {
  const Outcome good = train_with_error_at(0, GetParam());
  ASSERT_EQ(good.error, "");
  ASSERT_EQ(good.violations, "");
  ASSERT_EQ(good.leaks, "");
  ASSERT_GT(good.calls_of_training, 250);
  const bool is_tuned = GetParam() == Batches::of_device_tuned;  // trains as of_device does
  const int64_t calls = is_tuned ? good.calls_of_planning : good.calls;
  int failed = 0, steps_failed = 0;
  for (int64_t call = 1; call <= calls && failed < 10; ++call) {
    const Outcome outcome = train_with_error_at(call, GetParam());
    SCOPED_TRACE("call " + std::to_string(call) + ", " + outcome.failed_call);
    ASSERT_NE(outcome.failed_call, "");
    // Calls behind the training free what it had; what fails there is not worth an exception.
    // A kernel is a step's, which then has a name, or a copy.
    const bool is_of_step =
        outcome.failed_call == "cudaLaunchKernel" && outcome.error.rfind("step ", 0) == 0;
    steps_failed += is_of_step ? 1 : 0;
    const std::string part = call > good.calls_of_training ? ""
                             : is_of_step                  ? "step "
                                                           : outcome.failed_call;
    // The tuner goes on without memory, without an implementation that does not run, and without knowing
    // which driver there is, not without its clock; what frees something never throws.
    static const std::set<std::string> kNeeded = {"cudaEventCreate",      "cudaEventRecord",
                                                  "cudaEventSynchronize", "cudaEventElapsedTime",
                                                  "cudaMallocHost",       "cudaStreamCreate"};
    const bool may_go_on =
        is_tuned && outcome.error.empty() && kNeeded.count(outcome.failed_call) == 0;
    EXPECT_EQ(outcome.violations, "");
    EXPECT_EQ(outcome.leaks, "");
    if (may_go_on) continue;
    EXPECT_EQ(outcome.error.empty(), part.empty()) << outcome.error;
    EXPECT_NE(outcome.error.find(part), std::string::npos) << outcome.error;
    if (part == "step ") {
      EXPECT_NE(outcome.error.find("of layer \""), std::string::npos) << outcome.error;
      EXPECT_NE(outcome.error.find("failed: cudaErrorUnknown (unknown error)"), std::string::npos)
          << outcome.error;
    }
    EXPECT_EQ(outcome.error.find('\n'), std::string::npos) << outcome.error;
    failed += HasNonfatalFailure() ? 1 : 0;
  }
  if (!is_tuned) {
    EXPECT_GT(steps_failed, 20);  // of a walk and a recording
  }
  RecordProperty("calls", std::to_string(good.calls));
}

std::string batches_name(const testing::TestParamInfo<Batches>& batches) {
  switch (batches.param) {
    case Batches::of_device: return "of_device";
    case Batches::of_host: return "of_host";
    case Batches::staged: return "staged";
    case Batches::of_device_tuned: return "of_device_tuned";
  }
  return "";
}

INSTANTIATE_TEST_SUITE_P(All, CudaErrorsWithBatches,
                         testing::Values(Batches::of_device, Batches::of_host, Batches::staged,
                                         Batches::of_device_tuned),
                         batches_name);

}  // namespace
}  // namespace tanul::test
