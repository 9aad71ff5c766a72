// SPDX-License-Identifier: Apache-2.0
// consumer FILE: trains a small network, saves and loads its weights, catches an Error across the
// library's border. Exit status 0 when all of it worked.
#include <tanul/tanul.h>

#include <cstdio>
#include <vector>

namespace {

tanul::Model model() {
  tanul::ModelBuilder m("consumer");
  auto x = m.input({1, 8, 8});
  x = m.max_pool2d(m.relu(m.conv2d(x, {.out = 4, .kernel = 3, .pad = 1})), {.kernel = 2});
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 2}));
  return m.build();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  // Class 0 is bright on the left, class 1 on the right.
  tanul::Tensor images({8, 1, 8, 8});
  std::vector<int32_t> labels;
  for (int n = 0; n < 8; ++n) {
    labels.push_back(n % 2);
    for (int i = 0; i < 64; ++i) {
      images.data<float>()[n * 64 + i] = (i % 8 < 4) == (n % 2 == 0) ? 1.0f : 0.0f;
    }
  }
  const tanul::Tensor targets = tanul::Tensor::from({8}, labels);

  const tanul::TrainerOptions options = {.batch = 8, .optimizer = tanul::Sgd{.lr = 0.1f}};
  tanul::Trainer trainer(model(), options);
  const double first = trainer.step(images, targets);
  double last = first;
  for (int i = 0; i < 50; ++i) last = trainer.step(images, targets);
  std::printf("tanul %s: loss %.4f, then %.4f\n", tanul::version(), first, last);
  if (!(last < 0.5 * first)) return 1;

  trainer.save(argv[1]);
  tanul::Trainer again(model(), options);
  again.load(argv[1]);
  if (again.evaluate(tanul::DataView(images, targets)).accuracy != 1.0) return 1;

  try {
    tanul::load_idx("/nonexistent");
    return 1;
  } catch (const tanul::Error& e) {
    return e.code() == tanul::Code::not_found ? 0 : 1;
  }
}
