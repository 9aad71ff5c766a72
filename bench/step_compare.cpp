// SPDX-License-Identifier: Apache-2.0
// Whole training steps on several devices, side by side.
#include <fmt/core.h>
#include <tanul/recipe.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "bench/bar_chart.h"
#include "bench/op_check.h"
#include "bench/report.h"
#include "bench/step_timer.h"
#include "core/format.h"

namespace tanul::bench {

namespace {

using nlohmann::ordered_json;

constexpr int64_t kCheckedSteps = 5;
// A loss comes from a chain of at most a hundred layers, whose sums of about a thousand terms are each
// off by sqrt(1000) u of their size, u = 2^-24; gradients and so later losses are no worse.
constexpr double kAllowed = 2e-4;

// What rounding the factors of all products, and perhaps their results, adds: u of each, three times, over
// chains whose errors are as often up as down.
double allowed_of(Precision precision) { return kAllowed + 4 * rounding_of(precision); }

// What differs between the losses; empty: nothing.
std::string difference(const std::vector<double>& got, const std::vector<double>& want,
                       size_t count, double share) {
  for (size_t i = 0; i < count; ++i) {
    const double allowed = share * std::max(1.0, std::fabs(want[i]));
    if (!(std::fabs(got[i] - want[i]) <= allowed)) {
      return fmt::format("the loss of step {} is {:.7g}, wanted {:.7g} ± {:.2g}", i + 1, got[i],
                         want[i], allowed);
    }
  }
  return {};
}

// Each of them in turn; the usual one where none is named.
template <typename T>
std::vector<T> or_usual(const std::vector<T>& named, const T& usual) {
  return named.empty() ? std::vector<T>{usual} : named;
}

// "cuda:0 in bf16, not deterministic"
std::string label_of(const ordered_json& row) {
  std::string label = row["mode"];
  if (row["precision"] != "fp32") label += " in " + row["precision"].get<std::string>();
  return row["deterministic"].get<bool>() ? label : label + ", not deterministic";
}

// Rows of one model and batch, the first of which the others are compared with.
class Comparison {
 public:
  Comparison(std::string model, std::vector<std::string>& mismatches)
      : model_(std::move(model)), mismatches_(mismatches) {}

  void add(const StepOptions& o, ordered_json& row) {
    const double rate = row["images_per_s"];
    const std::vector<double> losses = trace_losses(model_, kCheckedSteps, "", o)["losses"];
    const Precision precision = precision_of(row["precision"]);
    if (losses_.empty()) {
      rate_ = rate;
      losses_ = losses;
      precision_ = precision;
      label_ = label_of(row);
      return;
    }
    const bool scales_loss = precision == Precision::fp16 || precision_ == Precision::fp16;
    const double allowed = std::max(allowed_of(precision), allowed_of(precision_));
    const std::string what = difference(losses, losses_, scales_loss ? 1 : losses_.size(), allowed);
    row["speed_up"] = rounded(rate / rate_, 2);
    row["check"] = what.empty() ? "agrees" : what;
    if (what.empty()) return;
    mismatches_.push_back(fmt::format("{}, batch {}, {} against {}: {}",
                                      row["workload"].get<std::string>(),
                                      row["batch"].get<int64_t>(), label_of(row), label_, what));
  }

 private:
  std::string model_, label_;
  std::vector<std::string>& mismatches_;
  double rate_ = 0;
  std::vector<double> losses_;
  Precision precision_ = Precision::fp32;
};

}  // namespace

Precision precision_of(const std::string& name) {
  for (const Precision p : kPrecisions) {
    if (name == precision_name(p)) return p;
  }
  fail(Code::invalid_argument, "there is no precision \"{}\"; there are fp32, tf32, bf16, fp16",
       name);
}

std::vector<std::string> time_all_steps(
    const StepOptions& options, const std::function<void(const ordered_json& row)>& on_row) {
  std::vector<std::string> mismatches;
  std::vector<StepOptions> each;  // of a model and batch
  for (const std::string& device : or_usual(options.devices, options.device)) {
    for (const std::string& precision : or_usual(options.precisions, std::string())) {
      for (const std::optional<bool>& promise :
           or_usual(options.deterministic, std::optional<bool>())) {
        StepOptions& one = each.emplace_back(options);
        one.device = device;
        if (!precision.empty()) one.precision = precision_of(precision);
        one.is_deterministic = promise;
        one.with_evaluation = false;
      }
    }
  }
  for (const std::string& model : options.models) {
    for (int64_t batch : or_usual(options.batches, options.batch)) {
      Comparison comparison(model, mismatches);
      for (StepOptions& one : each) {
        one.batch = batch;
        ordered_json row = time_steps(model, one);
        if (each.size() > 1) comparison.add(one, row);
        on_row(row);
      }
    }
  }
  return mismatches;
}

void print_step_head() {
  fmt::print(
      "{:<16} {:>7} {:>5} {:>9} {:>7} {:>12} {:>17} {:>9} {:>8} {:>8} {:>8} {:>8} {:>10} {:>9}\n",
      "model", "device", "batch", "precision", "threads", "images/s", "spread", "GFLOP/s",
      "of peak", "first s", "RSS MiB", "tensors", "mJ/image", "speed-up");
}

void print_step_row(const ordered_json& r) {
  double low = r["repeats"][0];
  double high = low;
  for (double rate : r["repeats"]) {
    low = std::min(low, rate);
    high = std::max(high, rate);
  }
  const std::string share = r.contains("share_of_peak")
                                ? fmt::format("{:.1f} %", 100 * r["share_of_peak"].get<double>())
                                : "-";
  const std::string energy = r.contains("joules_per_image")
                                 ? fmt::format("{:.3g}", 1e3 * r["joules_per_image"].get<double>())
                                 : "-";
  const std::string speed_up =
      r.contains("speed_up") ? fmt::format("{:.2f}", r["speed_up"].get<double>()) : "-";
  fmt::print(
      "{:<16} {:>7} {:>5} {:>9} {:>7} {:>12.1f} {:>17} {:>9.2f} {:>8} {:>8.3f} {:>8.1f} {:>8.1f} "
      "{:>10} "
      "{:>9}\n",
      r["workload"].get<std::string>(), r["mode"].get<std::string>(), r["batch"].get<int64_t>(),
      r["precision"].get<std::string>() + (r["deterministic"].get<bool>() ? "" : "*"),
      r["threads"].get<int>(), r["images_per_s"].get<double>(),
      fmt::format("{:.0f} - {:.0f}", low, high), r["gflop_per_s"].get<double>(), share,
      r["first_step_s"].get<double>(), r["peak_rss_mib"].get<double>(),
      r["tensor_mib"].get<double>(), energy, speed_up);
}

std::string step_chart(const std::vector<ordered_json>& rows) {
  BarChart chart;
  const ordered_json from = provenance();
  chart.title = "tanul: images a second in training";
  chart.notes.push_back(fmt::format("tanul {} ({}), {}", from["tanul"].get<std::string>(),
                                    from["commit"].get<std::string>(),
                                    from["date"].get<std::string>()));
  chart.notes.push_back("Bars: share of the fastest of each network and batch.");
  for (int tick = 0; tick <= 100; tick += 25) {
    chart.ticks.push_back(tick / 100.0);
    chart.tick_labels.push_back(fmt::format("{} %", tick));
  }
  std::map<std::string, double> fastest;
  const auto title_of = [](const ordered_json& row) {
    return fmt::format("{}, batch {}", row["workload"].get<std::string>(),
                       row["batch"].get<int64_t>());
  };
  for (const ordered_json& row : rows) {
    double& best = fastest[title_of(row)];
    best = std::max(best, row["images_per_s"].get<double>());
  }
  for (const ordered_json& row : rows) {
    const std::string title = title_of(row), device = label_of(row);
    auto series = std::find(chart.series.begin(), chart.series.end(), device);
    if (series == chart.series.end()) series = chart.series.insert(series, device);
    if (chart.groups.empty() || chart.groups.back().title != title) {
      chart.groups.push_back({title, {}});
    }
    const double rate = row["images_per_s"];
    chart.groups.back().bars.push_back({device, rate / fastest[title],
                                        fmt::format("{:.0f} images/s", rate),
                                        static_cast<size_t>(series - chart.series.begin())});
  }
  return to_svg(chart);
}

}  // namespace tanul::bench
