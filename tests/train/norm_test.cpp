// SPDX-License-Identifier: Apache-2.0
// Batch norm in training and evaluation: running statistics, their life in files, frozen layers, batches
// that are too small.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "core/philox.h"
#include "support/expect_error.h"
#include "support/temp_folder.h"
#include "tanul/trainer.h"

namespace tanul {
namespace {

using test::expect_error;

// 8x8 images of three classes: a bright bar at the top, in the middle or at the bottom, in noise.
DataView bars(int64_t count, uint64_t seed = 1) {
  Tensor samples({count, 1, 8, 8}, DType::u8);
  Tensor labels({count}, DType::i32);
  const Philox random{seed, philox_stream("bars"), 0};
  for (int64_t i = 0; i < count; ++i) {
    const auto label = static_cast<int32_t>(i % 3);
    labels.data<int32_t>()[i] = label;
    for (int64_t p = 0; p < 64; ++p) {
      const bool is_bar = p / 8 / 3 == label;
      const uint64_t noise = random.below(static_cast<uint64_t>(2 * (i * 64 + p)), 120);
      samples.data<uint8_t>()[i * 64 + p] = static_cast<uint8_t>((is_bar ? 100 : 30) + noise);
    }
  }
  return DataView(samples, labels);
}

Model conv_net() {
  ModelBuilder m("norms");
  Var x = m.input({1, 8, 8});
  for (int64_t out : {6, 8}) {
    x = m.conv2d(x, {.out = out, .kernel = 3, .pad = 1, .bias = false});
    x = m.relu(m.batch_norm(x));
  }
  const Var main = m.batch_norm(m.conv2d(x, {.out = 8, .kernel = 3, .pad = 1, .bias = false}));
  x = m.relu(m.add(main, x));
  x = m.relu(m.batch_norm(m.linear(m.flatten(x), {.out = 12, .bias = false})));
  m.softmax_cross_entropy(m.linear(x, {.out = 3}));
  return m.build();
}

TrainerOptions options_of(int threads = 2) {
  TrainerOptions o;
  o.device = "cpu";
  o.batch = 16;
  o.optimizer = Sgd{0.05f, 0.9f};
  o.threads = threads;
  return o;
}

bool same_bits(const TensorFile& a, const TensorFile& b) {
  if (a.tensors.size() != b.tensors.size() || a.metadata != b.metadata) return false;
  for (size_t i = 0; i < a.tensors.size(); ++i) {
    const Tensor& x = a.tensors[i].second;
    const Tensor& y = b.tensors[i].second;
    if (a.tensors[i].first != b.tensors[i].first || x.bytes() != y.bytes() ||
        std::memcmp(x.raw(), y.raw(), static_cast<size_t>(x.bytes())) != 0) {
      return false;
    }
  }
  return true;
}

const Tensor& tensor_of(const TensorFile& file, const std::string& name) {
  const Tensor* found = file.find(name);
  if (found == nullptr) throw std::runtime_error("no tensor " + name);
  return *found;
}

TEST(NormTraining, ANetWithBatchNormLearns) {
  Trainer trainer(conv_net(), options_of());
  EpochResult result;
  for (int epoch = 0; epoch < 5; ++epoch) result = trainer.train_epoch(bars(240));
  EXPECT_GT(result.accuracy, 0.97);
  // With the running statistics: as good on new data.
  EXPECT_GT(trainer.evaluate(bars(150, 2)).accuracy, 0.95);
}

TEST(NormTraining, OtherNormalisationsLearn) {
  ModelBuilder m("others");
  Var x = m.conv2d(m.input({1, 8, 8}), {.out = 6, .kernel = 3, .pad = 1});
  x = m.relu(m.group_norm(x, {.groups = 2}));
  x = m.local_response_norm(
      m.instance_norm(m.conv2d(x, {.out = 6, .kernel = 3}), {.affine = true}));
  x = m.relu(m.layer_norm(m.linear(m.flatten(x), {.out = 16})));
  m.softmax_cross_entropy(m.linear(m.rms_norm(x), {.out = 3}));
  Trainer trainer(m.build(), options_of());
  EpochResult result;
  for (int epoch = 0; epoch < 5; ++epoch) result = trainer.train_epoch(bars(240));
  EXPECT_GT(result.accuracy, 0.95);
  EXPECT_GT(trainer.evaluate(bars(150, 2)).accuracy, 0.9);
}

TEST(NormTraining, SameBitsForAnyNumberOfThreadsAndStepwise) {
  std::vector<TensorFile> states;
  for (int threads : {1, 2, 3, 0}) {
    Trainer trainer(conv_net(), options_of(threads == 0 ? 2 : threads));
    if (threads == 0) {
      trainer.set_stepwise(
          [](const StepReport& report) { EXPECT_TRUE(report.is_finite) << report.step->op; });
    }
    trainer.train_epoch(bars(90));
    trainer.train_epoch(bars(90));
    states.push_back(trainer.state());
  }
  for (size_t i = 1; i < states.size(); ++i) EXPECT_TRUE(same_bits(states[0], states[i])) << i;
}

TEST(NormTraining, ContinuingFromAFileIsTheSameRun) {
  const test::TempFolder folder;
  Trainer through(conv_net(), options_of());
  through.train_epoch(bars(90));
  through.save(folder.path() + "/half.safetensors");
  through.train_epoch(bars(90));
  Trainer resumed(conv_net(), options_of());
  resumed.load(folder.path() + "/half.safetensors");
  resumed.train_epoch(bars(90));
  EXPECT_TRUE(same_bits(through.state(), resumed.state()));
}

// Batch norm right behind the input, so that the batch's statistics are known.
Model norm_of_input(const BatchNormOptions& options) {
  ModelBuilder m("norm_of_input");
  const Var x = m.batch_norm(m.input({2, 3, 3}), options);
  m.mean_squared_error(m.linear(m.flatten(x), {.out = 1}));
  return m.build();
}

TrainerOptions plain_options() {
  TrainerOptions o = options_of();
  o.batch = 4;
  o.normalization = Normalization{{0, 0}, {1, 1}};
  return o;
}

Tensor random_samples(int64_t count, uint64_t seed) {
  Tensor samples({count, 2, 3, 3}, DType::f32);
  const Philox random{seed, philox_stream("samples"), 0};
  for (int64_t i = 0; i < samples.elems(); ++i) {
    samples.data<float>()[i] = static_cast<float>(2 + 3 * random.normal(static_cast<uint64_t>(i)));
  }
  return samples;
}

TEST(NormTraining, RunningStatisticsFollowTheBatches) {
  Trainer trainer(norm_of_input({.momentum = 0.25}), plain_options());
  double mean[2] = {0, 0};
  double var[2] = {1, 1};
  const auto expect_statistics = [&] {
    const TensorFile state = trainer.state(false);
    for (int64_t c = 0; c < 2; ++c) {
      const double got_mean = tensor_of(state, "bn1.running_mean").data<float>()[c];
      const double got_var = tensor_of(state, "bn1.running_var").data<float>()[c];
      EXPECT_NEAR(got_mean, mean[c], 4e-7 * std::fabs(mean[c]));
      EXPECT_NEAR(got_var, var[c], 4e-7 * var[c]);
    }
  };
  expect_statistics();
  for (const int64_t count : {4, 4, 3}) {
    const Tensor samples = random_samples(count, static_cast<uint64_t>(count));
    trainer.step(samples, Tensor({count, 1}, DType::f32));
    for (int64_t c = 0; c < 2; ++c) {
      const auto n = static_cast<double>(count * 9);
      double sum = 0;
      double squares = 0;
      const auto at = [&](int64_t i) {
        return static_cast<double>(samples.data<float>()[i / 9 * 18 + c * 9 + i % 9]);
      };
      for (int64_t i = 0; i < count * 9; ++i) sum += at(i);
      for (int64_t i = 0; i < count * 9; ++i) squares += (at(i) - sum / n) * (at(i) - sum / n);
      mean[c] = 0.75 * mean[c] + 0.25 * sum / n;
      var[c] = 0.75 * var[c] + 0.25 * squares / (n - 1);
    }
    expect_statistics();
  }
}

TEST(NormTraining, EvaluationDoesNotDependOnTheBatch) {
  Trainer trainer(norm_of_input({}), plain_options());
  for (uint64_t i = 0; i < 5; ++i) {
    trainer.step(random_samples(4, i), Tensor({4, 1}, DType::f32));
  }
  const Tensor samples = random_samples(5, 77);
  const Tensor together = trainer.predict(samples);
  const TensorFile before = trainer.state();
  for (int64_t i = 0; i < 5; ++i) {
    Tensor one({1, 2, 3, 3}, DType::f32);
    std::memcpy(one.raw(), samples.data<float>() + i * 18, 18 * sizeof(float));
    EXPECT_FLOAT_EQ(trainer.predict(one).data<float>()[0], together.data<float>()[i]);
  }
  EXPECT_TRUE(same_bits(before, trainer.state()));  // and leaves the statistics alone
}

TEST(NormTraining, StatisticsAreSavedWithTheWeights) {
  const test::TempFolder folder;
  Trainer trainer(conv_net(), options_of());
  trainer.train_epoch(bars(90));
  trainer.save(folder.path() + "/weights.safetensors", false);
  const TensorFile file = read_safetensors(folder.path() + "/weights.safetensors");
  for (const char* name : {"bn1.weight", "bn1.bias", "bn1.running_mean", "bn4.running_var"}) {
    EXPECT_NE(file.find(name), nullptr) << name;
  }
  EXPECT_EQ(file.find("bn1.weight.momentum"), nullptr);
  Trainer other(conv_net(), options_of());
  other.load(folder.path() + "/weights.safetensors");
  const Evaluation a = trainer.evaluate(bars(60, 2));
  const Evaluation b = other.evaluate(bars(60, 2));
  EXPECT_EQ(a.loss, b.loss);

  TensorFile incomplete = file;
  incomplete.tensors.erase(
      std::find_if(incomplete.tensors.begin(), incomplete.tensors.end(),
                   [](const auto& item) { return item.first == "bn2.running_mean"; }));
  expect_error(Code::format, "tensor \"bn2.running_mean\" [8] of model \"norms\" is missing",
               [&] { other.load_state(incomplete); });
}

TEST(NormTraining, FrozenLayersKeepTheirStatisticsAndTrainTheirScale) {
  Trainer trainer(norm_of_input({.frozen = true}), plain_options());
  const TensorFile before = trainer.state(false);
  trainer.step(random_samples(4, 1), Tensor({4, 1}, DType::f32));
  const TensorFile after = trainer.state(false);
  for (int64_t c = 0; c < 2; ++c) {
    EXPECT_EQ(tensor_of(after, "bn1.running_mean").data<float>()[c], 0);
    EXPECT_EQ(tensor_of(after, "bn1.running_var").data<float>()[c], 1);
    EXPECT_NE(tensor_of(after, "bn1.weight").data<float>()[c], 1);
    EXPECT_EQ(tensor_of(before, "bn1.weight").data<float>()[c], 1);
  }
  // One value a channel is enough then.
  ModelBuilder m;
  m.mean_squared_error(m.linear(m.batch_norm(m.input({3}), {.frozen = true}), {.out = 1}));
  TrainerOptions one = plain_options();
  one.batch = 1;
  one.normalization = Normalization{{0}, {1}};
  Trainer single(m.build(), one);
  EXPECT_TRUE(std::isfinite(single.step(Tensor({1, 3}, DType::f32), Tensor({1, 1}, DType::f32))));
}

TEST(NormTraining, OneValueAChannelIsRefusedBeforeTheFirstStep) {
  const char* reason =
      "batch_norm \"bn4\": training needs at least two values per channel, x [1, 12] has one; use "
      "a larger batch, or drop_last where only the last batch of an epoch is this small";
  TrainerOptions o = options_of();
  o.batch = 1;
  expect_error(Code::invalid_argument, reason, [&] { Trainer trainer(conv_net(), o); });
  // The last batch of 49 samples is one sample.
  Trainer trainer(conv_net(), options_of());
  expect_error(Code::invalid_argument, reason, [&] { trainer.train_epoch(bars(49)); });
  EXPECT_EQ(trainer.steps_done(), 0);
  EXPECT_EQ(trainer.evaluate(bars(49)).samples, 49);
  o = options_of();
  o.drop_last = true;
  Trainer dropping(conv_net(), o);
  EXPECT_EQ(dropping.train_epoch(bars(49)).samples, 48);
}

TEST(NormTraining, ParametersAreThoseOfANorm) {
  const Model model = conv_net();
  int norms = 0;
  for (const ParameterInfo& info : model.parameters()) {
    const bool is_norm = info.name.rfind("bn", 0) == 0;
    EXPECT_EQ(info.is_norm, is_norm) << info.name;
    norms += is_norm;
    if (info.name == "conv1.weight") {  // through the batch norm to the ReLU
      EXPECT_EQ(info.init.kind, Init::Kind::he_normal);
      EXPECT_EQ(info.following_gain, std::sqrt(2.0));
    }
    if (info.name == "bn1.weight") {
      EXPECT_EQ(info.shape, Shape{6});
      EXPECT_EQ(info.init.kind, Init::Kind::constant);
      EXPECT_EQ(info.init.a, 1);
    }
  }
  EXPECT_EQ(norms, 8);
}

std::string error_of(Var (*add)(ModelBuilder& m, Var x), const Shape& input) {
  ModelBuilder m;
  try {
    add(m, m.input(input));
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(NormBuilder, SaysWhatDoesNotFit) {
  EXPECT_EQ(
      error_of([](ModelBuilder& m, Var x) { return m.group_norm(x, {.groups = 4}); }, {6, 5, 5}),
      "group_norm \"gn1\": groups must divide the 6 channels of x [1, 6, 5, 5], got 4");
  EXPECT_EQ(error_of([](ModelBuilder& m, Var x) { return m.group_norm(x, {}); }, {6, 5, 5}),
            "group_norm \"gn1\": groups must be between 1 and 16777216, got 0");
  EXPECT_EQ(
      error_of([](ModelBuilder& m, Var x) { return m.layer_norm(x, {.axes = 4}); }, {6, 5, 5}),
      "layer_norm \"ln1\": axes, the number of last axes that are normalised, lies in 0 (all) "
      "to 3 for x [6, 5, 5] a sample, got 4");
  EXPECT_EQ(error_of([](ModelBuilder& m, Var x) { return m.batch_norm(x, {.eps = 0}); }, {6}),
            "batch_norm \"bn1\": eps is above 0, got 0");
  EXPECT_EQ(error_of([](ModelBuilder& m, Var x) { return m.local_response_norm(x, {.size = 0}); },
                     {6, 5, 5}),
            "local_response_norm \"lrn1\": size must be between 1 and 16777216, got 0");
  for (const Shape& input : {Shape{5}, Shape{5, 7}, Shape{5, 3, 4}, Shape{5, 2, 3, 4}}) {
    ModelBuilder m;
    EXPECT_EQ(m.shape(m.batch_norm(m.input(input))), input);
  }
}

}  // namespace
}  // namespace tanul
