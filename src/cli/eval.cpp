// SPDX-License-Identifier: Apache-2.0
// tanul eval: the weights of a run on the test part.
#include "cli/commands.h"
#include "cli/data_source.h"
#include "cli/json_text.h"
#include "cli/output.h"
#include "cli/report.h"
#include "cli/run_folder.h"
#include "core/format.h"

namespace tanul::cli {

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
  const Evaluation evaluation = trainer->evaluate(view);
  const std::vector<std::string>& names =
      run.class_names.empty() ? data.class_names : run.class_names;
  if (args.json) {
    say("{}\n", evaluation_json(args.run, folder, part, evaluation, names));
    return 0;
  }
  say("{} · {} · {} {} samples · {}\n", run.recipe.model.name(), data.name,
      with_commas(view.size()), part, trainer->device_description());
  say("{}\n", result_line(part, evaluation));
  say_confusions(evaluation, names);
  return 0;
}

}  // namespace tanul::cli
