// SPDX-License-Identifier: Apache-2.0
// What the trainer promises of its optimizers and of what stands round them: they learn, they continue
// bit for bit, several batches a step are one large batch, averages are those of the weights.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/glob.h"
#include "core/philox.h"
#include "support/expect_error.h"
#include "support/rule.h"
#include "tanul/fit.h"
#include "tanul/trainer.h"

namespace tanul {
namespace {

struct Data {
  Tensor samples, labels;
  DataView view() const { return DataView(samples, labels); }
};

// 6x6 images of three classes: a bright bar at the top, in the middle or at the bottom, in noise.
Data bars(int64_t count, uint64_t seed = 1) {
  Data data{Tensor({count, 1, 6, 6}), Tensor({count}, DType::i32)};
  const Philox random{seed, philox_stream("bars"), 0};
  for (int64_t i = 0; i < count; ++i) {
    const auto label = static_cast<int32_t>(i % 3);
    data.labels.data<int32_t>()[i] = label;
    for (int64_t p = 0; p < 36; ++p) {
      const double bar = p / 12 == label ? 1 : 0;
      data.samples.data<float>()[i * 36 + p] =
          static_cast<float>(bar + 0.3 * random.normal(static_cast<uint64_t>(i * 36 + p)));
    }
  }
  return data;
}

Data part(const Data& data, int64_t first, int64_t count) {
  Data result{Tensor({count, 1, 6, 6}), Tensor({count}, DType::i32)};
  std::memcpy(result.samples.raw(), data.samples.data<float>() + first * 36,
              static_cast<size_t>(count) * 36 * 4);
  std::memcpy(result.labels.raw(), data.labels.data<int32_t>() + first,
              static_cast<size_t>(count) * 4);
  return result;
}

Model net(bool dropout = false, const SoftmaxCrossEntropyOptions& loss = {}) {
  ModelBuilder m("net");
  Var x = m.input({1, 6, 6});
  x = m.relu(m.conv2d(x, {.out = 4, .kernel = 3}));
  x = m.relu(m.linear(m.flatten(x), {.out = 10}));
  if (dropout) x = m.dropout(x, {.p = 0.25});
  m.softmax_cross_entropy(m.linear(x, {.out = 3}), loss);
  return m.build();
}

TrainerOptions options_of(const Optimizer& optimizer = Sgd{0.05f, 0.9f}) {
  TrainerOptions o;
  o.device = "cpu";
  o.batch = 12;
  o.threads = 2;
  o.optimizer = optimizer;
  o.normalization = Normalization{{0}, {1}};
  return o;
}

// Every kind of optimizer, with the options that give it all its state.
std::vector<Optimizer> all_optimizers() {
  Muon muon;
  muon.adamw.lr = 5e-3f;
  RmsProp rmsprop{2e-3f, 0.9f};
  rmsprop.momentum = 0.5f;
  rmsprop.centered = true;
  Lars lars{0.5f, 0.9f, 0.02f, 1e-4f};
  std::vector<Optimizer> all = {Sgd{0.05f},    Sgd{0.05f, 0.9f, 0, 1e-4f, true},
                                Adam{5e-3f},   Adam{5e-3f, 0.9f, 0.999f, 1e-8f, 0, true},
                                AdamW{5e-3f},  Adagrad{0.03f, 0, 1e-10f, 0.1f},
                                Adadelta{},    rmsprop,
                                Adamax{0.02f}, NAdam{5e-3f},
                                RAdam{0.02f},  Lion{1e-3f},
                                lars,          Lamb{0.02f},
                                muon};
  std::vector<bool> seen(std::variant_size_v<Optimizer>, false);
  for (const Optimizer& o : all) seen[o.index()] = true;
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_TRUE(seen[i]) << "no optimizer of index " << i;
  return all;
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

double largest_difference(const Tensor& a, const Tensor& b) {
  double largest = 0;
  for (int64_t i = 0; i < a.elems(); ++i) {
    largest = std::max(largest, std::fabs(static_cast<double>(a.data<float>()[i]) -
                                          static_cast<double>(b.data<float>()[i])));
  }
  return largest;
}

TEST(Optimizers, EveryOneLowersTheLoss) {
  for (const Optimizer& optimizer : all_optimizers()) {
    Trainer trainer(net(), options_of(optimizer));
    const Data data = bars(60);
    const double before = trainer.evaluate(data.view()).loss;
    for (int epoch = 0; epoch < 12; ++epoch) trainer.train_epoch(data.view());
    EXPECT_LT(trainer.evaluate(data.view()).loss, 0.5 * before)
        << "optimizer " << optimizer.index();
  }
}

// Three steps, a save, a load and three steps are six steps.
TEST(Optimizers, EveryOneContinuesBitForBit) {
  const std::string path = testing::TempDir() + "/optimizer.safetensors";
  for (const Optimizer& optimizer : all_optimizers()) {
    SCOPED_TRACE(optimizer.index());
    TrainerOptions o = options_of(optimizer);
    o.clip_value = 0.5;
    o.clip_norm = 2;
    o.ema_decay = 0.9;
    o.lookahead = {2, 0.5};
    o.l1 = 1e-4;
    o.l2 = 1e-3;
    const auto step = [](Trainer& trainer, int64_t i) {
      const Data batch = part(bars(120), i * 12, 12);
      trainer.step(batch.samples, batch.labels);
    };
    Trainer whole(net(true), o), first(net(true), o), second(net(true), o);
    for (int64_t i = 0; i < 6; ++i) step(whole, i);
    for (int64_t i = 0; i < 3; ++i) step(first, i);
    first.save(path);
    second.load(path);
    for (int64_t i = 3; i < 6; ++i) step(second, i);
    EXPECT_TRUE(same_bits(whole.state(), second.state()));
  }
}

TEST(Optimizers, ARunIsSavedInTheMiddleOfAStep) {
  const std::string path = testing::TempDir() + "/micro.safetensors";
  TrainerOptions o = options_of(Adam{5e-3f});
  o.accumulate = 4;
  const auto step = [](Trainer& trainer, int64_t i) {
    const Data batch = part(bars(120), i * 12, 12);
    trainer.step(batch.samples, batch.labels);
  };
  Trainer whole(net(true), o), first(net(true), o), second(net(true), o);
  for (int64_t i = 0; i < 10; ++i) step(whole, i);
  for (int64_t i = 0; i < 6; ++i) step(first, i);
  EXPECT_EQ(first.steps_done(), 1);
  first.save(path);
  second.load(path);
  for (int64_t i = 6; i < 10; ++i) step(second, i);
  EXPECT_EQ(second.steps_done(), 2);
  EXPECT_TRUE(same_bits(whole.state(), second.state()));
}

// --- accumulation -----------------------------------------------------------------------------------

// One step over `parts` micro-batches against one over all of them.
void check_accumulation(const Model& model, const Data& data, const std::vector<int64_t>& parts,
                        const TrainerOptions& base) {
  TrainerOptions small = base, large = base;
  small.accumulate = static_cast<int64_t>(parts.size());
  Trainer by_parts(model, small), at_once(model, large);
  for (int round = 0; round < 3; ++round) {
    int64_t first = 0;
    for (int64_t count : parts) {
      const Data batch = part(data, first, count);
      by_parts.step(batch.samples, batch.labels);
      first += count;
    }
    const Data all = part(data, 0, first);
    at_once.step(all.samples, all.labels);
  }
  EXPECT_EQ(by_parts.steps_done(), 3);
  for (const ParameterInfo& info : model.parameters()) {
    // Gradients are sums of the same terms in another order: n u of them, n the samples times the places
    // of a filter (16), each about 1; rate 0.1, three steps.
    const double largest = 3 * 0.1 * 16 * static_cast<double>(data.labels.elems()) * test::kU;
    EXPECT_LE(largest_difference(by_parts.parameter(info.name), at_once.parameter(info.name)),
              largest)
        << info.name;
    EXPECT_GT(largest_difference(by_parts.parameter(info.name),
                                 Trainer(model, base).parameter(info.name)),
              100 * largest)
        << info.name << " has hardly moved";
  }
}

TEST(Accumulation, IsTheLargeBatch) {
  check_accumulation(net(), bars(48), {12, 12, 12, 12}, options_of(Sgd{0.1f}));
}

TEST(Accumulation, OfBatchesOfOtherSizesIsTheLargeBatch) {
  check_accumulation(net(), bars(48), {24, 5, 1, 18}, options_of(Sgd{0.1f}));
}

TEST(Accumulation, CountsBatchesByTheirDivisor) {
  Data data = bars(48);
  SoftmaxCrossEntropyOptions loss;
  loss.class_weights = {1, 5, 0.25f};
  loss.ignore_index = -1;
  // the first batch has hardly a sample that counts, the second none
  for (int64_t i = 0; i < 24; ++i) {
    if (i != 4) data.labels.data<int32_t>()[i] = -1;
  }
  check_accumulation(net(false, loss), data, {12, 12, 12, 12}, options_of(Sgd{0.1f}));
}

TEST(Accumulation, OfALossThatIsASumIsTheLargeBatch) {
  SoftmaxCrossEntropyOptions loss;
  loss.reduction = Reduction::sum;
  TrainerOptions o = options_of(Sgd{0.1f / 48});
  o.l2 = 0.5;
  check_accumulation(net(false, loss), bars(48), {24, 5, 1, 18}, o);
}

TEST(Accumulation, WithPenaltiesAndClippingIsTheLargeBatch) {
  TrainerOptions o = options_of(Sgd{0.1f, 0.9f});
  o.l1 = 1e-3;
  o.l2 = 1e-2;
  o.clip_norm = 0.5;
  check_accumulation(net(), bars(48), {12, 12, 12, 12}, o);
}

TEST(Accumulation, AnEpochEndsWithAStep) {
  TrainerOptions o = options_of();
  o.accumulate = 4;
  Trainer trainer(net(), o);
  const EpochResult result = trainer.train_epoch(bars(70).view());  // six batches
  EXPECT_EQ(trainer.steps_done(), 2);
  EXPECT_EQ(result.samples, 70);
}

TEST(Accumulation, MicroBatchesDrawOtherDropoutMasks) {
  // The same batch twice: with one mask for both, two micro-batches would be one of them.
  const Data batch = bars(12);
  TrainerOptions o = options_of(Sgd{0.1f});
  Trainer once(net(true), o);
  once.step(batch.samples, batch.labels);
  o.accumulate = 2;
  Trainer twice(net(true), o);
  twice.step(batch.samples, batch.labels);
  twice.step(batch.samples, batch.labels);
  EXPECT_GT(largest_difference(once.parameter("linear1.weight"), twice.parameter("linear1.weight")),
            1e-4);
}

// --- groups -----------------------------------------------------------------------------------------

TEST(Groups, FrozenParametersStayAndCostNothing) {
  TrainerOptions o = options_of(Adam{5e-3f});
  o.groups = {{"conv1.*", 1, {}, true}};
  Trainer trainer(net(), o), free(net(), options_of(Adam{5e-3f}));
  const Tensor before = trainer.parameter("conv1.weight");
  trainer.train_epoch(bars(60).view());
  EXPECT_EQ(largest_difference(before, trainer.parameter("conv1.weight")), 0);
  EXPECT_GT(largest_difference(Trainer(net(), o).parameter("linear1.weight"),
                               trainer.parameter("linear1.weight")),
            0);
  for (const StepInfo& step : trainer.plan().steps) {
    EXPECT_FALSE(step.layer == "conv1" && step.phase != "forward") << step.op;
  }
  EXPECT_LT(trainer.plan().state_bytes, free.plan().state_bytes);
}

TEST(Groups, RatesAndDecayReachTheirParameters) {
  // Decay alone: zero gradients would do, so a rate of w's own is seen in how far decay shrinks it.
  const Data batch = bars(12);
  TrainerOptions plain = options_of(AdamW{0.01f, 0.9f, 0.999f, 1e-8f, 0});
  TrainerOptions grouped = plain;
  grouped.groups = {{"linear?.weight", 0.5, 0.4, false}, {"*", 0, {}, false}};
  Trainer a(net(), plain), b(net(), grouped);
  const Tensor start = a.parameter("linear1.weight");
  a.step(batch.samples, batch.labels);
  b.step(batch.samples, batch.labels);
  const Tensor wa = a.parameter("linear1.weight"), wb = b.parameter("linear1.weight");
  for (int64_t i = 0; i < start.elems(); ++i) {
    const auto w = static_cast<double>(start.data<float>()[i]);
    const double moved = static_cast<double>(wa.data<float>()[i]) - w;
    // rate 0.005: w (1 - 0.005 · 0.4) and half of the step
    EXPECT_NEAR(static_cast<double>(wb.data<float>()[i]), w * (1 - 0.005 * 0.4) + 0.5 * moved,
                2e-7);
  }
  EXPECT_EQ(largest_difference(Trainer(net(), plain).parameter("conv1.weight"),
                               b.parameter("conv1.weight")),
            0);
}

TEST(Groups, OneSwitchKeepsDecayFromBiases) {
  const Data batch = bars(12);
  for (const bool old_name : {false, true}) {
    TrainerOptions with = options_of(Sgd{0.1f, 0, 0, 0.5f}), without = with;
    (old_name ? without.decay_biases : without.decay_norms_and_biases) = false;
    Trainer a(net(), with), b(net(), without);
    Tensor ones({10});
    initialize(ones, Init::constant(1), 1, "");
    a.set_parameter("linear1.bias", ones);
    b.set_parameter("linear1.bias", ones);
    a.step(batch.samples, batch.labels);
    b.step(batch.samples, batch.labels);
    const Tensor x = a.parameter("linear1.bias"), y = b.parameter("linear1.bias");
    for (int64_t i = 0; i < 10; ++i) {
      EXPECT_NEAR(static_cast<double>(y.data<float>()[i] - x.data<float>()[i]), 0.1 * 0.5, 1e-6);
    }
    EXPECT_EQ(largest_difference(a.parameter("linear1.weight"), b.parameter("linear1.weight")), 0);
  }
}

TEST(Groups, MistakesAreNamed) {
  TrainerOptions o = options_of();
  o.groups = {{"conv9.*", 1, {}, false}};
  test::expect_error(Code::invalid_argument,
                     "group \"conv9.*\": no parameter of model \"net\" matches it; the first is "
                     "\"conv1.weight\"",
                     [&] { Trainer(net(), o); });
  o.groups = {{"*", 1, {}, true}};
  test::expect_error(Code::invalid_argument,
                     "every parameter of model \"net\" is frozen: nothing to train",
                     [&] { Trainer(net(), o); });
}

TEST(Groups, PatternsMatchNames) {
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("conv1.weight", "conv1.weight"));
  EXPECT_TRUE(glob_match("conv?.*", "conv1.bias"));
  EXPECT_TRUE(glob_match("*.b*s", "stage2.conv1.bias"));
  EXPECT_TRUE(glob_match("*a*b*", "xxaxxbxx"));
  EXPECT_FALSE(glob_match("conv?.*", "conv12.bias"));
  EXPECT_FALSE(glob_match("", "x"));
  EXPECT_FALSE(glob_match("*a*b", "xxaxxbxx"));
}

// --- averages, penalties, plateau -------------------------------------------------------------------

TEST(Averages, AreThoseOfTheWeightsAndWhatEvaluationUses) {
  TrainerOptions o = options_of();
  o.ema_decay = 0.75;
  Trainer trainer(net(), o);
  std::vector<double> average;
  const Tensor start = trainer.parameter("linear1.weight");
  for (int64_t i = 0; i < start.elems(); ++i) {
    average.push_back(static_cast<double>(start.data<float>()[i]));
  }
  for (int64_t step = 0; step < 5; ++step) {
    const Data batch = part(bars(60), step * 12, 12);
    trainer.step(batch.samples, batch.labels);
    const Tensor w = trainer.parameter("linear1.weight");
    for (size_t i = 0; i < average.size(); ++i) {
      average[i] = 0.75 * average[i] + 0.25 * static_cast<double>(w.data<float>()[i]);
    }
  }
  const Tensor got = trainer.parameter_average("linear1.weight");
  for (size_t i = 0; i < average.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(got.data<float>()[i]), average[i], 5 * test::kU);
  }
  // Evaluation, prediction and what is saved for them look at the averages.
  const Data data = bars(30, 2);
  Trainer other(net(), options_of());
  other.load_state(trainer.state(false));
  EXPECT_EQ(largest_difference(other.parameter("linear1.weight"), got), 0);
  EXPECT_EQ(other.evaluate(data.view()).loss, trainer.evaluate(data.view()).loss);
  EXPECT_EQ(largest_difference(other.predict(data.samples), trainer.predict(data.samples)), 0);
  Trainer raw(net(), options_of());
  for (const ParameterInfo& info : raw.model().parameters()) {
    raw.set_parameter(info.name, trainer.parameter(info.name));
  }
  EXPECT_NE(raw.evaluate(data.view()).loss, trainer.evaluate(data.view()).loss);
  // Both are in what a run continues from; new weights begin a new average.
  EXPECT_NE(trainer.state().find("linear1.weight.ema"), nullptr);
  trainer.set_parameter("linear1.weight", start);
  EXPECT_EQ(largest_difference(trainer.parameter_average("linear1.weight"), start), 0);
  test::expect_error(Code::not_found, "there is no average of \"linear1.weight\": ema_decay is 0",
                     [&] { raw.parameter_average("linear1.weight"); });
}

TEST(Penalties, AreInTheLossAndInTheGradient) {
  TrainerOptions plain = options_of(Sgd{0.1f}), penalised = plain;
  penalised.l1 = 0.01;
  penalised.l2 = 0.1;
  penalised.decay_norms_and_biases = false;
  Trainer a(net(), plain), b(net(), penalised);
  const Data batch = bars(12);
  double penalty = 0;
  for (const ParameterInfo& info : a.model().parameters()) {
    if (info.is_bias) continue;
    const Tensor w = a.parameter(info.name);
    for (int64_t i = 0; i < w.elems(); ++i) {
      const auto value = static_cast<double>(w.data<float>()[i]);
      penalty += 0.01 * std::fabs(value) + 0.05 * value * value;
    }
  }
  const Tensor start = a.parameter("linear1.weight");
  const double loss = a.step(batch.samples, batch.labels);
  EXPECT_NEAR(b.step(batch.samples, batch.labels), loss + penalty, 1e-6);
  const Tensor wa = a.parameter("linear1.weight"), wb = b.parameter("linear1.weight");
  for (int64_t i = 0; i < start.elems(); ++i) {
    const auto w = static_cast<double>(start.data<float>()[i]);
    const double gradient = (w > 0 ? 0.01 : -0.01) + 0.1 * w;
    EXPECT_NEAR(static_cast<double>(wb.data<float>()[i]),
                static_cast<double>(wa.data<float>()[i]) - 0.1 * gradient, 3e-7);
  }
  // The loss of an epoch has them too, evaluation has not.
  TrainerOptions still = penalised;
  still.optimizer = Sgd{0};
  Trainer c(net(), still);
  const EpochResult epoch = c.train_epoch(bars(60).view());
  EXPECT_NEAR(epoch.loss, c.evaluate(bars(60).view()).loss + penalty, 1e-6);
}

TEST(Plateau, FitLowersTheRateAndItIsSaved) {
  TrainerOptions o = options_of(Sgd{1e-9f});  // nothing gets better
  o.schedule = Schedule::plateau(0.5, 1);
  o.schedule.threshold = 0.1;
  Trainer trainer(net(), o);
  FitOptions f;
  f.epochs = 6;
  const FitResult result = fit(trainer, bars(36).view(), bars(12, 2).view(), f);
  // The first epoch is the best one; the second and third are worse than it, and so on by twos.
  const std::vector<double> factors = {1, 1, 1, 0.5, 0.5, 0.25};
  for (size_t i = 0; i < factors.size(); ++i) {
    EXPECT_NEAR(result.epochs[i].train.lr, 1e-9 * factors[i], 1e-15) << "epoch " << i;
  }
  Trainer continued(net(), o);
  continued.load_state(trainer.state());
  EXPECT_TRUE(same_bits(trainer.state(), continued.state()));
  EXPECT_NEAR(continued.train_epoch(bars(36).view()).lr, 0.25e-9, 1e-15);
}

}  // namespace
}  // namespace tanul
