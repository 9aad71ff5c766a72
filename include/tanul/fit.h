// SPDX-License-Identifier: Apache-2.0
// Training over epochs: validation after each, early stopping, keeping the best weights.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "tanul/export.h"
#include "tanul/trainer.h"

namespace tanul {

struct FitOptions {
  int64_t epochs = 10;
  int64_t patience = 0;   // > 0: stop after so many epochs without a better validation loss
  bool keep_best = true;  // end with the weights of the lowest validation loss
};

// One epoch of a run.
struct FitEpoch {
  int64_t epoch = 0;   // from 1
  int64_t epochs = 0;  // that the run is planned for
  EpochResult train;
  std::optional<Evaluation> validation;  // none without a validation part
  bool is_best = false;  // the lowest validation loss so far (without one: the latest)
};

struct FitCallbacks {
  std::function<void(const Progress&)> on_step;   // for every step, see Trainer::train_epoch
  std::function<void(const FitEpoch&)> on_epoch;  // after every epoch and its validation
};

struct FitResult {
  std::vector<FitEpoch> epochs;
  int64_t best_epoch = 0;      // from 1
  bool stopped_early = false;  // patience ran out
  TensorFile best;             // what prediction needs, from the best epoch
};

// Trains for `options.epochs` epochs, fewer with `patience`. With keep_best and a validation part
// the trainer ends with the weights of the best epoch, otherwise with the latest ones. An exception
// of a callback ends the run and passes through; the trainer is then where it was after the last
// step. Throws Error{invalid_argument, diverged}.
TANUL_API FitResult fit(Trainer& trainer, const DataView& train, const DataView& validation,
                        const FitOptions& options = {}, const FitCallbacks& callbacks = {});

}  // namespace tanul
