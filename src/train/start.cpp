// SPDX-License-Identifier: Apache-2.0
// Over Trainer's public interface only.
#include "tanul/start.h"

#include <algorithm>
#include <cmath>

#include "core/format.h"
#include "data/loader.h"

namespace tanul {

namespace {

// `count` samples of the view, evenly chosen.
Tensor some_samples(const DataView& data, int64_t count) {
  count = std::min(count, data.size());
  std::vector<int64_t> positions(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    positions[static_cast<size_t>(i)] = i * data.size() / count;
  }
  std::vector<int64_t> extents{count};
  const Shape sample = data.sample_shape();
  extents.insert(extents.end(), sample.begin(), sample.end());
  Tensor samples(Shape(extents), data.sample_dtype());
  data.gather_input(0, positions.data(), count, samples.raw());
  return samples;
}

}  // namespace

StartReport start_weights(Trainer& trainer, const DataView& train, const StartOptions& options) {
  StartReport report;
  const std::vector<ParameterInfo>& parameters = trainer.model().parameters();
  const bool whitens = std::any_of(
      parameters.begin(), parameters.end(),
      [](const ParameterInfo& info) { return info.init.kind == Init::Kind::whitening; });
  if (whitens || options.lsuv) {
    if (options.batch < 2) {
      fail(Code::invalid_argument, "start: at least 2 samples are looked at, got {}",
           options.batch);
    }
    trainer.fit_normalization(train);
    const Tensor samples = some_samples(train, options.batch);
    if (whitens) trainer.initialize_whitening(samples);
    report.is_whitened = whitens;
    if (options.lsuv) report.lsuv = trainer.initialize_lsuv(samples, *options.lsuv);
  }
  if (!options.weights.empty()) {
    report.loaded = trainer.load_weights(options.weights, options.load);
  }
  return report;
}

namespace {

void check(const LrRangeOptions& o) {
  if (!(o.from > 0 && o.to > o.from && std::isfinite(o.to)) || o.steps < 2 || o.steps > 1'000'000 ||
      !(o.smoothing >= 0 && o.smoothing < 1) || !(o.stop_at >= 0)) {
    fail(Code::invalid_argument,
         "lr-find: wants 0 < from < to, 2 to 1000000 steps, smoothing below 1; got from {:g}, to "
         "{:g}, {} steps, smoothing {:g}",
         o.from, o.to, o.steps, o.smoothing);
  }
}

// The steepest descent of the smoothed loss over log(lr): the slope of the line of least squares
// through a twelfth of the points (at least five) in a row. Only up to the lowest loss, and not before
// the average has seen as many steps as it remembers.
void propose(LrRange& range, const LrRangeOptions& options) {
  const std::vector<LrPoint>& points = range.points;
  if (points.empty()) return;
  const auto lowest =
      std::min_element(points.begin(), points.end(),
                       [](const LrPoint& a, const LrPoint& b) { return a.smoothed < b.smoothed; });
  range.lowest = lowest->lr;
  const auto end = static_cast<size_t>(lowest - points.begin()) + 1;
  const auto window = static_cast<size_t>(std::max<int64_t>(5, options.steps / 12));
  const auto settled = static_cast<size_t>(std::lround(1 / (1 - options.smoothing)));
  const auto share = 1 / static_cast<double>(window);
  double steepest = 0;
  for (size_t i = settled; i + window <= end; ++i) {
    double x_mean = 0, y_mean = 0;
    for (size_t k = i; k < i + window; ++k) {
      x_mean += std::log(points[k].lr) * share;
      y_mean += points[k].smoothed * share;
    }
    double xy = 0, xx = 0;
    for (size_t k = i; k < i + window; ++k) {
      const double x = std::log(points[k].lr) - x_mean;
      xy += x * (points[k].smoothed - y_mean);
      xx += x * x;
    }
    if (xy / xx >= steepest) continue;
    steepest = xy / xx;
    range.proposed = points[i + window / 2].lr;
  }
}

// Batches of one epoch after another, each epoch in another order.
class Batches {
 public:
  Batches(const DataView& data, const TrainerOptions& o)
      : loader_(data, {std::min(o.batch, data.size()), true, true, o.seed, o.augmentation}) {}
  const Batch& next() {
    while (!loader_.next(batch_)) loader_.start_epoch(++epoch_);
    return batch_;
  }

 private:
  Loader loader_;
  Batch batch_;
  int64_t epoch_ = 0;
};

void run(Trainer& trainer, const DataView& train, const LrRangeOptions& options, LrRange& range) {
  Batches batches(train, trainer.options());
  double average = 0, weight = 0, best = 0;
  for (int64_t i = 0; i < options.steps; ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(options.steps - 1);
    LrPoint point{options.from * std::pow(options.to / options.from, share), 0, 0};
    try {
      const Batch& batch = batches.next();
      point.loss = trainer.step_at(batch.samples, batch.targets, point.lr);
    } catch (const Error& e) {
      if (e.code() != Code::diverged) throw;
      range.diverged = true;
      return;
    }
    average = options.smoothing * average + (1 - options.smoothing) * point.loss;
    weight = options.smoothing * weight + (1 - options.smoothing);
    point.smoothed = average / weight;
    range.points.push_back(point);
    if (i == 0 || point.smoothed < best) best = point.smoothed;
    if (options.stop_at > 0 && point.smoothed > options.stop_at * best) {
      range.diverged = true;
      return;
    }
  }
}

}  // namespace

LrRange find_learning_rate(Trainer& trainer, const DataView& train, const LrRangeOptions& options) {
  check(options);
  if (trainer.model().losses().size() != 1 || trainer.model().inputs().size() != 1) {
    fail(Code::unsupported, "lr-find: model \"{}\" has {} inputs and {} losses, not one of each",
         trainer.model().name(), trainer.model().inputs().size(), trainer.model().losses().size());
  }
  if (train.empty()) fail(Code::invalid_argument, "lr-find: there is nothing to train on");
  trainer.fit_normalization(train);
  const TensorFile before = trainer.state();
  LrRange range;
  try {
    run(trainer, train, options, range);
  } catch (...) {
    trainer.load_state(before);
    throw;
  }
  trainer.load_state(before);
  propose(range, options);
  return range;
}

}  // namespace tanul
