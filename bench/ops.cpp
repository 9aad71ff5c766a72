// SPDX-License-Identifier: Apache-2.0
#include "bench/ops.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "bench/bar_chart.h"
#include "bench/device_roof.h"
#include "bench/op_cases.h"
#include "bench/op_check.h"
#include "bench/op_timer.h"
#include "bench/report.h"
#include "core/format.h"
#include "kernels/op.h"

namespace tanul::bench {

namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;
using Outputs = std::vector<std::vector<std::byte>>;

std::vector<OpSource> sources_of(const OpsOptions& o) {
  std::vector<OpSource> sources;
  std::string known;
  for (const OpShapes& shapes : op_shapes())
    known += (known.empty() ? "" : ", ") + std::string(shapes.name);
  for (const std::string& name : o.shapes) {
    const auto& all = op_shapes();
    if (std::none_of(all.begin(), all.end(), [&](const OpShapes& s) { return s.name == name; })) {
      fail(Code::invalid_argument, "there are no shapes \"{}\"; there are {}", name, known);
    }
  }
  for (const OpShapes& shapes : op_shapes()) {
    const bool is_named =
        std::find(o.shapes.begin(), o.shapes.end(), shapes.name) != o.shapes.end();
    const bool is_usual = o.shapes.empty() && std::string(shapes.name) != "tiny";
    if (!is_named && !is_usual) continue;
    for (OpSource& source : shapes.sources(o.batch)) sources.push_back(std::move(source));
  }
  return sources;
}

// One device that takes part.
struct Side {
  std::unique_ptr<Backend> backend;
  Roof roof;
  std::string failure;  // why it takes no part any more
  DeviceMemory room;    // of the operands
};

class Run {
 public:
  explicit Run(const OpsOptions& options) : o_(options) {}

  ordered_json run() {
    result_ = provenance();
    open_devices();
    const std::vector<OpCase> cases = op_cases(sources_of(o_), o_.ops);
    if (cases.empty()) {
      fail(Code::invalid_argument, "no step of these shapes matches \"{}\"", o_.ops);
    }
    const std::vector<size_t> order = cheap_first(cases);
    start_ = Clock::now();
    std::map<size_t, ordered_json> results;
    result_["left_out"] = ordered_json::array();
    result_["mismatches"] = ordered_json::array();
    for (size_t done = 0; done < order.size(); ++done) {
      const OpCase& op = cases[order[done]];
      const double left = o_.seconds - since_start();
      if (left <= 0 && done > 0 && o_.seconds > 0) {
        result_["left_out"].push_back(op.name());
        continue;
      }
      share_ = std::max(0.0, left / static_cast<double>(order.size() - done));
      results[order[done]] = run_case(op);
      if (o_.progress) o_.progress(fmt::format("{} of {}: {}", done + 1, order.size(), op.name()));
    }
    result_["cases"] = ordered_json::array();
    for (auto& [at, one] : results) result_["cases"].push_back(std::move(one));
    result_["seconds"] = rounded(since_start(), 1);
    return std::move(result_);
  }

 private:
  double since_start() const {
    return std::chrono::duration<double>(Clock::now() - start_).count();
  }

  const ImplementationList& list_of(Backend& backend, OpKind kind) const {
    return o_.implementations ? o_.implementations(backend, kind) : backend.implementations(kind);
  }

  void open_devices() {
    sides_.push_back({open_backend({DeviceType::cpu, 0}, o_.threads), {}, {}, {}});
    if (o_.device != "cpu") {
      std::string why_not;
      const Device device = find_device(o_.device, &why_not);
      if (device.type == DeviceType::cuda) {
        sides_.push_back({open_backend(device, 0), {}, {}, {}});
      } else {
        result_["no_gpu"] = why_not;
      }
    }
    for (Side& side : sides_) {
      if (o_.with_roof) side.roof = measure_roof_of(*side.backend);
      result_["devices"].push_back(to_json(*side.backend, side.roof));
    }
  }

  ordered_json run_case(const OpCase& op) {
    ordered_json one;
    one["op"] = op.op();
    one["shapes"] = op.shapes();
    one["from"] = op.source;
    one["flops"] = op.flops;
    one["bytes"] = op.bytes;
    one["results"] = ordered_json::array();
    one["refused"] = ordered_json::array();
    const OpInputs inputs(*sides_[0].backend, op);
    want_.clear();
    for (Side& side : sides_) {
      if (!side.failure.empty()) continue;
      try {
        run_side(op, inputs, side, one);
      } catch (const Error& e) {
        // Behind an error the device is in no state to go on.
        if (&side == &sides_[0]) throw;
        side.failure = e.what();
        result_["mismatches"].push_back(side.failure);
      }
    }
    add_speed_ups(one);
    return one;
  }

  void run_side(const OpCase& op, const OpInputs& inputs, Side& side, ordered_json& one) {
    Backend& backend = *side.backend;
    const ImplementationList& list = list_of(backend, op.node().kind);
    const int copies = std::min(o_.most_copies, copies_past_cache(backend, op));
    OpMemory memory(backend, op, copies, &side.room);
    for (int copy = 0; copy < copies; ++copy) memory.reset(inputs, copy);
    std::vector<const Implementation*> able, fitting;
    for (int i = 0; i < list.count; ++i) {
      if (const char* why = memory.refusal(list.items[i])) {
        one["refused"].push_back({{"device", backend.device().str()},
                                  {"implementation", list.items[i].name},
                                  {"why", why}});
        continue;
      }
      able.push_back(&list.items[i]);
      if (o_.precision == "all" || o_.precision == precision_name(list.items[i].multiplies_in)) {
        fitting.push_back(&list.items[i]);
      }
    }
    if (able.empty()) {
      fail(Code::unsupported, "{}: no kernel for it on {}", op.name(), backend.device().str());
    }
    // Of a plan with the usual options: nothing that is less exact, or not deterministic.
    const auto is_usual = [](const Implementation* i) {
      return i->multiplies_in == Precision::fp32 && i->is_deterministic;
    };
    const auto usual = std::find_if(fitting.begin(), fitting.end(), is_usual);
    const Implementation* chosen = usual != fitting.end() ? *usual : nullptr;
    const bool is_reference_side = want_.empty();
    if (is_reference_side) {
      reference_ = able.back();
      want_ = outputs_of(op, inputs, backend, memory, *reference_);
    }
    const double each =
        share_ / static_cast<double>(2 * sides_.size() * std::max<size_t>(1, fitting.size()));
    for (size_t i = 0; i < fitting.size(); ++i) {
      const Implementation& implementation = *fitting[i];
      ordered_json row;
      row["device"] = backend.device().str();
      row["implementation"] = implementation.name;
      row["precision"] = precision_name(implementation.multiplies_in);
      row["is_chosen"] = &implementation == chosen;
      const bool is_right =
          check(op, implementation, outputs_of(op, inputs, backend, memory, implementation),
                is_reference_side && &implementation == reference_, backend, row);
      if (is_right) {
        const OpTiming timing =
            time_op(backend, memory, implementation, std::min(each, 0.1 * o_.repeats), o_.repeats);
        add_times(op, timing, side.roof, implementation.multiplies_in, row);
      }
      one["results"].push_back(std::move(row));
    }
  }

  Outputs outputs_of(const OpCase& op, const OpInputs& inputs, Backend& backend, OpMemory& memory,
                     const Implementation& implementation) const {
    memory.reset(inputs, 0);
    memory.bind(implementation);
    {
      const StepScope scope(backend);
      memory.launch(implementation, 0);
      backend.synchronize();
    }
    Outputs outputs;
    for (size_t i = 0; i < op.node().out.size(); ++i) outputs.push_back(memory.output(0, i));
    return outputs;
  }

  bool check(const OpCase& op, const Implementation& implementation, const Outputs& got,
             bool is_reference, Backend& backend, ordered_json& row) {
    if (is_reference) {
      row["check"] = "the reference";
      return true;
    }
    const double allowed = allowed_error(op, implementation) + allowed_error(op, *reference_);
    const Agreement agreement = compare(op, got, want_, allowed);
    row["error"] = significant(agreement.error);
    row["allowed"] = significant(allowed);
    row["check"] = agreement.what.empty() ? "agrees" : agreement.what;
    if (agreement.what.empty()) return true;
    result_["mismatches"].push_back(fmt::format("{}: {} on {} against {} on the CPU: {}", op.name(),
                                                implementation.name, backend.device().str(),
                                                reference_->name, agreement.what));
    return false;
  }

  void add_times(const OpCase& op, const OpTiming& timing, const Roof& roof, Precision precision,
                 ordered_json& row) const {
    const double seconds = median(timing.seconds);
    const auto [least, most] = std::minmax_element(timing.seconds.begin(), timing.seconds.end());
    row["ms"] = significant(1e3 * seconds);
    row["least_ms"] = significant(1e3 * *least);
    row["most_ms"] = significant(1e3 * *most);
    row["launches"] = timing.launches;
    for (double s : timing.seconds) row["repeats_ms"].push_back(significant(1e3 * s));
    if (seconds <= 0) return;
    row["gflop_per_s"] = significant(op.flops / seconds / 1e9);
    row["gb_per_s"] = significant(op.bytes / seconds / 1e9);
    if (roof.bytes > 0) {
      row["share_of_roof"] = significant(roof.seconds(op.flops, op.bytes, precision) / seconds);
    }
  }

  // Times as fast as the CPU's fastest.
  static void add_speed_ups(ordered_json& one) {
    double fastest = 0;
    for (const ordered_json& row : one["results"]) {
      if (row["device"] != "cpu" || !row.contains("ms")) continue;
      const double ms = row["ms"];
      if (fastest == 0 || ms < fastest) fastest = ms;
    }
    for (ordered_json& row : one["results"]) {
      if (fastest > 0 && row.contains("ms") && row["ms"].get<double>() > 0) {
        row["speed_up"] = significant(fastest / row["ms"].get<double>());
      }
    }
  }

  const OpsOptions& o_;
  Clock::time_point start_ = Clock::now();  // of the steps
  double share_ = 0;                        // of the time, for the step at hand
  std::vector<Side> sides_;
  const Implementation* reference_ = nullptr;
  Outputs want_;
  ordered_json result_;
};

// "wmma (bf16) *"
std::string label_of(const ordered_json& row) {
  std::string label = row["implementation"];
  if (row["precision"] != "fp32") label += " (" + row["precision"].get<std::string>() + ")";
  return row["is_chosen"].get<bool>() ? label + " *" : label;
}

// "0.0178", "17.8", "1780"
std::string microseconds(double ms) {
  const double us = 1e3 * ms;
  return us >= 100 ? fmt::format("{:.0f}", us) : fmt::format("{:#.3g}", us);
}

std::string percent(const ordered_json& row) {
  return row.contains("share_of_roof")
             ? fmt::format("{:.0f} %", 100 * row["share_of_roof"].get<double>())
             : "-";
}

}  // namespace

ordered_json run_ops(const OpsOptions& options) { return Run(options).run(); }

void print_ops(const ordered_json& r) {
  for (const ordered_json& d : r["devices"]) {
    print_device_roof(d);
  }
  if (r.contains("no_gpu")) {
    fmt::print("the GPU's half is left out: {}\n", r["no_gpu"].get<std::string>());
  }
  fmt::print("\n{:<8} {:<24} {:>10} {:>21} {:>10} {:>9} {:>8} {:>9}  {}\n", "device",
             "implementation", "us", "spread", "GFLOP/s", "GB/s", "of roof", "speed-up", "check");
  for (const ordered_json& one : r["cases"]) {
    fmt::print("{} {}  ({})\n", one["op"].get<std::string>(), one["shapes"].get<std::string>(),
               one["from"].get<std::string>());
    for (const ordered_json& row : one["results"]) {
      const auto number = [&](const char* key, const char* form) {
        return row.contains(key) ? fmt::format(fmt::runtime(form), row[key].get<double>()) : "-";
      };
      fmt::print("{:<8} {:<24} {:>10} {:>21} {:>10} {:>9} {:>8} {:>9}  {}\n",
                 row["device"].get<std::string>(), label_of(row),
                 row.contains("ms") ? microseconds(row["ms"]) : "-",
                 row.contains("ms")
                     ? microseconds(row["least_ms"]) + " - " + microseconds(row["most_ms"])
                     : "-",
                 number("gflop_per_s", "{:.4g}"), number("gb_per_s", "{:.4g}"), percent(row),
                 number("speed_up", "{:.3g}"), row["check"].get<std::string>());
    }
  }
  fmt::print(
      "\n* what a plan takes in fp32 · of roof: above 100 % where a cache holds the operands · "
      "speed-up: times as fast as the CPU's fastest\n");
  const size_t left_out = r["left_out"].size();
  if (left_out > 0) {
    fmt::print("no time was left for {} of {} steps, the larger ones: give more --seconds\n",
               left_out, left_out + r["cases"].size());
  }
}

int ops_status(const ordered_json& r) {
  for (const ordered_json& mismatch : r["mismatches"]) {
    fmt::print(stderr, "tanul-bench: {}\n", mismatch.get<std::string>());
  }
  return r["mismatches"].empty() ? 0 : 1;
}

std::string ops_chart(const ordered_json& r) {
  BarChart chart;
  chart.title = "tanul: steps against the machine's ceilings";
  chart.notes.push_back(fmt::format("tanul {} ({}), {}", r["tanul"].get<std::string>(),
                                    r["commit"].get<std::string>(), r["date"].get<std::string>()));
  std::map<std::string, size_t> series;
  for (const ordered_json& d : r["devices"]) {
    series.emplace(d["device"].get<std::string>(), chart.series.size());
    chart.series.push_back(d["description"].get<std::string>());
  }
  chart.notes.push_back(
      "Bars: the time that the measured ceilings allow at best, as a share of the time taken; the "
      "time; "
      "speed against the CPU's fastest. * what a plan takes in fp32.");
  for (int tick = 0; tick <= 100; tick += 25) {
    chart.ticks.push_back(tick / 100.0);
    chart.tick_labels.push_back(fmt::format("{} %", tick));
  }
  for (const ordered_json& one : r["cases"]) {
    BarGroup group;
    group.title = fmt::format("{} {} ({})", one["op"].get<std::string>(),
                              one["shapes"].get<std::string>(), one["from"].get<std::string>());
    for (const ordered_json& row : one["results"]) {
      if (!row.contains("share_of_roof")) continue;
      const double share = row["share_of_roof"];
      group.bars.push_back({row["device"].get<std::string>() + " " + label_of(row), share,
                            fmt::format("{:.0f} % · {} us · {:.3g}x", 100 * share,
                                        microseconds(row["ms"]), row.value("speed_up", 0.0)),
                            series.at(row["device"].get<std::string>())});
    }
    if (!group.bars.empty()) chart.groups.push_back(std::move(group));
  }
  return to_svg(chart);
}

}  // namespace tanul::bench
