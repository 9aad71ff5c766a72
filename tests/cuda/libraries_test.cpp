// SPDX-License-Identifier: Apache-2.0
// cuBLASLt and cuDNN where they are, and where they are not: what a plan takes, what is said of it, and
// that the fakes see what they are there for.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "backend/module_loader.h"
#include "core/format.h"
#include "kernels/cuda/convolutions.h"
#include "kernels/cuda/last_error.h"
#include "kernels/cuda/library_files.h"
#include "kernels/cuda/poolings.h"
#include "kernels/cuda/softmaxes.h"
#include "support/expect_error.h"
#include "support/fake_cuda.h"
#include "tanul/trainer.h"

namespace tanul::test {
namespace {

Model perceptron() {
  ModelBuilder m("perceptron");
  Var x = m.input({1, 4, 4});
  x = m.relu(m.linear(m.flatten(x), {.out = 8}));
  x = m.tanh(m.linear(x, {.out = 5}));
  m.softmax_cross_entropy(m.linear(x, {.out = 3}));
  return m.build();
}

// The steps of one kind in a plan on the fake device: "cublaslt", or what was refused before.
std::vector<StepInfo> steps_of(const std::string& op) {
  TrainerOptions options;
  options.device = "cuda";
  options.tune = false;  // the order of the lists
  options.batch = 4;
  options.optimizer = Adam{};
  Trainer trainer(perceptron(), options);
  std::vector<StepInfo> steps;
  for (const StepInfo& step : trainer.plan().steps) {
    if (step.op == op) steps.push_back(step);
  }
  EXPECT_GE(steps.size(), 2u) << op;
  return steps;
}

bool holds(const std::vector<std::string>& lines, const std::string& line) {
  return std::find(lines.begin(), lines.end(), line) != lines.end();
}

const std::array kProducts = {"linear_fwd", "linear_bwd_data", "linear_bwd_weights"};

TEST(CublasLt, IsTakenWhereItIsFound) {
  const FakeCuda fake({.has_cublaslt = true});
  const ModuleInPlace in_place(fake.module());
  EXPECT_NE(system_info().cuda_versions.find("cuBLAS 13.1.2, cuDNN not found"), std::string::npos)
      << system_info().cuda_versions;
  for (const char* op : kProducts) {
    for (const StepInfo& step : steps_of(op)) {
      if (step.op == "linear_fwd" && step.layer == "linear2") {
        EXPECT_TRUE(holds(step.refused, "cublaslt: cuBLASLt has no epilogue for sigmoid and tanh"));
        EXPECT_EQ(step.implementation, "gemm_64x64");
        continue;
      }
      EXPECT_EQ(step.implementation, "cublaslt") << op << " of " << step.layer;
    }
  }
}

TEST(CublasLt, IsNotMissedWhereItIsNotFound) {
  const FakeCuda fake;
  const ModuleInPlace in_place(fake.module());
  for (const char* op : kProducts) {
    for (const StepInfo& step : steps_of(op)) {
      EXPECT_EQ(step.implementation, "gemm_64x64");
      EXPECT_TRUE(holds(step.refused, "cublaslt: cuBLASLt was not found"));
    }
  }
}

TEST(CublasLt, RefusesWhatItHasNoAlgorithmFor) {
  FakeCuda fake({.has_cublaslt = true});
  const ModuleInPlace in_place(fake.module());
  fake.cublaslt().options.has_algorithms = false;
  for (const char* op : kProducts) {
    for (const StepInfo& step : steps_of(op)) {
      EXPECT_EQ(step.implementation, "gemm_64x64");
      EXPECT_TRUE(holds(step.refused, "cublaslt: cuBLASLt has no algorithm for it") ||
                  (step.op == "linear_fwd" && step.layer == "linear2"));
    }
  }
  EXPECT_TRUE(fake.violations().empty());
  EXPECT_TRUE(fake.leaks().empty());
}

// The choice of an algorithm is asked for once a shape, also where plans are made again.
TEST(CublasLt, IsAskedOnceForAShape) {
  const FakeCuda fake({.has_cublaslt = true});
  const ModuleInPlace in_place(fake.module());
  TrainerOptions options;
  options.device = "cuda";
  options.tune = false;  // the order of the lists
  options.batch = 4;
  Trainer trainer(perceptron(), options);
  const int64_t asked = fake.calls_of("cublasLtMatmulAlgoGetHeuristic");
  EXPECT_EQ(asked, 7);  // 3 layers, of which the first has no dx and the second no y
  trainer.evaluate(DataView(Tensor({4, 1, 4, 4}, DType::u8), Tensor({4}, DType::i32)));
  EXPECT_EQ(fake.calls_of("cublasLtMatmulAlgoGetHeuristic"), asked);
}

// --- cuDNN ----------------------------------------------------------------------------------------

// Too many channels for the direct kernel. The second layer has two groups.
std::vector<StepInfo> convolution_steps(const TrainerOptions& wanted = {}) {
  ModelBuilder m("convolutions");
  Var x = m.input({6, 9, 9});
  x = m.relu(m.conv2d(x, {.out = 8, .kernel = 3}));
  x = m.conv2d(x, {.out = 40, .kernel = 3, .stride = 2, .groups = 2});
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 3}));
  TrainerOptions options = wanted;
  options.device = "cuda";
  options.tune = false;  // the order of the lists
  options.batch = 2;
  Trainer trainer(m.build(), options);
  std::vector<StepInfo> steps;
  for (const StepInfo& step : trainer.plan().steps) {
    if (step.op.rfind("conv2d_", 0) == 0) steps.push_back(step);
  }
  EXPECT_EQ(steps.size(), 5u);
  return steps;
}

TEST(Cudnn, IsTakenWhereItIsFound) {
  FakeCuda fake({.has_cudnn = true});
  const ModuleInPlace in_place(fake.module());
  EXPECT_NE(system_info().cuda_versions.find("cuBLAS not found, cuDNN 9.13.0"), std::string::npos)
      << system_info().cuda_versions;
  for (const StepInfo& step : convolution_steps()) {
    EXPECT_EQ(step.implementation, "cudnn") << step.op << " of " << step.layer;
  }
  EXPECT_TRUE(fake.violations().empty());
  EXPECT_TRUE(fake.leaks().empty());
}

TEST(Cudnn, IsNotMissedWhereItIsNotFound) {
  const FakeCuda fake;
  const ModuleInPlace in_place(fake.module());
  for (const StepInfo& step : convolution_steps()) {
    EXPECT_EQ(step.implementation.rfind("implicit_gemm", 0), 0u) << step.implementation;
    EXPECT_TRUE(holds(step.refused, "cudnn: cuDNN was not found"));
  }
}

TEST(Cudnn, IsRefusedWhereItDoesNotTakeTheDevice) {
  FakeCuda fake({.has_cudnn = true});
  const ModuleInPlace in_place(fake.module());
  fake.cudnn().options.takes_device = false;
  for (const StepInfo& step : convolution_steps()) {
    EXPECT_EQ(step.implementation.rfind("implicit_gemm", 0), 0u) << step.implementation;
    EXPECT_TRUE(holds(step.refused, "cudnn: cudnnCreate: CUDNN_STATUS_NOT_SUPPORTED"));
  }
  EXPECT_TRUE(fake.violations().empty());
}

TEST(Cudnn, IsRefusedWhereAllItsEnginesBreakAPromise) {
  FakeCuda fake({.has_cudnn = true});
  const ModuleInPlace in_place(fake.module());
  fake.cudnn().options.has_engines = false;
  for (const StepInfo& step : convolution_steps()) {
    EXPECT_EQ(step.implementation.rfind("implicit_gemm", 0), 0u) << step.implementation;
    EXPECT_TRUE(holds(step.refused,
                      "cudnn: cuDNN has no engine that keeps to its terms, its precision and their "
                      "order"));
  }
  for (const auto& [precision, format] :
       {std::pair{Precision::bf16, "bf16"}, std::pair{Precision::fp16, "fp16"}}) {
    TrainerOptions options;
    options.precision = precision;
    for (const StepInfo& step : convolution_steps(options)) {
      EXPECT_EQ(step.implementation, fmt::format("mma_{}", format)) << step.op;
    }
  }
  EXPECT_TRUE(fake.violations().empty());
  EXPECT_TRUE(fake.leaks().empty());
}

TEST(Cudnn, AddsInAnyOrderOnlyWhereThatIsAllowed) {
  FakeCuda fake({.has_cudnn = true});
  const ModuleInPlace in_place(fake.module());
  for (const StepInfo& step : convolution_steps()) {
    EXPECT_EQ(step.implementation, "cudnn") << step.op;
    EXPECT_EQ(
        holds(step.refused, "cudnn_any_order: is not deterministic, and deterministic is set"),
        step.op != "conv2d_fwd");
  }
  TrainerOptions options;
  options.deterministic = false;
  for (const StepInfo& step : convolution_steps(options)) {
    const bool is_grouped = step.layer == "conv2";
    const bool is_forward = step.op == "conv2d_fwd";
    EXPECT_EQ(step.implementation, is_forward || is_grouped ? "cudnn" : "cudnn_any_order")
        << step.op << " of " << step.layer;
    EXPECT_EQ(
        holds(step.refused, "cudnn_any_order: cuDNN's first choice has a fixed order of sums"),
        is_grouped && !is_forward)
        << step.op << " of " << step.layer;
  }
  EXPECT_TRUE(fake.violations().empty());
  EXPECT_TRUE(fake.leaks().empty());
}

TEST(Cudnn, MultipliesIn16Bits) {
  FakeCuda fake({.has_cudnn = true});
  const ModuleInPlace in_place(fake.module());
  for (const auto& [precision, name] :
       {std::pair{Precision::bf16, "cudnn_bf16"}, std::pair{Precision::fp16, "cudnn_fp16"}}) {
    TrainerOptions options;
    options.precision = precision;
    for (const StepInfo& step : convolution_steps(options)) {
      EXPECT_EQ(step.implementation, name) << step.op << " of " << step.layer;
      EXPECT_EQ(step.multiplies_in, precision);
    }
  }
  EXPECT_TRUE(fake.violations().empty()) << fake.violations().front();
  EXPECT_TRUE(fake.leaks().empty());
}

// Of a network with pooling, where options may force what is not the first of its list.
std::vector<std::string> pooling_steps(
    const Pool2dOptions& average, const std::vector<std::pair<std::string, std::string>>& force) {
  ModelBuilder m("pooling");
  Var x = m.max_pool2d(m.conv2d(m.input({1, 13, 13}), {.out = 2, .kernel = 2}), {.kernel = 2});
  m.softmax_cross_entropy(m.linear(m.flatten(m.avg_pool2d(x, average)), {.out = 3}));
  TrainerOptions options;
  options.device = "cuda";
  options.tune = false;  // the order of the lists
  options.batch = 2;
  options.force = force;
  Trainer trainer(m.build(), options);
  std::vector<std::string> steps;
  for (const StepInfo& step : trainer.plan().steps) {
    if (step.op.find("pool") != std::string::npos) {
      steps.push_back(step.op + " " + step.implementation);
    }
  }
  return steps;
}

TEST(Cudnn, StandsBehindOwnKernelsOfPooling) {
  FakeCuda fake({.has_cudnn = true});
  const ModuleInPlace in_place(fake.module());
  EXPECT_EQ(pooling_steps({.kernel = 2}, {}),
            (std::vector<std::string>{"max_pool_fwd windows", "avg_pool_fwd windows",
                                      "avg_pool_bwd gather", "max_pool_bwd gather"}));
  EXPECT_EQ(pooling_steps({.kernel = 3, .stride = 2, .ceil_mode = true, .count_include_pad = false},
                          {{"avg_pool_fwd", "cudnn"}, {"avg_pool_bwd", "cudnn"}}),
            (std::vector<std::string>{"max_pool_fwd windows", "avg_pool_fwd cudnn",
                                      "avg_pool_bwd cudnn", "max_pool_bwd gather"}));
  EXPECT_TRUE(fake.violations().empty());
  EXPECT_TRUE(fake.leaks().empty());
}

TEST(Cudnn, RefusesWhatItHasNotOfPooling) {
  FakeCuda fake({.has_cudnn = true});
  const ModuleInPlace in_place(fake.module());
  const auto expect_refusal = [](const std::string& op, const std::string& why,
                                 const Pool2dOptions& average) {
    expect_error(Code::unsupported, "cudnn: " + why, [&] {
      pooling_steps(average, {{op, "cudnn"}});
    });
  };
  expect_refusal("max_pool_fwd", "cuDNN does not say where in x a maximum is", {.kernel = 2});
  const char* beyond = "cuDNN counts what ceil_mode adds behind the padding";
  expect_refusal("avg_pool_fwd", beyond, {.kernel = 3, .stride = 2, .ceil_mode = true});
  expect_refusal("avg_pool_bwd", beyond, {.kernel = 3, .stride = 2, .ceil_mode = true});
  fake.cudnn().options.has_engines = false;
  expect_refusal("avg_pool_fwd",
                 "cuDNN has no engine that keeps to its terms, its precision and their order",
                 {.kernel = 2});
  EXPECT_TRUE(fake.violations().empty());
  EXPECT_TRUE(fake.leaks().empty());
}

// --- training -------------------------------------------------------------------------------------

constexpr int kSteps = 5;
constexpr int64_t kBatch = 4;

struct Found {
  const char* name;
  bool has_cublaslt = true, has_bias_gradient = true, has_cudnn = true;
};
std::string name_of(const testing::TestParamInfo<Found>& info) { return info.param.name; }

Model lenet() {
  ModelBuilder m("lenet");
  Var x = m.input({1, 12, 12});
  x = m.max_pool2d(m.relu(m.conv2d(x, {.out = 4, .kernel = 3, .pad = 1})), {.kernel = 2});
  x = m.avg_pool2d(m.tanh(m.conv2d(x, {.out = 6, .kernel = 3})), {.kernel = 2});
  x = m.relu(m.linear(m.flatten(x), {.out = 12}));
  m.softmax_cross_entropy(m.linear(x, {.out = 3}));
  return m.build();
}

DataView images(int64_t count) {
  Tensor samples({count, 1, 12, 12}, DType::u8);
  Tensor labels({count}, DType::i32);
  for (int64_t i = 0; i < count * 144; ++i) {
    samples.data<uint8_t>()[i] = static_cast<uint8_t>(i * i % 251);
  }
  for (int64_t i = 0; i < count; ++i) labels.data<int32_t>()[i] = static_cast<int32_t>(i % 3);
  return DataView(samples, labels);
}

TrainerOptions options_on(const std::string& device, const Found& found) {
  TrainerOptions options;
  options.device = device;
  options.batch = kBatch;
  options.optimizer = Sgd{0.1f, 0.9f};
  options.tune = false;
  options.precise_convolutions = true;
  // Its layers are so small that own kernels would take all of the forward pass, and pooling stays with them.
  if (device == "cuda" && found.has_cudnn) {
    options.force = {{"conv2d_fwd", "cudnn"}, {"avg_pool_fwd", "cudnn"}, {"avg_pool_bwd", "cudnn"}};
  }
  return options;
}

// The parameters behind kSteps steps.
std::vector<float> trained(Trainer& trainer) {
  trainer.train_epoch(images(kSteps * kBatch));
  std::vector<float> values;
  for (const auto& [name, tensor] : trainer.state().tensors) {
    if (tensor.dtype() != DType::f32) continue;
    values.insert(values.end(), tensor.data<float>(), tensor.data<float>() + tensor.elems());
  }
  return values;
}

class TrainingByLibraries : public testing::TestWithParam<Found> {};

TEST_P(TrainingByLibraries, IsThatOfTheCpuAndReplaysItsBits) {
  FakeCuda fake({.has_cublaslt = GetParam().has_cublaslt, .has_cudnn = GetParam().has_cudnn});
  fake.cublaslt().options.has_bias_gradient = GetParam().has_bias_gradient;
  const ModuleInPlace in_place(fake.module());
  std::vector<float> replayed, walked;
  {
    Trainer trainer(lenet(), options_on("cuda", GetParam()));
    replayed = trained(trainer);
    EXPECT_GT(fake.calls_of("cudaGraphLaunch"), 0);
    const int64_t made = fake.calls_of("cublasLtMatmulDescCreate");
    const int64_t planned = fake.calls_of("cudnnBackendCreateDescriptor");
    trainer.train_epoch(images(kSteps * kBatch));
    EXPECT_EQ(fake.calls_of("cublasLtMatmulDescCreate"), made);
    EXPECT_EQ(fake.calls_of("cudnnBackendCreateDescriptor"), planned);
  }
  {
    Trainer trainer(lenet(), options_on("cuda", GetParam()));
    trainer.set_stepwise([](const StepReport& report) { EXPECT_TRUE(report.is_finite); }, true);
    walked = trained(trainer);
  }
  EXPECT_EQ(replayed, walked);
  Trainer cpu(lenet(), options_on("cpu", GetParam()));
  const std::vector<float> on_cpu = trained(cpu);
  ASSERT_EQ(replayed.size(), on_cpu.size());
  for (size_t i = 0; i < on_cpu.size(); ++i) ASSERT_NEAR(replayed[i], on_cpu[i], 1e-5) << i;
  EXPECT_TRUE(fake.violations().empty()) << fake.violations().front();
  EXPECT_TRUE(fake.leaks().empty()) << fake.leaks().front();
}

INSTANTIATE_TEST_SUITE_P(With, TrainingByLibraries,
                         testing::Values(Found{"both"}, Found{"cublaslt", true, true, false},
                                         Found{"plain_cublaslt", true, false, false},
                                         Found{"cudnn", false, true, true}),
                         name_of);

// softmax within rows and between them, log_softmax of a row.
Model softmaxes() {
  ModelBuilder m("softmaxes");
  Var x = m.relu(m.conv2d(m.input({1, 12, 12}), {.out = 4, .kernel = 5, .stride = 4}));
  x = m.softmax(x);
  x = m.log_softmax(m.linear(m.flatten(x), {.out = 7}));
  m.softmax_cross_entropy(m.linear(x, {.out = 3}));
  return m.build();
}

const std::array kSoftmaxes = {"softmax_fwd", "softmax_bwd", "log_softmax_fwd", "log_softmax_bwd"};

TrainerOptions softmax_options(const std::string& device) {
  TrainerOptions options = options_on(device, {"none", false, false, false});
  if (device != "cuda") return options;
  for (const char* op : kSoftmaxes) options.force.emplace_back(op, "cudnn");
  return options;
}

TEST(Cudnn, StandsBehindOwnKernelsOfSoftmax) {
  const FakeCuda fake({.has_cudnn = true});
  const ModuleInPlace in_place(fake.module());
  for (const bool is_forced : {false, true}) {
    TrainerOptions options = softmax_options("cuda");
    if (!is_forced) options.force.clear();
    Trainer trainer(softmaxes(), options);
    size_t seen = 0;
    for (const StepInfo& step : trainer.plan().steps) {
      if (std::find(kSoftmaxes.begin(), kSoftmaxes.end(), step.op) == kSoftmaxes.end()) continue;
      EXPECT_EQ(step.implementation, is_forced ? "cudnn" : "rows") << step.op;
      ++seen;
    }
    EXPECT_EQ(seen, kSoftmaxes.size());
  }
  EXPECT_TRUE(fake.violations().empty()) << fake.violations().front();
}

TEST(Cudnn, TrainsWithSoftmaxAsTheCpuDoesAndReplaysItsBits) {
  const FakeCuda fake({.has_cudnn = true});
  const ModuleInPlace in_place(fake.module());
  std::vector<float> replayed, walked;
  {
    Trainer trainer(softmaxes(), softmax_options("cuda"));
    replayed = trained(trainer);
    EXPECT_GT(fake.calls_of("cudaGraphLaunch"), 0);
    EXPECT_GT(fake.calls_of("cudnnSoftmaxForward"), 0);
    EXPECT_GT(fake.calls_of("cudnnSoftmaxBackward"), 0);
    const int64_t made = fake.calls_of("cudnnCreateTensorDescriptor");
    EXPECT_EQ(made, 2);
    trainer.train_epoch(images(kSteps * kBatch));
    EXPECT_EQ(fake.calls_of("cudnnCreateTensorDescriptor"), made);
  }
  {
    Trainer trainer(softmaxes(), softmax_options("cuda"));
    trainer.set_stepwise([](const StepReport& report) { EXPECT_TRUE(report.is_finite); }, true);
    walked = trained(trainer);
  }
  EXPECT_EQ(replayed, walked);
  Trainer cpu(softmaxes(), softmax_options("cpu"));
  const std::vector<float> on_cpu = trained(cpu);
  ASSERT_EQ(replayed.size(), on_cpu.size());
  for (size_t i = 0; i < on_cpu.size(); ++i) ASSERT_NEAR(replayed[i], on_cpu[i], 1e-5) << i;
  EXPECT_TRUE(fake.violations().empty()) << fake.violations().front();
  EXPECT_TRUE(fake.leaks().empty()) << fake.leaks().front();
}

// One precision, or fp32 in any order.
struct Choice {
  const char* name;
  Precision precision;
  bool is_deterministic = true;
};
std::string name_of_choice(const testing::TestParamInfo<Choice>& info) { return info.param.name; }

// Every convolution by the implementation of that name.
TrainerOptions options_of(const Choice& choice) {
  TrainerOptions options = options_on("cuda", Found{});
  options.precision = choice.precision;
  options.deterministic = choice.is_deterministic;
  options.force = {{"conv2d_fwd", choice.is_deterministic ? choice.name : "cudnn"},
                   {"conv2d_bwd_data", choice.name},
                   {"conv2d_bwd_weights", choice.name}};
  return options;
}

class TrainingByCudnn : public testing::TestWithParam<Choice> {};

TEST_P(TrainingByCudnn, ReplaysWhatItWalks) {
  FakeCuda fake({.has_cublaslt = true, .has_cudnn = true});
  const ModuleInPlace in_place(fake.module());
  // Scaled gradients in fp16 may not be: AGradientBeyondFp16LeavesTheStepOut.
  const bool stays_finite = GetParam().precision != Precision::fp16;
  const auto run = [&](const TrainerOptions& options, bool walks) {
    Trainer trainer(lenet(), options);
    if (walks) {
      trainer.set_stepwise(
          [&](const StepReport& report) { EXPECT_TRUE(report.is_finite || !stays_finite); }, true);
    }
    return trained(trainer);
  };
  const std::vector<float> replayed = run(options_of(GetParam()), false);
  EXPECT_GT(fake.calls_of("cudaGraphLaunch"), 0);
  const std::vector<float> walked = run(options_of(GetParam()), true);
  const std::vector<float> exact = run(options_on("cuda", Found{}), false);
  // The fake adds in another order in every run.
  EXPECT_EQ(replayed == walked, GetParam().is_deterministic);
  EXPECT_NE(replayed, exact);
  ASSERT_EQ(replayed.size(), walked.size());
  const bool is_fp32 =
      GetParam().precision == Precision::fp32;  // fp16 has a loss scale to keep, too
  for (size_t i = 0; i < walked.size(); ++i) {
    ASSERT_NEAR(replayed[i], walked[i], 1e-5) << i;
    ASSERT_NEAR(replayed[i], is_fp32 ? exact.at(i) : walked[i], 1e-5) << i;
  }
  EXPECT_TRUE(fake.violations().empty()) << fake.violations().front();
  EXPECT_TRUE(fake.leaks().empty()) << fake.leaks().front();
}

INSTANTIATE_TEST_SUITE_P(With, TrainingByCudnn,
                         testing::Values(Choice{"cudnn_bf16", Precision::bf16},
                                         Choice{"cudnn_fp16", Precision::fp16},
                                         Choice{"cudnn_any_order", Precision::fp32, false}),
                         name_of_choice);

// The scaled gradient of some weights is 65520 or more in the first step, which only a sum in fp16 does not hold.
TEST(Cudnn, AGradientBeyondFp16LeavesTheStepOut) {
  FakeCuda fake({.has_cudnn = true});
  const ModuleInPlace in_place(fake.module());
  const auto left_out = [](const char* name) {
    Trainer trainer(lenet(), options_of({name, Precision::fp16}));
    trainer.train_epoch(images(kSteps * kBatch));
    return trainer.loss_scale()->left_out;
  };
  EXPECT_EQ(left_out("mma_fp16"), 0);
  EXPECT_GT(left_out("cudnn_fp16"), 0);
  EXPECT_LT(left_out("cudnn_fp16"), kSteps);
}

// --- an error in each call of a library -------------------------------------------------------------

struct Outcome {
  std::string error;  // of the training; "" where it came through
  int64_t calls_of_training = 0;
  std::string failed_call;
};

Outcome train_with_error_at(int64_t call, const Model& model, const TrainerOptions& options) {
  Outcome outcome;
  FakeCuda fake({.runs_kernels = false, .has_cublaslt = true, .has_cudnn = true});
  const ModuleInPlace in_place(fake.module());
  const int64_t before = fake.calls();
  if (call > 0) fake.fail_at(call);
  try {
    Trainer trainer(model, options);
    trainer.train_epoch(images(3 * kBatch));
    outcome.calls_of_training = fake.calls() - before;
  } catch (const Error& e) {
    outcome.error = e.what();
  }
  outcome.failed_call = fake.failed_call();
  EXPECT_TRUE(fake.violations().empty()) << fake.violations().front();
  EXPECT_TRUE(fake.leaks().empty()) << fake.leaks().front();
  return outcome;
}

// Returns how many calls of libraries there were.
int expect_errors_that_name_the_call(const Model& model, const TrainerOptions& options) {
  const Outcome good = train_with_error_at(0, model, options);
  EXPECT_EQ(good.error, "");
  int of_libraries = 0;
  for (int64_t call = 1; call <= good.calls_of_training && !testing::Test::HasFailure(); ++call) {
    const Outcome outcome = train_with_error_at(call, model, options);
    SCOPED_TRACE(fmt::format("call {}, {}: {}", call, outcome.failed_call, outcome.error));
    if (outcome.failed_call.rfind("cu", 0) == 0 && outcome.failed_call.rfind("cuda", 0) != 0) {
      ++of_libraries;
      EXPECT_NE(outcome.error.find(outcome.failed_call + ": CU"), std::string::npos);
      EXPECT_NE(outcome.error.find("of layer \""), std::string::npos);
      EXPECT_EQ(outcome.error.find('\n'), std::string::npos);
    } else {
      EXPECT_NE(outcome.error, "");
    }
  }
  return of_libraries;
}

TEST(LibraryErrors, InAnyCallEndInAnErrorThatNamesIt) {
  EXPECT_GT(expect_errors_that_name_the_call(lenet(), options_on("cuda", Found{})), 300);
}
TEST(LibraryErrors, InAnyCallForSoftmaxEndInAnErrorThatNamesIt) {
  // 3 calls for each of two shapes and 2 for each of four steps, at least.
  EXPECT_GT(expect_errors_that_name_the_call(softmaxes(), softmax_options("cuda")), 14);
}
TEST(LibraryErrors, InAnyCallOfAPlanIn16BitsEndInAnErrorThatNamesIt) {
  const TrainerOptions options = options_of({"cudnn_bf16", Precision::bf16});
  EXPECT_GT(expect_errors_that_name_the_call(lenet(), options), 300);
}

TEST(LibraryFiles, ThatAreNotThereOrLackFunctions) {
  const std::string other = fmt::format("{}/test_modules/no_symbol.so", TANUL_BINARY_DIR);
  for (const std::string& file : {std::string("/nowhere/library.so"), other}) {
    cuda::cublaslt::Api cublaslt{};
    cuda::cudnn::Api cudnn{};
    EXPECT_FALSE(cuda::find_cublaslt(file.c_str(), cublaslt)) << file;
    EXPECT_FALSE(cuda::find_cudnn(file.c_str(), cudnn)) << file;
  }
}

// --- the fake sees what it is there for -----------------------------------------------------------

class FakeCublasLtSees : public testing::Test {
 protected:
  using Api = cuda::cublaslt::Api;
  FakeCuda fake_{{.has_cublaslt = true}};
  const BackendModule& module_ = *fake_.module();
  const Api& api_ = FakeCublasLt::table();
  ModuleDevice* device_ = nullptr;
  Stream* stream_ = nullptr;
  void* memory_ = nullptr;
  void *handle_ = nullptr, *desc_ = nullptr, *square_ = nullptr, *tall_ = nullptr;
  void* preference_ = nullptr;
  cuda::cublaslt::HeuristicResult best_{};

  // d = a b, of 100 x 100 matrices; with a workspace.
  void SetUp() override {
    ASSERT_EQ(module_.open(&module_, 0, &device_), 0);
    ASSERT_EQ(module_.create_stream(device_, &stream_), 0);
    ASSERT_EQ(module_.allocate(device_, &memory_, 1 << 20), 0);
    api_.create(&handle_);
    api_.create_desc(&desc_, cuda::cublaslt::kCompute32F, cuda::cublaslt::kReal32);
    api_.create_layout(&square_, cuda::cublaslt::kReal32, 100, 100, 100);
    api_.create_layout(&tall_, cuda::cublaslt::kReal32, 200, 100, 200);
    api_.create_preference(&preference_);
    const uint64_t bytes = 4096;
    api_.set_preference(preference_, cuda::cublaslt::kPreferenceMaxWorkspaceBytes, &bytes,
                        sizeof bytes);
    for (int attribute : {3, 5, 6, 7, 8}) {
      const uint32_t value = attribute == 3 ? cuda::cublaslt::kReductionInWorkspace : 64;
      api_.set_preference(preference_, attribute, &value, sizeof value);
    }
    ASSERT_EQ(choose(), 0);
    ASSERT_TRUE(fake_.violations().empty());
  }
  void TearDown() override {
    module_.release(device_, memory_);
    module_.destroy_stream(device_, stream_);
    module_.close(device_);
  }

  int choose() {
    int found = 0;
    return api_.heuristics(handle_, desc_, square_, square_, square_, square_, preference_, 1,
                           &best_, &found);
  }
  int multiply(int64_t offset = 0, int64_t workspace_offset = 0, size_t workspace_bytes = 1000) {
    const float one = 1, zero = 0;
    auto* at = static_cast<char*>(memory_);
    char* d = at + 3 * 65536;
    return api_.matmul(handle_, desc_, &one, at + offset, square_, at + 65536, square_, &zero, d,
                       square_, d, square_, &best_.algorithm, at + 5 * 65536 + workspace_offset,
                       workspace_bytes, reinterpret_cast<cuda::Queue*>(stream_)->stream);
  }
  void expect_violation(const std::string& part) {
    ASSERT_FALSE(fake_.violations().empty()) << "nothing was seen; expected: " << part;
    EXPECT_NE(fake_.violations().front().find(part), std::string::npos)
        << fake_.violations().front();
  }
};

TEST_F(FakeCublasLtSees, NothingWhereNothingIsWrong) {
  EXPECT_EQ(multiply(), 0);
  EXPECT_EQ(module_.synchronize(device_, stream_), 0);
  EXPECT_TRUE(fake_.violations().empty());
  EXPECT_EQ(fake_.leaks().size(), 7u);  // five objects of the library, the stream, the memory
}
TEST_F(FakeCublasLtSees, AnAlgorithmOfAnotherProblem) {
  const int32_t transposed = 1;
  api_.set_desc(desc_, cuda::cublaslt::kDescTransB, &transposed, sizeof transposed);
  EXPECT_NE(multiply(), 0);
  expect_violation("the algorithm was chosen for another problem");
}
TEST_F(FakeCublasLtSees, WhatIsNotAligned) {
  EXPECT_NE(multiply(4), 0);
  expect_violation("an operand is not aligned");
}
TEST_F(FakeCublasLtSees, AWorkspaceThatIsNotAligned) {
  EXPECT_NE(multiply(0, 64), 0);
  expect_violation("the workspace is not aligned");
}
TEST_F(FakeCublasLtSees, AWorkspaceThatIsTooSmall) {
  EXPECT_NE(multiply(0, 0, 999), 0);
  expect_violation("the workspace is too small");
}
TEST_F(FakeCublasLtSees, ADescriptorThatWasDestroyed) {
  api_.destroy_desc(desc_);
  EXPECT_NE(multiply(), 0);
  expect_violation("cublasLtMatmul with an object that is not there");
}
TEST_F(FakeCublasLtSees, MatricesThatDoNotFitTogether) {
  int found = 0;
  EXPECT_NE(api_.heuristics(handle_, desc_, square_, tall_, square_, square_, preference_, 1,
                            &best_, &found),
            0);
  expect_violation("matrices that do not fit together");
}
TEST_F(FakeCublasLtSees, SumsInAnyOrder) {
  const uint32_t all = 7;
  api_.set_preference(preference_, cuda::cublaslt::kPreferenceReductionSchemes, &all, sizeof all);
  choose();
  expect_violation("may add the parts of a sum in any order");
}
TEST_F(FakeCublasLtSees, WhatIsMadeWhileAStreamCaptures) {
  module_.begin_capture(device_, stream_);
  void* layout = nullptr;
  api_.create_layout(&layout, cuda::cublaslt::kReal32, 1, 1, 1);
  module_.end_capture(device_, stream_, nullptr);
  expect_violation("cublasLtMatrixLayoutCreate while a stream captures");
}

class FakeCudnnSees : public testing::Test {
 protected:
  FakeCuda fake_{{.has_cudnn = true}};
  const cuda::cudnn::Api& api_ = FakeCudnn::table();
  const BackendModule& module_ = *fake_.module();
  ModuleDevice* device_ = nullptr;
  void* tensor_ = nullptr;

  void SetUp() override {
    ASSERT_EQ(module_.open(&module_, 0, &device_), 0);
    ASSERT_EQ(api_.create_descriptor(cuda::cudnn::Kind::tensor, &tensor_), 0);
  }
  void TearDown() override { module_.close(device_); }

  int set_id(cuda::cudnn::Type type) {
    const int64_t id = 1;
    return api_.set(tensor_, cuda::cudnn::Name::tensor_id, type, 1, &id);
  }
  void expect_violation(const std::string& part) {
    ASSERT_FALSE(fake_.violations().empty()) << "nothing was seen; expected: " << part;
    EXPECT_NE(fake_.violations().front().find(part), std::string::npos)
        << fake_.violations().front();
  }
};

TEST_F(FakeCudnnSees, AnAttributeOfAnotherType) {
  EXPECT_EQ(set_id(cuda::cudnn::Type::int64), 0);
  EXPECT_TRUE(fake_.violations().empty());
  EXPECT_NE(set_id(cuda::cudnn::Type::pointer), 0);
  expect_violation("attribute 906 has another type");
}
TEST_F(FakeCudnnSees, AnAttributeThatIsMissing) {
  EXPECT_EQ(set_id(cuda::cudnn::Type::int64), 0);
  EXPECT_NE(api_.finalize(tensor_), 0);
  expect_violation("attribute 901 is missing");
}
TEST_F(FakeCudnnSees, ADescriptorThatWasDestroyed) {
  EXPECT_EQ(api_.destroy_descriptor(tensor_), 0);
  EXPECT_TRUE(fake_.leaks().empty());
  EXPECT_NE(set_id(cuda::cudnn::Type::int64), 0);
  expect_violation("cudnnBackendSetAttribute with a descriptor that is not there");
}
// y [1, 8, 2, 2] = w [8, 8, 1, 1] over x, operands in bf16; what is said of a graph of `count` such.
std::string said_of_products(const cuda::cudnn::Api& api, int type_of_y, size_t count) {
  using namespace cuda::cudnn;
  cuda::Cudnn cudnn(api);
  cuda::CudnnGraph graph(cudnn);
  cuda::CudnnGraphBuilder builder(graph);
  const int64_t image[] = {1, 8, 2, 2}, filters[] = {8, 8, 1, 1}, ones[] = {1, 1}, zeros[] = {0, 0};
  Descriptor x = nullptr, w = nullptr, result = nullptr, window = nullptr, product = nullptr;
  EXPECT_TRUE(builder.open() && builder.tensor({'x', 4, image, kDataBfloat16, true}, x) &&
              builder.tensor({'w', 4, filters, kDataBfloat16, true}, w) &&
              builder.tensor({'y', 4, image, type_of_y, true}, result) &&
              builder.make(Kind::convolution, window) &&
              builder.make(Kind::convolution_forward, product));
  builder.set(window, Name::convolution_compute_type, Type::data_type, kDataFloat);
  builder.set(window, Name::convolution_mode, Type::convolution_mode, kCrossCorrelation);
  builder.set(window, Name::convolution_spatial_axes, Type::int64, int64_t{2});
  builder.set(window, Name::convolution_strides, Type::int64, 2, ones);
  builder.set(window, Name::convolution_dilations, Type::int64, 2, ones);
  builder.set(window, Name::convolution_pre_paddings, Type::int64, 2, zeros);
  builder.set(window, Name::convolution_post_paddings, Type::int64, 2, zeros);
  EXPECT_TRUE(builder.finalize(window));
  builder.set(product, Name::forward_alpha, Type::float32, 1.0f);
  builder.set(product, Name::forward_beta, Type::float32, 0.0f);
  builder.set(product, Name::forward_convolution, Type::descriptor, window);
  builder.set(product, Name::forward_x, Type::descriptor, x);
  builder.set(product, Name::forward_w, Type::descriptor, w);
  builder.set(product, Name::forward_y, Type::descriptor, result);
  EXPECT_TRUE(builder.finalize(product));
  EXPECT_FALSE(builder.plan(std::vector<Descriptor>(count, product), true));
  return graph.preparation().refusal;
}
TEST_F(FakeCudnnSees, TensorsOfDifferentTypes) {
  EXPECT_NE(said_of_products(api_, cuda::cudnn::kDataFloat, 1), "");
  expect_violation("tensors of different types");
}
TEST_F(FakeCudnnSees, AGraphOfSeveralOperations) {
  EXPECT_NE(said_of_products(api_, cuda::cudnn::kDataBfloat16, 2), "");
  expect_violation("a graph of several operations");
}

// 2 x 2 windows over planes of 4 x 4.
cuda::PoolingShape halves() {
  return {cuda::PoolingKind::max_forward,
          2,
          false,
          {1, 1, 4, 4},
          {1, 1, 2, 2},
          {2, 2},
          {2, 2},
          {0, 0},
          {0, 0}};
}

TEST_F(FakeCudnnSees, WindowsThatDoNotGiveY) {
  cuda::Cudnn cudnn(api_);
  cuda::Poolings poolings(cudnn);
  EXPECT_LT(cuda::workspace_of(poolings.find(halves())), 0);  // not prepared
  EXPECT_EQ(poolings.prepare(halves()).why_not(), nullptr);
  EXPECT_TRUE(fake_.violations().empty());
  cuda::PoolingShape shape = halves();
  shape.y[3] = 1;
  EXPECT_EQ(poolings.prepare(shape).refusal, "cuDNN does not take it: CUDNN_STATUS_BAD_PARAM");
  expect_violation("y has not the extents that the windows give it");
}
TEST_F(FakeCudnnSees, APackWithoutAllTensors) {
  cuda::Cudnn cudnn(api_);
  cuda::Poolings poolings(cudnn);
  EXPECT_EQ(poolings.prepare(halves()).why_not(), nullptr);
  alignas(16) const float x[16] = {};
  EXPECT_EQ(poolings.launch(halves(), {{'x', x}}, StepArgs{}, nullptr), cuda::kLibraryError);
  expect_violation("the tensors of the pack are not those of the graph");
}

TEST_F(FakeCudnnSees, ExtentsOfSoftmaxThatAreTooLarge) {
  cuda::Cudnn cudnn(api_);
  cuda::Softmaxes softmaxes(cudnn);
  constexpr int64_t kMost = 0x7fffffff;
  EXPECT_EQ(softmaxes.prepare({1, kMost, 1}).why_not(), nullptr);
  for (const cuda::SoftmaxShape& shape :
       {cuda::SoftmaxShape{kMost + 1, 1, 1}, {1, kMost + 1, 1}, {1, 1, kMost + 1}}) {
    EXPECT_EQ(softmaxes.prepare(shape).refusal, "cuDNN takes extents below 2^31");
  }
  EXPECT_EQ(softmaxes.prepare({kMost, 2, 1}).refusal,
            "cuDNN does not take it: CUDNN_STATUS_NOT_SUPPORTED");
  EXPECT_TRUE(fake_.violations().empty());
}
// The next to ask finds a library that may have recovered.
TEST_F(FakeCudnnSees, SoftmaxThatCouldNotBePrepared) {
  const std::array kCalls = {"cudnnCreate", "cudnnCreateTensorDescriptor",
                             "cudnnSetTensor4dDescriptor"};
  for (size_t i = 0; i < kCalls.size(); ++i) {
    cuda::Cudnn cudnn(api_);
    cuda::Softmaxes softmaxes(cudnn);
    fake_.fail_at(static_cast<int64_t>(i) + 1);
    EXPECT_EQ(softmaxes.prepare({1, 2, 1}).failure,
              fmt::format("{}: CUDNN_STATUS_INTERNAL_ERROR", kCalls[i]));
    EXPECT_EQ(softmaxes.prepare({1, 2, 1}).failure, "");
    EXPECT_EQ(softmaxes.prepare({1, 2, 1}).why_not(), nullptr);
  }
  EXPECT_FALSE(holds(fake_.leaks(), "cudnnTensorDescriptor_t"));
  EXPECT_FALSE(holds(fake_.leaks(), "cudnnHandle_t"));
  EXPECT_TRUE(fake_.violations().empty());
}
TEST_F(FakeCudnnSees, SoftmaxOfWhatWasNotPrepared) {
  cuda::Cudnn cudnn(api_);
  cuda::Softmaxes softmaxes(cudnn);
  float x[2] = {}, y[2] = {};
  EXPECT_EQ(softmaxes.forward(cuda::SoftmaxKind::plain, {1, 2, 1}, x, y, nullptr),
            cuda::kLibraryError);
  EXPECT_STREQ(cuda::last_error(), "cudnnSoftmaxForward of a tensor that was not prepared");
}
TEST_F(FakeCudnnSees, SoftmaxOverItsOperand) {
  cuda::Cudnn cudnn(api_);
  cuda::Softmaxes softmaxes(cudnn);
  EXPECT_EQ(softmaxes.prepare({1, 2, 1}).why_not(), nullptr);
  float x[2] = {};
  EXPECT_EQ(softmaxes.forward(cuda::SoftmaxKind::plain, {1, 2, 1}, x, x, nullptr),
            cuda::kLibraryError);
  EXPECT_STREQ(cuda::last_error(), "cudnnSoftmaxForward: CUDNN_STATUS_BAD_PARAM");
  expect_violation("y of softmax over x");
}
TEST_F(FakeCudnnSees, SoftmaxOfATensorThatWasNotDescribed) {
  void *handle = nullptr, *tensor = nullptr;
  ASSERT_EQ(api_.create(&handle), 0);
  ASSERT_EQ(api_.create_tensor(&tensor), 0);
  const float x[2] = {}, one = 1, zero = 0;
  float y[2] = {};
  EXPECT_NE(
      api_.softmax_forward(handle, cuda::cudnn::kSoftmaxAccurate, cuda::cudnn::kSoftmaxOverChannels,
                           &one, tensor, x, &zero, tensor, y),
      0);
  expect_violation("softmax of a tensor that was not described");
  EXPECT_TRUE(holds(fake_.leaks(), "cudnnTensorDescriptor_t"));
}
TEST_F(FakeCudnnSees, WhatIsMadeWhileAStreamCaptures) {
  Stream* stream = nullptr;
  ASSERT_EQ(module_.create_stream(device_, &stream), 0);
  module_.begin_capture(device_, stream);
  void* handle = nullptr;
  api_.create(&handle);
  module_.end_capture(device_, stream, nullptr);
  module_.destroy_stream(device_, stream);
  expect_violation("cudnnCreate while a stream captures");
}

}  // namespace
}  // namespace tanul::test
