// SPDX-License-Identifier: Apache-2.0
// The promises of the trainer: it learns, the same bits for any number of threads, exact epochs,
// exact continuation, nothing allocated in a step, memory as predicted.
#include "tanul/trainer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/philox.h"

namespace {

std::atomic<int64_t> allocations{0};

}  // namespace

// Counts what C++ allocates in this program. (Plain malloc is watched through the size of the heap.)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"  // malloc and free are meant
void* operator new(size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = std::malloc(bytes > 0 ? bytes : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(bytes > 0 ? bytes : 1);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
#pragma GCC diagnostic pop

namespace tanul {
namespace {

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

Model small_net(bool dropout = false) {
  ModelBuilder m("small");
  Var x = m.input({1, 8, 8});
  x = m.max_pool2d(m.relu(m.conv2d(x, {.out = 5, .kernel = 3, .pad = 1})), {.kernel = 2});
  x = m.conv2d(x, {.out = 7, .kernel = 3});
  x = m.relu(m.linear(m.flatten(x), {.out = 16}));
  if (dropout) x = m.dropout(x, {.p = 0.25});
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
    if (a.tensors[i].first != b.tensors[i].first) return false;
    const Tensor& x = a.tensors[i].second;
    const Tensor& y = b.tensors[i].second;
    if (x.bytes() != y.bytes() ||
        std::memcmp(x.raw(), y.raw(), static_cast<size_t>(x.bytes())) != 0) {
      return false;
    }
  }
  return true;
}

TEST(Trainer, LearnsAndTheLossIsThatOfTheData) {
  const DataView data = bars(200);
  Trainer trainer(small_net(), options_of());
  EpochResult result;
  for (int epoch = 0; epoch < 8; ++epoch) result = trainer.train_epoch(data);
  EXPECT_EQ(result.samples, 200);
  EXPECT_GT(result.accuracy, 0.97);
  const Evaluation evaluation = trainer.evaluate(bars(100, 2));
  EXPECT_GT(evaluation.accuracy, 0.95);
  EXPECT_EQ(evaluation.samples, 100);
  EXPECT_EQ(evaluation.confusion.total(), 100);

  // The same loss and accuracy from the probabilities, computed here.
  const DataView test = bars(100, 2);
  std::vector<int64_t> positions(100);
  for (int64_t i = 0; i < 100; ++i) positions[static_cast<size_t>(i)] = i;
  Tensor samples({100, 1, 8, 8}, DType::u8);
  test.gather(positions.data(), 100, samples.raw(), nullptr);
  const Tensor p = trainer.predict(samples);
  double loss = 0;
  int64_t correct = 0;
  for (int64_t i = 0; i < 100; ++i) {
    const float* row = p.data<float>() + 3 * i;
    loss -= std::log(static_cast<double>(row[test.label(i)])) / 100;
    correct += std::max_element(row, row + 3) - row == test.label(i);
  }
  EXPECT_NEAR(evaluation.loss, loss, 1e-5);
  EXPECT_EQ(evaluation.confusion.correct(), correct);
}

TEST(Trainer, EvaluationHandsOutTheScores) {
  Trainer trainer(small_net(), options_of());
  trainer.train_epoch(bars(64));
  const DataView data = bars(50, 3);  // three batches of 16 and one of 2
  LogLoss log_loss(3, ScoreKind::logits);
  ConfusionMatrix confusion(3);
  TopK top(3);
  int64_t batches = 0;
  const Evaluation e = trainer.evaluate(data, [&](const Tensor& truths, const Tensor& scores) {
    EXPECT_EQ(truths.data<int32_t>()[0], data.label(16 * batches)) << "in the order of the data";
    ++batches;
    log_loss.add(truths, scores);
    confusion.add(truths, scores);
    top.add(truths, scores);
  });
  EXPECT_EQ(batches, 4);
  EXPECT_NEAR(log_loss.value(), e.loss, 1e-5 * (1 + e.loss));  // floats in the loss
  EXPECT_DOUBLE_EQ(top.accuracy(1), e.accuracy);
  for (int64_t t = 0; t < 3; ++t) {
    for (int64_t p = 0; p < 3; ++p) EXPECT_EQ(confusion.count(t, p), e.confusion.count(t, p));
  }
}

TEST(Trainer, EveryOptimizerLearns) {
  for (const Optimizer& optimizer :
       {Optimizer{Sgd{0.05f, 0.9f, 0, 1e-4f, true}}, Optimizer{Sgd{0.1f}}, Optimizer{Adam{0.005f}},
        Optimizer{AdamW{0.005f}}}) {
    TrainerOptions o = options_of();
    o.optimizer = optimizer;
    o.clip_norm = 2;
    Trainer trainer(small_net(), o);
    const double first = trainer.train_epoch(bars(200)).loss;
    double last = first;
    for (int epoch = 0; epoch < 5; ++epoch) last = trainer.train_epoch(bars(200)).loss;
    EXPECT_LT(last, 0.3 * first) << "optimizer " << optimizer.index();
  }
}

class TrainerMemory : public testing::TestWithParam<Memory> {
 protected:
  static TrainerOptions options(int threads = 2) {
    TrainerOptions o = options_of(threads);
    o.memory = GetParam();
    o.augmentation = {.crop = 1, .flip = true};
    return o;
  }
};
INSTANTIATE_TEST_SUITE_P(Modes, TrainerMemory, testing::Values(Memory::normal, Memory::low),
                         [](const auto& mode) {
                           return mode.param == Memory::low ? "low" : "normal";
                         });

TEST_P(TrainerMemory, SameBitsForAnyNumberOfThreads) {
  std::vector<TensorFile> states;
  for (int threads : {1, 2, 3, 2}) {
    Trainer trainer(small_net(true), options(threads));
    trainer.train_epoch(bars(200));
    trainer.train_epoch(bars(200));
    states.push_back(trainer.state());
  }
  for (size_t i = 1; i < states.size(); ++i) EXPECT_TRUE(same_bits(states[0], states[i])) << i;
}

TEST(Trainer, AnotherSeedGivesOtherWeights) {
  TrainerOptions a = options_of();
  TrainerOptions b = options_of();
  b.seed = 2;
  EXPECT_FALSE(
      same_bits(Trainer(small_net(), a).state(false), Trainer(small_net(), b).state(false)));
}

TEST(Trainer, SaveLoadContinueIsBitEqual) {
  for (const Optimizer& optimizer : {Optimizer{Sgd{0.05f, 0.9f}}, Optimizer{Adam{0.005f}}}) {
    TrainerOptions o = options_of();
    o.optimizer = optimizer;
    o.epochs = 4;
    o.schedule = Schedule::cosine(0.5);
    o.augmentation = {.crop = 2, .flip = true};
    const std::string path = testing::TempDir() + "/continue.safetensors";
    Trainer whole(small_net(true), o);
    whole.train_epoch(bars(100));
    whole.train_epoch(bars(100));
    whole.save(path);
    whole.train_epoch(bars(100));
    TrainerOptions other = o;
    other.memory = Memory::low;
    Trainer continued(small_net(true), other);
    continued.load(path);
    EXPECT_EQ(continued.epochs_done(), 2);
    continued.train_epoch(bars(100));
    EXPECT_TRUE(same_bits(whole.state(), continued.state()));
  }
}

TEST(Trainer, StepwiseIsTheSameBitsAndReportsEveryStep) {
  Trainer walk(small_net(), options_of());
  Trainer stepwise(small_net(), options_of());
  size_t reports = 0;
  stepwise.set_stepwise([&](const StepReport& report) {
    ++reports;
    EXPECT_TRUE(report.is_finite) << report.step->op;
    EXPECT_GE(report.seconds, 0);
  });
  walk.train_epoch(bars(32));
  stepwise.train_epoch(bars(32));
  EXPECT_TRUE(same_bits(walk.state(), stepwise.state()));
  EXPECT_EQ(reports, 2 * stepwise.plan().steps.size());
}

TEST(Trainer, EverySampleCountsOnceInTrainingAndEvaluation) {
  const DataView data = bars(53);  // 3 batches of 16 and one of 5
  Trainer trainer(small_net(), options_of());
  int64_t steps = 0;
  EXPECT_EQ(trainer.train_epoch(data, [&](const Progress& p) { steps = p.step; }).samples, 53);
  EXPECT_EQ(steps, 4);
  TrainerOptions o = options_of();
  o.drop_last = true;
  Trainer dropping(small_net(), o);
  EXPECT_EQ(dropping.train_epoch(data, [&](const Progress& p) { steps = p.step; }).samples, 48);
  EXPECT_EQ(steps, 3);
  // The mean over all samples does not depend on how they are cut into batches.
  TrainerOptions all = options_of();
  all.batch = 53;
  Trainer at_once(small_net(), all);
  at_once.load_state(trainer.state());
  const Evaluation a = trainer.evaluate(data);
  const Evaluation b = at_once.evaluate(data);
  EXPECT_EQ(a.confusion.total(), 53);
  EXPECT_NEAR(a.loss, b.loss, 1e-6 * std::fabs(b.loss) + 1e-7);
  EXPECT_EQ(a.accuracy, b.accuracy);
}

TEST(Trainer, StepsOverALoaderAreAnEpoch) {
  const DataView data = bars(53);
  for (const Augmentation& augmentation : {Augmentation{}, Augmentation{.crop = 2, .flip = true}}) {
    TrainerOptions o = options_of();
    o.normalization = Normalization{{0.3f}, {0.2f}};
    o.augmentation = augmentation;
    Trainer epoch(small_net(), o);
    Trainer steps(small_net(), o);
    Loader loader(
        data, {.batch = o.batch, .shuffle = true, .seed = o.seed, .augmentation = augmentation});
    for (int64_t e = 0; e < 2; ++e) {
      epoch.train_epoch(data);
      loader.start_epoch(e);
      for (Batch batch; loader.next(batch);) steps.step(batch.samples, batch.targets);
    }
    for (const char* name : {"conv1.weight", "linear2.bias"}) {
      const Tensor a = epoch.parameter(name);
      const Tensor b = steps.parameter(name);
      EXPECT_EQ(std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())), 0) << name;
    }
  }
}

TEST(Trainer, AugmentsWhatItTrainsOnAndNothingElse) {
  TrainerOptions o = options_of();
  o.optimizer = Sgd{.lr = 0};
  o.shuffle = false;
  Trainer plain(small_net(), o);
  o.augmentation = {.crop = 2, .flip = true};
  Trainer augmented(small_net(), o);
  const DataView data = bars(64);
  const double loss = plain.train_epoch(data).loss;
  const double first = augmented.train_epoch(data).loss;
  const double second = augmented.train_epoch(data).loss;
  EXPECT_NE(first, loss);
  EXPECT_NE(second, first) << "anew each epoch";
  EXPECT_EQ(augmented.evaluate(data).loss, plain.evaluate(data).loss);
}

TEST_P(TrainerMemory, NothingIsAllocatedInAHundredSteps) {
  const DataView data = bars(16 * 101);
  Trainer trainer(small_net(true), options());
  trainer.train_epoch(data);  // the epoch's order is made in the first
  int64_t at_first = 0;
  int64_t at_last = 0;
  const std::function<void(const Progress&)> watch = [&](const Progress& p) {
    if (p.step == 1) at_first = allocations.load();
    if (p.step == 101) at_last = allocations.load();
  };
  trainer.train_epoch(data, watch);
  EXPECT_GT(at_first, 0);
  EXPECT_EQ(at_last - at_first, 0);

  // The same for single steps.
  Tensor samples({16, 1, 8, 8}, DType::u8);
  const Tensor labels({16}, DType::i32);
  trainer.step(samples, labels);
  const int64_t before = allocations.load();
  for (int i = 0; i < 100; ++i) trainer.step(samples, labels);
  EXPECT_EQ(allocations.load() - before, 0);
}

TEST_P(TrainerMemory, IsAsPredicted) {
  const PlanInfo predicted = make_plan(small_net(), options());
  Trainer trainer(small_net(), options());
  trainer.train_epoch(bars(200));
  trainer.evaluate(bars(50));
  EXPECT_NEAR(static_cast<double>(trainer.peak_tensor_bytes()),
              static_cast<double>(predicted.total_bytes),
              0.02 * static_cast<double>(predicted.total_bytes));
  EXPECT_EQ(predicted.total_bytes, predicted.parameter_bytes + predicted.state_bytes +
                                       predicted.input_bytes + predicted.activation_bytes);
}

TEST(Trainer, NormalizesByTheTrainingData) {
  Trainer trainer(small_net(), options_of());
  EXPECT_FALSE(trainer.normalization().has_value());
  const DataView data = bars(99);
  trainer.train_epoch(data);
  const auto moments = data.channel_moments();
  ASSERT_TRUE(trainer.normalization().has_value());
  EXPECT_EQ(trainer.normalization()->mean, moments.mean);
  EXPECT_EQ(trainer.normalization()->deviation, moments.deviation);
}

TEST(Trainer, TrainsOnFloatSamplesAndRegressionTargets) {
  // y = mean of the sample, to be found by a linear layer.
  Tensor samples({64, 4});
  Tensor targets({64, 1});
  initialize(samples, Init::normal(0, 1), 4, "x");
  for (int64_t i = 0; i < 64; ++i) {
    float sum = 0;
    for (int64_t j = 0; j < 4; ++j) sum += samples.data<float>()[4 * i + j];
    targets.data<float>()[i] = sum / 4;
  }
  ModelBuilder m("regression");
  m.mean_squared_error(m.linear(m.input({4}), {.out = 1}));
  TrainerOptions o = options_of();
  o.normalization = Normalization{{0}, {1}};
  Trainer trainer(m.build(), o);
  const DataView data(samples, targets);
  for (int epoch = 0; epoch < 60; ++epoch) trainer.train_epoch(data);
  EXPECT_LT(trainer.evaluate(data).loss, 1e-6);
  const Tensor w = trainer.parameter("linear1.weight");
  for (int j = 0; j < 4; ++j) EXPECT_NEAR(w.data<float>()[j], 0.25, 1e-3);
}

TEST(Trainer, MeanSquaredErrorOnLabelsClassifies) {
  ModelBuilder m("mse");
  Var x = m.flatten(m.input({1, 8, 8}));
  m.mean_squared_error(m.linear(m.tanh(m.linear(x, {.out = 12})), {.out = 3}));
  TrainerOptions o = options_of();
  o.optimizer = Adam{0.01f};
  Trainer trainer(m.build(), o);
  for (int epoch = 0; epoch < 10; ++epoch) trainer.train_epoch(bars(200));
  EXPECT_GT(trainer.evaluate(bars(99, 5)).accuracy, 0.95);
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Trainer, RefusesDataThatDoesNotFit) {
  Trainer trainer(small_net(), options_of());
  EXPECT_EQ(message_of([&] { trainer.train_epoch(DataView()); }),
            "training data: there are no samples");
  const DataView wide(Tensor({4, 1, 9, 9}, DType::u8), Tensor({4}, DType::i32));
  EXPECT_EQ(message_of([&] { trainer.train_epoch(wide); }),
            "training data: the samples are [1, 9, 9], but model \"small\" expects [1, 8, 8]");
  Tensor labels({4}, DType::i32);
  labels.data<int32_t>()[2] = 3;
  const DataView beyond(Tensor({4, 1, 8, 8}, DType::u8), labels);
  EXPECT_EQ(
      message_of([&] { trainer.evaluate(beyond); }),
      "evaluation data: sample 2 has the label 3, but model \"small\" has 3 outputs (labels 0 "
      "to 2)");
}

TEST(Trainer, RefusesOptionsOutsideTheirRange) {
  TrainerOptions shifting = options_of();
  shifting.augmentation.crop = 8;
  EXPECT_EQ(
      message_of([&] { Trainer(small_net(), shifting); }),
      "trainer: augmentation: crop 8 would shift images [1, 8, 8] out of sight; it must be below "
      "8");
  const auto with = [](auto change) {
    TrainerOptions o = options_of();
    change(o);
    return message_of([&] { Trainer(small_net(), o); });
  };
  EXPECT_EQ(with([](auto& o) { o.batch = 0; }), "batch must be between 1 and 1.67772e+07, got 0");
  EXPECT_EQ(with([](auto& o) { o.optimizer = Sgd{-1}; }),
            "learning rate must be between 0 and 1e+30, got -1");
  EXPECT_EQ(with([](auto& o) { o.optimizer = Sgd{.lr = 0.1f, .nesterov = true}; }),
            "nesterov wants a momentum above 0 and no dampening, got 0 and 0");
  EXPECT_EQ(with([](auto& o) { o.threads = -2; }),
            "threads must be between 0 (all processors) and 1024, got -2");
  EXPECT_EQ(with([](auto& o) {
              o.normalization = Normalization{{0, 0}, {1, 1}};
            }),
            "normalization wants one mean and one deviation per channel, 1 of each, got 2 and 2");
}

TEST(Trainer, SaysWhenTheLossDiverges) {
  TrainerOptions o = options_of();
  o.optimizer = Sgd{1e20f};
  Trainer trainer(small_net(), o);
  try {
    for (int i = 0; i < 5; ++i) trainer.train_epoch(bars(100));
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::diverged);
    EXPECT_NE(std::string(e.what()).find("in step "), std::string::npos) << e.what();
  }
}

TEST(Trainer, LoadRefusesTheWrongModelAndChangesNothing) {
  const std::string path = testing::TempDir() + "/other.safetensors";
  ModelBuilder m("other");
  m.softmax_cross_entropy(m.linear(m.flatten(m.input({1, 8, 8})), {.out = 3, .name = "conv1"}));
  Trainer(m.build(), options_of()).save(path);
  Trainer trainer(small_net(), options_of());
  const TensorFile before = trainer.state();
  EXPECT_EQ(message_of([&] { trainer.load(path); }),
            path +
                ": tensor \"conv1.weight\" is [3, 64] of f32, model \"small\" expects [5, 1, 3, 3] "
                "of f32");
  EXPECT_TRUE(same_bits(before, trainer.state()));
}

TEST(Schedule, FactorsFollowTheirFormulas) {
  // Ten steps an epoch.
  EXPECT_EQ(Schedule::constant().factor(1234, 10, 5), 1.0);
  const Schedule step = Schedule::step(2, 0.5);
  EXPECT_EQ(step.factor(19, 10, 5), 1.0);
  EXPECT_EQ(step.factor(20, 10, 5), 0.5);
  EXPECT_EQ(step.factor(40, 10, 5), 0.25);
  const Schedule cosine = Schedule::cosine(1, 0.1);
  EXPECT_DOUBLE_EQ(cosine.factor(0, 10, 5), 0.1);  // warm-up: 1/10 … 10/10
  EXPECT_DOUBLE_EQ(cosine.factor(9, 10, 5), 1.0);
  EXPECT_DOUBLE_EQ(cosine.factor(10, 10, 5), 1.0);
  EXPECT_NEAR(cosine.factor(30, 10, 5), 0.1 + 0.9 * 0.5, 1e-12);
  EXPECT_NEAR(cosine.factor(50, 10, 5), 0.1, 1e-12);
  EXPECT_NEAR(cosine.factor(70, 10, 5), 0.1, 1e-12);  // beyond the end it stays there
}

TEST(ConfusionMatrix, CountsAndRatios) {
  ConfusionMatrix m(3);
  for (int i = 0; i < 5; ++i) m.add(0, 0);
  for (int i = 0; i < 3; ++i) m.add(0, 1);
  for (int i = 0; i < 2; ++i) m.add(1, 1);
  EXPECT_EQ(m.total(), 10);
  EXPECT_DOUBLE_EQ(m.accuracy(), 0.7);
  EXPECT_DOUBLE_EQ(m.recall(0), 5.0 / 8);
  EXPECT_DOUBLE_EQ(m.precision(0), 1.0);
  EXPECT_DOUBLE_EQ(m.precision(1), 2.0 / 5);
  EXPECT_DOUBLE_EQ(m.f1(1), 4.0 / 7);
  EXPECT_EQ(m.recall(2), 0.0);  // absent: 0/0 is 0
  const auto worst = m.worst(5);
  ASSERT_EQ(worst.size(), 1u);
  EXPECT_EQ(worst[0].truth, 0);
  EXPECT_EQ(worst[0].prediction, 1);
  EXPECT_EQ(worst[0].count, 3);
  EXPECT_THROW(m.add(3, 0), Error);
}

}  // namespace
}  // namespace tanul
