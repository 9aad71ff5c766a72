// SPDX-License-Identifier: Apache-2.0
// Whole training steps on several devices, side by side.
#include <fmt/core.h>
#include <tanul/recipe.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "bench/bar_chart.h"
#include "bench/report.h"
#include "bench/step_timer.h"

namespace tanul::bench {

namespace {

using nlohmann::ordered_json;

constexpr int64_t kCheckedSteps = 5;
// A loss comes from a chain of at most a hundred layers, whose sums of about a thousand terms are each
// off by sqrt(1000) u of their size, u = 2^-24; gradients and so later losses are no worse.
constexpr double kAllowed = 2e-4;

// What differs between the losses; empty: nothing.
std::string difference(const std::vector<double>& got, const std::vector<double>& want) {
  for (size_t i = 0; i < want.size(); ++i) {
    const double allowed = kAllowed * std::max(1.0, std::fabs(want[i]));
    if (!(std::fabs(got[i] - want[i]) <= allowed)) {
      return fmt::format("the loss of step {} is {:.7g}, wanted {:.7g} ± {:.2g}", i + 1, got[i],
                         want[i], allowed);
    }
  }
  return {};
}

}  // namespace

std::vector<std::string> time_all_steps(
    const StepOptions& options, const std::function<void(const ordered_json& row)>& on_row) {
  std::vector<std::string> mismatches;
  const std::vector<int64_t> batches =
      options.batches.empty() ? std::vector<int64_t>{options.batch} : options.batches;
  const std::vector<std::string> devices =
      options.devices.empty() ? std::vector<std::string>{options.device} : options.devices;
  for (const std::string& model : options.models) {
    for (int64_t batch : batches) {
      double first_rate = 0;
      std::vector<double> first_losses;
      for (const std::string& device : devices) {
        StepOptions one = options;
        one.batch = batch;
        one.device = device;
        one.with_evaluation = false;
        ordered_json row = time_steps(model, one);
        const double rate = row["images_per_s"];
        if (devices.size() > 1) {
          const std::vector<double> losses = trace_losses(model, kCheckedSteps, "", one)["losses"];
          if (first_losses.empty()) {
            first_rate = rate;
            first_losses = losses;
          } else {
            const std::string what = difference(losses, first_losses);
            row["speed_up"] = rounded(rate / first_rate, 2);
            row["check"] = what.empty() ? "agrees" : what;
            if (!what.empty()) {
              mismatches.push_back(
                  fmt::format("{}, batch {}, {} against {}: {}", row["workload"].get<std::string>(),
                              row["batch"].get<int64_t>(), device, devices.front(), what));
            }
          }
        }
        on_row(row);
      }
    }
  }
  return mismatches;
}

void print_step_head() {
  fmt::print("{:<16} {:>7} {:>5} {:>7} {:>12} {:>17} {:>9} {:>8} {:>8} {:>8} {:>8} {:>10} {:>9}\n",
             "model", "device", "batch", "threads", "images/s", "spread", "GFLOP/s", "of peak",
             "first s", "RSS MiB", "tensors", "mJ/image", "speed-up");
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
      "{:<16} {:>7} {:>5} {:>7} {:>12.1f} {:>17} {:>9.2f} {:>8} {:>8.3f} {:>8.1f} {:>8.1f} {:>10} "
      "{:>9}\n",
      r["workload"].get<std::string>(), r["mode"].get<std::string>(), r["batch"].get<int64_t>(),
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
  chart.notes.push_back("Bars: share of the fastest device of each network and batch.");
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
    const std::string title = title_of(row), device = row["mode"];
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
