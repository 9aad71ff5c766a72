// SPDX-License-Identifier: Apache-2.0
// Augmentation: every shift and mirror image that it may make, as often as it should, and nothing else; a
// function of seed, epoch and position alone.
#include "data/augment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "support/expect_error.h"

namespace tanul {
namespace {

using test::expect_error;

constexpr int64_t kC = 2, kH = 4, kW = 11, kElems = kC * kH * kW;

// Images whose pixels are 1, 2, 3, …, so that each pixel says where it comes from.
template <typename T>
DataView numbered_images(int64_t count, DType dtype) {
  Tensor samples({count, kC, kH, kW}, dtype);
  for (int64_t i = 0; i < samples.elems(); ++i) {
    samples.data<T>()[i] = static_cast<T>(i % kElems + 1);
  }
  return DataView(samples, Tensor({count}, DType::i32));
}

// The definition, pixel by pixel: the image between zeros, the window, the mirror.
template <typename T>
std::vector<T> expected(int64_t crop, int64_t top, int64_t left, bool is_mirrored) {
  const int64_t height = kH + 2 * crop, width = kW + 2 * crop;
  std::vector<T> padded(static_cast<size_t>(kC * height * width), T{0});
  for (int64_t c = 0; c < kC; ++c) {
    for (int64_t h = 0; h < kH; ++h) {
      for (int64_t w = 0; w < kW; ++w) {
        padded[static_cast<size_t>((c * height + h + crop) * width + w + crop)] =
            static_cast<T>((c * kH + h) * kW + w + 1);
      }
    }
  }
  std::vector<T> y;
  for (int64_t c = 0; c < kC; ++c) {
    for (int64_t h = 0; h < kH; ++h) {
      for (int64_t w = 0; w < kW; ++w) {
        const int64_t column = left + (is_mirrored ? kW - 1 - w : w);
        y.push_back(padded[static_cast<size_t>((c * height + h + top) * width + column)]);
      }
    }
  }
  return y;
}

std::vector<int64_t> positions_to(int64_t count) {
  std::vector<int64_t> positions(static_cast<size_t>(count));
  std::iota(positions.begin(), positions.end(), int64_t{0});
  return positions;
}

template <typename T>
std::vector<T> augmented(const DataView& data, const std::vector<int64_t>& positions,
                         const Augmentation& a, uint64_t seed = 1, uint32_t epoch = 0) {
  const auto count = static_cast<int64_t>(positions.size());
  std::vector<T> y(static_cast<size_t>(count * kElems), T{99});
  gather_augmented(data, positions.data(), count, a, seed, epoch, y.data());
  return y;
}

// Every image is one of the allowed ones, and each of these comes up as often as the others.
template <typename T>
void every_outcome_equally_often(DType dtype, const Augmentation& a) {
  constexpr int64_t kImages = 20000;
  const DataView data = numbered_images<T>(kImages, dtype);
  const std::vector<T> y = augmented<T>(data, positions_to(kImages), a);
  const int64_t places = 2 * a.crop + 1;
  const int64_t outcomes = places * places * (a.flip ? 2 : 1);
  std::vector<std::vector<T>> allowed;
  for (int64_t outcome = 0; outcome < outcomes; ++outcome) {
    allowed.push_back(expected<T>(a.crop, outcome / places % places, outcome % places,
                                  outcome >= places * places));
  }
  std::vector<int64_t> counts(allowed.size());
  for (int64_t i = 0; i < kImages; ++i) {
    const std::vector<T> image(y.begin() + i * kElems, y.begin() + (i + 1) * kElems);
    const auto found = std::find(allowed.begin(), allowed.end(), image);
    ASSERT_NE(found, allowed.end()) << "image " << i;
    ++counts[static_cast<size_t>(found - allowed.begin())];
  }
  const double mean = static_cast<double>(kImages) / static_cast<double>(outcomes);
  for (const int64_t count : counts) {  // binomial; five deviations
    EXPECT_NEAR(static_cast<double>(count), mean, 5 * std::sqrt(mean));
  }
}

TEST(Augmentation, ShiftsAndMirrorsBytesByItsDefinition) {
  every_outcome_equally_often<uint8_t>(DType::u8, {.crop = 2, .flip = true});
}
TEST(Augmentation, ShiftsAndMirrorsFloatsByItsDefinition) {
  every_outcome_equally_often<float>(DType::f32, {.crop = 3, .flip = true});
}
TEST(Augmentation, OnlyShifts) { every_outcome_equally_often<uint8_t>(DType::u8, {.crop = 1}); }
TEST(Augmentation, OnlyMirrors) { every_outcome_equally_often<uint8_t>(DType::u8, {.flip = true}); }

TEST(Augmentation, DependsOnSeedEpochAndPositionAlone) {
  constexpr int64_t kImages = 64;
  const DataView data = numbered_images<uint8_t>(kImages, DType::u8);
  const Augmentation a{.crop = 2, .flip = true};
  const std::vector<uint8_t> all = augmented<uint8_t>(data, positions_to(kImages), a);
  for (const int64_t position : {63, 5, 40}) {  // whatever else is in the batch
    const std::vector<uint8_t> alone = augmented<uint8_t>(data, {position}, a);
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), all.begin() + position * kElems));
  }
  EXPECT_NE(augmented<uint8_t>(data, positions_to(kImages), a, 2, 0), all);
  EXPECT_NE(augmented<uint8_t>(data, positions_to(kImages), a, 1, 1), all);
}

// What a seed gives is part of what it promises: it may never change.
TEST(Augmentation, IsTheSameForEver) {
  struct Outcome {
    int64_t top, left;
    bool is_mirrored;
  };
  const std::vector<Outcome> outcomes = {{2, 2, false}, {0, 2, true}, {1, 1, false}, {0, 1, false}};
  const DataView data = numbered_images<uint8_t>(4, DType::u8);
  const std::vector<uint8_t> y =
      augmented<uint8_t>(data, positions_to(4), {.crop = 1, .flip = true}, 7, 3);
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const Outcome& o = outcomes[i];
    const auto image = y.begin() + static_cast<int64_t>(i) * kElems;
    EXPECT_EQ(std::vector<uint8_t>(image, image + kElems),
              expected<uint8_t>(1, o.top, o.left, o.is_mirrored))
        << i;
  }
}

TEST(Augmentation, RefusesWhatItCannotMove) {
  const auto check = [](const Augmentation& a, const DataView& data) {
    check_augmentation(a, data, "training data");
  };
  const DataView images = numbered_images<uint8_t>(3, DType::u8);
  check({.crop = 3, .flip = true}, images);
  check({}, DataView(Tensor({3, 7})));  // off: nothing to refuse
  expect_error(
      Code::invalid_argument,
      "training data: augmentation: crop 4 would shift images [2, 4, 11] out of sight; it must "
      "be below 4",
      [&] { check({.crop = 4}, images); });
  expect_error(Code::invalid_argument,
               "training data: augmentation: crop must be at least 0, got -1",
               [&] { check({.crop = -1}, images); });
  expect_error(Code::invalid_argument,
               "training data: augmentation is for images [C, H, W], the samples are [7]", [&] {
                 check({.flip = true}, DataView(Tensor({3, 7})));
               });
  expect_error(
      Code::invalid_argument,
      "training data: augmentation moves the images but not their targets [4, 5]; use it with "
      "labels or values",
      [&] {
        check({.flip = true}, DataView(Tensor({3, 1, 4, 5}), Tensor({3, 4, 5}, DType::i32)));
      });
  expect_error(Code::invalid_argument,
               "training data: augmentation is for one input, the samples have 2", [&] {
                 check({.flip = true},
                       DataView({Tensor({3, 1, 4, 5}), Tensor({3, 1, 4, 5})}, {Tensor({3, 1})}));
               });
  expect_error(Code::invalid_argument, "loader: augmentation: crop 9",
               [&] { Loader(images, {.augmentation = {.crop = 9}}); });
}

}  // namespace
}  // namespace tanul
