// SPDX-License-Identifier: Apache-2.0
// tanul predict: pictures through a trained network. All pictures are read before the first is
// classified.
#include <algorithm>
#include <numeric>

#include "cli/commands.h"
#include "cli/image.h"
#include "cli/json_text.h"
#include "cli/output.h"
#include "cli/run_folder.h"
#include "core/format.h"

namespace tanul::cli {

int run_predict(const PredictArgs& args) {
  const OpenedRun run = open_run(args.run, args.device, args.threads);
  const Shape input = run.recipe.model.input_shape();
  std::vector<int64_t> extents{static_cast<int64_t>(args.images.size())};
  extents.insert(extents.end(), input.begin(), input.end());
  Tensor samples(Shape(extents), DType::u8);
  for (size_t i = 0; i < args.images.size(); ++i) {
    image_to_input(read_image(args.images[i]), input, args.invert,
                   samples.data<uint8_t>() + static_cast<int64_t>(i) * input.elems());
  }
  const auto trainer = run.make_trainer();
  const Tensor outputs = trainer->predict(samples);

  const LossKind loss = run.recipe.model.loss();
  const bool are_probabilities = loss == LossKind::softmax_cross_entropy;
  const bool is_classifier = are_probabilities || loss == LossKind::negative_log_likelihood ||
                             loss == LossKind::multi_margin;
  const int64_t count = run.recipe.model.output_shape().elems();
  std::vector<Prediction> predictions;
  for (size_t i = 0; i < args.images.size(); ++i) {
    const float* row = outputs.data<float>() + static_cast<int64_t>(i) * count;
    Prediction p;
    p.image = args.images[i];
    p.values.assign(row, row + count);
    p.order.resize(static_cast<size_t>(count));
    std::iota(p.order.begin(), p.order.end(), 0);
    std::stable_sort(p.order.begin(), p.order.end(), [&](int64_t a, int64_t b) {
      return p.values[static_cast<size_t>(a)] > p.values[static_cast<size_t>(b)];
    });
    predictions.push_back(std::move(p));
  }
  if (args.json) {
    const std::string score = are_probabilities ? "probability" : is_classifier ? "score" : "";
    say("{}\n", predictions_json(predictions, run.class_names, score, args.top));
    return 0;
  }
  for (const Prediction& p : predictions) {
    say("{}", p.image);
    const auto shown = std::min(static_cast<size_t>(args.top), p.order.size());
    for (size_t i = 0; i < (is_classifier ? shown : p.values.size()); ++i) {
      const auto c = is_classifier ? static_cast<size_t>(p.order[i]) : i;
      if (!is_classifier) {
        say("  {:.4g}", p.values[c]);
        continue;
      }
      say("  {} {}", c < run.class_names.size() ? run.class_names[c] : std::to_string(c),
          are_probabilities ? percent(p.values[c]) : fmt::format("{:.4g}", p.values[c]));
    }
    say("\n");
  }
  return 0;
}

}  // namespace tanul::cli
