// SPDX-License-Identifier: Apache-2.0
// tanul-bench: `step` times whole training steps of model files on random data, `losses` says what these
// steps compute, `input` times what comes before a step, `roof` the machine itself.
#include <fmt/core.h>
#include <tanul/tanul.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "bench/step_timer.h"

namespace {

using namespace tanul::bench;
using nlohmann::ordered_json;

int run(int argc, char** argv) {
  CLI::App app{"Times tanul on this machine"};
  app.name("tanul-bench");
  app.require_subcommand(1);
  StepOptions o;
  CLI::App* step = app.add_subcommand(
      "step", "Time whole training steps of model files (SGD with momentum) on one random batch");
  step->add_option("--model", o.models, "Model file (TOML); may be given several times")
      ->required();
  step->add_option("--batch", o.batch, "Samples a step (default: the model file's)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  step->add_option("--threads", o.threads, "Threads (default: all processors)")
      ->check(CLI::Range(1, 1024));
  step->add_option("--device", o.device, "auto, cpu, cuda, cuda:N")->capture_default_str();
  step->add_option("--memory", o.memory,
                   "normal; low: parts of the forward pass run twice (default: the model file's)")
      ->check(CLI::IsMember({"normal", "low"}));
  step->add_option("--seconds", o.seconds, "Length of a repeat")
      ->check(CLI::Range(0.001, 3600.0))
      ->capture_default_str();
  step->add_option("--repeats", o.repeats, "Repeats; the median is the result")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  step->add_flag("--json", o.as_json, "One JSON object a model");
  step->add_flag("--breakdown", o.has_breakdown,
                 "Where the time of a step goes, against the machine's ceilings");
  step->add_flag("!--no-peak", o.with_peak, "Leave out measuring the machine's peak");
  int64_t losses_steps = 5;
  std::string start_file;
  CLI::App* losses = app.add_subcommand(
      "losses",
      "The losses of the first steps that `step` times, for comparing with other programs");
  losses->add_option("--model", o.models, "Model file (TOML); may be given several times")
      ->required();
  losses->add_option("--batch", o.batch, "Samples a step (default: the model file's)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  losses->add_option("--threads", o.threads, "Threads (default: all processors)")
      ->check(CLI::Range(1, 1024));
  losses->add_option("--device", o.device, "auto, cpu, cuda, cuda:N")->capture_default_str();
  losses->add_option("--steps", losses_steps, "Steps")
      ->check(CLI::Range(int64_t{1}, int64_t{1000000}))
      ->capture_default_str();
  losses->add_option("--start", start_file,
                     "Write samples, targets and initial weights to this safetensors file");
  losses->add_flag("!--no-evaluation", o.with_evaluation, "Nothing but training steps");
  losses->add_flag("--json", o.as_json, "One JSON object a model");
  tanul::Augmentation augmentation{.crop = 4, .flip = true};
  int64_t input_samples = 20000;
  CLI::App* input = app.add_subcommand(
      "input", "Time one thread that puts samples of a model file into batches, and augments them");
  input->add_option("--model", o.models, "Model file (TOML); may be given several times")
      ->required();
  input->add_option("--batch", o.batch, "Samples a batch (default: the model file's)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  input->add_option("--samples", input_samples, "Samples in memory")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
      ->capture_default_str();
  input->add_option("--crop", augmentation.crop, "Shift by up to so many pixels")
      ->capture_default_str();
  input->add_flag("!--no-flip", augmentation.flip, "Mirror none");
  input->add_option("--seconds", o.seconds, "Length of a repeat")
      ->check(CLI::Range(0.001, 3600.0))
      ->capture_default_str();
  input->add_option("--repeats", o.repeats, "Repeats; the median is the result")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  input->add_flag("--json", o.as_json, "One JSON object a model");
  CLI::App* roof = app.add_subcommand(
      "roof", "Measure the machine's own ceilings: multiply-adds, matrix products, copies");
  roof->add_option("--threads", o.threads, "Threads (default: all processors)")
      ->check(CLI::Range(1, 1024));
  roof->add_flag("--json", o.as_json, "One JSON object");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    fmt::print(stderr, "tanul-bench: {}\n", e.what());
    return 2;
  }
  const auto put = [&](const ordered_json& result, void (*print)(const ordered_json&)) {
    if (o.as_json) {
      fmt::print("{}\n", result.dump());
    } else {
      print(result);
    }
    std::fflush(stdout);
  };
  if (roof->parsed()) {
    put(measure_roof(o.threads), print_roof);
    return 0;
  }
  if (input->parsed()) {
    if (!o.as_json) print_input_head();
    for (const std::string& model : o.models) {
      put(time_input(model, augmentation, input_samples, o), print_input_row);
    }
    return 0;
  }
  if (losses->parsed()) {
    if (!start_file.empty() && o.models.size() > 1) {
      fmt::print(stderr, "tanul-bench: --start writes one file: give one --model, got {}\n",
                 o.models.size());
      return 2;
    }
    for (const std::string& model : o.models) {
      put(trace_losses(model, losses_steps, start_file, o), print_losses);
    }
    return 0;
  }
  if (!o.as_json && !o.has_breakdown) print_step_head();
  for (const std::string& model : o.models) {
    if (o.has_breakdown) {
      put(break_down(model, o), print_breakdown);
    } else {
      put(time_steps(model, o), print_step_row);
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const tanul::Error& e) {
    fmt::print(stderr, "tanul-bench: {}\n", e.what());
    return e.is_user_error() ? 2 : 1;
  } catch (const std::exception& e) {
    fmt::print(stderr, "tanul-bench: {}\n", e.what());
    return 1;
  }
}
