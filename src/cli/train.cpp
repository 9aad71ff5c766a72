// SPDX-License-Identifier: Apache-2.0
// tanul train: everything that can be refused is looked at before the run folder is made.
#include <algorithm>
#include <chrono>
#include <csignal>

#include "cli/commands.h"
#include "cli/data_source.h"
#include "cli/json_text.h"
#include "cli/output.h"
#include "cli/progress_line.h"
#include "cli/report.h"
#include "cli/run_folder.h"
#include "cli/units.h"
#include "core/format.h"

namespace tanul::cli {

namespace {

// Ctrl-C: the step that runs is finished, then the run ends. A second one ends the process.
volatile std::sig_atomic_t was_interrupted = 0;
struct Interrupted {};
constexpr int kInterruptedExit = 130;

void on_interrupt(int) {
  was_interrupted = 1;
  std::signal(SIGINT, SIG_DFL);
}

void say_header(const Trainer& trainer, const Dataset& data) {
  say("{} · {} parameters · batch {} · {}\n", trainer.model().name(),
      with_commas(trainer.model().parameter_count()), trainer.options().batch,
      trainer.device_description());
  std::string parts = with_commas(data.train().size()) + " train";
  if (!data.validation().empty()) {
    parts += " / " + with_commas(data.validation().size()) + " validation";
  }
  if (!data.test().empty()) parts += " / " + with_commas(data.test().size()) + " test";
  say("{} · {} · {}", data.name, parts, data.train().sample_shape().str_x());
  if (data.train().has_labels()) say(" · {} classes", data.classes());
  const PlanInfo plan = trainer.plan();
  say("\nplan: {} steps, {} (weights {}, optimizer {}, inputs {}, activations {}), {} a step\n{}\n",
      plan.steps.size(), mib(plan.total_bytes), mib(plan.parameter_bytes), mib(plan.state_bytes),
      mib(plan.input_bytes), mib(plan.activation_bytes), flop_text(plan.flops), units_text(plan));
  flush_out();
}

std::string first_names(const std::vector<std::string>& names) {
  constexpr size_t kMost = 4;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kMost); ++i) text += (i ? ", " : "") + names[i];
  return names.size() > kMost ? text + ", …" : text;
}

// What happened to the weights before the first step.
void say_start(const StartReport& report, const Recipe& recipe) {
  if (report.is_whitened) say("the first convolution whitens its patches\n");
  if (!report.lsuv.empty()) {
    double low = report.lsuv.front().before, high = low;
    for (const LsuvLayer& layer : report.lsuv) {
      low = std::min(low, layer.before);
      high = std::max(high, layer.before);
    }
    say("LSUV: {} layers at unit variance (before: {:.3g} … {:.3g})\n", report.lsuv.size(), low,
        high);
  }
  if (report.loaded) {
    const LoadReport& r = *report.loaded;
    say("{}: {} tensors loaded\n", recipe.start.weights, r.loaded.size());
    if (!r.missing.empty()) say("  not in the file: {}\n", first_names(r.missing));
    if (!r.mismatched.empty()) say("  of another shape: {}\n", first_names(r.mismatched));
    if (!r.unexpected.empty()) say("  not used: {}\n", first_names(r.unexpected));
  }
  std::vector<std::string> frozen;
  for (const ParameterGroup& group : recipe.trainer.groups) {
    if (group.frozen) frozen.push_back(group.pattern);
  }
  if (!frozen.empty()) say("frozen: {}\n", first_names(frozen));
  if (report.is_whitened || !report.lsuv.empty() || report.loaded || !frozen.empty()) say("\n");
}

// Prints the steps of the plan until `is_first_step` is over, and ends at the first value that is not
// finite; with a scaled loss at the first of the forward pass, since what the gradients do is seen to.
void watch_steps(Trainer& trainer, const bool& is_first_step) {
  const bool is_scaled = trainer.loss_scale().has_value();
  trainer.set_stepwise([&is_first_step, is_scaled](const StepReport& report) {
    const StepInfo& step = *report.step;
    if (is_first_step) {
      say("{:<12} {:<20} {:<18} {:<18} {:>10.3f} ms  largest {:.4g}\n", step.layer, step.op,
          step.implementation, step.output.str_x(), 1e3 * report.seconds, report.largest);
    }
    const bool is_gradient = step.phase == "backward" || step.phase == "update";
    if (!report.is_finite && !(is_scaled && is_gradient)) {
      fail(Code::diverged, "step {} of layer \"{}\" ({}) made a value that is not finite", step.op,
           step.layer, step.implementation);
    }
  });
}

TensorFile with_classes(TensorFile file, const std::vector<std::string>& class_names) {
  if (!class_names.empty()) file.metadata["classes"] = json_list(class_names);
  return file;
}

Recipe recipe_with_data(const TrainArgs& args, std::string* folder) {
  std::vector<std::string> overrides = args.overrides();
  const Recipe recipe = load_recipe(args.model, overrides);
  *folder = find_data_folder(args.data.empty() ? recipe.data.path : args.data);
  overrides.push_back("data.path=" + json_string(*folder));  // so that the run folder knows it
  return load_recipe(args.model, overrides);
}

}  // namespace

int run_train(const TrainArgs& args) {
  const auto start = std::chrono::steady_clock::now();
  std::string data_folder;
  const Recipe recipe = recipe_with_data(args, &data_folder);
  check_run_folder(args.out, args.overwrite);
  const Dataset data = load_parts(data_folder, recipe);
  Trainer trainer(recipe.model, recipe.trainer);
  const StartReport start_report = start_weights(trainer, data.train(), recipe.start);
  RunFolder run(args.out, recipe.model.name(), args.overwrite);
  run.write("config.toml", recipe.resolved_toml);
  const bool is_classifier = data.train().has_labels();
  if (!args.quiet) {
    say_header(trainer, data);
    say_start(start_report, recipe);
  }

  ProgressLine line(recipe.fit.epochs, is_classifier, args.quiet);
  bool is_first_step = true;
  if (args.stepwise) watch_steps(trainer, is_first_step);
  FitCallbacks callbacks;
  callbacks.on_step = [&](const Progress& progress) {
    is_first_step = false;
    line.step(progress);
    if (was_interrupted != 0) throw Interrupted{};
  };
  callbacks.on_epoch = [&](const FitEpoch& epoch) {
    run.append_metrics(epoch_json(epoch));
    write_safetensors(run.file("last.safetensors"),
                      with_classes(trainer.state(), data.class_names));
    if (epoch.is_best) {
      write_safetensors(run.file("best.safetensors"),
                        with_classes(trainer.state(false), data.class_names));
    }
    line.epoch(epoch);
  };

  FitResult result;
  std::signal(SIGINT, on_interrupt);
  try {
    result = fit(trainer, data.train(), data.validation(), recipe.fit, callbacks);
  } catch (const Interrupted&) {
    line.leave();
    write_safetensors(run.file("last.safetensors"),
                      with_classes(trainer.state(), data.class_names));
    say("interrupted after {} steps · {}\n", with_commas(trainer.steps_done()),
        run.file("last.safetensors"));
    return kInterruptedExit;
  } catch (...) {
    line.leave();
    flush_out();
    throw;
  }
  std::signal(SIGINT, SIG_DFL);

  trainer.set_stepwise({});
  Summary summary;
  Evaluation test;
  if (!data.test().empty()) {
    test = trainer.evaluate(data.test());
    summary.test = &test;
  }
  summary.model = recipe.model.name();
  summary.dataset = data.name;
  summary.data_folder = data_folder;
  summary.class_names = data.class_names;
  summary.train_samples = data.train().size();
  summary.validation_samples = data.validation().size();
  summary.fit = &result;
  summary.trainer = &trainer;
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  run.write("summary.json", summary_json(summary));

  if (!args.quiet) say("\n");
  if (result.stopped_early) {
    say("stopped early: no lower validation loss for {} epochs\n", recipe.fit.patience);
  }
  if (const std::optional<LossScale> scale = trainer.loss_scale()) {
    say("{}\n", loss_scale_text(*scale));
  }
  if (summary.test != nullptr) {
    say("{}", result_line("test", test));
    if (recipe.fit.keep_best && !data.validation().empty()) {
      say(" · weights of epoch {}", result.best_epoch);
    }
    say("\n");
    if (!args.quiet) say_confusions(test, data.class_names);
  } else {
    say("no test part: nothing to test on (test in [data] draws one from the training part)\n");
  }
  say("{} images/s · {} · run folder {}\n", with_commas(static_cast<int64_t>(images_per_s(result))),
      seconds_text(summary.seconds), run.path());
  return 0;
}

}  // namespace tanul::cli
