// SPDX-License-Identifier: Apache-2.0
// Convolution, linear and pooling layers as the builder makes them: shapes, parameters, padding that is
// worked out, shared weights, and what it refuses.
#include <gtest/gtest.h>

#include "core/philox.h"
#include "graph/model.h"
#include "kernels/conv3d/conv3d.h"
#include "support/expect_error.h"
#include "tanul/trainer.h"

namespace tanul::test {
namespace {

// The parameters of the only node of a kind.
template <typename P>
P params_of(const Model& model, OpKind kind) {
  for (const Node& node : model.impl().graph.nodes) {
    if (node.kind == kind) return node.params.as<P>();
  }
  throw std::runtime_error("no such node");
}

TEST(ConvBuilder, ShapesAndParametersOfEachNumberOfAxes) {
  ModelBuilder m;
  Var x =
      m.conv1d(m.input({4, 20}), {.out = 6, .kernel = 5, .stride = 2, .pad = {3, 0}, .groups = 2});
  EXPECT_EQ(m.shape(x), (Shape{6, 10}));
  x = m.conv_transpose1d(x, {.out = 3, .kernel = 4, .stride = 2, .pad = 1, .output_padding = 1});
  EXPECT_EQ(m.shape(x), (Shape{3, 21}));
  const Model signals = m.build();
  EXPECT_EQ(signals.parameters()[0].name, "conv1.weight");
  EXPECT_EQ(signals.parameters()[0].shape, (Shape{6, 2, 5}));
  EXPECT_EQ(signals.parameters()[2].name, "conv_transpose1.weight");
  EXPECT_EQ(signals.parameters()[2].shape, (Shape{6, 3, 4}));
  EXPECT_EQ(signals.parameters()[3].shape, Shape{3});

  ModelBuilder v;
  x = v.conv3d(v.input({2, 8, 9, 10}), {.out = 4, .kernel = {3, 1, 2}, .pad = {1, 0, 0, 1, 0, 1}});
  EXPECT_EQ(v.shape(x), (Shape{4, 8, 9, 10}));
  x = v.conv_transpose3d(x, {.out = 6, .kernel = 2, .stride = 2, .groups = 2, .bias = false});
  EXPECT_EQ(v.shape(x), (Shape{6, 16, 18, 20}));
}

TEST(ConvBuilder, SamePaddingIsWorkedOutFromTheInput) {
  struct Case {
    Same same;
    int64_t extent, kernel, stride, dilation;
    int begin, end;
  };
  const std::vector<Case> cases = {
      {Same::upper, 7, 3, 1, 1, 1, 1}, {Same::upper, 7, 4, 1, 1, 1, 2},
      {Same::lower, 7, 4, 1, 1, 2, 1}, {Same::upper, 8, 3, 2, 1, 0, 1},
      {Same::lower, 8, 3, 2, 1, 1, 0}, {Same::upper, 9, 3, 2, 1, 1, 1},
      {Same::upper, 9, 2, 3, 1, 0, 0}, {Same::lower, 10, 3, 1, 4, 4, 4},
  };
  for (const Case& c : cases) {
    ModelBuilder m;
    const Var x = m.input({1, c.extent, 5});
    const Var y = m.conv2d(x, {.out = 1,
                               .kernel = {c.kernel, 1},
                               .stride = {c.stride, 1},
                               .pad = c.same,
                               .dilation = {c.dilation, 1}});
    EXPECT_EQ(m.shape(y), (Shape{1, (c.extent + c.stride - 1) / c.stride, 5}));
    const auto p = params_of<Conv2dParams>(m.build(), OpKind::conv2d_fwd);
    EXPECT_EQ(p.pad_top, c.begin) << c.extent << " " << c.kernel << " " << c.stride;
    EXPECT_EQ(p.pad_bottom, c.end) << c.extent << " " << c.kernel << " " << c.stride;
    EXPECT_EQ(p.pad_left + p.pad_right, 0);
  }
  ModelBuilder m;
  Var x = m.input({2, 5, 6, 7});
  EXPECT_EQ(m.shape(m.max_pool3d(x, {.kernel = 2, .stride = 2, .pad = Same::upper})),
            (Shape{2, 3, 3, 4}));
  EXPECT_EQ(m.shape(m.conv3d(x, {.out = 1, .kernel = 4, .stride = {1, 2, 3}, .pad = Same::lower})),
            (Shape{1, 5, 3, 3}));
}

TEST(ConvBuilder, PoolingOfEachNumberOfAxes) {
  ModelBuilder m;
  const Var signal = m.input({3, 11});
  EXPECT_EQ(m.shape(m.max_pool1d(signal, {.kernel = 3, .stride = 2, .dilation = 2})),
            (Shape{3, 4}));
  EXPECT_EQ(m.shape(m.avg_pool1d(signal, {.kernel = 2, .ceil_mode = true})), (Shape{3, 6}));
  EXPECT_EQ(m.shape(m.global_max_pool(signal)), (Shape{3, 1}));
  EXPECT_EQ(m.shape(m.adaptive_avg_pool(signal, {.out = {4}})), (Shape{3, 4}));
  ModelBuilder v;
  const Var volume = v.input({3, 5, 7, 9});
  EXPECT_EQ(v.shape(v.avg_pool3d(volume, {.kernel = {1, 2, 3}})), (Shape{3, 5, 3, 3}));
  EXPECT_EQ(v.shape(v.global_avg_pool(volume)), (Shape{3, 1, 1, 1}));
  EXPECT_EQ(v.shape(v.adaptive_max_pool(volume, {.out = {2}})), (Shape{3, 2, 2, 2}));
  EXPECT_EQ(v.shape(v.adaptive_max_pool(volume, {.out = {5, 1, 4}})), (Shape{3, 5, 1, 4}));
}

// A layer behind which a ReLU stands gets He's initialisation, through bias and pooling.
TEST(ConvBuilder, InitialisersSeeTheActivationBehindATransposedLayer) {
  ModelBuilder m;
  Var x = m.conv_transpose2d(m.input({2, 4, 4}), {.out = 3, .kernel = 2, .stride = 2});
  m.relu(m.adaptive_avg_pool(x, {.out = {2}}));
  const Model model = m.build();
  EXPECT_EQ(model.parameters()[0].init.kind, Init::Kind::he_normal);
}

TEST(ConvBuilder, RefusesWhatDoesNotFit) {
  ModelBuilder m;
  const Var image = m.input({4, 8, 8});
  const Var flat = m.flatten(image, "flat");
  m.conv2d(image, {.out = 4, .kernel = 3, .pad = 1, .name = "a"});
  m.conv2d(image, {.out = 4, .kernel = 1, .bias = false, .name = "bare"});
  m.linear(flat, {.out = 3, .name = "fc"});
  const auto refused = [&](const std::string& text, const auto& body) {
    expect_error(Code::invalid_argument, text, body);
  };
  refused("conv1d \"s\": x has the shape [4, 8, 8] a sample, {C, L} is expected",
          [&] { m.conv1d(image, {.out = 2, .kernel = 3, .name = "s"}); });
  refused("conv3d \"v\": x has the shape [4, 8, 8] a sample, {C, D, H, W} is expected",
          [&] { m.conv3d(image, {.out = 2, .kernel = 3, .name = "v"}); });
  refused(
      "conv_transpose2d \"up1\": output_padding height must be 0 to 1, below the larger of stride "
      "2 "
      "and dilation 1, got 2",
      [&] {
        m.conv_transpose2d(
            image, {.out = 2, .kernel = 3, .stride = 2, .output_padding = 2, .name = "up1"});
      });
  refused(
      "conv_transpose2d \"up2\": pad: same is for convolution and pooling; give a transposed "
      "convolution numbers",
      [&] {
        m.conv_transpose2d(image, {.out = 2, .kernel = 3, .pad = Same::upper, .name = "up2"});
      });
  refused(
      "conv_transpose2d \"up3\": groups must divide the input channels and the output channels; 3 "
      "divides not both 4 and 6",
      [&] { m.conv_transpose2d(image, {.out = 6, .kernel = 3, .groups = 3, .name = "up3"}); });
  refused("adaptive_avg_pool \"p1\": out must be one extent, or one for each of the 2 axes, got 3",
          [&] {
            m.adaptive_avg_pool(image, {.out = {1, 2, 3}, .name = "p1"});
          });
  refused(
      "adaptive_max_pool \"p2\": x has the shape [256] a sample, {C, L}, {C, H, W} or {C, D, H, W} "
      "is "
      "expected",
      [&] { m.adaptive_max_pool(flat, {.out = {1}, .name = "p2"}); });
  refused(
      "global_max_pool \"p3\": x must be [N, C, L], [N, C, H, W] or [N, C, D, H, W], got [1, 256]",
      [&] { m.global_max_pool(flat, "p3"); });

  refused("conv2d \"b1\": share: there is no layer \"nothing\" before it",
          [&] { m.conv2d(image, {.out = 4, .kernel = 3, .name = "b1", .share = "nothing"}); });
  refused("conv2d \"b2\": share: \"fc\" (linear 3) is no conv2d layer",
          [&] { m.conv2d(image, {.out = 4, .kernel = 3, .name = "b2", .share = "fc"}); });
  refused(
      "conv2d \"b3\": share: \"a\" has the weight [4, 4, 3, 3], but [5, 4, 3, 3] is needed here",
      [&] { m.conv2d(image, {.out = 5, .kernel = 3, .name = "b3", .share = "a"}); });
  refused("conv2d \"b4\": share: \"bare\" has no bias, and this layer wants one",
          [&] { m.conv2d(image, {.out = 4, .kernel = 1, .name = "b4", .share = "bare"}); });
  refused("conv2d \"b5\": share: the initialisers stand at \"a\", whose weights these are", [&] {
    m.conv2d(image,
             {.out = 4, .kernel = 3, .weight_init = Init::he_normal(), .name = "b5", .share = "a"});
  });
  refused("conv_transpose2d \"b6\": share: \"a\" (conv2d 3x3 /1 +1) is no conv_transpose2d layer",
          [&] { m.conv_transpose2d(image, {.out = 4, .kernel = 3, .name = "b6", .share = "a"}); });
  refused("linear \"b7\": share: \"flat\" (flatten) is no linear layer",
          [&] { m.linear(flat, {.out = 3, .name = "b7", .share = "flat"}); });
}

// ---- shared weights ---------------------------------------------------------------------------

// Two convolutions, a transposed one and two linear layers, each pair with one set of weights or, for
// comparison, with two.
Model twins(bool is_shared) {
  ModelBuilder m("twins");
  const auto share = [&](const char* layer) { return is_shared ? std::string(layer) : ""; };
  Var x = m.input({2, 6, 6});
  x = m.tanh(m.conv2d(x, {.out = 2, .kernel = 3, .pad = 1, .name = "conv_a"}));
  x = m.tanh(
      m.conv2d(x, {.out = 2, .kernel = 3, .pad = 1, .name = "conv_b", .share = share("conv_a")}));
  x = m.tanh(m.conv_transpose2d(x, {.out = 2, .kernel = 2, .stride = 2, .name = "up_a"}));
  x = m.tanh(m.conv_transpose2d(
      m.max_pool2d(x, {.kernel = 2}),
      {.out = 2, .kernel = 2, .stride = 2, .name = "up_b", .share = share("up_a")}));
  x = m.flatten(m.adaptive_avg_pool(x, {.out = {2, 3}}));
  x = m.tanh(m.linear(x, {.out = 12, .name = "fc_a"}));
  x = m.tanh(m.linear(x, {.out = 12, .name = "fc_b", .share = share("fc_a")}));
  // of a layer that shares itself
  x = m.linear(x, {.out = 12, .name = "fc_c", .share = share("fc_b")});
  m.softmax_cross_entropy(x);
  return m.build();
}

Tensor random_tensor(const Shape& shape, const std::string& name, double scale) {
  Tensor t(shape, DType::f32);
  const Philox random{5, philox_stream(name), 0};
  for (int64_t i = 0; i < t.elems(); ++i) {
    t.data<float>()[i] =
        static_cast<float>(scale * (2 * random.uniform(static_cast<uint64_t>(i)) - 1));
  }
  return t;
}

TEST(SharedWeights, AreOneParameter) {
  const Model model = twins(true);
  std::vector<std::string> names;
  for (const ParameterInfo& p : model.parameters()) names.push_back(p.name);
  EXPECT_EQ(names, (std::vector<std::string>{"conv_a.weight", "conv_a.bias", "up_a.weight",
                                             "up_a.bias", "fc_a.weight", "fc_a.bias"}));
  EXPECT_EQ(model.parameter_count(), (2 * 2 * 9 + 2) + (2 * 2 * 4 + 2) + (12 * 12 + 12));
}

// One step of plain SGD: the shared weights move by the sum of what separate weights of the same values
// move by.
TEST(SharedWeights, MoveByTheSumOfTheirGradients) {
  TrainerOptions options;
  options.device = "cpu";
  options.batch = 5;
  options.optimizer = Sgd{0.1f};
  options.normalization = Normalization{{0, 0}, {1, 1}};
  Trainer shared(twins(true), options), separate(twins(false), options);
  const std::vector<std::string> kinds{"weight", "bias"};
  const std::map<std::string, std::vector<std::string>> users{{"conv_a", {"conv_a", "conv_b"}},
                                                              {"up_a", {"up_a", "up_b"}},
                                                              {"fc_a", {"fc_a", "fc_b", "fc_c"}}};
  std::map<std::string, Tensor> before;
  for (const auto& [owner, layers] : users) {
    for (const std::string& kind : kinds) {
      const std::string name = owner + "." + kind;
      const Tensor value = random_tensor(shared.parameter(name).shape(), name, 0.5);
      before[name] = value;
      shared.set_parameter(name, value);
      for (const std::string& layer : layers) separate.set_parameter(layer + "." + kind, value);
    }
  }
  const Tensor samples = random_tensor({5, 2, 6, 6}, "samples", 1);
  Tensor targets({5}, DType::i32);
  for (int32_t n = 0; n < 5; ++n) targets.data<int32_t>()[n] = n;
  EXPECT_EQ(shared.step(samples, targets), separate.step(samples, targets));
  constexpr double kRounding = 4 * 0x1p-24;  // up to four weights below 1, rounded once each
  for (const auto& [owner, layers] : users) {
    for (const std::string& kind : kinds) {
      const std::string name = owner + "." + kind;
      const Tensor got = shared.parameter(name);
      double largest = 0;
      for (int64_t i = 0; i < got.elems(); ++i) {
        const double start = static_cast<double>(before[name].data<float>()[i]);
        double want = start;
        for (const std::string& layer : layers) {
          const Tensor moved = separate.parameter(layer + "." + kind);
          want += static_cast<double>(moved.data<float>()[i]) - start;
        }
        EXPECT_NEAR(static_cast<double>(got.data<float>()[i]), want, kRounding) << name;
        largest = std::max(largest, std::abs(want - start));
      }
      EXPECT_GT(largest, 100 * kRounding) << name << " did not move";
    }
  }
}

}  // namespace
}  // namespace tanul::test
