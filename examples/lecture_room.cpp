// SPDX-License-Identifier: Apache-2.0
// Two classifiers are right on the same two of three samples. Their accuracy is equal; their losses say
// which of them knows more. See docs/LOSSES.md.
#include <tanul/tanul.h>

#include <cmath>
#include <cstdio>
#include <vector>

namespace {

using tanul::ModelBuilder;
using tanul::Var;

void cross_entropy(ModelBuilder& m, Var logits) { m.softmax_cross_entropy(logits); }
void squared_error(ModelBuilder& m, Var x) {  // summed over the classes, mean over the samples
  m.mean_squared_error(x, {.reduction = tanul::Reduction::batch_mean});
}

// Mean loss and accuracy of outputs [3 samples, 3 classes], by a network that is nothing but its loss.
tanul::Evaluation judge(void (*loss)(ModelBuilder&, Var), const std::vector<float>& outputs) {
  ModelBuilder m("judge");
  loss(m, m.input({3}));
  tanul::TrainerOptions options;
  options.batch = 3;
  options.normalization = tanul::Normalization{{0}, {1}};  // the outputs as they are
  tanul::Trainer trainer(m.build(), options);
  const auto samples = tanul::Tensor::from<float>({3, 3}, outputs);
  const auto classes = tanul::Tensor::from<int32_t>({3}, {2, 1, 0});
  return trainer.evaluate(tanul::DataView(samples, classes));
}

}  // namespace

int main() try {
  const struct {
    const char* name;
    std::vector<float> probabilities;
  } classifiers[] = {
      {"unsure", {0.3f, 0.3f, 0.4f, 0.3f, 0.4f, 0.3f, 0.1f, 0.2f, 0.7f}},
      {"sure", {0.1f, 0.2f, 0.7f, 0.1f, 0.7f, 0.2f, 0.3f, 0.4f, 0.3f}},
  };
  std::printf("classifier  accuracy  cross-entropy  squared error\n");
  for (const auto& [name, probabilities] : classifiers) {
    std::vector<float> logits;  // the softmax of log p is p
    for (float p : probabilities) logits.push_back(std::log(p));
    const tanul::Evaluation entropy = judge(cross_entropy, logits);
    const tanul::Evaluation square = judge(squared_error, probabilities);
    std::printf("%-10s  %8.2f  %13.2f  %13.2f\n", name, entropy.accuracy, entropy.loss,
                square.loss);
  }
} catch (const tanul::Error& e) {
  std::fprintf(stderr, "lecture_room: %s\n", e.what());
  return 1;
}
