// SPDX-License-Identifier: Apache-2.0
// tanul-bench: `ops` checks and times every step of well-known networks, `step` times whole training steps
// of model files on random data, `losses` says what these steps compute, `input` times what comes before
// a step, `roof` the machine itself.
#include <fmt/core.h>
#include <tanul/tanul.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "bench/device_roof.h"
#include "bench/op_cases.h"
#include "bench/ops.h"
#include "bench/step_timer.h"
#include "io/file.h"

namespace {

using namespace tanul::bench;
using nlohmann::ordered_json;

// What a command does when it was chosen; its exit status.
using Action = std::function<int()>;

void put(const ordered_json& result, bool as_json, void (*print)(const ordered_json&)) {
  if (as_json) {
    fmt::print("{}\n", result.dump());
  } else {
    print(result);
  }
  std::fflush(stdout);
}

void add_models(CLI::App& command, StepOptions& o) {
  command.add_option("--model", o.models, "Model file (TOML); may be given several times")
      ->required();
  command.add_option("--batch", o.batch, "Samples a step (default: the model file's)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
}

void add_device(CLI::App& command, StepOptions& o) {
  command.add_option("--threads", o.threads, "Threads (default: all processors)")
      ->check(CLI::Range(1, 1024));
  command.add_option("--device", o.device, "auto, cpu, cuda, cuda:N")->capture_default_str();
}

void add_repeats(CLI::App& command, StepOptions& o) {
  command.add_option("--seconds", o.seconds, "Length of a repeat")
      ->check(CLI::Range(0.001, 3600.0))
      ->capture_default_str();
  command.add_option("--repeats", o.repeats, "Repeats; the median is the result")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
}

Action add_step(CLI::App& command, StepOptions& o) {
  command.add_option("--model", o.models, "Model file (TOML); may be given several times")
      ->required();
  command
      .add_option("--batch", o.batches, "Samples a step: 64 or 64,512 (default: the model file's)")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command.add_option("--threads", o.threads, "Threads (default: all processors)")
      ->check(CLI::Range(1, 1024));
  command
      .add_option(
          "--device", o.devices,
          "auto, cpu, cuda, cuda:N (default: auto); of several, cpu,cuda, the later ones are "
          "compared with the first, their losses too")
      ->delimiter(',');
  command
      .add_option("--precision", o.precisions,
                  "fp32, tf32, bf16, fp16, or several: fp32,bf16 (default: the model file's)")
      ->delimiter(',')
      ->check(CLI::IsMember({"fp32", "tf32", "bf16", "fp16"}));
  const auto promises = std::make_shared<std::vector<std::string>>();
  command
      .add_option("--deterministic", *promises,
                  "true, false, or both: true,false shows what the same bits in every run cost; in "
                  "the table false is a * at the precision (default: the model file's)")
      ->delimiter(',')
      ->check(CLI::IsMember({"true", "false"}));
  add_repeats(command, o);
  command
      .add_option("--memory", o.memory,
                  "normal; low: parts of the forward pass run twice (default: the model file's)")
      ->check(CLI::IsMember({"normal", "low"}));
  command.add_flag("--json", o.as_json, "One JSON object a row");
  const auto svg_file = std::make_shared<std::string>();
  command.add_option("--svg", *svg_file, "Write a bar chart to this file");
  command.add_flag("--breakdown", o.has_breakdown,
                   "Where the time of a step goes, against the machine's ceilings");
  command.add_flag("!--no-peak", o.with_peak, "Leave out measuring the machine's peak");
  return [&o, svg_file, promises] {
    for (const std::string& promise : *promises) o.deterministic.emplace_back(promise == "true");
    if (o.has_breakdown) {
      const bool is_one = o.batches.size() <= 1 && o.devices.size() <= 1 &&
                          o.precisions.size() <= 1 && o.deterministic.size() <= 1;
      if (!is_one || !svg_file->empty()) {
        throw tanul::Error(
            tanul::Code::invalid_argument,
            "--breakdown goes with one batch, device, precision and promise, and without --svg");
      }
      if (!o.batches.empty()) o.batch = o.batches.front();
      if (!o.devices.empty()) o.device = o.devices.front();
      if (!o.precisions.empty()) o.precision = precision_of(o.precisions.front());
      if (!o.deterministic.empty()) o.is_deterministic = o.deterministic.front();
      for (const std::string& model : o.models) {
        put(break_down(model, o), o.as_json, print_breakdown);
      }
      return 0;
    }
    std::vector<ordered_json> rows;
    const std::vector<std::string> mismatches = time_all_steps(o, [&](const ordered_json& row) {
      if (!o.as_json && rows.empty()) print_step_head();
      put(row, o.as_json, print_step_row);
      rows.push_back(row);
    });
    if (!svg_file->empty()) tanul::write_file_atomic(*svg_file, step_chart(rows));
    for (const std::string& mismatch : mismatches) {
      fmt::print(stderr, "tanul-bench: {}\n", mismatch);
    }
    return mismatches.empty() ? 0 : 1;
  };
}

Action add_losses(CLI::App& command, StepOptions& o) {
  add_models(command, o);
  add_device(command, o);
  struct More {
    int64_t steps = 5;
    std::string start_file;
  };
  const auto more = std::make_shared<More>();
  command.add_option("--steps", more->steps, "Steps")
      ->check(CLI::Range(int64_t{1}, int64_t{1000000}))
      ->capture_default_str();
  command.add_option("--start", more->start_file,
                     "Write samples, targets and initial weights to this safetensors file");
  command.add_flag("!--no-evaluation", o.with_evaluation, "Nothing but training steps");
  command.add_flag("--json", o.as_json, "One JSON object a model");
  return [&o, more] {
    if (!more->start_file.empty() && o.models.size() > 1) {
      fmt::print(stderr, "tanul-bench: --start writes one file: give one --model, got {}\n",
                 o.models.size());
      return 2;
    }
    for (const std::string& model : o.models) {
      put(trace_losses(model, more->steps, more->start_file, o), o.as_json, print_losses);
    }
    return 0;
  };
}

Action add_input(CLI::App& command, StepOptions& o) {
  struct More {
    tanul::Augmentation augmentation{.crop = 4, .flip = true};
    int64_t samples = 20000;
  };
  const auto more = std::make_shared<More>();
  add_models(command, o);
  command.add_option("--samples", more->samples, "Samples in memory")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
      ->capture_default_str();
  command.add_option("--crop", more->augmentation.crop, "Shift by up to so many pixels")
      ->capture_default_str();
  command.add_flag("!--no-flip", more->augmentation.flip, "Mirror none");
  add_repeats(command, o);
  command.add_flag("--json", o.as_json, "One JSON object a model");
  return [&o, more] {
    if (!o.as_json) print_input_head();
    for (const std::string& model : o.models) {
      put(time_input(model, more->augmentation, more->samples, o), o.as_json, print_input_row);
    }
    return 0;
  };
}

Action add_roof(CLI::App& command, StepOptions& o) {
  command.add_option("--threads", o.threads, "Threads (default: all processors)")
      ->check(CLI::Range(1, 1024));
  const auto device = std::make_shared<std::string>("cpu");
  command.add_option("--device", *device, "auto, cpu, cuda, cuda:N")->capture_default_str();
  command.add_flag("--json", o.as_json, "One JSON object");
  return [&o, device] {
    const tanul::Device chosen = tanul::find_device(*device);
    if (chosen.type == tanul::DeviceType::cuda) {
      const auto backend = tanul::open_backend(chosen, 0);
      put(to_json(*backend, measure_roof_of(*backend)), o.as_json, print_device_roof);
      return 0;
    }
    put(measure_roof(o.threads), o.as_json, print_roof);
    return 0;
  };
}

Action add_ops(CLI::App& command) {
  struct More {
    OpsOptions options;
    std::string json_file, svg_file;
  };
  const auto more = std::make_shared<More>();
  OpsOptions& o = more->options;
  std::string shapes = "Whose shapes (default: all but tiny); may be given several times:";
  for (const OpShapes& each : op_shapes()) shapes += fmt::format("\n{}: {}", each.name, each.about);
  command
      .add_option(
          "--device", o.device,
          "auto: the CPU, and a GPU where there is one; cpu; cuda, cuda:N: the CPU and this")
      ->capture_default_str();
  command.add_option("--threads", o.threads, "Threads of the CPU (default: all processors)")
      ->check(CLI::Range(1, 1024));
  command.add_option("--ops", o.ops, "Steps whose kind matches: conv2d_*, *_bwd")
      ->capture_default_str();
  command.add_option("--shapes", o.shapes, shapes);
  command.add_option("--batch", o.batch, "Samples (default: what suits each network)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 16));
  command.add_option("--precision", o.precision, "Implementations that multiply in it")
      ->check(CLI::IsMember({"all", "fp32", "tf32", "bf16", "fp16"}))
      ->capture_default_str();
  command.add_option("--repeats", o.repeats, "Repeats; the median is the result")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command
      .add_option("--seconds", o.seconds,
                  "For all steps, one of each kind first, the cheapest of it; 0: all, each as "
                  "short as can be")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  command.add_flag("!--no-roof", o.with_roof, "Leave out measuring the ceilings");
  command.add_option("--json", more->json_file, "Write everything, with each repeat, to this file");
  command.add_option("--svg", more->svg_file, "Write a bar chart to this file");
  return [more] {
    if (::isatty(STDERR_FILENO) == 1) {
      more->options.progress = [](const std::string& line) {
        fmt::print(stderr, "\r\033[K{:.100}", line);
        std::fflush(stderr);
      };
    }
    const ordered_json result = run_ops(more->options);
    if (more->options.progress) fmt::print(stderr, "\r\033[K");
    print_ops(result);
    if (!more->json_file.empty()) {
      tanul::write_file_atomic(more->json_file, result.dump(1) + "\n");
    }
    if (!more->svg_file.empty()) {
      tanul::write_file_atomic(more->svg_file, ops_chart(result));
    }
    return ops_status(result);
  };
}

int run(int argc, char** argv) {
  CLI::App app{"Times tanul on this machine"};
  app.name("tanul-bench");
  app.require_subcommand(1);
  StepOptions o;
  std::vector<std::pair<CLI::App*, Action>> commands;
  const auto add = [&](const char* name, const char* about, const auto& add_to) {
    CLI::App* command = app.add_subcommand(name, about);
    commands.emplace_back(command, add_to(*command));
  };
  const auto with_options = [&o](Action (*add_to)(CLI::App&, StepOptions&)) {
    return [&o, add_to](CLI::App& command) { return add_to(command, o); };
  };
  add("ops",
      "Check and time every implementation of every step, on the CPU and on a GPU; exit status 1 "
      "where two do not agree",
      add_ops);
  add("step", "Time whole training steps of model files (SGD with momentum) on one random batch",
      with_options(add_step));
  add("losses",
      "The losses of the first steps that `step` times, for comparing with other programs",
      with_options(add_losses));
  add("input", "Time one thread that puts samples of a model file into batches, and augments them",
      with_options(add_input));
  add("roof", "Measure the machine's own ceilings: multiply-adds, matrix products, copies",
      with_options(add_roof));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    fmt::print(stderr, "tanul-bench: {}\n", e.what());
    return 2;
  }
  for (const auto& [command, action] : commands) {
    if (command->parsed()) return action();
  }
  return 2;
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
