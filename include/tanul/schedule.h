// SPDX-License-Identifier: Apache-2.0
// Learning-rate schedules, as plain descriptions: lr(step) = base · factor(step), where base is the
// optimizer's lr. Times are in epochs and may be fractions; they are evaluated at every step. In front
// of any schedule a linear warm-up: over the first `warmup` epochs the factor rises from 1/n to 1 in n
// steps, and the schedule proper begins behind it: its time t starts there at 0.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "tanul/export.h"

namespace tanul {

struct Schedule {
  enum class Kind {
    constant,     // 1
    step,         // gamma^floor(t / every)
    multi_step,   // gamma^(how many milestones have been reached)
    exponential,  // gamma^t
    polynomial,   // floor + (1 - floor) (1 - t / length)^power, floor from `length` on
    linear,       // from `start` to `finish` over `length`, then `finish`
    cosine,       // floor + (1 - floor) (1 + cos(pi t / length)) / 2; stays at floor at the end of
                  // the run; behind a `length` that is given it rises again
    cosine_restarts,  // a cosine over `length`, then one over length · period_factor, and so on
                      // (I. Loshchilov and F. Hutter, 2017)
    one_cycle,  // from 1 / div up to 1, down to 1 / (div final_div) (L. Smith and N. Topin, 2018)
    cyclic,     // from floor to 1 over `up`, back over `down`, again and again (L. Smith, 2017)
    inverse_sqrt,  // sqrt(n / (step + 1)), n steps of warm-up, at least 1
    plateau,       // times gamma where the validation loss has stopped falling, see PlateauState
    table,         // straight lines between `points` {t, factor}, constant outside
  };
  enum class Cycle {
    triangular,   // every cycle as high
    triangular2,  // every cycle half as high as the one before
    exp_range     // the height is gamma^t
  };

  Kind kind = Kind::constant;
  double warmup = 0;   // epochs
  double every = 10;   // step: epochs between drops, above 0
  double gamma = 0.1;  // step, multi_step, exponential (an epoch), plateau, exp_range (an epoch)
  double floor = 0;  // polynomial, cosine, cosine_restarts, cyclic, plateau: lowest factor, 0 … 1
  double length = 0;          // epochs; 0: to the end of the run (cosine_restarts: 10)
  double power = 1;           // polynomial
  double start = 0;           // linear
  double finish = 1;          // linear
  double period_factor = 1;   // cosine_restarts, at least 1
  double peak_at = 0.3;       // one_cycle: share of the cycle that the rise takes
  double div = 25;            // one_cycle
  double final_div = 1e4;     // one_cycle
  bool cosine_arms = true;    // one_cycle: cosines between the corners, not straight lines
  bool three_phases = false;  // one_cycle: down as fast as up, then the rest to the end
  // one_cycle: the momentum (beta1 of Adam and its kin) goes from `momentum_high` down to `momentum_low`
  // while the rate rises, and back. 0: it stays as the optimizer says.
  double momentum_low = 0;
  double momentum_high = 0;
  double up = 5;    // cyclic: epochs
  double down = 5;  // cyclic: epochs
  Cycle cycle = Cycle::triangular;
  std::vector<double> milestones = {};                 // multi_step: epochs, rising
  std::vector<std::pair<double, double>> points = {};  // table: {epoch, factor}, epochs rising
  // plateau: `patience` epochs without a loss below best (1 - threshold) (with is_absolute: below
  // best - threshold; with larger_is_better: above best (1 + threshold), best + threshold), then a
  // drop; the next `cooldown` epochs do not count.
  int64_t patience = 10;
  int64_t cooldown = 0;
  double threshold = 1e-4;
  bool is_absolute = false;
  bool larger_is_better = false;  // the metric is an accuracy or the like
  double smallest_drop = 1e-8;    // drops of the factor up to this are not made

  TANUL_API static Schedule constant(double warmup = 0);
  TANUL_API static Schedule step(double every, double gamma = 0.1, double warmup = 0);
  TANUL_API static Schedule multi_step(std::vector<double> milestones, double gamma = 0.1,
                                       double warmup = 0);
  TANUL_API static Schedule exponential(double gamma, double warmup = 0);
  TANUL_API static Schedule polynomial(double power = 1, double floor = 0, double warmup = 0);
  TANUL_API static Schedule linear(double start, double finish, double length = 0);
  TANUL_API static Schedule cosine(double warmup = 0, double floor = 0);
  TANUL_API static Schedule cosine_restarts(double length, double period_factor = 1,
                                            double floor = 0, double warmup = 0);
  TANUL_API static Schedule one_cycle(double peak_at = 0.3);
  TANUL_API static Schedule cyclic(double up, double down, double floor = 0,
                                   Cycle cycle = Cycle::triangular);
  TANUL_API static Schedule inverse_sqrt(double warmup);
  TANUL_API static Schedule plateau(double gamma = 0.1, int64_t patience = 10, double warmup = 0);
  TANUL_API static Schedule table(std::vector<std::pair<double, double>> points);

  // The factor of step `step` (from 0) of a run of `epochs` epochs of `steps_per_epoch` steps. Of
  // plateau: that of its warm-up; PlateauState has the rest.
  TANUL_API double factor(int64_t step, int64_t steps_per_epoch, double epochs) const;
  // The momentum of a step; 0: the optimizer's own.
  TANUL_API double momentum(int64_t step, int64_t steps_per_epoch, double epochs) const;
  // Throws Error{invalid_argument} for a number outside its range.
  TANUL_API void check() const;
};

// What a plateau schedule remembers.
struct PlateauState {
  double factor = 1;
  double best = 0;
  bool has_best = false;
  int64_t bad_epochs = 0;
  int64_t cooldown = 0;  // epochs that are left of it

  // Takes the metric of an epoch.
  TANUL_API void observe(const Schedule& schedule, double metric);
};

}  // namespace tanul
