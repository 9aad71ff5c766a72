// SPDX-License-Identifier: Apache-2.0
// Well-known networks through the public ModelBuilder only: also a collection of examples of its use.
#include "tanul/models.h"

#include <string>
#include <vector>

#include "core/format.h"

namespace tanul::models {

namespace {

Model classifier(ModelBuilder& m, Var logits) {
  m.softmax_cross_entropy(logits);
  return m.build();
}

[[noreturn]] void no_such_depth(const char* network, int depth, const char* possible) {
  fail(Code::invalid_argument, "{}: there is no depth {}; {} are known", network, depth, possible);
}

// conv, batch norm, and an activation where it is wanted.
enum class After { nothing, relu, relu6 };
struct ConvNorm {
  int64_t out;
  int64_t kernel;
  int64_t stride = 1;
  int64_t groups = 1;
  After after = After::relu;
};
Var conv_norm(ModelBuilder& m, Var x, const ConvNorm& c) {
  x = m.batch_norm(m.conv2d(x, {.out = c.out,
                                .kernel = c.kernel,
                                .stride = c.stride,
                                .pad = c.kernel / 2,
                                .groups = c.groups,
                                .bias = false}));
  switch (c.after) {
    case After::nothing: return x;
    case After::relu: return m.relu(x);
    case After::relu6: return m.relu6(x);
  }
  return x;
}

Var dense_relu(ModelBuilder& m, Var x, int64_t out) { return m.relu(m.linear(x, {.out = out})); }

}  // namespace

Model lenet5(int64_t classes) {
  ModelBuilder m("lenet5");
  Var x = m.input({1, 28, 28});
  x = m.max_pool2d(m.relu(m.conv2d(x, {.out = 6, .kernel = 5, .pad = 2})), {.kernel = 2});
  x = m.max_pool2d(m.relu(m.conv2d(x, {.out = 16, .kernel = 5})), {.kernel = 2});
  x = dense_relu(m, dense_relu(m, m.flatten(x), 120), 84);
  m.default_init(Init::he_normal());
  return classifier(m, m.linear(x, {.out = classes}));
}

Model caffe_lenet(int64_t classes) {
  ModelBuilder m("caffe_lenet");
  Var x = m.input({1, 28, 28});
  x = m.max_pool2d(m.conv2d(x, {.out = 20, .kernel = 5}), {.kernel = 2});
  x = m.max_pool2d(m.conv2d(x, {.out = 50, .kernel = 5}), {.kernel = 2});
  x = dense_relu(m, m.flatten(x), 500);
  m.default_init(Init::glorot_uniform());
  return classifier(m, m.linear(x, {.out = classes}));
}

Model mlp(int64_t classes) {
  ModelBuilder m("mlp");
  Var x = m.flatten(m.input({1, 28, 28}));
  x = dense_relu(m, dense_relu(m, x, 1024), 1024);
  m.default_init(Init::he_normal());
  return classifier(m, m.linear(x, {.out = classes}));
}

Model alexnet_2012(int64_t classes) {
  ModelBuilder m("alexnet_2012");
  const Init one = Init::constant(1);
  const auto norm_pool = [&](Var x) {
    x = m.local_response_norm(
        x, {.size = 5, .alpha = 1e-4, .beta = 0.75, .k = 2, .alpha_divided_by_size = false});
    return m.max_pool2d(x, {.kernel = 3, .stride = 2});
  };
  Var x = m.input({3, 227, 227});
  x = norm_pool(m.relu(m.conv2d(x, {.out = 96, .kernel = 11, .stride = 4})));
  x = norm_pool(
      m.relu(m.conv2d(x, {.out = 256, .kernel = 5, .pad = 2, .groups = 2, .bias_init = one})));
  x = m.relu(m.conv2d(x, {.out = 384, .kernel = 3, .pad = 1}));
  x = m.relu(m.conv2d(x, {.out = 384, .kernel = 3, .pad = 1, .groups = 2, .bias_init = one}));
  x = m.relu(m.conv2d(x, {.out = 256, .kernel = 3, .pad = 1, .groups = 2, .bias_init = one}));
  x = m.flatten(m.max_pool2d(x, {.kernel = 3, .stride = 2}));
  for (int i = 0; i < 2; ++i) {
    x = m.dropout(m.relu(m.linear(x, {.out = 4096, .bias_init = one})), {.p = 0.5});
  }
  m.default_init(Init::normal(0, 0.01));
  return classifier(m, m.linear(x, {.out = classes}));
}

Model alexnet(int64_t classes) {
  ModelBuilder m("alexnet");
  const auto pool = [&](Var x) { return m.max_pool2d(x, {.kernel = 3, .stride = 2}); };
  Var x = m.input({3, 224, 224});
  x = pool(m.relu(m.conv2d(x, {.out = 64, .kernel = 11, .stride = 4, .pad = 2})));
  x = pool(m.relu(m.conv2d(x, {.out = 192, .kernel = 5, .pad = 2})));
  for (int64_t out : {384, 256, 256}) x = m.relu(m.conv2d(x, {.out = out, .kernel = 3, .pad = 1}));
  x = m.flatten(pool(x));
  for (int i = 0; i < 2; ++i) x = dense_relu(m, m.dropout(x, {.p = 0.5}), 4096);
  return classifier(m, m.linear(x, {.out = classes}));
}

Model vgg(int depth, int64_t classes) {
  std::vector<int> convolutions;  // of the five stages
  switch (depth) {
    case 11: convolutions = {1, 1, 2, 2, 2}; break;
    case 13: convolutions = {2, 2, 2, 2, 2}; break;
    case 16: convolutions = {2, 2, 3, 3, 3}; break;
    case 19: convolutions = {2, 2, 4, 4, 4}; break;
    default: no_such_depth("vgg", depth, "11, 13, 16 and 19");
  }
  ModelBuilder m("vgg" + std::to_string(depth));
  Var x = m.input({3, 224, 224});
  int64_t out = 64;
  for (int count : convolutions) {
    for (int i = 0; i < count; ++i) x = m.relu(m.conv2d(x, {.out = out, .kernel = 3, .pad = 1}));
    x = m.max_pool2d(x, {.kernel = 2});
    out = out < 512 ? 2 * out : 512;
  }
  x = m.flatten(x);
  for (int i = 0; i < 2; ++i) x = m.dropout(dense_relu(m, x, 4096), {.p = 0.5});
  m.default_init(Init::he_normal());
  return classifier(m, m.linear(x, {.out = classes}));
}

Model vgg_bn_small(int64_t classes) {
  ModelBuilder m("vgg_bn_small");
  Var x = m.input({3, 32, 32});
  for (int64_t out : {64, 128, 256}) {
    for (int i = 0; i < 2; ++i) {
      x = m.relu(m.batch_norm(m.conv2d(x, {.out = out, .kernel = 3, .pad = 1})));
    }
    x = m.max_pool2d(x, {.kernel = 2});
  }
  x = dense_relu(m, m.flatten(x), 512);
  m.default_init(Init::he_normal());
  return classifier(m, m.linear(x, {.out = classes}));
}

Model cifar10_quick(int64_t classes) {
  ModelBuilder m("cifar10_quick");
  const Pool2dOptions pool{.kernel = 3, .stride = 2, .ceil_mode = true};
  Var x = m.input({3, 32, 32});
  x = m.relu(m.max_pool2d(m.conv2d(x, {.out = 32, .kernel = 5, .pad = 2}), pool));
  x = m.avg_pool2d(m.relu(m.conv2d(x, {.out = 32, .kernel = 5, .pad = 2})), pool);
  x = m.avg_pool2d(m.relu(m.conv2d(x, {.out = 64, .kernel = 5, .pad = 2})), pool);
  x = m.linear(m.flatten(x), {.out = 64});
  return classifier(m, m.linear(x, {.out = classes}));
}

Model cifar_resnet(int depth, int64_t classes) {
  if (depth != 20 && depth != 32 && depth != 44 && depth != 56) {
    no_such_depth("cifar_resnet", depth, "20, 32, 44 and 56");
  }
  ModelBuilder m("cifar_resnet" + std::to_string(depth));
  Var x = conv_norm(m, m.input({3, 32, 32}), {.out = 16, .kernel = 3});
  for (int64_t out : {16, 32, 64}) {
    for (int block = 0; block < (depth - 2) / 6; ++block) {
      const int64_t stride = block == 0 && out > 16 ? 2 : 1;
      Var y = conv_norm(m, x, {.out = out, .kernel = 3, .stride = stride});
      y = conv_norm(m, y, {.out = out, .kernel = 3, .after = After::nothing});
      if (stride == 2) {  // every second pixel, and channels of zeros
        x = m.max_pool2d(x, {.kernel = 1, .stride = 2});
        x = m.pad(x, {.channels_before = out / 4, .channels_after = out / 4});
      }
      x = m.relu(m.add(y, x));
    }
  }
  x = m.flatten(m.global_avg_pool(x));
  m.default_init(Init::he_normal());
  return classifier(m, m.linear(x, {.out = classes}));
}

Model resnet(int depth, int64_t classes) {
  std::vector<int> blocks;  // of the four stages
  switch (depth) {
    case 18: blocks = {2, 2, 2, 2}; break;
    case 34:
    case 50: blocks = {3, 4, 6, 3}; break;
    default: no_such_depth("resnet", depth, "18, 34 and 50");
  }
  const bool has_bottlenecks = depth == 50;
  ModelBuilder m("resnet" + std::to_string(depth));
  Var x = conv_norm(m, m.input({3, 224, 224}), {.out = 64, .kernel = 7, .stride = 2});
  x = m.max_pool2d(x, {.kernel = 3, .stride = 2, .pad = 1});
  for (int stage = 0; stage < 4; ++stage) {
    const int64_t width = int64_t{64} << stage;
    const int64_t out = has_bottlenecks ? 4 * width : width;
    for (int block = 0; block < blocks[static_cast<size_t>(stage)]; ++block) {
      const int64_t stride = block == 0 && stage > 0 ? 2 : 1;
      Var y;
      if (has_bottlenecks) {
        y = conv_norm(m, x, {.out = width, .kernel = 1});
        y = conv_norm(m, y, {.out = width, .kernel = 3, .stride = stride});
        y = conv_norm(m, y, {.out = out, .kernel = 1, .after = After::nothing});
      } else {
        y = conv_norm(m, x, {.out = out, .kernel = 3, .stride = stride});
        y = conv_norm(m, y, {.out = out, .kernel = 3, .after = After::nothing});
      }
      if (m.shape(x) != m.shape(y)) {
        x = conv_norm(m, x, {.out = out, .kernel = 1, .stride = stride, .after = After::nothing});
      }
      x = m.relu(m.add(y, x));
    }
  }
  x = m.flatten(m.global_avg_pool(x));
  m.default_init(Init::he_normal(Fan::out));
  return classifier(m, m.linear(x, {.out = classes}));
}

Model mobilenet_v2(int64_t classes) {
  struct Stage {
    int64_t expansion, out;
    int blocks;
    int64_t stride;
  };
  constexpr Stage kStages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                               {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
  ModelBuilder m("mobilenet_v2");
  Var x = m.input({3, 224, 224});
  x = conv_norm(m, x, {.out = 32, .kernel = 3, .stride = 2, .after = After::relu6});
  for (const Stage& stage : kStages) {
    for (int block = 0; block < stage.blocks; ++block) {
      const int64_t in = m.shape(x)[0];
      const int64_t hidden = in * stage.expansion;
      const int64_t stride = block == 0 ? stage.stride : 1;
      Var y = x;
      if (hidden != in) y = conv_norm(m, y, {.out = hidden, .kernel = 1, .after = After::relu6});
      y = conv_norm(
          m, y,
          {.out = hidden, .kernel = 3, .stride = stride, .groups = hidden, .after = After::relu6});
      y = conv_norm(m, y, {.out = stage.out, .kernel = 1, .after = After::nothing});
      x = stride == 1 && in == stage.out ? m.add(y, x) : y;
    }
  }
  x = conv_norm(m, x, {.out = 1280, .kernel = 1, .after = After::relu6});
  x = m.dropout(m.flatten(m.global_avg_pool(x)), {.p = 0.2});
  m.default_init(Init::he_normal(Fan::out));
  return classifier(m, m.linear(x, {.out = classes}));
}

Model all_cnn(int64_t classes) {
  ModelBuilder m("all_cnn");
  const auto conv = [&](Var x, int64_t out, int64_t kernel, int64_t stride) {
    return m.relu(m.conv2d(x, {.out = out, .kernel = kernel, .stride = stride, .pad = kernel / 2}));
  };
  Var x = m.dropout(m.input({3, 32, 32}), {.p = 0.2});
  for (int64_t out : {96, 192}) {
    x = conv(conv(conv(x, out, 3, 1), out, 3, 1), out, 3, 2);
    x = m.dropout(x, {.p = 0.5});
  }
  x = conv(conv(conv(x, 192, 3, 1), 192, 1, 1), classes, 1, 1);
  m.default_init(Init::he_normal());
  return classifier(m, m.flatten(m.global_avg_pool(x)));
}

Model sensor_net(int64_t classes) {
  ModelBuilder m("sensor_net");
  const auto conv = [&](Var x, int64_t out, int64_t kernel) {
    return m.relu(m.batch_norm(
        m.conv1d(x, {.out = out, .kernel = kernel, .pad = kernel / 2, .bias = false})));
  };
  Var x = m.max_pool1d(conv(m.input({6, 128}), 32, 7), {.kernel = 2});
  x = conv(m.max_pool1d(conv(x, 64, 5), {.kernel = 2}), 128, 5);
  x = m.dropout(m.flatten(m.global_avg_pool(x)), {.p = 0.3});
  return classifier(m, m.linear(x, {.out = classes}));
}

Model clip_net(int64_t classes) {
  ModelBuilder m("clip_net");
  const auto conv = [&](Var x, int64_t out) {
    return m.relu(m.batch_norm(m.conv3d(x, {.out = out, .kernel = 3, .pad = 1, .bias = false})));
  };
  Var x = m.max_pool3d(conv(m.input({3, 8, 32, 32}), 16), {.kernel = {1, 2, 2}});
  x = m.max_pool3d(conv(x, 32), {.kernel = 2});
  x = m.max_pool3d(conv(x, 64), {.kernel = 2});
  x = m.dropout(m.flatten(m.global_avg_pool(x)), {.p = 0.3});
  return classifier(m, m.linear(x, {.out = classes}));
}

Model autoencoder() {
  ModelBuilder m("autoencoder");
  Var x = m.input({1, 28, 28});
  x = m.relu(m.conv2d(x, {.out = 16, .kernel = 3, .stride = 2, .pad = 1}));  // 14x14
  x = m.relu(m.conv2d(x, {.out = 32, .kernel = 3, .stride = 2, .pad = 1}));  // 7x7
  x = m.linear(m.flatten(x), {.out = 32, .name = "code"});
  x = m.reshape(m.relu(m.linear(x, {.out = 32 * 7 * 7})), {32, 7, 7});
  x = m.relu(m.conv_transpose2d(x, {.out = 16, .kernel = 4, .stride = 2, .pad = 1}));
  m.mean_squared_error(m.conv_transpose2d(x, {.out = 1, .kernel = 4, .stride = 2, .pad = 1}));
  return m.build();
}

}  // namespace tanul::models
