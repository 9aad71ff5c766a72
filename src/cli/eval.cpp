// SPDX-License-Identifier: Apache-2.0
// tanul eval: the weights of a run on the test part.
#include <optional>

#include "cli/class_scores.h"
#include "cli/commands.h"
#include "cli/data_source.h"
#include "cli/json_text.h"
#include "cli/output.h"
#include "cli/report.h"
#include "cli/run_folder.h"
#include "cli/units.h"
#include "core/format.h"

namespace tanul::cli {

namespace {

bool takes_logits(LossKind kind) {
  return kind == LossKind::softmax_cross_entropy ||
         kind == LossKind::negative_log_likelihood;  // logarithms of probabilities are logits too
}

// Collects the scores of an evaluation where they are logits of classes: of the first loss that
// looks at labels, as Evaluation::confusion does.
std::optional<ClassScores> make_collector(const Model& model, const DataView& data) {
  const std::vector<LossInfo> losses = model.losses();
  for (size_t i = 0; i < losses.size(); ++i) {
    if (data.target_dtype(i) != DType::i32) continue;
    const int64_t classes = losses[i].output_shape[0];
    if (!takes_logits(losses[i].kind) || classes < 2) return {};
    return ClassScores(classes, data.size() * (losses[i].output_shape.elems() / classes));
  }
  return {};
}

}  // namespace

int run_eval(const EvalArgs& args) {
  const OpenedRun run = open_run(args.run, args.device, args.threads);
  const std::string folder = find_data_folder(args.data.empty() ? run.recipe.data.path : args.data);
  const Dataset data = load_parts(folder, run.recipe);
  const std::string part = !data.test().empty()         ? "test"
                           : !data.validation().empty() ? "validation"
                                                        : "train";
  const DataView& view = part == "test"         ? data.test()
                         : part == "validation" ? data.validation()
                                                : data.train();
  const auto trainer = run.make_trainer();
  std::optional<ClassScores> collector = make_collector(trainer->model(), view);
  const Evaluation evaluation =
      trainer->evaluate(view, [&](const Tensor& truths, const Tensor& scores) {
        if (collector) collector->add(truths, scores);
      });
  std::optional<ScoreMetrics> scores;
  if (collector) scores = collector->values();
  const std::vector<std::string>& names =
      run.class_names.empty() ? data.class_names : run.class_names;
  if (args.json) {
    say("{}\n",
        evaluation_json(args.run, folder, part, evaluation, scores ? &*scores : nullptr, names));
    return 0;
  }
  say("{} · {} · {} {} samples · {}\n", run.recipe.model.name(), data.name,
      with_commas(view.size()), part, trainer->device_description());
  say("{}", units_text(trainer->plan()));
  say("{}\n", result_line(part, evaluation));
  if (evaluation.confusion.total() == 0) return 0;
  if (!say_confusions(evaluation, names)) say("\n");
  say_class_metrics(evaluation.confusion, scores ? &*scores : nullptr, names);
  return 0;
}

}  // namespace tanul::cli
