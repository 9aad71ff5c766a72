// SPDX-License-Identifier: Apache-2.0
// The loop over epochs, over Trainer's public interface only.
#include "tanul/fit.h"

#include <utility>

#include "core/format.h"

namespace tanul {

FitResult fit(Trainer& trainer, const DataView& train, const DataView& validation,
              const FitOptions& options, const FitCallbacks& callbacks) {
  if (options.epochs < 1) {
    fail(Code::invalid_argument, "fit: epochs must be at least 1, got {}", options.epochs);
  }
  if (train.empty()) fail(Code::invalid_argument, "fit: there is nothing to train on");
  FitResult result;
  double best_loss = 0;
  for (int64_t number = 1; number <= options.epochs; ++number) {
    FitEpoch epoch;
    epoch.epoch = number;
    epoch.epochs = options.epochs;
    epoch.train = trainer.train_epoch(train, callbacks.on_step);
    if (!validation.empty()) epoch.validation = trainer.evaluate(validation);
    trainer.observe(epoch.validation ? epoch.validation->loss : epoch.train.loss);
    epoch.is_best =
        !epoch.validation || result.best_epoch == 0 || epoch.validation->loss < best_loss;
    if (epoch.is_best) {
      if (epoch.validation) best_loss = epoch.validation->loss;
      result.best_epoch = number;
      // without validation only the last one counts
      if (epoch.validation || number == options.epochs) result.best = trainer.state(false);
    }
    result.epochs.push_back(epoch);
    if (callbacks.on_epoch) callbacks.on_epoch(result.epochs.back());
    if (epoch.validation && options.patience > 0 &&
        number - result.best_epoch >= options.patience && number < options.epochs) {
      result.stopped_early = true;
      break;
    }
  }
  if (options.keep_best && result.best_epoch != result.epochs.back().epoch) {
    trainer.load_state(result.best);
  }
  return result;
}

}  // namespace tanul
