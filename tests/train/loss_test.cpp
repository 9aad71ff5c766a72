// SPDX-License-Identifier: Apache-2.0
// Losses in training: what targets they take, what is reported, what predictions are made of; and the
// lecture-room example.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "support/expect_error.h"
#include "tanul/tanul.h"

namespace tanul {
namespace {

using test::expect_error;

TrainerOptions options(Optimizer optimizer = Adam{.lr = 0.02f}, int64_t batch = 16) {
  TrainerOptions o;
  o.device = "cpu";
  o.batch = batch;
  o.optimizer = optimizer;
  o.normalization = Normalization{{0}, {1}};
  o.threads = 2;
  return o;
}

// Samples [N, 4], and for each three numbers that depend on them linearly.
struct Linear {
  Tensor x, values;
  explicit Linear(int64_t N, uint64_t seed = 1) : x({N, 4}), values({N, 3}) {
    initialize(x, Init::normal(0, 1), seed, "x");
    const float mix[3][4] = {{1, -1, 0.5f, 0}, {0, 1, 1, -0.5f}, {-1, 0, 0.5f, 1}};
    for (int64_t n = 0; n < N; ++n) {
      for (int64_t k = 0; k < 3; ++k) {
        float sum = 0;
        for (int64_t c = 0; c < 4; ++c) sum += mix[k][c] * x.data<float>()[n * 4 + c];
        values.data<float>()[n * 3 + k] = sum;
      }
    }
  }
  int64_t size() const { return x.shape()[0]; }
  float value(int64_t i) const { return values.data<float>()[i]; }
  // f(value) of each.
  Tensor map(const std::function<double(double)>& f) const {
    Tensor to(values.shape());
    for (int64_t i = 0; i < to.elems(); ++i) {
      to.data<float>()[i] = static_cast<float>(f(static_cast<double>(value(i))));
    }
    return to;
  }
  // The largest of each three.
  Tensor labels() const {
    Tensor to({size()}, DType::i32);
    for (int64_t n = 0; n < size(); ++n) {
      const float* row = values.data<float>() + n * 3;
      to.data<int32_t>()[n] = static_cast<int32_t>(std::max_element(row, row + 3) - row);
    }
    return to;
  }
};

Model linear_model(const std::function<void(ModelBuilder&, Var)>& add_loss) {
  ModelBuilder m("linear");
  add_loss(m, m.linear(m.input({4}), {.out = 3, .name = "fc"}));
  return m.build();
}

// --- learning ------------------------------------------------------------------------------------

TEST(Losses, SeveralLabelsASampleAreLearnedWithBinaryCrossEntropy) {
  const Linear train(256), test(128, 2);
  const auto is_positive = [](double v) { return v > 0 ? 1.0 : 0.0; };
  Trainer trainer(linear_model([](ModelBuilder& m, Var h) { m.binary_cross_entropy(h); }),
                  options());
  const DataView data(train.x, train.map(is_positive));
  const double before = trainer.evaluate(data).loss;
  for (int epoch = 0; epoch < 20; ++epoch) trainer.train_epoch(data);
  EXPECT_LT(trainer.evaluate(data).loss, before / 4);
  const Tensor wanted = test.map(is_positive);
  const Evaluation seen = trainer.evaluate(DataView(test.x, wanted));
  EXPECT_GT(seen.accuracy, 0.95);
  // Predictions are probabilities, and the accuracy is theirs at 1/2.
  const Tensor p = trainer.predict(test.x);
  int64_t correct = 0;
  for (int64_t i = 0; i < p.elems(); ++i) {
    const float probability = p.data<float>()[i];
    ASSERT_TRUE(probability > 0 && probability < 1) << probability;
    correct += (probability > 0.5f) == (wanted.data<float>()[i] > 0.5f) ? 1 : 0;
  }
  EXPECT_DOUBLE_EQ(seen.accuracy, static_cast<double>(correct) / static_cast<double>(p.elems()));
}

// One class for each pixel, 255 where nobody knows: [N, C, H, W] against [N, H, W].
TEST(Losses, SegmentationIsLearned) {
  constexpr int64_t N = 48, H = 6, W = 5, kPixels = H * W;
  Tensor images({N, 1, H, W}), classes({N, H, W}, DType::i32);
  initialize(images, Init::normal(0, 1), 3, "images");
  int64_t known = 0;
  for (int64_t i = 0; i < N * kPixels; ++i) {
    const float v = images.data<float>()[i];
    const bool is_unknown = i % 7 == 0;
    classes.data<int32_t>()[i] = is_unknown ? 255 : v < -0.5f ? 0 : v < 0.5f ? 1 : 2;
    known += is_unknown ? 0 : 1;
  }
  ModelBuilder m("segmentation");
  const Var h = m.relu(m.conv2d(m.input({1, H, W}), {.out = 8, .kernel = 1}));
  m.softmax_cross_entropy(m.conv2d(h, {.out = 3, .kernel = 1}), {.ignore_index = 255});
  Trainer trainer(m.build(), options());
  const DataView data(images, classes);
  const double before = trainer.evaluate(data).loss;
  for (int epoch = 0; epoch < 40; ++epoch) trainer.train_epoch(data);
  const Evaluation after = trainer.evaluate(data);
  EXPECT_LT(after.loss, before / 3);
  EXPECT_GT(after.accuracy, 0.93);
  EXPECT_EQ(after.confusion.total(), known);
  const Tensor p = trainer.predict(images);
  ASSERT_EQ(p.shape(), (Shape{N, 3, H, W}));
  for (int64_t i = 0; i < N * kPixels; ++i) {
    const float* first = p.data<float>() + i / kPixels * 3 * kPixels + i % kPixels;
    ASSERT_NEAR(first[0] + first[kPixels] + first[2 * kPixels], 1, 1e-6);
  }
}

// Each loss on a problem that it suits: it falls, and stays finite.
TEST(Losses, EveryOneLearns) {
  const Linear data(192);
  const auto any = [](double v) { return v; };
  const auto zero_one = [](double v) { return v > 0 ? 1.0 : 0.0; };
  const auto counts = [](double v) { return std::floor(std::exp(v / 2)); };
  struct Problem {
    const char* name;
    std::function<void(ModelBuilder&, Var)> add;
    Tensor targets;
  };
  const std::vector<Problem> problems = {
      {"softmax_cross_entropy", [](auto& m, Var h) { m.softmax_cross_entropy(h); }, data.labels()},
      {"mean_squared_error", [](auto& m, Var h) { m.mean_squared_error(h); }, data.map(any)},
      {"mean_absolute_error", [](auto& m, Var h) { m.mean_absolute_error(h); }, data.map(any)},
      {"smooth_l1", [](auto& m, Var h) { m.smooth_l1(h, {.beta = 0.5}); }, data.map(any)},
      {"huber", [](auto& m, Var h) { m.huber(h, {.delta = 0.5}); }, data.map(any)},
      {"binary_cross_entropy",
       [](auto& m, Var h) {
         m.binary_cross_entropy(h, {.class_weights = {1, 2, 0.5f}, .positive_weights = {1, 3, 2}});
       },
       data.map(zero_one)},
      {"of probabilities",
       [](auto& m, Var h) { m.binary_cross_entropy(m.sigmoid(h), {.from_probabilities = true}); },
       data.map(zero_one)},
      {"of classes", [](auto& m, Var h) { m.binary_cross_entropy(h); }, data.labels()},
      {"focal", [](auto& m, Var h) { m.focal(h, {.alpha = {}, .gamma = 1}); }, data.map(zero_one)},
      {"hinge", [](auto& m, Var h) { m.hinge(h, {.squared = true}); }, data.labels()},
      {"multi_margin",
       [](auto& m, Var h) {
         m.multi_margin(h, {.p = 2, .class_weights = {1, 1, 2}});
       },
       data.labels()},
      {"poisson_nll", [](auto& m, Var h) { m.poisson_nll(h, {.full = true}); }, data.map(counts)},
  };
  for (const Problem& problem : problems) {
    SCOPED_TRACE(problem.name);
    Trainer trainer(linear_model(problem.add), options());
    const DataView view(data.x, problem.targets);
    const double before = trainer.evaluate(view).loss;
    for (int epoch = 0; epoch < 25; ++epoch) trainer.train_epoch(view);
    const double after = trainer.evaluate(view).loss;
    EXPECT_TRUE(std::isfinite(after));
    EXPECT_LT(after, 0.7 * before);
  }
}

// Two networks learn to turn the vectors of a pair towards each other or apart.
TEST(Losses, CosineEmbeddingLearnsPairs) {
  constexpr int64_t N = 128;
  Tensor a({N, 4}), b({N, 4}), target({N});
  initialize(a, Init::normal(0, 1), 1, "a");
  initialize(b, Init::normal(0, 1), 1, "b");
  for (int64_t n = 0; n < N; ++n) {
    const bool is_pair = a.data<float>()[n * 4] * b.data<float>()[n * 4 + 1] > 0;
    target.data<float>()[n] = is_pair ? 1.0f : -1.0f;
  }
  ModelBuilder m("pairs");
  const Var left = m.linear(m.input({4}, "a"), {.out = 3, .bias = false});
  const Var right = m.linear(m.input({4}, "b"), {.out = 3, .bias = false});
  m.cosine_embedding(left, right);
  TrainerOptions o = options();
  o.more_normalizations["b"] = Normalization{{0}, {1}};
  Trainer trainer(m.build(), o);
  const DataView data({a, b}, {target});
  const double before = trainer.evaluate(data).loss;
  for (int epoch = 0; epoch < 60; ++epoch) trainer.train_epoch(data);
  EXPECT_LT(trainer.evaluate(data).loss, before / 2);
}

// --- reductions and targets ------------------------------------------------------------------------

// Weights after one step from the same start.
Tensor stepped(const std::function<void(ModelBuilder&, Var)>& add_loss, float lr, const Tensor& x,
               const Tensor& targets, double* loss) {
  Trainer trainer(linear_model(add_loss), options(Sgd{.lr = lr}, x.shape()[0]));
  *loss = trainer.step(x, targets);
  return trainer.parameter("fc.weight").clone();
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return std::equal(a.data<float>(), a.data<float>() + a.elems(), b.data<float>());
}

// sum is mean times the divisor: the same step at a rate that is smaller by as much. What is reported is
// the mean in both.
TEST(Losses, SumIsMeanTimesItsDivisor) {
  const Linear data(32);
  const Tensor labels = data.labels();
  double mean_loss = 0, sum_loss = 0, single_loss = 0, batch_loss = 0;
  const auto with = [](Reduction reduction) {
    return [reduction](ModelBuilder& m, Var h) {
      m.softmax_cross_entropy(h, {.reduction = reduction});
    };
  };
  const Tensor mean = stepped(with(Reduction::mean), 0.5f, data.x, labels, &mean_loss);
  const Tensor sum = stepped(with(Reduction::sum), 0.5f / 32, data.x, labels, &sum_loss);
  EXPECT_TRUE(same_bits(mean, sum));
  EXPECT_EQ(mean_loss, sum_loss);
  // Single losses are trained by their sum.
  const Tensor none = stepped(with(Reduction::none), 0.5f / 32, data.x, labels, &single_loss);
  EXPECT_TRUE(same_bits(mean, none));
  EXPECT_EQ(mean_loss, single_loss);
  // Values of [N, 3]: batch_mean is three times the mean.
  const auto square = [](Reduction reduction) {
    return
        [reduction](ModelBuilder& m, Var h) { m.mean_squared_error(h, {.reduction = reduction}); };
  };
  stepped(square(Reduction::mean), 0.1f, data.x, data.values, &mean_loss);
  stepped(square(Reduction::batch_mean), 0.1f, data.x, data.values, &batch_loss);
  EXPECT_NEAR(batch_loss, 3 * mean_loss, 1e-6 * batch_loss);
}

// Smoothing by 1/4 over four classes and the same probabilities written out: the same step.
TEST(Losses, ProbabilitiesAsTargetsEqualLabelSmoothing) {
  constexpr int64_t N = 32, C = 4;
  Tensor x({N, C}), labels({N}, DType::i32), smoothed({N, C});
  initialize(x, Init::normal(0, 1), 5, "x");
  for (int64_t n = 0; n < N; ++n) {
    labels.data<int32_t>()[n] = static_cast<int32_t>(n * n % C);
    for (int64_t c = 0; c < C; ++c) {
      smoothed.data<float>()[n * C + c] = (c == n * n % C ? 0.75f : 0.0f) + 0.25f / C;
    }
  }
  const auto step = [&](double smoothing, const Tensor& targets, double* loss) {
    ModelBuilder m("soft");
    m.softmax_cross_entropy(m.linear(m.input({C}), {.out = C, .name = "fc"}),
                            {.label_smoothing = smoothing});
    Trainer trainer(m.build(), options(Sgd{.lr = 0.1f}, N));
    *loss = trainer.step(x, targets);
    return trainer.parameter("fc.weight").clone();
  };
  double of_labels = 0, of_probabilities = 0;
  const Tensor a = step(0.25, labels, &of_labels);
  const Tensor b = step(0, smoothed, &of_probabilities);
  EXPECT_TRUE(same_bits(a, b));
  EXPECT_NEAR(of_labels, of_probabilities, 4 * 0x1p-24 * of_labels);
}

TEST(Losses, SingleLossesAreThoseOfTheSamples) {
  const Linear data(37);
  const Tensor labels = data.labels();
  Trainer trainer(linear_model([](ModelBuilder& m, Var h) {
                    m.softmax_cross_entropy(h, {.reduction = Reduction::none});
                    m.mean_squared_error(h);
                  }),
                  options());
  const DataView view({data.x}, {labels, data.values});
  const Evaluation seen = trainer.evaluate(view);
  ASSERT_EQ(seen.sample_losses.size(), 2u);
  ASSERT_EQ(seen.sample_losses[0].shape(), Shape{37});
  EXPECT_TRUE(seen.sample_losses[1].empty());
  const Tensor p = trainer.predict(data.x);
  double sum = 0;
  for (int64_t n = 0; n < 37; ++n) {
    const float loss = seen.sample_losses[0].data<float>()[n];
    const float share = p.data<float>()[n * 3 + labels.data<int32_t>()[n]];
    EXPECT_NEAR(loss, -std::log(static_cast<double>(share)),
                1e-6 * (1 + static_cast<double>(loss)));
    sum += static_cast<double>(loss);
  }
  EXPECT_NEAR(seen.losses[0], sum / 37, 1e-6 * sum / 37);
}

TEST(Losses, TargetsThatDoNotFitAreRefused) {
  const Linear data(8);
  const auto step = [&](const std::function<void(ModelBuilder&, Var)>& add, const Tensor& targets) {
    Trainer(linear_model(add), options()).step(data.x, targets);
  };
  const auto soft = [](ModelBuilder& m, Var h) { m.softmax_cross_entropy(h); };
  const auto likelihood = [](ModelBuilder& m, Var h) { m.negative_log_likelihood(h); };
  const auto poisson = [](ModelBuilder& m, Var h) { m.poisson_nll(h); };
  const auto cosine = [](ModelBuilder& m, Var h) { m.cosine_embedding(h, h); };
  expect_error(Code::invalid_argument,
               "step: the targets are [2] of f32, but the output of model \"linear\" is [3] of f32",
               [&] {
                 step(soft, Tensor({8, 2}));
               });
  expect_error(Code::invalid_argument, "step: class labels are one number a sample, got [3]", [&] {
    step(soft, Tensor({8, 3}, DType::i32));
  });
  expect_error(Code::invalid_argument, "step: this loss wants i32 class labels, got f32",
               [&] { step(likelihood, data.values); });
  expect_error(Code::invalid_argument,
               "step: the targets are [] of i32, but the output of model \"linear\" is [3] of f32",
               [&] { step(poisson, data.labels()); });
  expect_error(Code::invalid_argument,
               "step: the targets are [3] of f32, but this loss wants [] of f32",
               [&] { step(cosine, data.values); });
  Tensor beyond({8}, DType::i32);
  beyond.data<int32_t>()[5] = 3;
  for (const auto& add : {+soft, +likelihood}) {
    expect_error(Code::invalid_argument, "sample 5 has the label 3, but model \"linear\" has 3",
                 [&] { step(add, beyond); });
  }
  step([](ModelBuilder& m, Var h) { m.negative_log_likelihood(h, {.ignore_index = 3}); }, beyond);
  expect_error(Code::invalid_argument,
               "binary_cross_entropy \"loss\": positive weights are finite and 0 or more, got -1",
               [&] {
                 step(
                     [](ModelBuilder& m, Var h) {
                       m.binary_cross_entropy(h, {.positive_weights = {1, -1, 1}});
                     },
                     data.values);
               });
}

// --- the lecture room ------------------------------------------------------------------------------

// Three samples of the classes 3, 2, 1 (counted from 1), and what two classifiers say of them.
struct Classroom {
  Tensor labels = Tensor::from<int32_t>({3}, {2, 1, 0});
  std::vector<float> unsure{0.3f, 0.3f, 0.4f, 0.3f, 0.4f, 0.3f, 0.1f, 0.2f, 0.7f};
  std::vector<float> sure{0.1f, 0.2f, 0.7f, 0.1f, 0.7f, 0.2f, 0.3f, 0.4f, 0.3f};

  // By a network that is nothing but its loss.
  Evaluation judged(const std::function<void(ModelBuilder&, Var)>& add_loss,
                    std::vector<float> outputs, bool as_logarithms) const {
    for (float& p : outputs) p = as_logarithms ? std::log(p) : p;
    ModelBuilder m("judge");
    add_loss(m, m.input({3}));
    Trainer trainer(m.build(), options(Sgd{}, 3));
    return trainer.evaluate(DataView(Tensor::from<float>({3, 3}, outputs), labels));
  }
};

TEST(LectureRoom, CrossEntropySeesWhatAccuracyDoesNot) {
  const Classroom room;
  const auto loss = [](ModelBuilder& m, Var x) { m.softmax_cross_entropy(x); };
  const Evaluation unsure = room.judged(loss, room.unsure, true);
  const Evaluation sure = room.judged(loss, room.sure, true);
  EXPECT_NEAR(unsure.accuracy, 2.0 / 3, 1e-12);
  EXPECT_NEAR(sure.accuracy, 2.0 / 3, 1e-12);
  EXPECT_NEAR(unsure.loss, -(std::log(0.4) + std::log(0.4) + std::log(0.1)) / 3, 1e-6);
  EXPECT_NEAR(sure.loss, -(std::log(0.7) + std::log(0.7) + std::log(0.3)) / 3, 1e-6);
  EXPECT_NEAR(unsure.loss, 1.38, 0.005);
  EXPECT_NEAR(sure.loss, 0.64, 0.005);
}

TEST(LectureRoom, SquaredErrorSummedOverClasses) {
  const Classroom room;
  const auto loss = [](ModelBuilder& m, Var x) {
    m.mean_squared_error(x, {.reduction = Reduction::batch_mean});
  };
  const Evaluation unsure = room.judged(loss, room.unsure, false);
  const Evaluation sure = room.judged(loss, room.sure, false);
  EXPECT_NEAR(unsure.accuracy, 2.0 / 3, 1e-12);
  EXPECT_NEAR(sure.accuracy, 2.0 / 3, 1e-12);
  EXPECT_NEAR(unsure.loss, (0.54 + 0.54 + 1.34) / 3, 1e-6);
  EXPECT_NEAR(sure.loss, (0.14 + 0.14 + 0.74) / 3, 1e-6);
  EXPECT_NEAR(unsure.loss, 0.81, 0.005);
  EXPECT_NEAR(sure.loss, 0.34, 0.005);
}

}  // namespace
}  // namespace tanul
