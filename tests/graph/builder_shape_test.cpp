// SPDX-License-Identifier: Apache-2.0
// Layers that move and combine values, as the builder makes them: what becomes of each element of a batch,
// and what is refused. Their gradients: autodiff_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "support/expect_error.h"
#include "tanul/trainer.h"

namespace tanul::test {
namespace {

constexpr int64_t kBatch = 3, kC = 8, kH = 4, kW = 6;

// Distinct whole numbers.
Tensor counted() {
  Tensor x({kBatch, kC, kH, kW}, DType::f32);
  for (int64_t i = 0; i < x.elems(); ++i) x.data<float>()[i] = static_cast<float>(i + 1);
  return x;
}

float at(int64_t n, int64_t c, int64_t h, int64_t w) {
  return static_cast<float>(((n * kC + c) * kH + h) * kW + w + 1);
}

// What a network of one input {8, 4, 6} makes of the counted samples.
Tensor made_by(const std::function<Var(ModelBuilder&, Var)>& layers) {
  ModelBuilder m;
  m.mean_squared_error(layers(m, m.input({kC, kH, kW})));
  TrainerOptions options;
  options.device = "cpu";
  options.batch = kBatch;
  options.normalization = Normalization{std::vector<float>(kC, 0), std::vector<float>(kC, 1)};
  return Trainer(m.build(), options).predict(counted());
}

// Every element of y is what `expected` says of its place.
void expect_elements(const Tensor& y, const Shape& shape,
                     const std::function<float(const std::vector<int64_t>&)>& expected) {
  ASSERT_EQ(y.shape(), shape);
  std::vector<int64_t> index(static_cast<size_t>(shape.rank()));
  for (int64_t i = 0; i < y.elems(); ++i) {
    int64_t rest = i;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      index[static_cast<size_t>(axis)] = rest % shape[axis];
      rest /= shape[axis];
    }
    ASSERT_EQ(y.data<float>()[i], expected(index)) << "element " << i;
  }
}

using Index = std::vector<int64_t>;

TEST(ShapeBuilder, ShufflesMoveEachElementToItsPlace) {
  expect_elements(made_by([](ModelBuilder& m, Var x) { return m.pixel_shuffle(x, 2); }),
                  {kBatch, 2, 8, 12}, [](const Index& i) {
                    return at(i[0], i[1] * 4 + i[2] % 2 * 2 + i[3] % 2, i[2] / 2, i[3] / 2);
                  });
  expect_elements(made_by([](ModelBuilder& m, Var x) { return m.pixel_unshuffle(x, 2); }),
                  {kBatch, 32, 2, 3}, [](const Index& i) {
                    return at(i[0], i[1] / 4, i[2] * 2 + i[1] / 2 % 2, i[3] * 2 + i[1] % 2);
                  });
  expect_elements(made_by([](ModelBuilder& m, Var x) { return m.channel_shuffle(x, 4); }),
                  {kBatch, kC, kH, kW},
                  [](const Index& i) { return at(i[0], i[1] % 4 * 2 + i[1] / 4, i[2], i[3]); });
  expect_elements(made_by([](ModelBuilder& m, Var x) {
                    return m.transpose(x, {2, 0, 1});
                  }),
                  {kBatch, kW, kC, kH}, [](const Index& i) { return at(i[0], i[2], i[3], i[1]); });
}

TEST(ShapeBuilder, ShapesChangeWithoutAMove) {
  const auto in_order = [](const Index& i) {
    return static_cast<float>(i[0] * kC * kH * kW + i[1] * 48 + i[2] + 1);
  };
  expect_elements(made_by([](ModelBuilder& m, Var x) {
                    return m.reshape(x, {-1, 48});
                  }),
                  {kBatch, 4, 48}, in_order);
  expect_elements(made_by([](ModelBuilder& m, Var x) {
                    return m.flatten(m.reshape(x, {4, 2, 24}), 1);
                  }),
                  {kBatch, 4, 48}, in_order);
}

TEST(ShapeBuilder, PartsAndPaddings) {
  expect_elements(made_by([](ModelBuilder& m, Var x) {
                    return m.slice(x, {0, 3, 5});
                  }),
                  {kBatch, 2, kH, kW},
                  [](const Index& i) { return at(i[0], i[1] + 3, i[2], i[3]); });
  expect_elements(made_by([](ModelBuilder& m, Var x) {
                    return m.crop(x, {.begin = {1, 2}, .size = {3, 2}});
                  }),
                  {kBatch, kC, 3, 2},
                  [](const Index& i) { return at(i[0], i[1], i[2] + 1, i[3] + 2); });
  expect_elements(made_by([](ModelBuilder& m, Var x) {
                    return m.pad(x, {.channels_before = 8, .channels_after = 8});
                  }),
                  {kBatch, 24, kH, kW}, [](const Index& i) {
                    return i[1] / 8 == 1 ? at(i[0], i[1] - 8, i[2], i[3]) : 0;
                  });
  expect_elements(made_by([](ModelBuilder& m, Var x) {
                    return m.pad(x, {.pad = {1, 2}, .mode = PadWith::replicate});
                  }),
                  {kBatch, kC, kH + 2, kW + 4}, [](const Index& i) {
                    return at(i[0], i[1], std::clamp<int64_t>(i[2] - 1, 0, kH - 1),
                              std::clamp<int64_t>(i[3] - 2, 0, kW - 1));
                  });
  expect_elements(made_by([](ModelBuilder& m, Var x) {
                    return m.upsample(x, {.scale = {2, 3}});
                  }),
                  {kBatch, kC, 2 * kH, 3 * kW},
                  [](const Index& i) { return at(i[0], i[1], i[2] / 2, i[3] / 3); });
}

// Row 0 of channel 0, a sample {6}, meets samples {8, 4, 6}: it is repeated along C and H, never over N.
TEST(ShapeBuilder, SamplesOfFewerAxesAreRepeated) {
  const auto row = [](ModelBuilder& m, Var x) {
    return m.reduce_sum(m.crop(m.slice(x, {0, 0, 1}), {.begin = {0, 0}, .size = {1, kW}}), {0, 1});
  };
  expect_elements(made_by([&](ModelBuilder& m, Var x) { return m.multiply(x, row(m, x)); }),
                  {kBatch, kC, kH, kW},
                  [](const Index& i) { return at(i[0], i[1], i[2], i[3]) * at(i[0], 0, 0, i[3]); });
  expect_elements(made_by([&](ModelBuilder& m, Var x) { return m.add(row(m, x), x); }),
                  {kBatch, kC, kH, kW},
                  [](const Index& i) { return at(i[0], 0, 0, i[3]) + at(i[0], i[1], i[2], i[3]); });
  expect_elements(made_by([&](ModelBuilder& m, Var x) { return m.subtract(row(m, x), x); }),
                  {kBatch, kC, kH, kW},
                  [](const Index& i) { return at(i[0], 0, 0, i[3]) - at(i[0], i[1], i[2], i[3]); });
}

TEST(ShapeBuilder, InitialisersSeeTheActivationBehindAMove) {
  ModelBuilder m;
  m.relu(m.pixel_shuffle(m.conv2d(m.input({1, 4, 4}), {.out = 4, .kernel = 3}), 2));
  const Model model = m.build();
  EXPECT_EQ(model.parameters()[0].init.kind, Init::Kind::he_normal);
}

TEST(ShapeBuilder, ScaleAndShiftAreParametersOfANormalisation) {
  ModelBuilder m;
  m.scale_shift(m.scale_shift(m.input({5, 2})), {.shift = false, .name = "gain"});
  const Model model = m.build();
  ASSERT_EQ(model.parameters().size(), 3u);
  EXPECT_EQ(model.parameters()[0].name, "scale_shift1.weight");
  EXPECT_EQ(model.parameters()[0].init.str(), "constant(1)");
  EXPECT_EQ(model.parameters()[1].name, "scale_shift1.bias");
  EXPECT_EQ(model.parameters()[1].init.str(), "constant(0)");
  EXPECT_EQ(model.parameters()[2].name, "gain.weight");
  for (const ParameterInfo& p : model.parameters()) {
    EXPECT_EQ(p.shape, Shape{5});
    EXPECT_TRUE(p.is_norm);
  }
}

TEST(ShapeBuilder, RefusesWhatDoesNotFit) {
  ModelBuilder m;
  const Var x = m.input({6, 4, 5});
  const Var flat = m.flatten(x, "flat");
  const auto refused = [&](const std::string& text, const auto& body) {
    expect_error(Code::invalid_argument, text, body);
  };
  refused("flatten \"a\": x [6, 4, 5] a sample has no axis 3", [&] { m.flatten(x, 3, "a"); });
  refused("reshape \"b\": x [6, 4, 5] a sample has 120 elements, which do not make 7 -1", [&] {
    m.reshape(x, {7, -1}, "b");
  });
  refused("reshape \"c\": only one extent may be -1, what is left over", [&] {
    m.reshape(x, {-1, 6, -1}, "c");
  });
  refused("reshape \"d\": x [6, 4, 5] a sample has 120 elements, which do not make 6 4", [&] {
    m.reshape(x, {6, 4}, "d");
  });
  refused("reshape \"e\": an extent must be between 1 and 16777216, got 0", [&] {
    m.reshape(x, {0, 4}, "e");
  });
  refused(
      "slice \"f\": 0 <= begin < end <= 4 is needed along axis 1 of x [6, 4, 5] a sample, got 2 "
      "and 5",
      [&] {
        m.slice(x, {1, 2, 5, "f"});
      });
  refused(
      "crop \"g\": spatial axis 1 of x [6, 4, 5] a sample has 5 elements, from 2 on there are no 4",
      [&] {
        m.crop(x, {.begin = {0, 2}, .size = {4, 4}, .name = "g"});
      });
  refused("crop \"h\": begin and size need one number for each of the 2 spatial axes, got 1 and 2",
          [&] {
            m.crop(x, {.begin = {0}, .size = {4, 4}, .name = "h"});
          });
  refused("crop \"i\": x has the shape [120] a sample, channels and spatial axes are expected",
          [&] { m.crop(flat, {.begin = {0}, .size = {4}, .name = "i"}); });
  refused(
      "pad \"j\": pad must be one number, or one for each of the 2 spatial axes, or one for each "
      "of their 4 sides, got 3",
      [&] {
        m.pad(x, {.pad = {1, 2, 3}, .name = "j"});
      });
  refused("pad \"k\": channels are added by the mode constant alone",
          [&] { m.pad(x, {.mode = PadWith::reflect, .channels_after = 1, .name = "k"}); });
  refused("upsample \"l\": either size or scale must be given",
          [&] { m.upsample(x, {.name = "l"}); });
  refused("upsample \"m\": scale must be one number, or one for each of the 2 spatial axes, got 3",
          [&] {
            m.upsample(x, {.scale = {1, 2, 3}, .name = "m"});
          });
  refused(
      "transpose \"n\": the order must name each axis of x [6, 4, 5] a sample once, 0 to 2; got 0 "
      "2 2",
      [&] {
        m.transpose(x, {0, 2, 2}, "n");
      });
  refused("pixel_shuffle \"o\": channels must be a multiple of 4, got 6",
          [&] { m.pixel_shuffle(x, 2, "o"); });
  refused("pixel_unshuffle \"p\": the width must be a multiple of 2, got 5",
          [&] { m.pixel_unshuffle(x, 2, "p"); });
  refused("channel_shuffle \"q\": channels must be a multiple of 4, got 6",
          [&] { m.channel_shuffle(x, 4, "q"); });
  refused(
      "multiply \"r\": extents must be equal, or 1 where one is repeated, got [1, 6, 4, 5] and [1, "
      "1, 1, 120]",
      [&] { m.multiply(x, flat, "r"); });
  refused("scale_shift \"s\": scale, shift or both must be true",
          [&] { m.scale_shift(x, {.scale = false, .shift = false, .name = "s"}); });
  refused("reduce_mean \"t\": x [6, 4, 5] a sample has no axis 3", [&] {
    m.reduce_mean(x, {1, 3}, false, "t");
  });
  refused("reduce_sum \"u\": at least one axis must be named",
          [&] { m.reduce_sum(x, {}, false, "u"); });
}

}  // namespace
}  // namespace tanul::test
