// SPDX-License-Identifier: Apache-2.0
// What happens to the weights between a Trainer's construction and its first step, and the search for
// a learning rate.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tanul/data.h"
#include "tanul/export.h"
#include "tanul/trainer.h"

namespace tanul {

struct StartOptions {
  std::optional<LsuvOptions> lsuv = {};
  int64_t batch = 256;       // samples that LSUV and whitening look at, evenly chosen
  std::string weights = {};  // a safetensors file; empty: none
  LoadOptions load = {};
};

struct StartReport {
  bool is_whitened = false;
  std::vector<LsuvLayer> lsuv;
  std::optional<LoadReport> loaded;
};

// Fits the normalisation where anything looks at data, whitens the layers whose weights say
// Init::whitening, makes unit variance where LSUV is asked for, and loads weights, in this order.
// Throws as the methods of Trainer do.
TANUL_API StartReport start_weights(Trainer& trainer, const DataView& train,
                                    const StartOptions& options);

// Learning-rate range test (L. Smith, 2017): steps at rates that rise evenly on a logarithmic scale.
struct LrRangeOptions {
  double from = 1e-7;
  double to = 10;
  int64_t steps = 100;
  double smoothing = 0.9;  // of the loss: an average that keeps this share, corrected for its start
  double stop_at = 4;      // ends where the smoothed loss is so many times its lowest; 0: never
};

struct LrPoint {
  double lr;
  double loss;      // of the step
  double smoothed;  // over the steps so far
};

struct LrRange {
  std::vector<LrPoint> points;
  bool diverged = false;  // ended early, at a loss that was not finite or beyond stop_at
  // Where the smoothed loss falls most steeply against log(lr), by lines through a twelfth of the points,
  // between the time when its average has settled and its lowest value; 0 where it does not fall. A good first choice for the highest rate of a schedule.
  double proposed = 0;
  double lowest = 0;  // the rate of the lowest smoothed loss: above it training breaks
};

// Runs the test with the trainer's batch size and optimizer on shuffled batches of `train`; afterwards
// weights, optimizer and counters are what they were. Only models of one input and one loss. Throws
// Error{invalid_argument, unsupported}.
TANUL_API LrRange find_learning_rate(Trainer& trainer, const DataView& train,
                                     const LrRangeOptions& options = {});

}  // namespace tanul
