// SPDX-License-Identifier: Apache-2.0
// Networks with several inputs, outputs and losses.
#include <gtest/gtest.h>

#include <cmath>

#include "support/expect_error.h"
#include "support/temp_folder.h"
#include "tanul/tanul.h"

namespace tanul {
namespace {

using test::expect_error;

// Two inputs, a shared trunk, two heads with a loss each and a third output without one.
Model two_by_two(double weight_of_value = 0.5) {
  ModelBuilder m("two_by_two");
  const Var image = m.input({2, 6, 6}, "image");
  const Var meta = m.input({3}, "meta");
  const Var seen = m.flatten(m.relu(m.conv2d(image, {.out = 4, .kernel = 3})));
  const Var trunk = m.tanh(m.linear(m.concat({seen, meta}), {.out = 16, .name = "trunk"}));
  const Var kind = m.linear(trunk, {.out = 3, .name = "kind"});
  const Var value = m.linear(trunk, {.out = 2, .name = "value"});
  m.output(kind, "kind");
  m.output(trunk, "features");
  m.output(value, "value");
  m.softmax_cross_entropy(kind, {.name = "kind_loss"});
  m.mean_squared_error(value, {.weight = weight_of_value, .name = "value_loss"});
  return m.build();
}

TrainerOptions options(int threads = 1) {
  return {.device = "cpu",
          .batch = 8,
          .optimizer = Sgd{.lr = 0.05f, .momentum = 0.9f},
          .threads = threads};
}

struct Samples {
  Tensor image{{24, 2, 6, 6}}, meta{{24, 3}}, kind{{24}, DType::i32}, value{{24, 2}};
  Samples() {
    initialize(image, Init::normal(0, 1), 3, "image");
    initialize(meta, Init::normal(5, 2), 3, "meta");
    for (int64_t n = 0; n < 24; ++n) {
      const float* m = meta.data<float>() + n * 3;
      kind.data<int32_t>()[n] = m[0] > m[1] ? (m[0] > m[2] ? 0 : 2) : (m[1] > m[2] ? 1 : 2);
      value.data<float>()[n * 2] = (m[0] - 5) / 2;
      value.data<float>()[n * 2 + 1] = image.data<float>()[n * 72];
    }
  }
  DataView view() const { return DataView({image, meta}, {kind, value}); }
};

TEST(Ports, TheModelSaysWhatGoesInAndComesOut) {
  const Model model = two_by_two();
  ASSERT_EQ(model.inputs().size(), 2u);
  EXPECT_EQ(model.inputs()[1].name, "meta");
  EXPECT_EQ(model.inputs()[1].shape, Shape{3});
  ASSERT_EQ(model.outputs().size(), 3u);
  EXPECT_EQ(model.outputs()[1].name, "features");
  ASSERT_EQ(model.losses().size(), 2u);
  EXPECT_EQ(model.losses()[1].name, "value_loss");
  EXPECT_EQ(model.losses()[1].output, "value");
  EXPECT_EQ(model.losses()[1].weight, 0.5);
}

TEST(Ports, LossesAddUpWithTheirWeights) {
  const Samples s;
  const auto loss_of = [&](double weight) {
    Trainer trainer(two_by_two(weight), options());
    return trainer.step({s.image, s.meta}, {s.kind, s.value});
  };
  const double without = loss_of(0);
  const double value = loss_of(1) - without;
  EXPECT_GT(without, 0);
  EXPECT_GT(value, 0);
  EXPECT_NEAR(loss_of(0.25), without + 0.25 * value, 1e-6 * (without + value));
}

// A loss of weight w moves the weights as w times its gradient: two losses in one step are the sum of
// the steps of each alone.
TEST(Ports, GradientsAddUpWithTheirWeights) {
  const Samples s;
  const auto moved = [&](double weight_of_kind, double weight_of_value) {
    ModelBuilder m("sum");
    const Var x = m.input({3});
    const Var h = m.linear(x, {.out = 3, .name = "h"});
    m.softmax_cross_entropy(h, {.weight = weight_of_kind});
    m.mean_squared_error(h, {.weight = weight_of_value});
    TrainerOptions o = options();
    o.optimizer = Sgd{.lr = 1};
    Trainer trainer(m.build(), o);
    const Tensor before = trainer.parameter("h.weight").clone();
    Tensor values({24, 3});
    initialize(values, Init::normal(0, 1), 9, "values");
    trainer.step({s.meta}, {s.kind, values});
    std::vector<double> step;
    for (int64_t i = 0; i < before.elems(); ++i) {
      step.push_back(static_cast<double>(trainer.parameter("h.weight").data<float>()[i]) -
                     static_cast<double>(before.data<float>()[i]));
    }
    return step;
  };
  const std::vector<double> kind = moved(1, 0), value = moved(0, 1), both = moved(0.5, 2);
  for (size_t i = 0; i < both.size(); ++i) {
    EXPECT_NEAR(both[i], 0.5 * kind[i] + 2 * value[i], 2e-5) << i;
    EXPECT_NE(kind[i], 0);
  }
}

TEST(Ports, TrainsEvaluatesAndPredicts) {
  const Samples s;
  Trainer trainer(two_by_two(), options());
  const Evaluation before = trainer.evaluate(s.view());
  EpochResult last;
  for (int epoch = 0; epoch < 60; ++epoch) last = trainer.train_epoch(s.view());
  const Evaluation after = trainer.evaluate(s.view());
  ASSERT_EQ(after.losses.size(), 2u);
  EXPECT_LT(after.losses[0], 0.3 * before.losses[0]);
  EXPECT_LT(after.losses[1], 0.3 * before.losses[1]);
  EXPECT_NEAR(after.loss, after.losses[0] + 0.5 * after.losses[1], 1e-9);
  EXPECT_GT(after.accuracy, 0.9);
  EXPECT_EQ(after.confusion.total(), 24);

  const std::vector<Tensor> out = trainer.predict(std::vector<Tensor>{s.image, s.meta});
  ASSERT_EQ(out.size(), 3u);
  EXPECT_EQ(out[0].shape(), (Shape{24, 3}));
  EXPECT_EQ(out[1].shape(), (Shape{24, 16}));
  int right = 0;
  double squares = 0;
  for (int64_t n = 0; n < 24; ++n) {
    const float* p = out[0].data<float>() + n * 3;
    EXPECT_NEAR(p[0] + p[1] + p[2], 1, 1e-5);  // probabilities
    const int64_t best = std::max_element(p, p + 3) - p;
    right += best == s.kind.data<int32_t>()[n] ? 1 : 0;
    for (int64_t i = 0; i < 2; ++i) {
      const double d = static_cast<double>(out[2].data<float>()[n * 2 + i]) -
                       static_cast<double>(s.value.data<float>()[n * 2 + i]);
      squares += d * d;
    }
  }
  EXPECT_NEAR(after.accuracy, right / 24.0, 1e-9);
  EXPECT_NEAR(after.losses[1], squares / 48, 1e-5 * after.losses[1] + 1e-7);
}

TEST(Ports, TheSameBitsForAnyNumberOfThreadsAndAcrossAFile) {
  const Samples s;
  const test::TempFolder folder;
  const auto run = [&](int threads, int split) {
    Trainer trainer(two_by_two(), options(threads));
    for (int epoch = 0; epoch < split; ++epoch) trainer.train_epoch(s.view());
    trainer.save(folder / "half");
    Trainer next(two_by_two(), options(threads));
    next.load(folder / "half");
    for (int epoch = split; epoch < 4; ++epoch) next.train_epoch(s.view());
    next.save(folder / "whole");
    return folder.read("whole");
  };
  const std::string one = run(1, 4);
  EXPECT_EQ(one, run(2, 2));
  EXPECT_EQ(one, run(3, 1));
}

TEST(Ports, EachInputIsNormalisedByItself) {
  const Samples s;
  Trainer trainer(two_by_two(), options());
  trainer.train_epoch(s.view());
  const TensorFile state = trainer.state(false);
  const Tensor* mean = state.find("normalization.meta.mean");
  ASSERT_NE(mean, nullptr);
  EXPECT_NEAR(mean->data<float>()[0], 5, 1);
  ASSERT_NE(state.find("normalization.mean"), nullptr);
  EXPECT_NEAR(state.find("normalization.mean")->data<float>()[0], 0, 0.2);

  TrainerOptions given = options();
  given.normalization = Normalization{{0, 0}, {1, 1}};
  given.more_normalizations["meta"] = Normalization{{5}, {2}};
  Trainer second(two_by_two(), given);
  second.train_epoch(s.view());
  EXPECT_EQ(second.state(false).find("normalization.meta.mean")->data<float>()[0], 5);
  given.more_normalizations["nobody"] = Normalization{{5}, {2}};
  expect_error(Code::invalid_argument, "there is no further input \"nobody\"",
               [&] { Trainer third(two_by_two(), given); });
}

TEST(Ports, RefusalsNameTheInputOrLoss) {
  const Samples s;
  Trainer trainer(two_by_two(), options());
  expect_error(Code::invalid_argument, "has 2 inputs, got 1 tensors of samples",
               [&] { trainer.step(s.image, s.kind); });
  expect_error(Code::invalid_argument, "has 2 losses, got 1 tensors of targets", [&] {
    trainer.step({s.image, s.meta}, {s.kind});
  });
  expect_error(Code::invalid_argument, "input \"meta\": the samples are [2, 6, 6]", [&] {
    trainer.step({s.image, s.image}, {s.kind, s.value});
  });
  expect_error(Code::invalid_argument, "loss \"value_loss\": the targets are [3] of f32", [&] {
    trainer.step({s.image, s.meta}, {s.kind, s.meta});
  });
  expect_error(Code::invalid_argument, "input \"meta\" must be 24 (the batch)", [&] {
    trainer.step({s.image, Tensor({5, 3})}, {s.kind, s.value});
  });
  ModelBuilder m;
  m.input({3}, "a");
  expect_error(Code::invalid_argument, "input \"a\": there is a layer of that name already",
               [&] { m.input({3}, "a"); });
}

// A branch that leads to no loss costs nothing in training.
TEST(Ports, WhatNoLossNeedsIsNotComputed) {
  ModelBuilder m("branch");
  const Var x = m.input({4});
  const Var h = m.linear(x, {.out = 4, .name = "used"});
  const Var aside = m.sigmoid(m.linear(h, {.out = 9, .name = "aside"}));
  m.output(h);
  m.output(aside, "aside");
  m.mean_squared_error(h);
  const Model model = m.build();
  const auto names = [&](bool is_training) {
    std::string text;
    for (const StepInfo& step : make_plan(model, options(), is_training).steps) {
      text += step.layer + " ";
    }
    return text;
  };
  EXPECT_EQ(names(true).find("aside"), std::string::npos) << names(true);
  EXPECT_NE(names(false).find("aside"), std::string::npos) << names(false);
}

}  // namespace
}  // namespace tanul
