// SPDX-License-Identifier: Apache-2.0
// [train] schedule: every kind with its keys, as a list of fields.
#include "core/format.h"
#include "recipe/fields.h"
#include "recipe/settings.h"

namespace tanul::recipe {

namespace {

using Kind = Schedule::Kind;

constexpr std::pair<Kind, const char*> kNames[] = {
    {Kind::constant, "constant"},
    {Kind::step, "step"},
    {Kind::multi_step, "multi_step"},
    {Kind::exponential, "exponential"},
    {Kind::polynomial, "polynomial"},
    {Kind::linear, "linear"},
    {Kind::cosine, "cosine"},
    {Kind::cosine_restarts, "cosine_restarts"},
    {Kind::one_cycle, "one_cycle"},
    {Kind::cyclic, "cyclic"},
    {Kind::inverse_sqrt, "inverse_sqrt"},
    {Kind::plateau, "plateau"},
    {Kind::table, "table"},
};

const Range kFrom1{1, kMostFloat};

void describe_one_cycle(Fields& f, Schedule& s) {
  f.number("peak_at", s.peak_at, {0, 1, true});
  f.number("div", s.div, kFrom1);
  f.number("final_div", s.final_div, kFrom1);
  int shape = s.cosine_arms ? 0 : 1;
  f.choice("anneal", shape, {"cos", "linear"});
  s.cosine_arms = shape == 0;
  f.boolean("three_phases", s.three_phases);
  f.number("momentum_low", s.momentum_low, kBelowOne);
  f.number("momentum_high", s.momentum_high, kBelowOne);
  f.number("length", s.length, kNotNegative);
}

void describe_cyclic(Fields& f, Schedule& s) {
  f.number("up", s.up, kPositive);
  f.number("down", s.down, kPositive);
  f.number("floor", s.floor, kShare);
  int mode = static_cast<int>(s.cycle);
  f.choice("mode", mode, {"triangular", "triangular2", "exp_range"});
  s.cycle = static_cast<Schedule::Cycle>(mode);
  f.number("gamma", s.gamma, kPositive);
}

void describe_plateau(Fields& f, Schedule& s) {
  f.number("gamma", s.gamma, {0, 1, true, true});
  f.integer("patience", s.patience, 0, 1'000'000);
  f.integer("cooldown", s.cooldown, 0, 1'000'000);
  f.number("threshold", s.threshold, kNotNegative);
  int mode = s.is_absolute ? 1 : 0;
  f.choice("threshold_mode", mode, {"rel", "abs"});
  s.is_absolute = mode == 1;
  f.number("floor", s.floor, kShare);
}

void describe(Fields& f, Schedule& s) {
  switch (s.kind) {
    case Kind::constant:
    case Kind::inverse_sqrt: break;
    case Kind::step:
      f.number("every", s.every, kPositive);
      f.number("gamma", s.gamma, kPositive);
      break;
    case Kind::multi_step:
      f.numbers("milestones", s.milestones, kNotNegative);
      f.number("gamma", s.gamma, kPositive);
      break;
    case Kind::exponential: f.number("gamma", s.gamma, kPositive); break;
    case Kind::polynomial:
      f.number("power", s.power, kNotNegative);
      f.number("floor", s.floor, kShare);
      f.number("length", s.length, kNotNegative);
      break;
    case Kind::linear:
      f.number("start", s.start, kNotNegative);
      f.number("finish", s.finish, kNotNegative);
      f.number("length", s.length, kNotNegative);
      break;
    case Kind::cosine:
      f.number("floor", s.floor, kShare);
      f.number("length", s.length, kNotNegative);
      break;
    case Kind::cosine_restarts:
      f.number("length", s.length, kNotNegative);
      f.number("period_factor", s.period_factor, kFrom1);
      f.number("floor", s.floor, kShare);
      break;
    case Kind::one_cycle: describe_one_cycle(f, s); break;
    case Kind::cyclic: describe_cyclic(f, s); break;
    case Kind::plateau: describe_plateau(f, s); break;
    case Kind::table: f.pairs("points", s.points, kNotNegative); break;
  }
  f.number("warmup", s.warmup, kNotNegative);
}

}  // namespace

std::vector<KeySet> schedule_key_sets() {
  std::vector<KeySet> sets;
  for (const auto& [kind, name] : kNames) {
    Schedule schedule;
    schedule.kind = kind;
    FieldNames names;
    describe(names, schedule);
    sets.push_back({std::string("schedule ") + name, names.keys});
  }
  return sets;
}

const Keys& schedule_kinds() {
  static const Keys kinds = [] {
    Keys names;
    for (const auto& [kind, name] : kNames) names.push_back(name);
    return names;
  }();
  return kinds;
}

Schedule read_schedule(const Source& source, const TomlNode* node) {
  if (node == nullptr) return {};
  const Choice choice = read_choice(source, *node, "[train] schedule", schedule_kinds());
  const TableReader r(source, choice.options, "schedule " + choice.kind,
                      keys_of("schedule " + choice.kind));
  Schedule schedule;
  for (const auto& [kind, name] : kNames) {
    if (choice.kind == name) schedule.kind = kind;
  }
  FieldReader reader(r);
  describe(reader, schedule);
  try {
    schedule.check();
  } catch (const Error& e) {  // what no single key shows
    fail_at(source, choice.where, "[train] schedule: {}", e.what());
  }
  return schedule;
}

std::string schedule_toml(const Schedule& schedule) {
  FieldWriter writer;
  Schedule copy = schedule;
  describe(writer, copy);
  for (const auto& [kind, name] : kNames) {
    if (kind == schedule.kind) return fmt::format("{{ {} = {} }}", name, writer.toml());
  }
  return {};
}

}  // namespace tanul::recipe
