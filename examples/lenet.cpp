// SPDX-License-Identifier: Apache-2.0
// LeNet-5 learns the pictures of an IDX data set: lenet [FOLDER]
#include <tanul/tanul.h>

#include <cstdio>

int main(int argc, char** argv) try {
  tanul::Dataset data = tanul::load_idx(argc > 1 ? argv[1] : "/usr/share/datasets/fashion-mnist");

  tanul::ModelBuilder m("lenet5");
  auto x = m.input({1, 28, 28});
  x = m.max_pool2d(m.relu(m.conv2d(x, {.out = 6, .kernel = 5, .pad = 2})), {.kernel = 2});
  x = m.max_pool2d(m.relu(m.conv2d(x, {.out = 16, .kernel = 5})), {.kernel = 2});
  x = m.relu(m.linear(m.flatten(x), {.out = 120}));
  x = m.linear(m.relu(m.linear(x, {.out = 84})), {.out = 10});
  m.softmax_cross_entropy(x);

  tanul::Trainer trainer(m.build(), {.optimizer = tanul::Sgd{.lr = 0.05f, .momentum = 0.9f},
                                     .schedule = tanul::Schedule::cosine(),
                                     .epochs = 3});
  for (int epoch = 1; epoch <= 3; ++epoch) {
    auto result = trainer.train_epoch(data.train());
    std::printf("epoch %d  loss %.4f  test accuracy %.4f  %.0f images/s\n", epoch, result.loss,
                trainer.evaluate(data.test()).accuracy, result.images_per_s);
  }
  trainer.save("lenet.safetensors");
} catch (const tanul::Error& e) {
  std::fprintf(stderr, "lenet: %s\n", e.what());
  return 1;
}
