// SPDX-License-Identifier: Apache-2.0
#include "data/loader.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/format.h"
#include "core/philox.h"
#include "data/augment.h"
#include "tanul/data.h"

namespace tanul {

void epoch_order(std::vector<int64_t>& order, uint64_t seed, uint32_t epoch) {
  std::iota(order.begin(), order.end(), int64_t{0});
  const Philox random{seed, philox_stream("shuffle"), epoch};
  for (size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[random.below(i - 1, i)]);
  }
}

std::vector<int64_t> epoch_order(int64_t count, uint64_t seed, uint32_t epoch) {
  std::vector<int64_t> order(static_cast<size_t>(count > 0 ? count : 0));
  epoch_order(order, seed, epoch);
  return order;
}

Loader::Loader(DataView data, const LoaderOptions& options)
    : data_(std::move(data)), options_(options) {
  if (data_.empty()) fail(Code::invalid_argument, "loader: there are no samples");
  if (options_.batch < 1) {
    fail(Code::invalid_argument, "loader: the batch must be at least 1, got {}", options_.batch);
  }
  check_augmentation(options_.augmentation, data_, "loader");
  order_.resize(static_cast<size_t>(data_.size()));
  start_epoch(0);
}

int64_t Loader::batches() const {
  const int64_t whole = data_.size() / options_.batch;
  return !options_.drop_last && data_.size() % options_.batch != 0 ? whole + 1 : whole;
}

void Loader::start_epoch(int64_t epoch) {
  if (options_.shuffle) {
    epoch_order(order_, options_.seed, static_cast<uint32_t>(epoch));
  } else {
    std::iota(order_.begin(), order_.end(), int64_t{0});
  }
  next_ = 0;
  epoch_ = epoch;
}

namespace {

// The tensor itself where it has this form and no other owner, else a new one.
void make_room(Tensor& tensor, int64_t count, const Shape& sample, DType dtype) {
  std::vector<int64_t> extents{count};
  extents.insert(extents.end(), sample.begin(), sample.end());
  const Shape shape(extents);
  if (tensor.is_shared() || tensor.shape() != shape || tensor.dtype() != dtype || tensor.empty()) {
    tensor = Tensor(shape, dtype);
  }
}

}  // namespace

bool Loader::next(Batch& batch) {
  const int64_t left = data_.size() - next_;
  if (left == 0 || (options_.drop_last && left < options_.batch)) return false;
  const int64_t count = std::min(left, options_.batch);
  make_room(batch.samples, count, data_.sample_shape(), data_.sample_dtype());
  if (data_.has_targets()) {
    make_room(batch.targets, count, data_.target_shape(), data_.target_dtype());
  } else {
    batch.targets = Tensor();
  }
  const int64_t* positions = order_.data() + next_;
  if (options_.augmentation.is_on()) {
    gather_augmented(data_, positions, count, options_.augmentation, options_.seed,
                     static_cast<uint32_t>(epoch_), batch.samples.raw());
    if (data_.has_targets()) data_.gather_target(0, positions, count, batch.targets.raw());
  } else {
    data_.gather(positions, count, batch.samples.raw(), batch.targets.raw());
  }
  batch.more_samples.resize(data_.inputs() - 1);
  for (size_t i = 1; i < data_.inputs(); ++i) {
    Tensor& to = batch.more_samples[i - 1];
    make_room(to, count, data_.sample_shape(i), data_.sample_dtype(i));
    data_.gather_input(i, positions, count, to.raw());
  }
  batch.more_targets.resize(data_.has_targets() ? data_.targets() - 1 : 0);
  for (size_t i = 1; i < data_.targets(); ++i) {
    Tensor& to = batch.more_targets[i - 1];
    make_room(to, count, data_.target_shape(i), data_.target_dtype(i));
    data_.gather_target(i, positions, count, to.raw());
  }
  next_ += count;
  return true;
}

}  // namespace tanul
