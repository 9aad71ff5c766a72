// SPDX-License-Identifier: Apache-2.0
// tanul-bench: `step` times whole training steps of model files on random data.
#include <fmt/core.h>
#include <sys/resource.h>
#include <tanul/tanul.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "bench/peak.h"

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

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

// To so many decimals; the quotient prints shortest in JSON.
double rounded(double value, int decimals) {
  const double scale = std::pow(10.0, decimals);
  return std::round(value * scale) / scale;
}

struct StepOptions {
  std::vector<std::string> models;
  int64_t batch = 0;
  int threads = 0;
  std::string device = "auto";
  double seconds = 2;
  int repeats = 7;
  bool as_json = false;
  bool with_peak = true;
};

struct Batch {
  tanul::Tensor samples;
  tanul::Tensor targets;
};

// One fixed random batch, as float, like the PyTorch workloads it is compared with.
Batch random_batch(const tanul::Model& model, int64_t batch) {
  std::vector<int64_t> extents{batch};
  for (int64_t extent : model.input_shape()) extents.push_back(extent);
  Batch result{tanul::Tensor(tanul::Shape(extents)), {}};
  tanul::initialize(result.samples, tanul::Init::normal(0, 1), 1, "bench.samples");
  if (model.loss() == tanul::LossKind::softmax_cross_entropy) {
    const int64_t classes = model.output_shape().elems();
    tanul::Tensor uniform({batch});
    tanul::initialize(uniform, tanul::Init::uniform(0, static_cast<double>(classes)), 1,
                      "bench.targets");
    result.targets = tanul::Tensor({batch}, tanul::DType::i32);
    for (int64_t i = 0; i < batch; ++i) {
      const auto label = static_cast<int64_t>(uniform.data<float>()[i]);
      result.targets.data<int32_t>()[i] = static_cast<int32_t>(std::min(label, classes - 1));
    }
  } else {
    std::vector<int64_t> output{batch};
    for (int64_t extent : model.output_shape()) output.push_back(extent);
    result.targets = tanul::Tensor(tanul::Shape(output));
    tanul::initialize(result.targets, tanul::Init::normal(0, 1), 1, "bench.targets");
  }
  return result;
}

ordered_json time_steps(const std::string& file, const StepOptions& o) {
  const tanul::Recipe recipe = tanul::load_recipe(file);
  tanul::TrainerOptions options;
  options.device = o.device;
  options.batch = o.batch > 0 ? o.batch : recipe.trainer.batch;
  options.threads = o.threads;
  options.optimizer = tanul::Sgd{.lr = 1e-3f, .momentum = 0.9f};
  const auto channels = static_cast<size_t>(
      recipe.model.input_shape().rank() > 1 ? recipe.model.input_shape()[0] : 1);
  options.normalization =
      tanul::Normalization{std::vector<float>(channels, 0.0f), std::vector<float>(channels, 1.0f)};
  tanul::Trainer trainer(recipe.model, options);
  const Batch data = random_batch(recipe.model, options.batch);
  trainer.step(data.samples, data.targets);
  const double first_step_s = process_age();

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
  for (int repeat = 0; repeat < o.repeats; ++repeat) {
    start = Clock::now();
    for (int64_t i = 0; i < steps; ++i) trainer.step(data.samples, data.targets);
    rates.push_back(static_cast<double>(options.batch * steps) / seconds_since(start));
  }
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);

  const tanul::SystemInfo system = tanul::system_info();
  ordered_json result;
  result["peer"] = "tanul " + system.version;
  result["workload"] = recipe.model.name();
  result["mode"] = trainer.device().str();
  result["threads"] = trainer.options().threads;
  result["batch"] = options.batch;
  const double rate = median(rates);
  result["images_per_s"] = rounded(rate, 2);
  for (double r : rates) result["repeats"].push_back(rounded(r, 2));
  result["first_step_s"] = rounded(first_step_s, 3);
  result["peak_rss_mib"] = rounded(static_cast<double>(usage.ru_maxrss) / 1024, 1);
  result["isa"] = system.isa.empty() ? "" : system.isa.front();
  result["tensor_mib"] = rounded(static_cast<double>(trainer.peak_tensor_bytes()) / (1 << 20), 2);
  const double gflops = trainer.plan().flops / static_cast<double>(options.batch) * rate / 1e9;
  result["gflop_per_s"] = rounded(gflops, 2);
  if (o.with_peak) {
    const double peak = tanul::bench::measure_fma_peak(trainer.options().threads) / 1e9;
    result["peak_gflop_per_s"] = rounded(peak, 1);
    result["share_of_peak"] = rounded(gflops / peak, 3);
  }
  return result;
}

void print_table_head() {
  fmt::print("{:<16} {:>5} {:>7} {:>12} {:>17} {:>9} {:>8} {:>8} {:>8}\n", "model", "batch",
             "threads", "images/s", "spread", "GFLOP/s", "of peak", "first s", "RSS MiB");
}

void print_row(const ordered_json& r) {
  double low = r["repeats"][0];
  double high = low;
  for (double rate : r["repeats"]) {
    low = std::min(low, rate);
    high = std::max(high, rate);
  }
  const std::string share = r.contains("share_of_peak")
                                ? fmt::format("{:.1f} %", 100 * r["share_of_peak"].get<double>())
                                : "-";
  fmt::print("{:<16} {:>5} {:>7} {:>12.1f} {:>17} {:>9.2f} {:>8} {:>8.3f} {:>8.1f}\n",
             r["workload"].get<std::string>(), r["batch"].get<int64_t>(), r["threads"].get<int>(),
             r["images_per_s"].get<double>(), fmt::format("{:.0f} - {:.0f}", low, high),
             r["gflop_per_s"].get<double>(), share, r["first_step_s"].get<double>(),
             r["peak_rss_mib"].get<double>());
}

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
  step->add_option("--seconds", o.seconds, "Length of a repeat")
      ->check(CLI::Range(0.001, 3600.0))
      ->capture_default_str();
  step->add_option("--repeats", o.repeats, "Repeats; the median is the result")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  step->add_flag("--json", o.as_json, "One JSON object a model");
  step->add_flag("!--no-peak", o.with_peak, "Leave out measuring the machine's peak");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    fmt::print(stderr, "tanul-bench: {}\n", e.what());
    return 2;
  }
  if (!o.as_json) print_table_head();
  for (const std::string& model : o.models) {
    const ordered_json result = time_steps(model, o);
    if (o.as_json) {
      fmt::print("{}\n", result.dump());
    } else {
      print_row(result);
    }
    std::fflush(stdout);
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
