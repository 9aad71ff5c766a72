// SPDX-License-Identifier: Apache-2.0
// The command line of tanul: options by CLI11 (the one file that includes it), commands in files of
// their own. Exit codes: 0 done, 1 the run failed, 2 the command or a file was wrong.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/output.h"
#include "core/suggest.h"
#include "tanul/device.h"
#include "tanul/error.h"

namespace tanul::cli {
namespace {

constexpr int kFailed = 1;
constexpr int kWrong = 2;

// One line, whatever a file name or a message holds.
void complain(const std::string& message) {
  std::string line = "tanul: ";
  for (const char c : message) line += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void add_device(CLI::App* app, std::optional<std::string>& device,
                std::optional<int64_t>& threads) {
  app->add_option("--device", device, "auto, cpu, cuda, cuda:N");
  app->add_option("--threads", threads, "threads; 0: all processors")->check(CLI::Range(0, 1024));
}

void add_model(CLI::App* app, ModelArgs& args) {
  constexpr int64_t kMost = 1'000'000;
  app->add_option("MODEL.toml", args.model, "the model file")->required();
  add_device(app, args.device, args.threads);
  app->add_option("--epochs", args.epochs, "passes over the training part")
      ->check(CLI::Range(int64_t{1}, kMost));
  app->add_option("--batch", args.batch, "samples a step")->check(CLI::Range(int64_t{1}, kMost));
  app->add_option("--seed", args.seed, "of weights, split, order, dropout")
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()));
  app->add_option("--memory", args.memory, "normal; low: less memory for more arithmetic")
      ->check(CLI::IsMember({"normal", "low"}));
  app->add_option("--set", args.set, "replace a setting of the model file: key.path=value")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app->add_option("--force", args.force, "choose an implementation: step:name")
      ->type_name("STEP:NAME")
      ->allow_extra_args(false);
}

// All commands; `run` becomes what the chosen one does.
struct CommandLine {
  CLI::App app{"tanul trains convolutional networks", "tanul"};
  TrainArgs train;
  EvalArgs eval;
  PredictArgs predict;
  PlanArgs plan;
  LrFindArgs lr_find;
  InfoArgs info;
  DataInfoArgs data_info;
  DataGetArgs data_get;
  std::function<int()> run;

  CommandLine() {
    app.set_version_flag("--version", std::string("tanul ") + version());
    app.require_subcommand(1);
    app.failure_message([](const CLI::App*, const CLI::Error& e) { return std::string(e.what()); });

    CLI::App* c = app.add_subcommand("train", "train the network of a model file");
    add_model(c, train);
    c->add_option("--data", train.data, "folder of the data set, or mnist, fashion-mnist");
    c->add_option("--out", train.out, "run folder; default runs/<model>-<n>");
    c->add_flag("--overwrite", train.overwrite, "replace the run in that folder");
    c->add_flag("--stepwise", train.stepwise, "look at every step; end at the first broken value");
    c->add_flag("--quiet", train.quiet, "only the result");
    c->callback([this] { run = [this] { return run_train(train); }; });

    c = app.add_subcommand("eval", "test the weights of a run");
    c->add_option("RUN", eval.run, "run folder")->required();
    c->add_option("--data", eval.data, "another data set than that of the run");
    add_device(c, eval.device, eval.threads);
    c->add_flag("--json", eval.json, "one JSON object");
    c->callback([this] { run = [this] { return run_eval(eval); }; });

    c = app.add_subcommand("predict", "classify PNG and JPEG pictures with a run");
    c->add_option("RUN", predict.run, "run folder")->required();
    c->add_option("IMAGE", predict.images, "pictures")->required();
    c->add_flag("--invert", predict.invert, "dark on light: 255 - value");
    c->add_option("--top", predict.top, "how many classes to name")
        ->check(CLI::Range(1, 1'000'000));
    add_device(c, predict.device, predict.threads);
    c->add_flag("--json", predict.json, "a JSON list");
    c->callback([this] { run = [this] { return run_predict(predict); }; });

    c = app.add_subcommand("plan", "what a training step will cost, before anything runs");
    add_model(c, plan);
    c->add_flag("--why", plan.why, "why earlier implementations were refused, and measured times");
    c->add_flag("--steps", plan.steps, "every step instead of every layer");
    c->add_flag("--prediction", plan.evaluation, "a step of prediction instead of training");
    c->callback([this] { run = [this] { return run_plan(plan); }; });

    c = app.add_subcommand("lr-find", "which learning rate to train with");
    add_model(c, lr_find);
    c->add_option("--data", lr_find.data, "folder of the data set, or mnist, fashion-mnist");
    c->add_option("--from", lr_find.from, "lowest rate; default 1e-7");
    c->add_option("--to", lr_find.to, "highest rate; default 10");
    c->add_option("--steps", lr_find.steps, "steps from one to the other; default 100");
    c->add_option("--out", lr_find.out, "folder for lr_find.json and lr_find.svg");
    c->callback([this] { run = [this] { return run_lr_find(lr_find); }; });

    c = app.add_subcommand("info", "version, build, machine, devices");
    c->add_flag("--json", info.json, "one JSON object");
    c->callback([this] { run = [this] { return run_info(info); }; });

    CLI::App* data = app.add_subcommand("data", "data sets");
    data->require_subcommand(1);
    c = data->add_subcommand("info", "counts, shapes, classes, mean and deviation");
    c->add_option("PATH", data_info.path, "folder, or mnist, fashion-mnist")->required();
    c->add_option("--picture", data_info.picture, "write a sheet of samples as PNG");
    c->add_flag("--json", data_info.json, "one JSON object");
    c->callback([this] { run = [this] { return run_data_info(data_info); }; });
    c = data->add_subcommand("get", "fetch a data set");
    c->add_option("NAME", data_get.name, "mnist, fashion-mnist")->required();
    c->add_option("--to", data_get.to, "folder; default ~/.cache/tanul/NAME");
    c->add_flag("--replace", data_get.replace, "fetch again what is there with other content");
    c->callback([this] { run = [this] { return run_data_get(data_get); }; });
  }
};

// The command that was being parsed, and its name as typed: "data get".
const CLI::App* deepest(const CLI::App& app, std::string& name) {
  const CLI::App* at = &app;
  for (;;) {
    const auto chosen = at->get_subcommands();
    if (chosen.empty()) return at;
    at = chosen.front();
    name += (name.empty() ? "" : " ") + at->get_name();
  }
}

// CLI11's error as one line with the nearest option or command.
std::string explain(const CLI::App& app, const CLI::ParseError& e,
                    const std::vector<std::string>& words) {
  std::string name;
  const CLI::App* at = deepest(app, name);
  const std::string where = name.empty() ? "" : name + ": ";
  const auto commands = at->get_subcommands([](const CLI::App*) { return true; });
  std::vector<std::string> names;
  if (!commands.empty()) {
    for (const CLI::App* command : commands) names.push_back(command->get_name());
    // the word behind the command that was understood
    const auto depth = static_cast<size_t>(name.empty() ? 0 : 1);
    if (words.size() <= depth) {
      return where + "say what to do" + suggestion("", names) + " (--help explains)";
    }
    const std::string& word = words[depth];
    if (word.rfind("-", 0) != 0) {
      return where + "there is no command \"" + word + "\"" + suggestion(word, names);
    }
    return where + "there is no option \"" + word + "\" here; a command comes first" +
           suggestion("", names);
  }
  if (dynamic_cast<const CLI::ExtrasError*>(&e) == nullptr) return where + e.what();
  std::string word;
  for (const std::string& left : at->remaining(true)) {
    if (word.empty() || (word[0] != '-' && left[0] == '-')) word = left;
  }
  word = word.substr(0, word.find('='));
  if (word.empty() || word[0] != '-') return where + "\"" + word + "\" is one word too many";
  for (const CLI::Option* option : at->get_options()) {
    for (const std::string& known : option->get_lnames()) names.push_back("--" + known);
  }
  return where + "there is no option \"" + word + "\"" + suggestion(word, names);
}

int run_main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  CommandLine line;
  try {
    line.app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) {  // --help, --version
      line.app.exit(e);
      return flush_out() ? 0 : kFailed;
    }
    complain(explain(line.app, e, std::vector<std::string>(argv + 1, argv + argc)));
    return kWrong;
  }
  const int code = line.run();
  if (!flush_out()) {
    complain("standard output cannot be written");
    return kFailed;
  }
  return code;
}

}  // namespace

}  // namespace tanul::cli

int main(int argc, char** argv) {
  using tanul::cli::complain;
  try {
    return tanul::cli::run_main(argc, argv);
  } catch (const tanul::Error& e) {
    tanul::cli::flush_out();
    complain(e.what());
    return e.is_user_error() ? tanul::cli::kWrong : tanul::cli::kFailed;
  } catch (const std::bad_alloc&) {
    complain("out of memory");
  } catch (const std::exception& e) {
    complain(std::string("internal error: ") + e.what());
  }
  return tanul::cli::kFailed;
}
