// SPDX-License-Identifier: Apache-2.0
// The networks whose steps are measured, and models of one layer after another for what no network has.
#include <tanul/models.h>

#include <utility>

#include "bench/op_cases.h"

namespace tanul::bench {

namespace {

using Sources = std::vector<OpSource>;

OpSource training(const std::string& name, const Model& model, int64_t batch,
                  const Optimizer& optimizer = Sgd{.lr = 0.01f, .momentum = 0.9f}) {
  OpSource source{name, model, {}};
  source.options.batch = batch;
  source.options.optimizer = optimizer;
  return source;
}

// Class indices for the losses that want them, values for the others.
OpSource with_values(OpSource source) {
  source.options.targets = PortTypes(DType::f32);
  return source;
}

int64_t batch_or(int64_t batch, int64_t usual) { return batch > 0 ? batch : usual; }

Sources lenet5(int64_t batch) {
  return {training("lenet5", models::lenet5(), batch_or(batch, 64))};
}
Sources resnet20(int64_t batch) {
  return {training("resnet20", models::cifar_resnet(20), batch_or(batch, 64))};
}
Sources alexnet(int64_t batch) {
  return {training("alexnet", models::alexnet(), batch_or(batch, 16))};
}
Sources resnet18(int64_t batch) {
  return {training("resnet18", models::resnet(18), batch_or(batch, 8))};
}
Sources vgg16(int64_t batch) { return {training("vgg16", models::vgg(16), batch_or(batch, 4))}; }

// --- what no network has --------------------------------------------------------------------------

// Of a feature map and of a head.
struct Extents {
  int64_t batch;
  int64_t channels, side;  // divisible by 4
  int64_t features, classes;
};

// A learned scale in front, so that every layer behind it has a gradient to hand on.
Var start(ModelBuilder& m, const Shape& shape) { return m.scale_shift(m.input(shape)); }

Model end(ModelBuilder& m, Var x) {
  m.mean_squared_error(x);
  return m.build();
}

Model activations(const Extents& e) {
  ModelBuilder m("activations");
  Var x = start(m, {e.channels, e.side, e.side});
  for (const char* kind : {"relu", "leaky_relu", "relu6", "elu", "selu", "celu", "gelu", "silu",
                           "softplus", "sigmoid", "gelu_tanh", "tanh", "hardsigmoid", "mish",
                           "hardtanh", "softsign", "hardswish", "logsigmoid", "threshold_relu"}) {
    x = m.activation(x, kind);
  }
  x = m.threshold(x, 0.5, 0);
  x = m.prelu(m.prelu(x), {.per_channel = true});
  return end(m, m.log_softmax(m.softmax(x)));
}

Model normalisations(const Extents& e) {
  ModelBuilder m("normalisations");
  Var x = start(m, {e.channels, e.side, e.side});
  x = m.batch_norm(m.batch_norm(x, {.frozen = true}));
  x = m.rms_norm(m.layer_norm(x));
  x = m.instance_norm(m.group_norm(x, {.groups = 4}), {.affine = true});
  return end(m, m.local_response_norm(x));
}

Model pools(const Extents& e) {
  ModelBuilder m("pools");
  Var x = start(m, {e.channels, e.side, e.side});
  const Var parts =
      m.concat({m.max_pool2d(x, {.kernel = 3, .stride = 2, .pad = 1}),
                m.avg_pool2d(x, {.kernel = 2}), m.adaptive_max_pool(x, {.out = {e.side / 2}}),
                m.adaptive_avg_pool(x, {.out = {e.side / 2}})});
  const Var whole = m.add(m.global_avg_pool(parts), m.global_max_pool(parts));
  return end(m, whole);
}

Model moves(const Extents& e) {
  ModelBuilder m("moves");
  Var x = start(m, {e.channels, e.side, e.side});
  x = m.dropout(m.dropout(x, {.p = 0.1}), {.p = 0.1, .spatial = true});
  x = m.pixel_unshuffle(m.pixel_shuffle(m.channel_shuffle(x, 4), 2), 2);
  x = m.transpose(m.transpose(x, {1, 2, 0}), {2, 0, 1});
  x = m.crop(m.pad(x, {.pad = {1}, .mode = PadWith::reflect}),
             {.begin = {1, 1}, .size = {e.side, e.side}});
  x = m.slice(m.pad(x, {.pad = {1}}), {.axis = 1, .begin = 1, .end = e.side + 1});
  for (UpsampleMode mode : {UpsampleMode::nearest, UpsampleMode::linear, UpsampleMode::cubic}) {
    x = m.upsample(x, {.size = {e.side}, .mode = mode});
  }
  return end(m, m.upsample(x, {.scale = {2}, .mode = UpsampleMode::linear}));
}

Model arithmetic(const Extents& e) {
  ModelBuilder m("arithmetic");
  const Shape shape{e.channels, e.side, e.side};
  const Var a = start(m, shape), b = start(m, shape);
  const Var each = m.reduce_mean(a, {1, 2}, true);  // {C, 1, 1}
  Var x = m.add(a, b);
  x = m.add(x, each);
  x = m.subtract(m.multiply(x, each), b);
  x = m.maximum(m.divide(x, b), a);
  x = m.minimum(x, b);
  return end(m, m.reduce_sum(x, {1, 2}));
}

// Convolutions beside those of the networks: depthwise, grouped, over signals and volumes, and with a
// saturating activation.
Model convolutions(const Extents& e) {
  ModelBuilder m("convolutions");
  const int64_t C = e.channels;
  Var x = start(m, {C, e.side, e.side});
  x = m.sigmoid(m.conv2d(x, {.out = C, .kernel = 3, .pad = 1, .groups = C}));
  x = m.tanh(m.conv2d(x, {.out = C, .kernel = 3, .pad = 1, .groups = 4}));
  x = m.conv_transpose2d(x, {.out = C, .kernel = 2, .stride = 2});
  x = m.reshape(x, {C, 4, e.side, e.side});
  x = m.max_pool3d(m.relu(m.conv3d(x, {.out = C, .kernel = 3, .pad = 1})), {.kernel = 2});
  x = m.conv_transpose3d(x, {.out = C / 2, .kernel = 2, .stride = 2});
  x = m.conv1d(m.flatten(x, 1), {.out = C / 2, .kernel = 3, .pad = 1});
  return end(m, x);
}

using Loss = void (*)(ModelBuilder& m, Var x);

// A head with some losses behind it.
Model losses(const Extents& e, const char* name, const std::vector<Loss>& all) {
  ModelBuilder m(name);
  const Var x = m.linear(m.input({e.features}), {.out = e.classes});
  for (Loss loss : all) loss(m, x);
  return m.build();
}

Sources all_losses(const Extents& e) {
  const std::vector<Loss> of_labels = {[](ModelBuilder& m, Var x) { m.softmax_cross_entropy(x); },
                                       [](ModelBuilder& m, Var x) { m.negative_log_likelihood(x); },
                                       [](ModelBuilder& m, Var x) { m.multi_margin(x); }};
  const std::vector<Loss> of_values = {
      [](ModelBuilder& m, Var x) { m.mean_squared_error(x); },
      [](ModelBuilder& m, Var x) { m.mean_absolute_error(x); },
      [](ModelBuilder& m, Var x) { m.smooth_l1(x); },
      [](ModelBuilder& m, Var x) { m.huber(x); },
      [](ModelBuilder& m, Var x) { m.binary_cross_entropy(x); },
      [](ModelBuilder& m, Var x) { m.binary_cross_entropy(x, {.from_probabilities = true}); }};
  const std::vector<Loss> of_more_values = {
      [](ModelBuilder& m, Var x) { m.kl_divergence(x); },
      [](ModelBuilder& m, Var x) { m.hinge(x); }, [](ModelBuilder& m, Var x) { m.focal(x); },
      [](ModelBuilder& m, Var x) { m.poisson_nll(x); },
      [](ModelBuilder& m, Var x) { m.cosine_embedding(x, m.relu(x)); }};
  return {training("losses", losses(e, "losses", of_labels), e.batch),
          with_values(training("losses", losses(e, "losses", of_values), e.batch)),
          with_values(training("losses", losses(e, "losses", of_more_values), e.batch))};
}

Sources optimizers(const Extents& e) {
  const Model head =
      losses(e, "optimizers", {[](ModelBuilder& m, Var x) { m.softmax_cross_entropy(x); }});
  Sources all;
  for (const Optimizer& optimizer :
       {Optimizer(Sgd{.lr = 0.01f, .momentum = 0.9f}), Optimizer(Adam{}),
        Optimizer(AdamW{.amsgrad = true}), Optimizer(Adagrad{}), Optimizer(Adadelta{}),
        Optimizer(RmsProp{}), Optimizer(Adamax{}), Optimizer(NAdam{}), Optimizer(RAdam{}),
        Optimizer(Lion{}), Optimizer(Lars{}), Optimizer(Lamb{}), Optimizer(Muon{})}) {
    all.push_back(training("optimizers", head, e.batch, optimizer));
    // Without it SGD would be part of the step that makes the gradient.
    all.back().options.clip_norm = 1;
  }
  OpSource rest = training("optimizers", head, e.batch);
  rest.options.clip_value = 1;
  rest.options.l1 = rest.options.l2 = 1e-4;
  rest.options.ema_decay = 0.99;
  rest.options.lookahead_k = 1;
  for (Accumulation part : {Accumulation::none, Accumulation::gather, Accumulation::apply}) {
    rest.options.accumulation = part;
    all.push_back(rest);
  }
  all.push_back(training("optimizers", head, e.batch));
  all.back().options.scales_loss = true;
  return all;
}

// Batches from a data set on the device, as they are and augmented.
Sources data_sets(const Extents& e) {
  ModelBuilder m("data sets");
  const Var x = m.global_avg_pool(start(m, {e.channels, e.side, e.side}));
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = e.classes}));
  OpSource plain = training("data sets", m.build(), e.batch);
  plain.options.resident_samples = 8 * e.batch;
  OpSource augmented = plain;
  augmented.options.augmentation = {.crop = 2, .flip = true};
  augmented.options.image_height = augmented.options.image_width = e.side;
  augmented.options.seed = 3;
  return {plain, augmented};
}

Sources vocabulary(const Extents& e) {
  Sources all;
  for (Model (*model)(const Extents&) :
       {activations, normalisations, pools, moves, arithmetic, convolutions}) {
    const Model made = model(e);
    all.push_back(with_values(training(made.name(), made, e.batch)));
  }
  for (Sources (*more)(const Extents&) : {all_losses, optimizers, data_sets}) {
    for (OpSource& source : more(e)) all.push_back(std::move(source));
  }
  return all;
}

// Sizes from ResNet-18: its second stage, and its classifier.
Sources rest(int64_t batch) { return vocabulary({batch_or(batch, 8), 128, 28, 512, 1000}); }
// Every kind of step in milliseconds, for tests and for tools that slow everything down.
Sources tiny(int64_t batch) {
  Sources all = {training("tiny lenet5", models::lenet5(), batch_or(batch, 2))};
  for (OpSource& source : vocabulary({batch_or(batch, 2), 8, 8, 12, 10})) all.push_back(source);
  return all;
}

}  // namespace

const std::vector<OpShapes>& op_shapes() {
  static const std::vector<OpShapes> all = {
      {"lenet5", "LeNet-5, batch 64", lenet5},
      {"resnet20", "ResNet-20 for 32x32, batch 64", resnet20},
      {"alexnet", "AlexNet, batch 16", alexnet},
      {"resnet18", "ResNet-18, batch 8", resnet18},
      {"vgg16", "VGG-16, batch 4", vgg16},
      {"rest", "steps that none of these networks has, at sizes of ResNet-18", rest},
      {"tiny", "every kind of step on a few numbers; only where it is named", tiny},
  };
  return all;
}

}  // namespace tanul::bench
