// SPDX-License-Identifier: Apache-2.0
// Thirty plain ReLU layers on an IDX data set: what an initialiser does to the activations before the
// first step, and to what is learnt after two epochs. deep_plain [FOLDER]; see docs/INITIALISATION.md.
#include <tanul/tanul.h>

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

namespace {

constexpr int kDepth = 30, kWidth = 100, kEpochs = 2;
constexpr int kShown[] = {1, 5, 10, 20, 30};

// The depth is what is shown, so there is nothing in it that helps: no shortcuts, no normalisation.
tanul::Model plain_network(const tanul::Shape& sample, const tanul::Init& init) {
  tanul::ModelBuilder m("deep_plain");
  auto x = m.flatten(m.input(sample));
  for (int layer = 1; layer <= kDepth; ++layer) {
    x = m.relu(m.linear(x, {.out = kWidth, .weight_init = init}));
    for (int shown : kShown) {
      if (layer == shown) m.output(x, "layer" + std::to_string(layer));
    }
  }
  m.softmax_cross_entropy(m.linear(x, {.out = 10, .weight_init = init}));
  return m.build();
}

double root_mean_square(const tanul::Tensor& t) {
  double sum = 0;
  const auto* values = t.data<float>();
  for (int64_t i = 0; i < t.elems(); ++i) sum += static_cast<double>(values[i]) * values[i];
  return std::sqrt(sum / static_cast<double>(t.elems()));
}

}  // namespace

int main(int argc, char** argv) try {
  const auto data = tanul::load_idx(argc > 1 ? argv[1] : "/usr/share/datasets/fashion-mnist");
  tanul::Batch first;
  tanul::Loader(data.train(), {.batch = 500, .shuffle = false}).next(first);

  const struct {
    const char* name;
    tanul::Init init;
    bool lsuv;
  } starts[] = {
      {"N(0, 0.01^2)", tanul::Init::normal(0, 0.01), false},
      {"Glorot uniform", tanul::Init::glorot_uniform(), false},
      {"He normal", tanul::Init::he_normal(), false},
      {"LSUV", tanul::Init::orthogonal(), true},
  };
  std::printf("root mean square of the activations before training      after %d epochs\n",
              kEpochs);
  std::printf("%-14s", "");
  for (int layer : kShown) std::printf(" layer %-2d", layer);
  std::printf("     loss  test accuracy\n");
  for (const auto& start : starts) {
    tanul::TrainerOptions options;
    options.optimizer = tanul::Sgd{.lr = 0.02f};
    options.clip_norm = 1;
    options.batch = 100;
    options.epochs = kEpochs;
    tanul::Trainer trainer(plain_network(data.train().sample_shape(), start.init), options);
    trainer.fit_normalization(data.train());
    if (start.lsuv) trainer.initialize_lsuv(first.samples);

    std::printf("%-14s", start.name);
    for (const tanul::Tensor& y : trainer.predict(std::vector{first.samples})) {
      std::printf(" %8.1e", root_mean_square(y));
    }
    double loss = 0;
    for (int epoch = 0; epoch < kEpochs; ++epoch) loss = trainer.train_epoch(data.train()).loss;
    std::printf(" %8.4f %14.4f\n", loss, trainer.evaluate(data.test()).accuracy);
  }
} catch (const tanul::Error& e) {
  std::fprintf(stderr, "deep_plain: %s\n", e.what());
  return 1;
}
