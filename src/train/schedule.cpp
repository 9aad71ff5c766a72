// SPDX-License-Identifier: Apache-2.0
// Schedules in double. The only state is that of plateau, which its caller keeps.
#include "tanul/schedule.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/format.h"
#include "tanul/optim.h"

namespace tanul {

float learning_rate(const Optimizer& optimizer) {
  return std::visit([](const auto& o) { return o.lr; }, optimizer);
}

namespace {

constexpr double kPi = 3.14159265358979323846;

// From 1 at t = 0 to `floor` at t = 1 along half a cosine.
double half_cosine(double t, double floor) {
  return floor + (1 - floor) * (1 + std::cos(kPi * t)) / 2;
}

// The piece of a one-cycle schedule that a step lies in: from its first corner to its second one, `at`
// of the way.
struct OneCyclePiece {
  int number;  // 0: up, 1: down, 2: the rest of three phases
  double at;
};

OneCyclePiece one_cycle_piece(const Schedule& s, double step, double steps) {
  // Corners are steps: the last one has the lowest rate.
  const double top = s.peak_at * steps - 1;
  const double down = s.three_phases ? 2 * s.peak_at * steps - 2 : steps - 1;
  const double corners[] = {0, top, down, steps - 1};
  const int last = s.three_phases ? 2 : 1;
  int number = 0;
  while (number < last && step > corners[number + 1]) ++number;
  const double length = corners[number + 1] - corners[number];
  const double at = length > 0 ? (step - corners[number]) / length : 1;
  return {number, std::clamp(at, 0.0, 1.0)};
}

double between(const Schedule& s, double from, double to, double at) {
  return s.cosine_arms ? to + (from - to) * (1 + std::cos(kPi * at)) / 2 : from + (to - from) * at;
}

double one_cycle_factor(const Schedule& s, double step, double steps) {
  const OneCyclePiece piece = one_cycle_piece(s, step, steps);
  const double first = 1 / s.div;
  const double last = first / s.final_div;
  if (piece.number == 0) return between(s, first, 1, piece.at);
  if (piece.number == 1) return between(s, 1, s.three_phases ? first : last, piece.at);
  return between(s, first, last, piece.at);
}

double cyclic_factor(const Schedule& s, double step, double per_epoch) {
  const double up = s.up * per_epoch;
  const double down = s.down * per_epoch;
  const double cycle = std::floor(step / (up + down));  // from 0
  const double at = step - cycle * (up + down);
  double height = at <= up ? at / up : (up + down - at) / down;
  if (s.cycle == Schedule::Cycle::triangular2) height *= std::pow(0.5, cycle);
  if (s.cycle == Schedule::Cycle::exp_range) height *= std::pow(s.gamma, step / per_epoch);
  return s.floor + (1 - s.floor) * height;
}

double cosine_restarts_factor(const Schedule& s, double step, double per_epoch) {
  double period = (s.length > 0 ? s.length : 10) * per_epoch;
  if (s.period_factor == 1) return half_cosine(std::fmod(step, period) / period, s.floor);
  while (step >= period) {
    step -= period;
    period *= s.period_factor;
  }
  return half_cosine(step / period, s.floor);
}

double table_factor(const std::vector<std::pair<double, double>>& points, double t) {
  if (points.empty()) return 1;
  if (t <= points.front().first) return points.front().second;
  for (size_t i = 1; i < points.size(); ++i) {
    if (t > points[i].first) continue;
    const double length = points[i].first - points[i - 1].first;
    const double at = length > 0 ? (t - points[i - 1].first) / length : 1;
    return points[i - 1].second + (points[i].second - points[i - 1].second) * at;
  }
  return points.back().second;
}

// A step as every kind sees it.
struct ScheduleTime {
  double per_epoch;
  int64_t warmup_steps;
  double behind;                                   // steps behind the warm-up
  double rest;                                     // steps of the run behind the warm-up
  double t() const { return behind / per_epoch; }  // epochs behind the warm-up
  // The steps of `length` epochs, or of the rest of the run.
  double steps(double length) const { return length > 0 ? length * per_epoch : rest; }
};

ScheduleTime clock_of(const Schedule& s, int64_t step, int64_t steps_per_epoch, double epochs) {
  ScheduleTime clock{};
  clock.per_epoch = static_cast<double>(std::max<int64_t>(steps_per_epoch, 1));
  clock.warmup_steps = static_cast<int64_t>(std::llround(s.warmup * clock.per_epoch));
  clock.behind = static_cast<double>(step - clock.warmup_steps);
  clock.rest = epochs * clock.per_epoch - static_cast<double>(clock.warmup_steps);
  return clock;
}

}  // namespace

double Schedule::factor(int64_t step, int64_t steps_per_epoch, double epochs) const {
  const ScheduleTime clock = clock_of(*this, step, steps_per_epoch, epochs);
  if (step < clock.warmup_steps) {
    return static_cast<double>(step + 1) / static_cast<double>(clock.warmup_steps);
  }
  const double steps = clock.steps(length);
  const double share = steps > 0 ? clock.behind / steps : 1;
  switch (kind) {
    case Kind::constant:
    case Kind::plateau: return 1;
    case Kind::step: return std::pow(gamma, std::floor(clock.behind / (every * clock.per_epoch)));
    case Kind::multi_step: {
      const auto reached = std::count_if(milestones.begin(), milestones.end(), [&](double epoch) {
        return clock.behind >= epoch * clock.per_epoch;
      });
      return std::pow(gamma, static_cast<double>(reached));
    }
    case Kind::exponential: return std::pow(gamma, clock.t());
    case Kind::polynomial: return floor + (1 - floor) * std::pow(1 - std::min(share, 1.0), power);
    case Kind::linear: return start + (finish - start) * std::min(share, 1.0);
    case Kind::cosine: return half_cosine(length > 0 ? share : std::min(share, 1.0), floor);
    case Kind::cosine_restarts: return cosine_restarts_factor(*this, clock.behind, clock.per_epoch);
    case Kind::one_cycle: return one_cycle_factor(*this, clock.behind, steps);
    case Kind::cyclic: return cyclic_factor(*this, clock.behind, clock.per_epoch);
    case Kind::inverse_sqrt: {
      const auto n = static_cast<double>(std::max<int64_t>(clock.warmup_steps, 1));
      return std::sqrt(n / static_cast<double>(step + 1));
    }
    case Kind::table: return table_factor(points, clock.t());
  }
  return 1;
}

double Schedule::momentum(int64_t step, int64_t steps_per_epoch, double epochs) const {
  if (kind != Kind::one_cycle || momentum_high <= 0) return 0;
  const ScheduleTime clock = clock_of(*this, step, steps_per_epoch, epochs);
  if (step < clock.warmup_steps) return momentum_high;
  const OneCyclePiece piece = one_cycle_piece(*this, clock.behind, clock.steps(length));
  if (piece.number == 0) return between(*this, momentum_high, momentum_low, piece.at);
  if (piece.number == 1) return between(*this, momentum_low, momentum_high, piece.at);
  return momentum_high;
}

void PlateauState::observe(const Schedule& s, double metric) {
  // Of a negative best, the share moves the mark towards zero, as PyTorch has it.
  const double margin = s.is_absolute ? s.threshold : best * s.threshold;
  // NaN is never better.
  const bool is_better = !has_best            ? !std::isnan(metric)
                         : s.larger_is_better ? metric > best + margin
                                              : metric < best - margin;
  if (is_better) {
    best = metric;
    has_best = true;
    bad_epochs = 0;
  } else {
    ++bad_epochs;
  }
  if (cooldown > 0) {
    --cooldown;
    bad_epochs = 0;
  }
  if (bad_epochs <= s.patience) return;
  bad_epochs = 0;
  cooldown = s.cooldown;
  const double next = std::max(factor * s.gamma, s.floor);
  if (factor - next > s.smallest_drop) factor = next;
}

// --- descriptions ----------------------------------------------------------------------------------

Schedule Schedule::constant(double warmup) {
  Schedule s;
  s.warmup = warmup;
  return s;
}

namespace {

Schedule of(Schedule::Kind kind, double warmup) {
  Schedule s;
  s.kind = kind;
  s.warmup = warmup;
  return s;
}

}  // namespace

Schedule Schedule::step(double every, double gamma, double warmup) {
  Schedule s = of(Kind::step, warmup);
  s.every = every;
  s.gamma = gamma;
  return s;
}

Schedule Schedule::multi_step(std::vector<double> milestones, double gamma, double warmup) {
  Schedule s = of(Kind::multi_step, warmup);
  s.milestones = std::move(milestones);
  s.gamma = gamma;
  return s;
}

Schedule Schedule::exponential(double gamma, double warmup) {
  Schedule s = of(Kind::exponential, warmup);
  s.gamma = gamma;
  return s;
}

Schedule Schedule::polynomial(double power, double floor, double warmup) {
  Schedule s = of(Kind::polynomial, warmup);
  s.power = power;
  s.floor = floor;
  return s;
}

Schedule Schedule::linear(double start, double finish, double length) {
  Schedule s = of(Kind::linear, 0);
  s.start = start;
  s.finish = finish;
  s.length = length;
  return s;
}

Schedule Schedule::cosine(double warmup, double floor) {
  Schedule s = of(Kind::cosine, warmup);
  s.floor = floor;
  return s;
}

Schedule Schedule::cosine_restarts(double length, double period_factor, double floor,
                                   double warmup) {
  Schedule s = of(Kind::cosine_restarts, warmup);
  s.length = length;
  s.period_factor = period_factor;
  s.floor = floor;
  return s;
}

Schedule Schedule::one_cycle(double peak_at) {
  Schedule s = of(Kind::one_cycle, 0);
  s.peak_at = peak_at;
  return s;
}

Schedule Schedule::cyclic(double up, double down, double floor, Cycle cycle) {
  Schedule s = of(Kind::cyclic, 0);
  s.up = up;
  s.down = down;
  s.floor = floor;
  s.cycle = cycle;
  return s;
}

Schedule Schedule::inverse_sqrt(double warmup) { return of(Kind::inverse_sqrt, warmup); }

Schedule Schedule::plateau(double gamma, int64_t patience, double warmup) {
  Schedule s = of(Kind::plateau, warmup);
  s.gamma = gamma;
  s.patience = patience;
  return s;
}

Schedule Schedule::table(std::vector<std::pair<double, double>> points) {
  Schedule s = of(Kind::table, 0);
  s.points = std::move(points);
  return s;
}

void Schedule::check() const {
  constexpr double kMost = 1e30;
  const auto check = [](const char* what, double value, double least, double most) {
    if (!(value >= least && value <= most)) {
      fail(Code::invalid_argument, "{} must be between {:g} and {:g}, got {:g}", what, least, most,
           value);
    }
  };
  check("warmup", warmup, 0, 1e9);
  check("schedule floor", floor, 0, 1);
  check("schedule gamma", gamma, 0, kMost);
  check("schedule every", every, 1e-9, 1e9);
  check("schedule length", length, 0, 1e9);
  check("schedule power", power, 0, 1e3);
  check("schedule start", start, 0, kMost);
  check("schedule finish", finish, 0, kMost);
  check("schedule period_factor", period_factor, 1, 1e9);
  check("schedule div", div, 1, kMost);
  check("schedule final_div", final_div, 1, kMost);
  check("schedule up", up, 1e-9, 1e9);
  check("schedule down", down, 1e-9, 1e9);
  check("schedule patience", static_cast<double>(patience), 0, 1e9);
  check("schedule cooldown", static_cast<double>(cooldown), 0, 1e9);
  check("schedule threshold", threshold, 0, kMost);
  check("schedule smallest_drop", smallest_drop, 0, 1);
  check("schedule momentum_low", momentum_low, 0, 0.99999994);
  check("schedule momentum_high", momentum_high, 0, 0.99999994);
  if (momentum_low > momentum_high || (momentum_low <= 0) != (momentum_high <= 0)) {
    fail(Code::invalid_argument,
         "schedule one_cycle: momentum_low and momentum_high are both 0, or both above 0 and "
         "rising, "
         "got {:g} and {:g}",
         momentum_low, momentum_high);
  }
  check("schedule peak_at", peak_at, 1e-9, three_phases ? 0.5 : 1);
  for (size_t i = 0; i < milestones.size(); ++i) {
    check("schedule milestone", milestones[i], i == 0 ? 0 : milestones[i - 1], 1e9);
  }
  for (size_t i = 0; i < points.size(); ++i) {
    check("the epoch of a schedule point", points[i].first, i == 0 ? 0 : points[i - 1].first, 1e9);
    check("the factor of a schedule point", points[i].second, 0, kMost);
  }
  if (kind == Kind::table && points.empty()) {
    fail(Code::invalid_argument, "schedule table: there are no points");
  }
}

}  // namespace tanul
