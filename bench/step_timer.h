// SPDX-License-Identifier: Apache-2.0
// Timing whole training steps of a model file on random data, and where the time of a step goes.
#pragma once

#include <tanul/augment.h>
#include <tanul/precision.h>

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace tanul::bench {

struct StepOptions {
  std::vector<std::string> models;
  int64_t batch = 0;  // 0: the model file's
  int threads = 0;    // 0: all processors
  std::string device = "auto";
  std::optional<Precision> precision;  // none: the model file's
  std::optional<bool> is_deterministic;
  // Of `step`, each in turn; empty: the ones above.
  std::vector<int64_t> batches;
  std::vector<std::string> devices;
  std::vector<std::string> precisions;             // "fp32" …; empty: the model file's
  std::vector<std::optional<bool>> deterministic;  // empty: the model file's
  double seconds = 2;
  int repeats = 7;
  bool as_json = false;
  std::string memory;  // "normal", "low"; empty: the model file's
  bool with_peak = true;
  bool has_breakdown = false;
  bool with_evaluation = true;
};

// Throws Error{invalid_argument} where there is none of this name.
Precision precision_of(const std::string& name);

// images_per_s (median), repeats, first_step_s (since the process began; of later rows since they did),
// peak_rss_mib, tensor_mib (on the device), joules_per_image
// or, in `energy`, why there is no such number, ….
nlohmann::ordered_json time_steps(const std::string& file, const StepOptions& options);

// time_steps for every model, batch, device, precision, and promise of the same bits (`deterministic`). Rows behind
// the first of a model and batch have speed_up, against that one, and `check`: the losses of the first steps
// against its own, within what the coarser of both precisions allows. What differs by more is returned as
// text. With fp16 only the first loss is compared: loss scaling may leave out the first updates.
std::vector<std::string> time_all_steps(
    const StepOptions& options,
    const std::function<void(const nlohmann::ordered_json& row)>& on_row);
void print_step_head();
void print_step_row(const nlohmann::ordered_json& row);
// A chart of images a second, as SVG.
std::string step_chart(const std::vector<nlohmann::ordered_json>& rows);

// The losses of the first `steps` steps on the random batch, and, unless `with_evaluation` is false, in
// evaluation before and after them.
// `start_file`, where not empty, gets what they start from, as safetensors: "samples", "targets", then
// the parameters in the model's order. Another engine that starts there must show the same losses.
nlohmann::ordered_json trace_losses(const std::string& file, int64_t steps,
                                    const std::string& start_file, const StepOptions& options);
void print_losses(const nlohmann::ordered_json& result);

// gathered_per_s and augmented_per_s: u8 samples of the model's shape that one thread copies into batches in
// random order from a data set of `samples`, as they are and augmented. Normalisation is part of the step.
nlohmann::ordered_json time_input(const std::string& file, const Augmentation& augmentation,
                                  int64_t samples, const StepOptions& options);
void print_input_head();
void print_input_row(const nlohmann::ordered_json& result);

// Every step of the plan: time (median), arithmetic, bytes that must move, and the time that the machine's
// measured ceilings allow: the longer of flops / peak and bytes / copy bandwidth.
nlohmann::ordered_json break_down(const std::string& file, const StepOptions& options);
void print_breakdown(const nlohmann::ordered_json& result);

// The machine's own ceilings for this number of threads.
nlohmann::ordered_json measure_roof(int threads);
void print_roof(const nlohmann::ordered_json& result);

}  // namespace tanul::bench
