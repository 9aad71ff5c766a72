// SPDX-License-Identifier: Apache-2.0
// Views of samples in memory: subsets, splits, copies into batches, statistics. Knows nothing of
// files.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include "core/format.h"
#include "core/philox.h"
#include "tanul/data.h"

namespace tanul {

namespace {

int64_t row_bytes(const Tensor& tensor) {
  if (tensor.empty()) return 0;
  return tensor.shape().elems_from(1) * dtype_bytes(tensor.dtype());
}

const std::byte* row(const Tensor& tensor, int64_t index) {
  return static_cast<const std::byte*>(tensor.raw()) + index * row_bytes(tensor);
}

}  // namespace

namespace {

std::vector<Tensor> without_empty(Tensor tensor) {
  std::vector<Tensor> list;
  if (!tensor.empty()) list.push_back(std::move(tensor));
  return list;
}

void check_samples(const Tensor& samples, int64_t count) {
  const Shape& shape = samples.shape();
  if (samples.empty() || shape.rank() < 1 ||
      (samples.dtype() != DType::u8 && samples.dtype() != DType::f32)) {
    fail(Code::invalid_argument, "samples are u8 or f32 of shape [N, ...], got {} of {}",
         shape.str(), dtype_name(samples.dtype()));
  }
  if (shape[0] != count) {
    fail(Code::invalid_argument, "all inputs need as many samples, got {} and {}", count, shape[0]);
  }
}

void check_targets(const Tensor& targets, const Shape& samples) {
  const int rank = targets.shape().rank();
  if (targets.empty() || rank < 1 ||
      (targets.dtype() != DType::i32 && targets.dtype() != DType::f32)) {
    fail(Code::invalid_argument,
         "targets are i32 of shape [N] or f32 of shape [N, ...], got {} of {}",
         targets.shape().str(), dtype_name(targets.dtype()));
  }
  if (targets.shape()[0] != samples[0]) {
    fail(Code::invalid_argument, "{} samples have {} targets (samples {}, targets {})", samples[0],
         targets.shape()[0], samples.str(), targets.shape().str());
  }
}

}  // namespace

DataView::DataView(Tensor samples, Tensor targets)
    : DataView(without_empty(std::move(samples)), without_empty(std::move(targets))) {}

DataView::DataView(std::vector<Tensor> samples, std::vector<Tensor> targets)
    : samples_(std::move(samples)), targets_(std::move(targets)) {
  if (samples_.empty() && targets_.empty()) return;
  const Shape shape = samples_.empty() ? Shape{} : samples_.front().shape();
  if (samples_.empty()) check_samples(Tensor(), 0);
  for (const Tensor& tensor : samples_) {
    check_samples(tensor, shape.rank() > 0 ? shape[0] : 0);
  }
  for (const Tensor& tensor : targets_) check_targets(tensor, shape);
  indices_.resize(static_cast<size_t>(shape[0]));
  std::iota(indices_.begin(), indices_.end(), int64_t{0});
}

const Tensor& DataView::input_at(size_t input) const {
  static const Tensor none;
  if (samples_.empty() && input == 0) return none;
  if (input >= samples_.size()) {
    fail(Code::invalid_argument, "these samples have {} inputs, there is no input {}",
         samples_.size(), input);
  }
  return samples_[input];
}

const Tensor& DataView::target_at(size_t target) const {
  static const Tensor none;
  if (targets_.empty() && target == 0) return none;
  if (target >= targets_.size()) {
    fail(Code::invalid_argument, "these samples have {} targets, there is no target {}",
         targets_.size(), target);
  }
  return targets_[target];
}

Shape DataView::sample_shape(size_t input) const { return input_at(input).shape().tail(1); }
Shape DataView::target_shape(size_t target) const { return target_at(target).shape().tail(1); }
DType DataView::sample_dtype(size_t input) const { return input_at(input).dtype(); }
DType DataView::target_dtype(size_t target) const { return target_at(target).dtype(); }
int64_t DataView::sample_bytes(size_t input) const { return row_bytes(input_at(input)); }
int64_t DataView::target_bytes(size_t target) const { return row_bytes(target_at(target)); }

namespace {

void check_position(int64_t position, int64_t size) {
  if (position < 0 || position >= size) {
    fail(Code::invalid_argument, "position {} is outside a view of {} samples", position, size);
  }
}

void copy_rows(const Tensor& from, const std::vector<int64_t>& indices, const int64_t* positions,
               int64_t count, void* to) {
  const auto bytes = static_cast<size_t>(row_bytes(from));
  const auto* base = static_cast<const std::byte*>(from.raw());
  auto* out = static_cast<std::byte*>(to);
  for (int64_t i = 0; i < count; ++i, out += bytes) {
    check_position(positions[i], static_cast<int64_t>(indices.size()));
    const int64_t index = indices[static_cast<size_t>(positions[i])];
    std::memcpy(out, base + static_cast<size_t>(index) * bytes, bytes);
  }
}

}  // namespace

const void* DataView::sample(int64_t i, size_t input) const {
  check_position(i, size());
  return row(input_at(input), indices_[static_cast<size_t>(i)]);
}

const void* DataView::target(int64_t i, size_t target) const {
  check_position(i, size());
  if (!has_targets()) fail(Code::invalid_argument, "these samples have no targets");
  return row(target_at(target), indices_[static_cast<size_t>(i)]);
}

int32_t DataView::label(int64_t i) const {
  check_position(i, size());
  if (!has_labels()) fail(Code::invalid_argument, "these samples have no labels (targets of i32)");
  return targets_.front().data<int32_t>()[indices_[static_cast<size_t>(i)]];
}

void DataView::gather(const int64_t* positions, int64_t count, void* samples, void* targets) const {
  gather_input(0, positions, count, samples);
  if (targets != nullptr && count > 0) gather_target(0, positions, count, targets);
}

void DataView::gather_input(size_t input, const int64_t* positions, int64_t count, void* to) const {
  if (count > 0) copy_rows(input_at(input), indices_, positions, count, to);
}

void DataView::gather_target(size_t target, const int64_t* positions, int64_t count,
                             void* to) const {
  if (!has_targets()) fail(Code::invalid_argument, "these samples have no targets");
  if (count > 0) copy_rows(target_at(target), indices_, positions, count, to);
}

DataView DataView::reconstructing() const {
  if (inputs() > 1) {
    fail(Code::invalid_argument, "reconstructing: samples with one input only, these have {}",
         inputs());
  }
  DataView view = *this;
  view.targets_.clear();
  if (samples_.empty()) return view;
  const Tensor& samples = samples_.front();
  Tensor targets(samples.shape());
  for (int64_t i = 0; i < samples.elems(); ++i) {
    targets.data<float>()[i] = samples.dtype() == DType::u8
                                   ? static_cast<float>(samples.data<uint8_t>()[i]) / 255.0f
                                   : samples.data<float>()[i];
  }
  view.targets_.push_back(std::move(targets));
  return view;
}

DataView DataView::subset(const std::vector<int64_t>& positions) const {
  DataView view = *this;
  view.indices_.clear();
  view.indices_.reserve(positions.size());
  for (const int64_t position : positions) {
    check_position(position, size());
    view.indices_.push_back(indices_[static_cast<size_t>(position)]);
  }
  return view;
}

DataView DataView::first(int64_t count) const {
  DataView view = *this;
  view.indices_.resize(static_cast<size_t>(std::clamp<int64_t>(count, 0, size())));
  return view;
}

std::pair<DataView, DataView> DataView::split(double fraction, uint64_t seed,
                                              bool stratified) const {
  if (!(fraction >= 0.0 && fraction <= 1.0)) {
    fail(Code::invalid_argument, "split: fraction is 0 … 1, got {}", fraction);
  }
  const int64_t total = std::llround(fraction * static_cast<double>(size()));

  // The groups to draw from, and how many from each. Classes in ascending order.
  struct Group {
    std::vector<int64_t> positions;
    int64_t quota = 0;
    double remainder = 0.0;
  };
  std::map<int32_t, Group> groups;
  const bool by_class = stratified && has_labels();
  for (int64_t i = 0; i < size(); ++i) groups[by_class ? label(i) : 0].positions.push_back(i);

  // Largest remainder (Hamilton): everyone gets the whole part of the exact share, and what is left
  // goes to the largest fractions; the lower class where they are equal.
  std::vector<Group*> by_remainder;
  int64_t left = total;
  for (auto& [label_value, group] : groups) {
    const double share = fraction * static_cast<double>(group.positions.size());
    group.quota = std::min(static_cast<int64_t>(share), left);
    group.remainder = share - static_cast<double>(group.quota);
    left -= group.quota;
    by_remainder.push_back(&group);
  }
  std::stable_sort(by_remainder.begin(), by_remainder.end(),
                   [](const Group* a, const Group* b) { return a->remainder > b->remainder; });
  for (Group* group : by_remainder) {
    if (left == 0) break;
    if (group->quota == static_cast<int64_t>(group->positions.size())) continue;
    ++group->quota;
    --left;
  }

  // The first `quota` steps of a Fisher-Yates shuffle of each group.
  const Philox random{seed, philox_stream("split"), 0};
  std::vector<char> is_drawn(indices_.size(), 0);
  uint64_t draw = 0;
  for (auto& [label_value, group] : groups) {
    const auto count = static_cast<int64_t>(group.positions.size());
    for (int64_t i = 0; i < group.quota; ++i) {
      const auto jump = random.below(draw++, static_cast<uint64_t>(count - i));
      std::swap(group.positions[static_cast<size_t>(i)],
                group.positions[static_cast<size_t>(i) + jump]);
      is_drawn[static_cast<size_t>(group.positions[static_cast<size_t>(i)])] = 1;
    }
  }
  std::pair<DataView, DataView> parts(*this, *this);
  parts.first.indices_.clear();
  parts.second.indices_.clear();
  for (size_t i = 0; i < indices_.size(); ++i) {
    (is_drawn[i] ? parts.second : parts.first).indices_.push_back(indices_[i]);
  }
  return parts;
}

std::vector<int64_t> DataView::class_counts(int64_t classes) const {
  std::vector<int64_t> counts(static_cast<size_t>(std::max<int64_t>(classes, 0)), 0);
  for (int64_t i = 0; i < size(); ++i) {
    const int32_t value = label(i);
    if (value < 0 || value >= classes) {
      fail(Code::invalid_argument, "label {} of sample {} is outside 0 … {} ({} classes)", value, i,
           classes - 1, classes);
    }
    ++counts[static_cast<size_t>(value)];
  }
  return counts;
}

namespace {

// Exact sums of bytes. The inner block is short enough for 32 bits: 65536 * 255^2 < 2^32.
struct ByteSums {
  uint64_t sum = 0;
  uint64_t squares = 0;

  void add(const uint8_t* values, int64_t count) {
    for (int64_t start = 0; start < count; start += 65536) {
      const int64_t end = std::min<int64_t>(count, start + 65536);
      uint32_t block_sum = 0;
      uint32_t block_squares = 0;
      for (int64_t i = start; i < end; ++i) {
        const uint32_t value = values[i];
        block_sum += value;
        block_squares += value * value;
      }
      sum += block_sum;
      squares += block_squares;
    }
  }
};

}  // namespace

DataView::Moments DataView::channel_moments(size_t input) const {
  if (empty() || sample_bytes(input) == 0) {
    fail(Code::invalid_argument, "channel_moments: the view holds no values (samples {})",
         input_at(input).shape().str());
  }
  const Shape shape = sample_shape(input);
  const int64_t channels = shape.rank() >= 2 ? shape[0] : 1;
  const int64_t pixels = shape.elems() / channels;
  const double count = static_cast<double>(size()) * static_cast<double>(pixels);

  Moments moments;
  for (int64_t c = 0; c < channels; ++c) {
    double mean = 0.0;
    double variance = 0.0;
    if (sample_dtype(input) == DType::u8) {
      ByteSums sums;
      for (int64_t i = 0; i < size(); ++i) {
        sums.add(static_cast<const uint8_t*>(sample(i, input)) + c * pixels, pixels);
      }
      // n * sum(x^2) - sum(x)^2 in whole numbers: no cancellation, whatever the order.
      const auto n = static_cast<unsigned __int128>(size()) * static_cast<uint64_t>(pixels);
      const auto spread = n * sums.squares - static_cast<unsigned __int128>(sums.sum) * sums.sum;
      mean = static_cast<double>(sums.sum) / count / 255.0;
      variance = static_cast<double>(spread) / count / count / (255.0 * 255.0);
    } else {
      for (int64_t i = 0; i < size(); ++i) {
        const float* values = static_cast<const float*>(sample(i, input)) + c * pixels;
        for (int64_t k = 0; k < pixels; ++k) mean += static_cast<double>(values[k]);
      }
      mean /= count;
      for (int64_t i = 0; i < size(); ++i) {
        const float* values = static_cast<const float*>(sample(i, input)) + c * pixels;
        for (int64_t k = 0; k < pixels; ++k) {
          const double off = static_cast<double>(values[k]) - mean;
          variance += off * off;
        }
      }
      variance /= count;
    }
    moments.mean.push_back(static_cast<float>(mean));
    moments.deviation.push_back(static_cast<float>(std::sqrt(variance)));
  }
  return moments;
}

void Dataset::split_validation(double fraction, uint64_t seed, bool stratified) {
  if (!validation_part.empty()) {
    fail(Code::invalid_argument,
         "split_validation: \"{}\" has a validation part of {} samples already", name,
         validation_part.size());
  }
  std::tie(train_part, validation_part) = train_part.split(fraction, seed, stratified);
}

}  // namespace tanul
