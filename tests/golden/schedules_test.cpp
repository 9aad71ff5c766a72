// SPDX-License-Identifier: Apache-2.0
// Learning rates (and momenta of one-cycle) of 200 steps of every schedule, in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support/golden.h"
#include "tanul/schedule.h"

namespace tanul::test::schedules_golden {
namespace {

double number(const GoldenCase& c, const char* key) { return golden_number(c.attrs.at(key)); }

// The schedule of a case where a step is an epoch. base: what factors are multiplied by.
Schedule schedule_of(const GoldenCase& c, double& base) {
  Schedule s;
  const auto set_floor = [&](const char* key) { s.floor = number(c, key) / base; };
  if (c.op == "constant") return s;
  if (c.op == "step") return Schedule::step(number(c, "step_size"), number(c, "gamma"));
  if (c.op == "multistep") {
    return Schedule::multi_step(c.attrs.at("milestones").get<std::vector<double>>(),
                                number(c, "gamma"));
  }
  if (c.op == "exponential") return Schedule::exponential(number(c, "gamma"));
  if (c.op == "polynomial") {
    s = Schedule::polynomial(number(c, "power"));
    s.length = number(c, "total_steps");
    return s;
  }
  if (c.op == "linear") {
    return Schedule::linear(number(c, "start_factor"), number(c, "end_factor"),
                            number(c, "total_steps"));
  }
  if (c.op == "cosine") {
    s = Schedule::cosine();
    s.length = number(c, "t_max");
    set_floor("eta_min");
    return s;
  }
  if (c.op == "cosine_restarts") {
    s = Schedule::cosine_restarts(number(c, "t_0"), number(c, "t_mult"));
    set_floor("eta_min");
    return s;
  }
  if (c.op == "one_cycle") {
    base = number(c, "max_lr");
    s = Schedule::one_cycle(number(c, "pct_start"));
    s.length = number(c, "total_steps");
    s.div = number(c, "div_factor");
    s.final_div = number(c, "final_div_factor");
    s.cosine_arms = c.attrs.at("anneal") == "cos";
    EXPECT_TRUE(s.cosine_arms || c.attrs.at("anneal") == "linear");
    s.three_phases = c.attrs.at("three_phase").get<bool>();
    s.momentum_low = number(c, "base_momentum");
    s.momentum_high = number(c, "max_momentum");
    return s;
  }
  if (c.op == "cyclic") {
    base = number(c, "max_lr");
    s = Schedule::cyclic(number(c, "step_size_up"), number(c, "step_size_down"));
    set_floor("min_lr");
    const std::string mode = c.attrs.at("mode");
    EXPECT_TRUE(mode == "triangular" || mode == "triangular2" || mode == "exp_range");
    if (mode == "triangular2") s.cycle = Schedule::Cycle::triangular2;
    if (mode == "exp_range") s.cycle = Schedule::Cycle::exp_range;
    s.gamma = number(c, "gamma");
    return s;
  }
  if (c.op == "warmup_cosine") {
    s = Schedule::cosine(number(c, "warmup_steps"));
    set_floor("eta_min");
    return s;
  }
  if (c.op == "warmup_step") {
    return Schedule::step(number(c, "step_size"), number(c, "gamma"), number(c, "warmup_steps"));
  }
  if (c.op == "inverse_sqrt") return Schedule::inverse_sqrt(number(c, "warmup_steps"));
  if (c.op == "reduce_on_plateau") {
    s = Schedule::plateau(number(c, "factor"), c.attrs.at("patience").get<int64_t>());
    s.larger_is_better = c.attrs.at("mode") == "max";
    EXPECT_TRUE(s.larger_is_better || c.attrs.at("mode") == "min");
    s.is_absolute = c.attrs.at("threshold_mode") == "abs";
    EXPECT_TRUE(s.is_absolute || c.attrs.at("threshold_mode") == "rel");
    s.threshold = number(c, "threshold");
    s.cooldown = c.attrs.at("cooldown").get<int64_t>();
    set_floor("min_lr");
    s.smallest_drop = number(c, "eps") / base;
    return s;
  }
  throw std::runtime_error("unknown schedule " + c.op);
}

void expect_close(const RefTensor& want, const std::vector<double>& got) {
  ASSERT_EQ(static_cast<size_t>(want.elems()), got.size());
  double largest = 0;
  for (double value : want.v) largest = std::max(largest, std::abs(value));
  for (size_t t = 0; t < got.size(); ++t) {
    ASSERT_NEAR(got[t], want.v[t], 1e-12 * largest) << "step " << t;
  }
}

void check_case(const GoldenCase& c) {
  const RefTensor& want = c.outputs.at("lr");
  const auto steps = static_cast<int64_t>(want.elems());
  double base = number(c, "base_lr");
  const Schedule s = schedule_of(c, base);
  s.check();
  std::vector<double> rates, momenta;
  PlateauState plateau;
  // the whole run in epochs, where the schedule looks at it
  const double epochs =
      c.attrs.contains("total_steps") ? number(c, "total_steps") : static_cast<double>(steps);
  for (int64_t t = 0; t < steps; ++t) {
    rates.push_back(base * s.factor(t, 1, epochs) * plateau.factor);
    momenta.push_back(s.momentum(t, 1, epochs));
    if (s.kind == Schedule::Kind::plateau) plateau.observe(s, c.input("metric")[t]);
  }
  expect_close(want, rates);
  for (const auto& [role, tensor] : c.outputs) {
    if (role == "lr") continue;
    ASSERT_EQ(role, "momentum");
    expect_close(tensor, momenta);
  }
}

TEST(Golden, Schedules) {
  int ran = 0;
  for (const GoldenCase& c : load_golden("schedules")) {
    SCOPED_TRACE(c.name);
    check_case(c);
    ++ran;
  }
  EXPECT_GT(ran, 0);
}

// Times are in epochs: with ten steps an epoch and a tenth of each time, the steps see the same.
TEST(Schedule, TimesAreEpochs) {
  const auto expect_same = [](const Schedule& in_steps, const Schedule& in_epochs) {
    for (int64_t t = 0; t < 100; ++t) {
      EXPECT_NEAR(in_steps.factor(t, 1, 100), in_epochs.factor(t, 10, 10), 1e-12) << t;
    }
  };
  expect_same(Schedule::multi_step({20, 50}, 0.5, 10), Schedule::multi_step({2, 5}, 0.5, 1));
  expect_same(Schedule::exponential(std::pow(0.5, 0.1)), Schedule::exponential(0.5));
  expect_same(Schedule::polynomial(2, 0.1, 20), Schedule::polynomial(2, 0.1, 2));
  expect_same(Schedule::linear(1, 0.1, 50), Schedule::linear(1, 0.1, 5));
  expect_same(Schedule::cosine_restarts(20, 2), Schedule::cosine_restarts(2, 2));
  expect_same(Schedule::one_cycle(), Schedule::one_cycle());
  expect_same(Schedule::cyclic(10, 20, 0.1), Schedule::cyclic(1, 2, 0.1));
  expect_same(Schedule::inverse_sqrt(20), Schedule::inverse_sqrt(2));
  expect_same(Schedule::table({{0, 0.5}, {40, 1}, {40, 0.2}, {90, 0}}),
              Schedule::table({{0, 0.5}, {4, 1}, {4, 0.2}, {9, 0}}));
}

TEST(Schedule, ATableIsStraightLinesBetweenItsPoints) {
  const Schedule s = Schedule::table({{1, 0.5}, {3, 1}, {5, 0}});
  EXPECT_EQ(s.factor(0, 2, 10), 0.5);  // before the first
  EXPECT_EQ(s.factor(2, 2, 10), 0.5);
  EXPECT_EQ(s.factor(4, 2, 10), 0.75);
  EXPECT_EQ(s.factor(6, 2, 10), 1);
  EXPECT_EQ(s.factor(8, 2, 10), 0.5);
  EXPECT_EQ(s.factor(19, 2, 10), 0);  // behind the last
}

// Recorded from torch.optim.lr_scheduler.ReduceLROnPlateau(lr 1, factor 0.5, patience 0, threshold 0.1).
TEST(Schedule, PlateauTakesItsShareOfANegativeBestTowardsZero) {
  Schedule s = Schedule::plateau(0.5, 0);
  s.threshold = 0.1;
  PlateauState state;
  std::vector<double> rates;
  for (double metric : {1.0, -1.0, -0.95, -0.9, -0.8, -2.0}) {
    state.observe(s, metric);
    rates.push_back(state.factor);
  }
  EXPECT_EQ(rates, (std::vector<double>{1, 1, 1, 1, 0.5, 0.5}));
}

}  // namespace
}  // namespace tanul::test::schedules_golden
