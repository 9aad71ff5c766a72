// SPDX-License-Identifier: Apache-2.0
#include "bench/step_timer.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <tanul/tanul.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "bench/energy.h"
#include "bench/peak.h"
#include "bench/report.h"

namespace tanul::bench {

namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Seconds since the kernel started this process, in its clock ticks (10 ms).
double process_age() {
  std::ifstream stat("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(stat)), std::istreambuf_iterator<char>());
  const size_t behind_name = text.rfind(')');
  std::ifstream uptime_file("/proc/uptime");
  double uptime = 0;
  if (behind_name == std::string::npos || !(uptime_file >> uptime)) return 0;
  std::istringstream fields(text.substr(behind_name + 2));
  std::string field;
  for (int i = 0; i < 20 && fields >> field; ++i) {
  }
  return uptime - std::stod(field) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

// The largest resident set of this program, without what the process held before it became this program.
double peak_resident_mib() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stod(line.substr(6)) / 1024;
  }
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

// Begins anew with what is resident now.
void forget_peak() { std::ofstream("/proc/self/clear_refs") << 5; }

struct Batch {
  Tensor samples;
  Tensor targets;
};

// One fixed random batch, as float, like the PyTorch workloads it is compared with.
Batch random_batch(const Model& model, int64_t batch) {
  std::vector<int64_t> extents{batch};
  for (int64_t extent : model.input_shape()) extents.push_back(extent);
  Batch result{Tensor(Shape(extents)), {}};
  initialize(result.samples, Init::normal(0, 1), 1, "bench.samples");
  const LossKind loss = model.loss();
  if (loss == LossKind::softmax_cross_entropy || loss == LossKind::negative_log_likelihood ||
      loss == LossKind::multi_margin) {
    const int64_t classes = model.output_shape().elems();
    Tensor uniform({batch});
    initialize(uniform, Init::uniform(0, static_cast<double>(classes)), 1, "bench.targets");
    result.targets = Tensor({batch}, DType::i32);
    for (int64_t i = 0; i < batch; ++i) {
      const auto label = static_cast<int64_t>(uniform.data<float>()[i]);
      result.targets.data<int32_t>()[i] = static_cast<int32_t>(std::min(label, classes - 1));
    }
  } else {
    std::vector<int64_t> output{batch};
    for (int64_t extent : model.output_shape()) output.push_back(extent);
    result.targets = Tensor(Shape(output));
    const bool are_values = loss == LossKind::mean_squared_error ||
                            loss == LossKind::mean_absolute_error || loss == LossKind::smooth_l1 ||
                            loss == LossKind::huber;
    initialize(result.targets, are_values ? Init::normal(0, 1) : Init::uniform(0, 1), 1,
               "bench.targets");
  }
  return result;
}

// A model file ready to be trained on its random batch.
struct Bench {
  Trainer trainer;
  Batch data;

  Bench(const std::string& file, const StepOptions& o)
      : trainer(make(load_recipe(file), o)),
        data(random_batch(trainer.model(), trainer.options().batch)) {}

  static Trainer make(const Recipe& recipe, const StepOptions& o) {
    TrainerOptions options;
    options.device = o.device;
    options.batch = o.batch > 0 ? o.batch : recipe.trainer.batch;
    options.threads = o.threads;
    options.optimizer = Sgd{.lr = 1e-3f, .momentum = 0.9f};
    options.force = recipe.trainer.force;
    options.precise_convolutions = recipe.trainer.precise_convolutions;
    options.precision = recipe.trainer.precision;
    options.deterministic = recipe.trainer.deterministic;
    if (o.precision) options.precision = *o.precision;
    if (o.is_deterministic) options.deterministic = *o.is_deterministic;
    options.memory = recipe.trainer.memory;
    if (!o.memory.empty()) options.memory = o.memory == "low" ? Memory::low : Memory::normal;
    const auto channels = static_cast<size_t>(
        recipe.model.input_shape().rank() > 1 ? recipe.model.input_shape()[0] : 1);
    options.normalization =
        Normalization{std::vector<float>(channels, 0.0f), std::vector<float>(channels, 1.0f)};
    return Trainer(recipe.model, options);
  }
};

}  // namespace

nlohmann::ordered_json time_steps(const std::string& file, const StepOptions& o) {
  static bool is_first = true;  // in this process
  const Clock::time_point begin = Clock::now();
  if (!is_first) forget_peak();
  Bench bench(file, o);
  Trainer& trainer = bench.trainer;
  const Batch& data = bench.data;
  const TrainerOptions& options = trainer.options();
  trainer.step(data.samples, data.targets);
  const double first_step_s = is_first ? process_age() : seconds_since(begin);
  is_first = false;

  // Warm up for a second, which also tells how long a step takes.
  Clock::time_point start = Clock::now();
  int64_t count = 0;
  while (count < 3 || (seconds_since(start) < std::min(1.0, o.seconds) && count < 2000)) {
    trainer.step(data.samples, data.targets);
    ++count;
  }
  const double per_step = seconds_since(start) / static_cast<double>(count);
  const auto steps = std::max<int64_t>(1, std::llround(o.seconds / per_step));
  std::vector<double> rates;
  std::string why_no_energy;
  const auto meter = open_energy_meter(trainer.device(), why_no_energy);
  const double joules_before = meter != nullptr ? meter->joules() : 0;
  for (int repeat = 0; repeat < o.repeats; ++repeat) {
    start = Clock::now();
    for (int64_t i = 0; i < steps; ++i) trainer.step(data.samples, data.targets);
    rates.push_back(static_cast<double>(options.batch * steps) / seconds_since(start));
  }
  const double joules = meter != nullptr ? meter->joules() - joules_before : 0;
  const double peak_rss_mib = peak_resident_mib();

  const SystemInfo system = system_info();
  ordered_json result;
  result["peer"] = "tanul " + system.version;
  result["workload"] = trainer.model().name();
  result["mode"] = trainer.device().str();
  result["threads"] = trainer.options().threads;
  result["batch"] = options.batch;
  const PlanInfo plan = trainer.plan();
  result["precision"] = precision_name(plan.precision);
  result["products"] = plan.products;
  result["products_in_precision"] = plan.products_in_precision;
  result["deterministic"] = plan.is_deterministic;
  result["nondeterministic_steps"] = plan.nondeterministic_steps;
  result["parameters"] = trainer.model().parameter_count();
  const double rate = median(rates);
  result["images_per_s"] = rounded(rate, 2);
  for (double r : rates) result["repeats"].push_back(rounded(r, 2));
  result["first_step_s"] = rounded(first_step_s, 3);
  result["peak_rss_mib"] = rounded(peak_rss_mib, 1);
  result["isa"] = system.isa.empty() ? "" : system.isa.front();
  result["tensor_mib"] = rounded(static_cast<double>(trainer.peak_tensor_bytes()) / (1 << 20), 2);
  if (meter != nullptr) {
    result["joules_per_image"] =
        significant(joules / static_cast<double>(options.batch * steps * o.repeats));
  } else {
    result["energy"] = "not reported: " + why_no_energy;
  }
  const double gflops = plan.flops / static_cast<double>(options.batch) * rate / 1e9;
  result["gflop_per_s"] = rounded(gflops, 2);
  if (o.with_peak && trainer.device().type == DeviceType::cpu) {
    const double peak = bench::measure_fma_peak(trainer.options().threads) / 1e9;
    result["peak_gflop_per_s"] = rounded(peak, 1);
    result["share_of_peak"] = rounded(gflops / peak, 3);
  }
  return result;
}

nlohmann::ordered_json trace_losses(const std::string& file, int64_t steps,
                                    const std::string& start_file, const StepOptions& o) {
  Bench bench(file, o);
  Trainer& trainer = bench.trainer;
  const Batch& data = bench.data;
  const DataView view(data.samples, data.targets);
  if (!start_file.empty()) {
    TensorFile start;
    start.tensors = {{"samples", data.samples}, {"targets", data.targets}};
    for (const ParameterInfo& info : trainer.model().parameters()) {
      start.tensors.emplace_back(info.name, trainer.parameter(info.name));
    }
    write_safetensors(start_file, start);
  }
  ordered_json result;
  result["workload"] = trainer.model().name();
  result["batch"] = trainer.options().batch;
  const SystemInfo system = system_info();
  result["isa"] = system.isa.empty() ? "" : system.isa.front();
  result["parameters"] = trainer.model().parameter_count();
  if (o.with_evaluation) result["evaluated_before"] = trainer.evaluate(view).loss;
  for (int64_t i = 0; i < steps; ++i) {
    result["losses"].push_back(trainer.step(data.samples, data.targets));
  }
  if (o.with_evaluation) result["evaluated_after"] = trainer.evaluate(view).loss;
  return result;
}

void print_losses(const ordered_json& r) {
  fmt::print("{} · batch {} · {} parameters\n", r["workload"].get<std::string>(),
             r["batch"].get<int64_t>(), r["parameters"].get<int64_t>());
  for (const char* when : {"evaluated_before", "evaluated_after"}) {
    if (r.contains(when)) fmt::print("{} {:.6f}\n", when, r[when].get<double>());
  }
  for (double loss : r["losses"]) fmt::print("{:.6f}\n", loss);
}

nlohmann::ordered_json break_down(const std::string& file, const StepOptions& o) {
  Bench bench(file, o);
  Trainer& trainer = bench.trainer;
  const PlanInfo plan = trainer.plan();
  std::vector<std::vector<double>> times(plan.steps.size());
  size_t at = 0;
  trainer.set_stepwise(
      [&](const StepReport& report) {
        times[at].push_back(report.seconds);
        at = (at + 1) % times.size();
      },
      false);
  const Clock::time_point start = Clock::now();
  int64_t rounds = 0;
  while (rounds < 3 || (seconds_since(start) < o.seconds && rounds < 5000)) {
    trainer.step(bench.data.samples, bench.data.targets);
    if (++rounds == 2) {  // warm by now
      for (std::vector<double>& t : times) t.clear();
    }
  }
  ordered_json result;
  result["workload"] = plan.model;
  result["batch"] = plan.batch;
  result["roof"] = measure_roof(trainer.options().threads);
  const double peak = result["roof"]["fma_gflop_per_s"].get<double>() * 1e9;
  const double bandwidth = result["roof"]["copy_gb_per_s"].get<double>() * 1e9;
  double total = 0, roof_total = 0;
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const StepInfo& info = plan.steps[i];
    const double seconds = median(times[i]);
    const double roof = std::max(info.flops / peak, info.bytes / bandwidth);
    total += seconds;
    roof_total += roof;
    ordered_json step;
    step["layer"] = info.layer;
    step["op"] = info.op;
    step["implementation"] = info.implementation;
    step["ms"] = rounded(1e3 * seconds, 4);
    step["gflop_per_s"] = rounded(info.flops / seconds / 1e9, 2);
    step["gb_per_s"] = rounded(info.bytes / seconds / 1e9, 2);
    step["roof_ms"] = rounded(1e3 * roof, 4);
    step["bound"] = info.flops / peak > info.bytes / bandwidth ? "arithmetic" : "memory";
    step["share_of_roof"] = rounded(roof / seconds, 3);
    result["steps"].push_back(std::move(step));
  }
  result["ms"] = rounded(1e3 * total, 4);
  result["roof_ms"] = rounded(1e3 * roof_total, 4);
  result["share_of_roof"] = rounded(roof_total / total, 3);
  return result;
}

void print_breakdown(const ordered_json& r) {
  fmt::print("{} · batch {} · {:.3f} ms a step, {:.1f} % of what the ceilings allow\n",
             r["workload"].get<std::string>(), r["batch"].get<int64_t>(), r["ms"].get<double>(),
             100 * r["share_of_roof"].get<double>());
  print_roof(r["roof"]);
  fmt::print("{:<16} {:<22} {:<22} {:>9} {:>7} {:>9} {:>7} {:>9} {:>8}  {}\n", "layer", "step",
             "implementation", "ms", "of all", "GFLOP/s", "GB/s", "roof ms", "of roof", "bound");
  for (const ordered_json& s : r["steps"]) {
    fmt::print(
        "{:<16} {:<22} {:<22} {:>9.4f} {:>5.1f} % {:>9.2f} {:>7.2f} {:>9.4f} {:>6.1f} %  {}\n",
        s["layer"].get<std::string>(), s["op"].get<std::string>(),
        s["implementation"].get<std::string>(), s["ms"].get<double>(),
        100 * s["ms"].get<double>() / r["ms"].get<double>(), s["gflop_per_s"].get<double>(),
        s["gb_per_s"].get<double>(), s["roof_ms"].get<double>(),
        100 * s["share_of_roof"].get<double>(), s["bound"].get<std::string>());
  }
}

}  // namespace tanul::bench
