// SPDX-License-Identifier: Apache-2.0
// Training with precision = "fp16": its loss scaling, on the CPU, where products stay in float32 and so
// everything else can be proven. A power of two neither rounds on the way in nor out: the weights are those
// of fp32, bit for bit.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>

#include "core/format.h"
#include "core/philox.h"
#include "support/expect_error.h"
#include "tanul/trainer.h"

namespace tanul::test {
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

Model net(double loss_weight = 1) {
  ModelBuilder m("net");
  Var x = m.input({1, 6, 6});
  x = m.relu(m.batch_norm(m.conv2d(x, {.out = 4, .kernel = 3})));
  x = m.relu(m.linear(m.flatten(x), {.out = 10}));
  SoftmaxCrossEntropyOptions loss;
  loss.weight = loss_weight;
  m.softmax_cross_entropy(m.linear(x, {.out = 3}), loss);
  return m.build();
}

TrainerOptions options_of(const Optimizer& optimizer, Precision precision = Precision::fp16) {
  TrainerOptions o;
  o.device = "cpu";
  o.batch = 12;
  o.threads = 2;
  o.optimizer = optimizer;
  o.precision = precision;
  o.normalization = Normalization{{0}, {1}};
  return o;
}

const std::vector<std::pair<const char*, Optimizer>>& optimizers() {
  static const std::vector<std::pair<const char*, Optimizer>> all = [] {
    Muon muon;
    muon.adamw.lr = 5e-3f;
    RmsProp rmsprop{2e-3f, 0.9f};
    rmsprop.momentum = 0.5f;
    rmsprop.centered = true;
    return std::vector<std::pair<const char*, Optimizer>>{
        {"sgd", Sgd{0.05f}},
        {"momentum", Sgd{0.05f, 0.9f, 0.1f, 1e-4f}},
        {"adam", Adam{5e-3f, 0.9f, 0.999f, 1e-8f, 1e-3f}},
        {"amsgrad", Adam{5e-3f, 0.9f, 0.999f, 1e-8f, 0, true}},
        {"adamw", AdamW{5e-3f}},
        {"adagrad", Adagrad{0.03f, 0.1f, 1e-10f, 0.1f}},
        {"adadelta", Adadelta{}},
        {"rmsprop", rmsprop},
        {"adamax", Adamax{}},
        {"nadam", NAdam{}},
        {"radam", RAdam{}},
        {"lion", Lion{}},
        {"lars", Lars{0.5f, 0.9f, 0.02f, 1e-4f}},
        {"lamb", Lamb{}},
        {"muon", muon}};
  }();
  return all;
}

bool is_scale(const std::string& name) { return name == "loss_scale"; }
// Sums of gradients are of no meaning behind their step.
bool is_gathered(const std::string& name) { return name.find("accumulated") != std::string::npos; }
bool is_running(const std::string& name) { return name.find("running_") != std::string::npos; }

// The first tensor that is not the same, but for those that `ignored` names.
template <typename Ignored>
std::string difference(const TensorFile& a, const TensorFile& b, const Ignored& ignored) {
  int compared = 0;
  for (const auto& [name, tensor] : a.tensors) {
    if (ignored(name)) continue;
    const Tensor* other = b.find(name);
    if (other == nullptr) return name + " is missing";
    if (std::memcmp(tensor.raw(), other->raw(), static_cast<size_t>(tensor.bytes())) != 0) {
      return name + " differs";
    }
    ++compared;
  }
  return compared > 5 ? "" : "nothing was compared";
}

// The scale and its counts, put in from outside.
void set_scale(Trainer& trainer, float scale, float good_steps, float left_out) {
  TensorFile file = trainer.state();
  for (auto& [name, tensor] : file.tensors) {
    if (!is_scale(name)) continue;
    float* values = tensor.data<float>();
    values[0] = scale;
    values[1] = good_steps;
    values[2] = left_out;
  }
  trainer.load_state(file);
}

TEST(LossScale, IsThereInFp16Only) {
  for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16}) {
    EXPECT_FALSE(Trainer(net(), options_of(Sgd{}, precision)).loss_scale().has_value());
  }
  const Trainer trainer(net(), options_of(Sgd{}));
  const std::optional<LossScale> scale = trainer.loss_scale();
  ASSERT_TRUE(scale.has_value());
  EXPECT_EQ(scale->scale, 65536);
  EXPECT_EQ(scale->good_steps, 0);
  EXPECT_EQ(scale->left_out, 0);
  EXPECT_EQ(trainer.state(false).find("loss_scale"), nullptr) << "prediction does not need it";
}

// With everything that looks at gradients on the way: clipping both ways, penalties, averages, several
// batches a step.
TEST(LossScale, HasTheBitsOfFp32) {
  const Data data = bars(84);
  for (const auto& [name, optimizer] : optimizers()) {
    for (const bool is_full : {false, true}) {
      SCOPED_TRACE(fmt::format("{}, {}", name, is_full ? "everything" : "plain"));
      const auto train = [&](Precision precision) {
        TrainerOptions o = options_of(optimizer, precision);
        if (is_full) {
          o.clip_norm = 0.4;
          o.clip_value = 0.05;
          o.l1 = 1e-4;
          o.l2 = 1e-3;
          o.ema_decay = 0.9;
          o.lookahead = {2, 0.5};
          o.accumulate = 2;
        }
        Trainer trainer(net(), o);
        trainer.train_epoch(data.view());
        return trainer.state();
      };
      const TensorFile scaled = train(Precision::fp16);
      // Sums over the batches of a step hold the scale.
      EXPECT_EQ(difference(scaled, train(Precision::fp32),
                           [](const std::string& n) { return is_scale(n) || is_gathered(n); }),
                "");
      EXPECT_EQ(scaled.find("loss_scale")->data<float>()[2], 0);
    }
  }
}

// A run into whose middle a step with a scale beyond all bounds is put: that one changes nothing, and what
// follows goes on as if it had not been.
TEST(LossScale, AnOverflowSkipsExactlyOneUpdate) {
  const Data data = bars(12 * 7);
  for (const auto& [name, optimizer] : optimizers()) {
    for (const int64_t batches : {1, 2}) {
      SCOPED_TRACE(fmt::format("{}, {} batches a step", name, batches));
      TrainerOptions o = options_of(optimizer);
      o.accumulate = batches;
      o.ema_decay = 0.9;
      o.lookahead = {2, 0.5};
      o.clip_norm = 1;
      Trainer clean(net(4), o), hit(net(4), o);
      const auto step = [&](Trainer& trainer, uint64_t at) {
        for (int64_t i = 0; i < batches; ++i) {
          const Data batch = bars(12, 10 * at + static_cast<uint64_t>(i));
          trainer.step(batch.samples, batch.labels);
        }
      };
      for (uint64_t at = 0; at < 5; ++at) {
        step(clean, at);
        if (at == 2) {
          set_scale(hit, 0x1p127f, 7, 0);  // times the loss's weight of 4: an infinity
          const TensorFile before = hit.state();
          step(hit, 77);
          EXPECT_EQ(difference(before, hit.state(),
                               [](const std::string& n) {
                                 return is_scale(n) || is_gathered(n) || is_running(n);
                               }),
                    "");
          EXPECT_EQ(hit.loss_scale()->scale, 0x1p126);
          EXPECT_EQ(hit.loss_scale()->good_steps, 0);
          EXPECT_EQ(hit.loss_scale()->left_out, 1);
          set_scale(hit, 65536, 2, 1);
        }
        step(hit, at);
      }
      EXPECT_EQ(difference(clean.state(), hit.state(),
                           [](const std::string& n) {
                             return is_scale(n) || is_gathered(n) || is_running(n);
                           }),
                "");
      EXPECT_EQ(hit.loss_scale()->left_out, 1);
      EXPECT_EQ(clean.loss_scale()->left_out, 0);
    }
  }
}

// Clipping by value would bring an infinity back into its bounds.
TEST(LossScale, ClippingByValueHidesNoOverflow) {
  TrainerOptions o = options_of(Sgd{0.1f});
  o.clip_value = 0.01;
  Trainer trainer(net(4), o);
  set_scale(trainer, 0x1p127f, 0, 0);
  const Tensor before = trainer.parameter("linear1.weight");
  const Data batch = bars(12);
  trainer.step(batch.samples, batch.labels);
  EXPECT_EQ(trainer.loss_scale()->left_out, 1);
  const Tensor after = trainer.parameter("linear1.weight");
  EXPECT_EQ(std::memcmp(before.raw(), after.raw(), static_cast<size_t>(before.bytes())), 0);
}

TEST(LossScale, DoublesAfterTwoThousandGoodSteps) {
  Trainer trainer(net(), options_of(Sgd{0.01f}));
  set_scale(trainer, 1024, 1998, 3);
  const Data batch = bars(12);
  trainer.step(batch.samples, batch.labels);
  EXPECT_EQ(trainer.loss_scale()->scale, 1024);
  EXPECT_EQ(trainer.loss_scale()->good_steps, 1999);
  trainer.step(batch.samples, batch.labels);
  EXPECT_EQ(trainer.loss_scale()->scale, 2048);
  EXPECT_EQ(trainer.loss_scale()->good_steps, 0);
  EXPECT_EQ(trainer.loss_scale()->left_out, 3);
}

TEST(LossScale, FindsItsSizeAndContinuesBitForBit) {
  const Data data = bars(120);
  Trainer through(net(4), options_of(AdamW{5e-3f}));
  set_scale(through, 0x1p127f, 0, 0);
  through.train_epoch(data.view());
  EXPECT_GE(through.loss_scale()->left_out, 1);
  EXPECT_LT(through.loss_scale()->left_out, 8);
  const TensorFile half = through.state();
  through.train_epoch(data.view());
  Trainer continued(net(4), options_of(AdamW{5e-3f}));
  continued.load_state(half);
  continued.train_epoch(data.view());
  EXPECT_EQ(
      difference(through.state(), continued.state(), [](const std::string&) { return false; }), "");
}

TEST(LossScale, ABrokenCheckpointIsRefused) {
  Trainer trainer(net(), options_of(Sgd{}));
  for (const auto& [scale, good, left_out] : {std::array<float, 3>{0, 0, 0},
                                              {-2, 0, 0},
                                              {NAN, 0, 0},
                                              {HUGE_VALF, 0, 0},
                                              {2, -1, 0},
                                              {2, 0, 0.5f}}) {
    expect_error(Code::format,
                 "tensor \"loss_scale\" should be a scale above 0 and two counts, got ",
                 [&, s = scale, g = good, l = left_out] { set_scale(trainer, s, g, l); });
  }
  const TensorFile of_fp32 = Trainer(net(), options_of(Sgd{}, Precision::fp32)).state();
  expect_error(Code::format, "tensor \"loss_scale\" [3] of model \"net\" is missing",
               [&] { trainer.load_state(of_fp32); });
  EXPECT_EQ(trainer.loss_scale()->scale, 65536);
}

// y = w2 w1 x with w1 tiny and w2 huge: the loss is about 1, the gradient of w1 beyond float.
TEST(LossScale, GradientsThatNoScaleHelpsEndTheRun) {
  ModelBuilder m("chain");
  const Var x = m.linear(m.input({1}), {.out = 1, .bias = false});
  m.mean_squared_error(m.linear(x, {.out = 1, .bias = false}));
  TrainerOptions o = options_of(Sgd{1e-3f});
  o.batch = 1;
  Trainer trainer(m.build(), o);
  Tensor w1({1, 1}), w2({1, 1}), samples({60, 1}), targets({60, 1});
  w1.data<float>()[0] = 2e-38f;
  w2.data<float>()[0] = 1e38f;
  for (int64_t i = 0; i < 60; ++i) {
    samples.data<float>()[i] = 1e8f;
    targets.data<float>()[i] = 0;
  }
  trainer.set_parameter("linear1.weight", w1);
  trainer.set_parameter("linear2.weight", w2);
  expect_error(
      Code::diverged,
      "the gradients are not finite even with a loss scale of 5.96046e-08; 60 of 60 steps were "
      "left out",
      [&] { trainer.train_epoch(DataView(samples, targets)); });
}

}  // namespace
}  // namespace tanul::test
