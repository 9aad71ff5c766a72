// SPDX-License-Identifier: Apache-2.0
#include "tanul/fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "support/expect_error.h"

namespace tanul {
namespace {

// Class = sign of the sum; every tenth label is wrong, so that training on goes too far.
DataView make_data(int64_t count, int64_t offset) {
  Tensor samples({count, 6});
  Tensor labels({count}, DType::i32);
  for (int64_t i = 0; i < count; ++i) {
    float sum = 0;
    for (int64_t k = 0; k < 6; ++k) {
      const auto value = static_cast<float>(((i + offset) * 37 + k * 101 + k * k * 13) % 19 - 9);
      samples.data<float>()[i * 6 + k] = value;
      sum += value;
    }
    labels.data<int32_t>()[i] = (sum > 0) != (i % 10 == 0) ? 1 : 0;
  }
  return DataView(samples, labels);
}

class Fit : public ::testing::Test {
 protected:
  static Trainer make_trainer(float lr) {
    ModelBuilder m("two");
    Var x = m.input({6});
    x = m.linear(m.relu(m.linear(x, {.out = 32})), {.out = 2});
    m.softmax_cross_entropy(x);
    TrainerOptions options;
    options.device = "cpu";
    options.batch = 10;
    options.threads = 1;
    options.optimizer = Adam{.lr = lr};
    return Trainer(m.build(), options);
  }
  DataView train_ = make_data(60, 0);
  DataView validation_ = make_data(40, 1000);
};

double least_loss(const FitResult& result) {
  double least = result.epochs[0].validation->loss;
  for (const FitEpoch& epoch : result.epochs) least = std::min(least, epoch.validation->loss);
  return least;
}

TEST_F(Fit, KeepBestEndsWithTheBestEpochsWeights) {
  Trainer trainer = make_trainer(0.1f);
  const FitResult result = fit(trainer, train_, validation_, {.epochs = 12});
  ASSERT_EQ(result.epochs.size(), 12u);
  ASSERT_LT(result.best_epoch, 12) << "the data should make the last epoch a worse one";
  const auto& best = result.epochs[static_cast<size_t>(result.best_epoch - 1)];
  EXPECT_EQ(best.validation->loss, least_loss(result));
  EXPECT_TRUE(best.is_best);
  EXPECT_EQ(trainer.evaluate(validation_).loss, best.validation->loss);

  Trainer latest = make_trainer(0.1f);
  fit(latest, train_, validation_, {.epochs = 12, .keep_best = false});
  EXPECT_EQ(latest.evaluate(validation_).loss, result.epochs.back().validation->loss);
}

TEST_F(Fit, PatienceStopsBehindTheBestEpoch) {
  Trainer trainer = make_trainer(0.1f);
  std::vector<int64_t> seen;
  FitCallbacks callbacks;
  callbacks.on_epoch = [&](const FitEpoch& epoch) { seen.push_back(epoch.epoch); };
  const FitResult result =
      fit(trainer, train_, validation_, {.epochs = 200, .patience = 3}, callbacks);
  EXPECT_TRUE(result.stopped_early);
  EXPECT_EQ(static_cast<int64_t>(result.epochs.size()), result.best_epoch + 3);
  EXPECT_EQ(seen.size(), result.epochs.size());
}

TEST_F(Fit, WithoutValidationTheLastEpochCounts) {
  Trainer trainer = make_trainer(0.01f);
  const FitResult result = fit(trainer, train_, {}, {.epochs = 3, .patience = 1});
  EXPECT_EQ(result.epochs.size(), 3u);
  EXPECT_EQ(result.best_epoch, 3);
  EXPECT_FALSE(result.epochs[2].validation);
  EXPECT_NE(result.best.find("linear1.weight"), nullptr);
}

TEST_F(Fit, ExceptionsOfCallbacksPassThrough) {
  Trainer trainer = make_trainer(0.01f);
  FitCallbacks callbacks;
  callbacks.on_step = [](const Progress& p) {
    if (p.step == 2) throw std::runtime_error("enough");
  };
  EXPECT_THROW(fit(trainer, train_, {}, {.epochs = 3}, callbacks), std::runtime_error);
  EXPECT_EQ(trainer.steps_done(), 2);
}

TEST_F(Fit, RefusesNothingToDo) {
  Trainer trainer = make_trainer(0.01f);
  test::expect_error(Code::invalid_argument, "epochs must be at least 1, got 0",
                     [&] { fit(trainer, train_, {}, {.epochs = 0}); });
  test::expect_error(Code::invalid_argument, "nothing to train on",
                     [&] { fit(trainer, {}, {}, {}); });
}

}  // namespace
}  // namespace tanul
