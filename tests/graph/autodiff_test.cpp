// SPDX-License-Identifier: Apache-2.0
// Differentiation of whole networks: values with several readers, residual sums, concatenation and
// fused activations, against central differences of the loss in double.
#include "graph/autodiff.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/philox.h"
#include "graph/step_graph.h"
#include "kernels/linear/linear.h"
#include "support/op_graph.h"

namespace tanul::test {
namespace {

constexpr int64_t kBatch = 3;

// Numbers in (-scale, scale), the same for the same name.
RefTensor random_tensor(const Shape& shape, const std::string& name, double scale) {
  RefTensor t(shape);
  const Philox random{3, philox_stream(name), 0};
  for (int64_t i = 0; i < t.elems(); ++i) {
    t[i] = scale * (2 * random.uniform(static_cast<uint64_t>(i)) - 1);
  }
  return t;
}

// Feeds everything a training step reads; `shifted` is added to one element of one parameter.
struct Network {
  explicit Network(const Model& model) {
    StepGraphOptions options;
    options.batch = kBatch;
    options.samples = PortTypes(DType::f32);
    step = make_step_graph(model, options);
  }

  RefInterpreter interpreter(ValueId shifted = kNoValue, int64_t element = 0, double by = 0) const {
    RefInterpreter run(step.graph, RefContext{});
    for (size_t i = 0; i < step.graph.values.size(); ++i) {
      const auto id = static_cast<ValueId>(i);
      const Value& value = step.graph.value(id);
      if (value.kind == ValueKind::constant) {
        RefTensor t(value.shape);
        t.v.assign(value.constant.begin(), value.constant.end());
        run.feed(id, t);
      } else if (id == step.losses[0].target) {
        RefTensor labels(value.shape, DType::i32);
        for (int64_t n = 0; n < kBatch; ++n) labels[n] = static_cast<double>(n % 3);
        run.feed(id, labels);
      } else if (value.kind != ValueKind::temp) {
        RefTensor t = random_tensor(value.shape, value.name, 0.5);
        if (id == step.inputs[0].deviation) t.v.assign(t.v.size(), 1.0);
        if (id == shifted) t[element] += by;
        run.feed(id, t);
      }
    }
    return run;
  }

  double loss(ValueId shifted, int64_t element, double by) const {
    return interpreter(shifted, element, by).eval(step.losses[0].loss)[0];
  }

  StepGraph step;
};

// The parameter that a node updates; kNoValue where it updates none.
ValueId updated_by(const Node& node) {
  if (node.kind == OpKind::sgd_update) return node.in[0];
  return node.kind == OpKind::linear_bwd_weights_sgd ? node.in[2] : kNoValue;
}

RefTensor gradient_of(RefInterpreter& run, const Node& node) {
  if (node.kind == OpKind::sgd_update) return run.eval(node.in[1]);
  return reference(OpKind::linear_bwd_weights, Params::of(LinearParams{}),
                   {run.eval(node.in[0]), run.eval(node.in[1])}, {})[0];
}

void expect_gradients(const Model& model) {
  const Network network(model);
  size_t checked = 0;
  for (const Node& node : network.step.graph.nodes) {
    const ValueId w = updated_by(node);
    if (w == kNoValue) continue;
    const std::string& name = network.step.graph.value(w).name;
    RefInterpreter run = network.interpreter();
    const RefTensor gradient = gradient_of(run, node);
    ASSERT_EQ(gradient.shape, network.step.graph.value(w).shape) << name;
    const int64_t count = std::min<int64_t>(gradient.elems(), 6);
    for (int64_t k = 0; k < count; ++k) {
      const int64_t i = k * gradient.elems() / count;
      constexpr double kH = 1e-3;
      const double difference = (network.loss(w, i, -2 * kH) - 8 * network.loss(w, i, -kH) +
                                 8 * network.loss(w, i, kH) - network.loss(w, i, 2 * kH)) /
                                (12 * kH);
      EXPECT_NEAR(gradient[i], difference, 1e-6 * std::fabs(difference) + 1e-11)
          << name << ", element " << i;
    }
    ++checked;
  }
  EXPECT_EQ(checked, model.parameters().size());
}

TEST(Differentiate, AValueReadTwiceGetsBothGradients) {
  ModelBuilder m;
  Var x = m.tanh(m.linear(m.input({5}), {.out = 4}));
  x = m.add(m.add(x, x), m.sigmoid(x));
  m.softmax_cross_entropy(m.linear(x, {.out = 3}));
  expect_gradients(m.build());
}

TEST(Differentiate, ResidualBlocksWithProjection) {
  ModelBuilder m;
  Var x = m.tanh(m.conv2d(m.input({2, 6, 6}), {.out = 3, .kernel = 3, .pad = 1}));
  for (int64_t out : {3, 4}) {
    const Var main = m.conv2d(m.tanh(m.conv2d(x, {.out = out, .kernel = 3, .pad = 1})),
                              {.out = out, .kernel = 3, .pad = 1, .bias = false});
    const Var shortcut = out == 3 ? x : m.conv2d(x, {.out = out, .kernel = 1});
    x = m.sigmoid(m.add(main, shortcut));
  }
  m.softmax_cross_entropy(m.linear(m.flatten(m.global_avg_pool2d(x)), {.out = 3}));
  expect_gradients(m.build());
}

TEST(Differentiate, BranchesThatAreConcatenated) {
  ModelBuilder m;
  const Var x = m.sigmoid(m.conv2d(m.input({1, 6, 6}), {.out = 2, .kernel = 3, .pad = 1}));
  const Var a = m.tanh(m.conv2d(x, {.out = 2, .kernel = 1}));
  const Var b = m.conv2d(x, {.out = 3, .kernel = 3, .pad = 1, .dilation = 1});
  const Var all = m.avg_pool2d(m.concat({a, x, b}), {.kernel = 2});
  m.softmax_cross_entropy(m.linear(m.flatten(all), {.out = 3}),
                          {.label_smoothing = 0.1, .class_weights = {1, 2, 0.5f}});
  expect_gradients(m.build());
}

// Outputs that are made again in the backward pass: for the weights of the next convolution, for batch
// norm behind batch norm, and behind a flatten.
TEST(Differentiate, BatchNormThatIsComputedAgain) {
  ModelBuilder m;
  Var x = m.conv2d(m.input({2, 6, 6}), {.out = 3, .kernel = 3, .pad = 1, .bias = false});
  x = m.batch_norm(m.tanh(m.batch_norm(x)), {.eps = 0.1});
  x = m.batch_norm(m.batch_norm(m.conv2d(x, {.out = 4, .kernel = 3})), {.affine = false});
  x = m.add(m.conv2d(x, {.out = 4, .kernel = 1}), x);
  x = m.batch_norm(m.linear(m.flatten(m.batch_norm(x)), {.out = 5}), {.eps = 0.1});
  m.softmax_cross_entropy(m.linear(x, {.out = 3}));
  const Model model = m.build();
  expect_gradients(model);
  int again = 0;
  const Network network(model);
  for (const Node& node : network.step.graph.nodes) {
    again += node.kind == OpKind::batchnorm_eval_fwd ? 1 : 0;
  }
  EXPECT_EQ(again, 6);  // of all: the gradient of tanh reads what batch norm made
}

TEST(Differentiate, OtherNormalisations) {
  ModelBuilder m;
  Var x = m.group_norm(m.conv2d(m.input({2, 6, 6}), {.out = 4, .kernel = 3}), {.groups = 2});
  x = m.local_response_norm(m.instance_norm(x, {.affine = true}), {.size = 3, .alpha = 1, .k = 1});
  x = m.layer_norm(m.conv2d(x, {.out = 3, .kernel = 2}));
  x = m.rms_norm(m.layer_norm(x, {.axes = 1}), {.axes = 2});
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 3}));
  expect_gradients(m.build());
}

TEST(Differentiate, SharedWeightsGetTheSumOfTheirGradients) {
  ModelBuilder m;
  Var x = m.tanh(m.conv2d(m.input({2, 6, 6}), {.out = 2, .kernel = 3, .pad = 1, .name = "a"}));
  for (int i = 0; i < 2; ++i) {
    x = m.tanh(m.conv2d(x, {.out = 2, .kernel = 3, .pad = 1, .share = "a"}));
  }
  x = m.tanh(m.linear(m.flatten(m.avg_pool2d(x, {.kernel = 3})), {.out = 8, .name = "fc"}));
  x = m.linear(x, {.out = 8, .share = "fc"});
  m.softmax_cross_entropy(x);
  expect_gradients(m.build());
}

TEST(Differentiate, SignalsThroughTransposedConvolution) {
  ModelBuilder m;
  Var x = m.tanh(m.conv1d(m.input({2, 13}), {.out = 4, .kernel = 3, .stride = 2, .groups = 2}));
  x = m.avg_pool1d(x, {.kernel = 2, .stride = 1, .pad = 1});
  x = m.tanh(m.conv_transpose1d(x, {.out = 2, .kernel = 3, .stride = 2, .output_padding = 1}));
  x = m.adaptive_avg_pool(x, {.out = {4}});
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 3}));
  expect_gradients(m.build());
}

TEST(Differentiate, VolumesThroughTransposedConvolution) {
  ModelBuilder m;
  Var x = m.tanh(m.conv3d(m.input({1, 4, 5, 6}), {.out = 3, .kernel = 2, .pad = Same::upper}));
  x = m.avg_pool3d(x, {.kernel = 2, .stride = Extent3{1, 2, 2}});
  // output_padding below the dilation: the gradient of x has fewer slices than fit
  x = m.tanh(
      m.conv_transpose3d(x, {.out = 2, .kernel = 2, .output_padding = {2, 0, 1}, .dilation = 3}));
  m.softmax_cross_entropy(m.linear(m.flatten(m.global_avg_pool(x)), {.out = 3}));
  expect_gradients(m.build());
}

// A shortcut to more channels without weights, moves there and back, and gates that are broadcast.
TEST(Differentiate, LayersThatMoveAndCombine) {
  ModelBuilder m;
  const Var x = m.scale_shift(m.input({2, 6, 6}));
  const Var wide = m.pad(x, {.pad = {1, 0, 1, 2}, .mode = PadWith::reflect});  // {2, 8, 8}
  const Var shortcut = m.pad(wide, {.channels_before = 2, .channels_after = 4});
  Var y = m.add(m.conv2d(wide, {.out = 8, .kernel = 1}), shortcut);
  y = m.crop(m.pixel_shuffle(m.tanh(y), 2), {.begin = {1, 2}, .size = {12, 12}});
  y = m.channel_shuffle(m.pixel_unshuffle(y, 3), 3);  // {18, 4, 4}
  const Var first = m.slice(y, {0, 0, 9}), second = m.slice(y, {.axis = 0, .begin = 9});
  y = m.multiply(first, m.reduce_mean(second, {1, 2}, true));
  y = m.divide(m.subtract(y, m.reduce_mean(first, {0})), m.sigmoid(second));
  y = m.pad(y, {.pad = {1, 0}, .mode = PadWith::replicate});  // {9, 6, 4}
  y = m.upsample(y, {.size = {5, 6}, .mode = UpsampleMode::linear});
  y = m.upsample(y, {.scale = {1.5}, .mode = UpsampleMode::cubic, .align_corners = true});
  y = m.flatten(m.transpose(y, {1, 2, 0}), 1);  // {7, 81}
  y = m.reduce_sum(m.reshape(y, {7, -1, 27}), {0, 2});
  m.softmax_cross_entropy(m.linear(y, {.out = 3}));
  expect_gradients(m.build());
}

TEST(Differentiate, MaximaAndMinimaOfBroadcastSamples) {
  ModelBuilder m;
  const Var x = m.linear(m.input({4}), {.out = 6});
  const Var pair = m.reshape(x, {2, 3});
  const Var low = m.minimum(pair, m.slice(x, {.begin = 3}));  // {2, 3} with {3}
  const Var high = m.maximum(m.upsample(pair, {.size = {6}}), x);
  m.softmax_cross_entropy(m.linear(m.concat({m.flatten(low), m.flatten(high)}), {.out = 3}));
  expect_gradients(m.build());
}

// A layer that the loss does not depend on has no gradient, and keeps its weights.
TEST(Differentiate, AnIdleBranchIsLeftAlone) {
  ModelBuilder m;
  const Var x = m.input({4});
  m.linear(x, {.out = 2, .name = "idle"});
  m.softmax_cross_entropy(m.linear(x, {.out = 3, .name = "used"}));
  const Network network(m.build());
  for (const Node& node : network.step.graph.nodes) {
    if (updated_by(node) == kNoValue) continue;
    EXPECT_EQ(node.layer, "used");
  }
}

}  // namespace
}  // namespace tanul::test
