// SPDX-License-Identifier: Apache-2.0
// tanul plan: what a training step will cost, before anything runs.
#include <algorithm>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/units.h"
#include "tanul/recipe.h"

namespace tanul::cli {

namespace {

// Columns as wide as their widest cell (in code points); the first two and `implementation` lean
// left.
void say_table(const std::vector<std::vector<std::string>>& rows,
               const std::vector<bool>& leans_left) {
  const auto width_of = [](const std::string& text) {
    return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    }));
  };
  std::vector<size_t> widths(leans_left.size());
  for (const auto& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width_of(row[c]));
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string space(widths[c] - width_of(row[c]), ' ');
      line += (c == 0 ? "" : "  ") + (leans_left[c] ? row[c] + space : space + row[c]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    say("{}\n", line);
  }
}

void say_layers(const PlanInfo& plan, bool why) {
  std::vector<std::vector<std::string>> rows{
      {"layer", "op", "output", "parameters", "MFLOP", "bytes", "implementation", "memory"}};
  int64_t parameters = 0;
  double flops = 0;
  double bytes = 0;
  int64_t memory = 0;
  for (const LayerInfo& layer : plan.layers) {
    const bool is_fused = !layer.fused_into.empty();
    rows.push_back(
        {layer.name,
         is_fused ? layer.description + ", fused into " + layer.fused_into : layer.description,
         layer.output.str_x(), layer.parameters > 0 ? with_commas(layer.parameters) : "",
         layer.flops > 0 ? fmt::format("{:.2f}", layer.flops / 1e6) : "",
         layer.bytes > 0 ? mib(static_cast<int64_t>(layer.bytes)) : "",
         implementation_text(layer.implementation, layer.multiplies_in),
         layer.output_bytes > 0 && !is_fused ? mib(layer.output_bytes) : ""});
    if (why) {
      for (const std::string& refused : layer.refused) {
        rows.push_back({"", "  not " + refused});
      }
      if (!layer.tuned.empty()) rows.push_back({"", "  tuned: " + layer.tuned});
    }
    parameters += layer.parameters;
    flops += layer.flops;
    bytes += layer.bytes;
    if (!is_fused) memory += layer.output_bytes;
  }
  rows.push_back({"total", "", "", with_commas(parameters), fmt::format("{:.2f}", flops / 1e6),
                  mib(static_cast<int64_t>(bytes)), "", mib(memory)});
  say_table(rows, {true, true, true, false, false, false, true, false});
}

void say_steps(const PlanInfo& plan, bool why) {
  std::vector<std::vector<std::string>> rows{
      {"#", "phase", "layer", "step", "output", "MFLOP", "bytes", "implementation", "workspace"}};
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const StepInfo& step = plan.steps[i];
    rows.push_back({std::to_string(i + 1), step.phase, step.layer, step.op, step.output.str_x(),
                    step.flops > 0 ? fmt::format("{:.2f}", step.flops / 1e6) : "",
                    mib(static_cast<int64_t>(step.bytes)),
                    implementation_text(step.implementation, step.multiplies_in),
                    step.workspace_bytes > 0 ? mib(step.workspace_bytes) : ""});
    if (!why) continue;
    for (const std::string& refused : step.refused) {
      rows.push_back({"", "", "", "  not " + refused});
    }
    if (!step.tuned.empty()) rows.push_back({"", "", "", "  tuned: " + step.tuned});
  }
  say_table(rows, {false, true, true, true, true, false, false, true, false});
}

void say_memory(const PlanInfo& plan) {
  say("\na {} step of batch {}: {} steps, {}\n", plan.is_training ? "training" : "prediction",
      plan.batch, plan.steps.size(), flop_text(plan.flops));
  say("memory {}: weights {}, optimizer and constants {}, inputs {}, activations {} (at least "
      "{})\n",
      mib(plan.total_bytes), mib(plan.parameter_bytes), mib(plan.state_bytes),
      mib(plan.input_bytes), mib(plan.activation_bytes), mib(plan.activation_lower_bound_bytes));
  if (plan.alive_at_peak.empty()) return;
  say("alive at the peak ({}):", plan.peak_step);
  constexpr size_t kMost = 6;
  size_t shown = 0;  // the largest, down to a hundredth of the arena
  while (shown < std::min(kMost, plan.alive_at_peak.size()) &&
         plan.alive_at_peak[shown].bytes * 100 >= plan.activation_bytes) {
    ++shown;
  }
  for (size_t i = 0; i < shown; ++i) {
    say("{} {} {}", i == 0 ? "" : ",", plan.alive_at_peak[i].name,
        mib(plan.alive_at_peak[i].bytes));
  }
  if (shown < plan.alive_at_peak.size()) say(", {} more", plan.alive_at_peak.size() - shown);
  say("\n");
}

// What the two settings of `memory` come to.
void say_price(const PlanInfo& low) {
  const auto normal_bytes = static_cast<double>(low.normal_total_bytes);
  const double saved = 100 * (1 - static_cast<double>(low.total_bytes) / normal_bytes);
  const double more = 100 * (low.flops / low.normal_flops - 1);
  say("memory = \"low\": {} instead of {} ({:.1f} % less) for {} instead of {} ({:.1f} % more)\n",
      mib(low.total_bytes), mib(low.normal_total_bytes), saved, flop_text(low.flops),
      flop_text(low.normal_flops), more);
}

}  // namespace

int run_plan(const PlanArgs& args) {
  const Recipe recipe = load_recipe(args.model, args.overrides());
  const PlanInfo plan = make_plan(recipe.model, recipe.trainer, !args.evaluation);
  if (args.steps) {
    say_steps(plan, args.why);
  } else {
    say_layers(plan, args.why);
  }
  const std::string units = units_text(plan);
  if (!units.empty()) say("\n{}", units);
  say_memory(plan);
  if (plan.is_training) {
    TrainerOptions low = recipe.trainer;
    low.memory = Memory::low;
    say_price(low.memory == recipe.trainer.memory ? plan : make_plan(recipe.model, low));
  }
  return 0;
}

}  // namespace tanul::cli
