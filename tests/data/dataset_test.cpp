// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "data/loader.h"
#include "support/expect_error.h"
#include "tanul/data.h"

namespace tanul {
namespace {

using test::expect_error;

// Samples of two bytes, the first one the number of the sample; labels as given.
DataView numbered(const std::vector<int32_t>& labels) {
  const auto count = static_cast<int64_t>(labels.size());
  Tensor samples({count, 2}, DType::u8);
  for (int64_t i = 0; i < count; ++i) samples.data<uint8_t>()[2 * i] = static_cast<uint8_t>(i);
  return DataView(samples, Tensor::from<int32_t>({count}, labels));
}

std::vector<int> numbers(const DataView& view) {
  std::vector<int> result;
  for (int64_t i = 0; i < view.size(); ++i) {
    result.push_back(*static_cast<const uint8_t*>(view.sample(i)));
  }
  return result;
}

TEST(DataView, DescribesSamplesAndTargets) {
  const DataView labelled = numbered({3, 1, 2});
  EXPECT_EQ(labelled.size(), 3);
  EXPECT_EQ(labelled.sample_shape(), (Shape{2}));
  EXPECT_EQ(labelled.sample_bytes(), 2);
  EXPECT_EQ(labelled.target_shape(), Shape{});
  EXPECT_EQ(labelled.target_bytes(), 4);
  EXPECT_TRUE(labelled.has_labels());
  EXPECT_EQ(labelled.label(1), 1);

  const DataView regression(Tensor({4, 3, 2, 2}), Tensor({4, 5}));
  EXPECT_EQ(regression.sample_shape(), (Shape{3, 2, 2}));
  EXPECT_EQ(regression.target_shape(), (Shape{5}));
  EXPECT_EQ(regression.target_bytes(), 20);
  EXPECT_TRUE(regression.has_targets());
  EXPECT_FALSE(regression.has_labels());
  expect_error(Code::invalid_argument, "no labels", [&] { regression.label(0); });

  const DataView bare(Tensor({4, 3}));
  EXPECT_FALSE(bare.has_targets());
  expect_error(Code::invalid_argument, "no targets", [&] { bare.target(0); });
  EXPECT_TRUE(DataView().empty());
  EXPECT_EQ(DataView().sample_bytes(), 0);
}

TEST(DataView, RefusesWrongCountsTypesAndPositions) {
  expect_error(Code::invalid_argument, "3 samples have 2 targets (samples [3, 2], targets [2])",
               [] {
                 DataView(Tensor({3, 2}), Tensor({2}, DType::i32));
               });
  expect_error(Code::invalid_argument, "samples are u8 or f32 of shape [N, ...], got [3] of i32",
               [] { DataView(Tensor({3}, DType::i32)); });
  expect_error(Code::invalid_argument, "got [] of f32", [] { DataView(Tensor(Shape{})); });
  expect_error(Code::invalid_argument, "targets are i32 of shape [N] or f32 of shape [N, ...]",
               [] { DataView(Tensor({3}), Tensor({3}, DType::u8)); });
  expect_error(Code::invalid_argument, "got [3, 1] of i64", [] {
    DataView(Tensor({3}), Tensor({3, 1}, DType::i64));
  });
  expect_error(Code::invalid_argument, "samples are u8", [] { DataView({}, Tensor({3})); });
  const DataView view = numbered({0, 1});
  expect_error(Code::invalid_argument, "position 2 is outside a view of 2 samples",
               [&] { view.sample(2); });
  expect_error(Code::invalid_argument, "position -1 is outside", [&] { view.subset({0, -1}); });
  const int64_t wrong = 7;
  uint8_t out[2];
  expect_error(Code::invalid_argument, "position 7 is outside",
               [&] { view.gather(&wrong, 1, out, nullptr); });
}

TEST(DataView, GathersThroughNestedSubsets) {
  const DataView view = numbered({10, 11, 12, 13, 14}).subset({4, 2, 2, 0}).subset({3, 1, 0});
  EXPECT_EQ(numbers(view), (std::vector<int>{0, 2, 4}));
  const std::vector<int64_t> positions{2, 0, 2};
  uint8_t samples[6];
  int32_t targets[3];
  view.gather(positions.data(), 3, samples, targets);
  EXPECT_EQ(samples[0], 4);
  EXPECT_EQ(samples[2], 0);
  EXPECT_EQ(samples[4], 4);
  EXPECT_EQ(targets[0], 14);
  EXPECT_EQ(targets[1], 10);
  EXPECT_EQ(targets[2], 14);
  EXPECT_EQ(numbers(view.first(2)), (std::vector<int>{0, 2}));
  EXPECT_EQ(view.first(99).size(), 3);
  EXPECT_EQ(view.first(-1).size(), 0);
}

TEST(DataView, ReconstructingMakesEachSampleItsOwnTarget) {
  const Tensor pixels = Tensor::from<uint8_t>({3, 2}, {0, 255, 51, 102, 1, 2});
  const DataView view =
      DataView(pixels, Tensor::from<int32_t>({3}, {0, 1, 0})).subset({2, 0}).reconstructing();
  EXPECT_EQ(view.size(), 2);
  EXPECT_FALSE(view.has_labels());
  EXPECT_EQ(view.target_shape(), (Shape{2}));
  const int64_t positions[] = {1, 0};
  uint8_t samples[4];
  float targets[4];
  view.gather(positions, 2, samples, targets);
  EXPECT_EQ(std::vector<int>(samples, samples + 4), (std::vector<int>{0, 255, 1, 2}));
  EXPECT_EQ(std::vector<float>(targets, targets + 4),
            (std::vector<float>{0, 1, 1 / 255.0f, 2 / 255.0f}));
  const DataView floats = DataView(Tensor::from<float>({1, 2}, {-3, 0.5f})).reconstructing();
  EXPECT_EQ(static_cast<const float*>(floats.target(0))[1], 0.5f);
  EXPECT_TRUE(DataView().reconstructing().empty());
  expect_error(Code::invalid_argument, "one input only, these have 2", [&] {
    DataView({pixels, pixels}, {}).reconstructing();
  });
}

TEST(DataView, SplitIsADisjointCoverInOrder) {
  const DataView view = numbered(std::vector<int32_t>(200, 0));
  for (const bool stratified : {false, true}) {
    const auto [rest, part] = view.split(0.15, 7, stratified);
    EXPECT_EQ(part.size(), 30);
    EXPECT_EQ(rest.size(), 170);
    const std::vector<int> a = numbers(rest);
    const std::vector<int> b = numbers(part);
    EXPECT_TRUE(std::is_sorted(a.begin(), a.end()));
    EXPECT_TRUE(std::is_sorted(b.begin(), b.end()));
    std::set<int> all(a.begin(), a.end());
    all.insert(b.begin(), b.end());
    EXPECT_EQ(all.size(), 200u);
    EXPECT_EQ(numbers(view.split(0.15, 7, stratified).second), b);
    EXPECT_NE(numbers(view.split(0.15, 8, stratified).second), b);
  }
}

// The draw is part of what a seed promises: these positions may never change.
TEST(DataView, SplitDrawsTheSamePositionsForEver) {
  const DataView view = numbered({0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2, 2});
  EXPECT_EQ(numbers(view.split(0.5, 1, true).second), (std::vector<int>{0, 1, 2, 6, 9, 11}));
  EXPECT_EQ(numbers(view.split(0.25, 1, false).second), (std::vector<int>{0, 2, 7}));
}

TEST(DataView, StratifiedSplitUsesLargestRemainders) {
  // Exact shares at 0.3: 2.1, 1.5, 1.2, 0.3, 0.9; round(0.3 * 20) = 6 = 2 + 1 + 1 + 0 + 0 and the
  // two largest remainders, 0.9 and 0.5.
  std::vector<int32_t> labels;
  for (const auto& [label, count] :
       std::vector<std::pair<int32_t, int>>{{0, 7}, {1, 5}, {2, 4}, {3, 1}, {4, 3}}) {
    labels.insert(labels.end(), static_cast<size_t>(count), label);
  }
  const auto [rest, part] = numbered(labels).split(0.3, 3, true);
  EXPECT_EQ(part.class_counts(5), (std::vector<int64_t>{2, 2, 1, 0, 1}));
  EXPECT_EQ(rest.class_counts(5), (std::vector<int64_t>{5, 3, 3, 1, 2}));
}

TEST(DataView, SplitSizesAreExactForAnyFraction) {
  std::vector<int32_t> labels;
  for (int i = 0; i < 97; ++i) labels.push_back(i % 7 == 0 ? 5 : i % 3);
  const DataView view = numbered(labels);
  for (int percent = 0; percent <= 100; ++percent) {
    const double fraction = percent / 100.0;
    for (const bool stratified : {false, true}) {
      const auto [rest, part] = view.split(fraction, 5, stratified);
      EXPECT_EQ(part.size(), std::llround(fraction * 97)) << percent;
      EXPECT_EQ(rest.size() + part.size(), 97);
      if (!stratified) continue;
      const std::vector<int64_t> all = view.class_counts(6);
      const std::vector<int64_t> drawn = part.class_counts(6);
      for (size_t c = 0; c < all.size(); ++c) {
        EXPECT_LT(std::abs(static_cast<double>(drawn[c]) - fraction * static_cast<double>(all[c])),
                  1.0);
      }
    }
  }
  for (const double bad : {-0.1, 1.01, std::nan("")}) {
    expect_error(Code::invalid_argument, "fraction is 0 … 1", [&] { view.split(bad, 1); });
  }
  EXPECT_EQ(DataView().split(0.5, 1).second.size(), 0);
}

TEST(DataView, EverySampleIsDrawnEquallyOften) {
  const DataView view = numbered(std::vector<int32_t>(20, 0));
  std::vector<int> drawn(20, 0);
  constexpr int kSeeds = 4000;
  for (int seed = 0; seed < kSeeds; ++seed) {
    for (const int number : numbers(view.split(0.25, static_cast<uint64_t>(seed)).second)) {
      ++drawn[static_cast<size_t>(number)];
    }
  }
  // Binomial(4000, 1/4): deviation 27.4; five of them.
  for (const int count : drawn) EXPECT_NEAR(count, kSeeds / 4, 137);
}

TEST(DataView, ClassCountsRefuseLabelsOutside) {
  expect_error(Code::invalid_argument, "label 3 of sample 1 is outside 0 … 2 (3 classes)", [] {
    numbered({0, 3}).class_counts(3);
  });
  expect_error(Code::invalid_argument, "label -1 of sample 0",
               [] { numbered({-1}).class_counts(3); });
}

TEST(DataView, MomentsOfBytesAreExactAndPerChannel) {
  const Tensor samples = Tensor::from<uint8_t>({2, 2, 1, 2}, {0, 255, 10, 10, 255, 0, 10, 10});
  const DataView::Moments m = DataView(samples).channel_moments();
  ASSERT_EQ(m.mean.size(), 2u);
  EXPECT_EQ(m.mean[0], 0.5f);
  EXPECT_EQ(m.deviation[0], 0.5f);
  EXPECT_EQ(m.mean[1], static_cast<float>(10.0 / 255.0));
  EXPECT_EQ(m.deviation[1], 0.f);
}

TEST(DataView, MomentsOfLongRowsDoNotOverflow) {
  Tensor samples({2, 300000}, DType::u8);  // a rank of 1: one channel
  std::fill_n(samples.data<uint8_t>(), 600000, uint8_t{255});
  const DataView::Moments m = DataView(samples).channel_moments();
  ASSERT_EQ(m.mean.size(), 1u);
  EXPECT_EQ(m.mean[0], 1.f);
  EXPECT_EQ(m.deviation[0], 0.f);
}

TEST(DataView, MomentsOfFloatsSurviveALargeMean) {
  const Tensor samples = Tensor::from<float>({4, 1, 1}, {10000.f, 10001.f, 10002.f, 10003.f});
  const DataView::Moments m = DataView(samples).subset({0, 1, 2, 3}).channel_moments();
  EXPECT_EQ(m.mean[0], 10001.5f);
  EXPECT_EQ(m.deviation[0], static_cast<float>(std::sqrt(1.25)));
  expect_error(Code::invalid_argument, "holds no values", [] { DataView().channel_moments(); });
}

TEST(Dataset, SplitValidationMovesSamples) {
  Dataset data;
  data.name = "d";
  data.train_part = numbered({0, 0, 0, 0, 1, 1, 1, 1});
  data.split_validation(0.25, 1);
  EXPECT_EQ(data.train().size(), 6);
  EXPECT_EQ(data.validation().class_counts(2), (std::vector<int64_t>{1, 1}));
  expect_error(Code::invalid_argument, "\"d\" has a validation part of 2 samples already",
               [&] { data.split_validation(0.25, 1); });
}

TEST(EpochOrder, IsAPermutationOfItsOwnPerSeedAndEpoch) {
  const std::vector<int64_t> order = epoch_order(1000, 1, 0);
  std::vector<int64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  std::vector<int64_t> identity(1000);
  std::iota(identity.begin(), identity.end(), int64_t{0});
  EXPECT_EQ(sorted, identity);
  EXPECT_NE(order, identity);
  EXPECT_EQ(epoch_order(1000, 1, 0), order);
  EXPECT_NE(epoch_order(1000, 1, 1), order);
  EXPECT_NE(epoch_order(1000, 2, 0), order);
  EXPECT_TRUE(epoch_order(0, 1, 0).empty());

  std::vector<int64_t> reused(1000, 42);
  const int64_t* where = reused.data();
  epoch_order(reused, 1, 0);
  EXPECT_EQ(reused, order);
  EXPECT_EQ(reused.data(), where);
}

// The order is part of what a seed promises: it may never change.
TEST(EpochOrder, IsTheSameForEver) {
  EXPECT_EQ(epoch_order(8, 1, 0), (std::vector<int64_t>{5, 1, 0, 4, 6, 2, 3, 7}));
  EXPECT_EQ(epoch_order(8, 1, 1), (std::vector<int64_t>{0, 4, 1, 7, 6, 5, 3, 2}));
}

TEST(EpochOrder, PutsEachSampleEverywhereEquallyOften) {
  constexpr int kEpochs = 5000;
  int counts[5][5] = {};
  for (uint32_t epoch = 0; epoch < kEpochs; ++epoch) {
    const std::vector<int64_t> order = epoch_order(5, 3, epoch);
    for (size_t i = 0; i < 5; ++i) ++counts[i][order[i]];
  }
  // Binomial(5000, 1/5): deviation 28.3; five of them.
  for (const auto& row : counts) {
    for (const int count : row) EXPECT_NEAR(count, kEpochs / 5, 142);
  }
}

TEST(Loader, VisitsEverySampleOncePerEpochAndShufflesAnew) {
  Tensor samples({7, 2});
  Tensor labels({7}, DType::i32);
  for (int32_t i = 0; i < 7; ++i) {
    samples.data<float>()[2 * i] = static_cast<float>(i);
    labels.data<int32_t>()[i] = i;
  }
  Loader loader(DataView(samples, labels), {.batch = 3, .seed = 5});
  EXPECT_EQ(loader.batches(), 3);
  std::vector<std::vector<int32_t>> epochs(2);
  Batch batch;
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    loader.start_epoch(epoch);
    std::vector<int64_t> sizes;
    while (loader.next(batch)) {
      sizes.push_back(batch.size());
      for (int64_t i = 0; i < batch.size(); ++i) {
        const int32_t label = batch.targets.data<int32_t>()[i];
        EXPECT_EQ(batch.samples.data<float>()[2 * i], static_cast<float>(label));
        epochs[static_cast<size_t>(epoch)].push_back(label);
      }
    }
    EXPECT_EQ(sizes, (std::vector<int64_t>{3, 3, 1}));
  }
  EXPECT_NE(epochs[0], epochs[1]);
  std::sort(epochs[0].begin(), epochs[0].end());
  EXPECT_EQ(epochs[0], (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6}));

  Loader dropping(DataView(samples), {.batch = 3, .shuffle = false, .drop_last = true});
  EXPECT_EQ(dropping.batches(), 2);
  ASSERT_TRUE(dropping.next(batch));
  EXPECT_TRUE(batch.targets.empty());
  EXPECT_EQ(batch.samples.data<float>()[2], 1.0f);
  const Tensor kept = batch.samples;  // a held batch is not written over
  ASSERT_TRUE(dropping.next(batch));
  EXPECT_EQ(kept.data<float>()[2], 1.0f);
  EXPECT_FALSE(dropping.next(batch));
  EXPECT_THROW(Loader{DataView{}}, Error);
}

}  // namespace
}  // namespace tanul
