// SPDX-License-Identifier: Apache-2.0
// How many samples a second one thread puts into batches, as Trainer::train_epoch does before each step.
#include <fmt/core.h>
#include <tanul/tanul.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "bench/report.h"
#include "bench/step_timer.h"

namespace tanul::bench {

namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Bytes that differ, in far more memory than the caches hold where `samples` is as large as a data set.
DataView random_images(const Shape& shape, int64_t samples) {
  std::vector<int64_t> extents{samples};
  extents.insert(extents.end(), shape.begin(), shape.end());
  Tensor images(Shape(extents), DType::u8);
  uint64_t state = 1;
  for (int64_t i = 0; i < images.elems(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    images.data<uint8_t>()[i] = static_cast<uint8_t>(state >> 56);
  }
  return DataView(images, Tensor({samples}, DType::i32));
}

// Samples a second, the median of the repeats; the order of each epoch is made before its time runs.
double rate_of(const DataView& data, int64_t batch, const Augmentation& augmentation,
               const StepOptions& o) {
  Loader loader(data, {.batch = batch, .augmentation = augmentation});
  Batch loaded;
  int64_t epoch = 0;
  std::vector<double> rates;
  for (int repeat = 0; repeat < o.repeats; ++repeat) {
    double seconds = 0;
    int64_t samples = 0;
    do {
      loader.start_epoch(epoch++);
      const Clock::time_point start = Clock::now();
      while (seconds + seconds_since(start) < o.seconds && loader.next(loaded)) {
        samples += loaded.size();
      }
      seconds += seconds_since(start);
    } while (seconds < o.seconds);
    rates.push_back(static_cast<double>(samples) / seconds);
  }
  return median(rates);
}

}  // namespace

nlohmann::ordered_json time_input(const std::string& file, const Augmentation& augmentation,
                                  int64_t samples, const StepOptions& o) {
  const Recipe recipe = load_recipe(file);
  const int64_t batch = o.batch > 0 ? o.batch : recipe.trainer.batch;
  const Shape shape = recipe.model.input_shape();
  const DataView data = random_images(shape, samples);
  ordered_json result;
  result["workload"] = recipe.model.name();
  result["sample"] = shape.str_x();
  result["batch"] = batch;
  result["crop"] = augmentation.crop;
  result["flip"] = augmentation.flip;
  result["gathered_per_s"] = std::round(rate_of(data, batch, {}, o));
  result["augmented_per_s"] = std::round(rate_of(data, batch, augmentation, o));
  return result;
}

void print_input_head() {
  fmt::print("{:<16} {:>12} {:>6} {:>14} {:>14}\n", "model", "sample", "batch", "gathered/s",
             "augmented/s");
}

void print_input_row(const ordered_json& r) {
  fmt::print("{:<16} {:>12} {:>6} {:>14.0f} {:>14.0f}\n", r["workload"].get<std::string>(),
             r["sample"].get<std::string>(), r["batch"].get<int64_t>(),
             r["gathered_per_s"].get<double>(), r["augmented_per_s"].get<double>());
}

}  // namespace tanul::bench
