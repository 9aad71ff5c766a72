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

Shape without_first(const Shape& shape) {
  if (shape.rank() == 0) return {};
  return Shape(std::vector<int64_t>(shape.begin() + 1, shape.end()));
}

int64_t row_bytes(const Tensor& tensor) {
  if (tensor.empty()) return 0;
  return tensor.shape().elems_from(1) * dtype_bytes(tensor.dtype());
}

const std::byte* row(const Tensor& tensor, int64_t index) {
  return static_cast<const std::byte*>(tensor.raw()) + index * row_bytes(tensor);
}

}  // namespace

DataView::DataView(Tensor samples, Tensor targets)
    : samples_(std::move(samples)), targets_(std::move(targets)) {
  if (samples_.empty() && targets_.empty()) return;
  const Shape& shape = samples_.shape();
  if (samples_.empty() || shape.rank() < 1 ||
      (samples_.dtype() != DType::u8 && samples_.dtype() != DType::f32)) {
    fail(Code::invalid_argument, "samples are u8 or f32 of shape [N, ...], got {} of {}",
         shape.str(), dtype_name(samples_.dtype()));
  }
  if (!targets_.empty()) {
    const int rank = targets_.shape().rank();
    const bool is_label = targets_.dtype() == DType::i32 && rank == 1;
    const bool is_value = targets_.dtype() == DType::f32 && rank >= 1;
    if (!is_label && !is_value) {
      fail(Code::invalid_argument,
           "targets are i32 of shape [N] or f32 of shape [N, ...], got {} of {}",
           targets_.shape().str(), dtype_name(targets_.dtype()));
    }
    if (targets_.shape()[0] != shape[0]) {
      fail(Code::invalid_argument, "{} samples have {} targets (samples {}, targets {})", shape[0],
           targets_.shape()[0], shape.str(), targets_.shape().str());
    }
  }
  indices_.resize(static_cast<size_t>(shape[0]));
  std::iota(indices_.begin(), indices_.end(), int64_t{0});
}

Shape DataView::sample_shape() const { return without_first(samples_.shape()); }
Shape DataView::target_shape() const { return without_first(targets_.shape()); }
int64_t DataView::sample_bytes() const { return row_bytes(samples_); }
int64_t DataView::target_bytes() const { return row_bytes(targets_); }

namespace {

void check_position(int64_t position, int64_t size) {
  if (position < 0 || position >= size) {
    fail(Code::invalid_argument, "position {} is outside a view of {} samples", position, size);
  }
}

}  // namespace

const void* DataView::sample(int64_t i) const {
  check_position(i, size());
  return row(samples_, indices_[static_cast<size_t>(i)]);
}

const void* DataView::target(int64_t i) const {
  check_position(i, size());
  if (!has_targets()) fail(Code::invalid_argument, "these samples have no targets");
  return row(targets_, indices_[static_cast<size_t>(i)]);
}

int32_t DataView::label(int64_t i) const {
  check_position(i, size());
  if (!has_labels()) fail(Code::invalid_argument, "these samples have no labels (targets of i32)");
  return targets_.data<int32_t>()[indices_[static_cast<size_t>(i)]];
}

void DataView::gather(const int64_t* positions, int64_t count, void* samples, void* targets) const {
  const auto copy = [&](const Tensor& from, void* to) {
    const auto bytes = static_cast<size_t>(row_bytes(from));
    const auto* base = static_cast<const std::byte*>(from.raw());
    auto* out = static_cast<std::byte*>(to);
    for (int64_t i = 0; i < count; ++i, out += bytes) {
      check_position(positions[i], size());
      const int64_t index = indices_[static_cast<size_t>(positions[i])];
      std::memcpy(out, base + static_cast<size_t>(index) * bytes, bytes);
    }
  };
  if (count > 0) copy(samples_, samples);
  if (targets == nullptr || count <= 0) return;
  if (!has_targets()) fail(Code::invalid_argument, "these samples have no targets");
  copy(targets_, targets);
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

DataView::Moments DataView::channel_moments() const {
  if (empty() || sample_bytes() == 0) {
    fail(Code::invalid_argument, "channel_moments: the view holds no values (samples {})",
         samples_.shape().str());
  }
  const Shape shape = sample_shape();
  const int64_t channels = shape.rank() >= 2 ? shape[0] : 1;
  const int64_t pixels = shape.elems() / channels;
  const double count = static_cast<double>(size()) * static_cast<double>(pixels);

  Moments moments;
  for (int64_t c = 0; c < channels; ++c) {
    double mean = 0.0;
    double variance = 0.0;
    if (samples_.dtype() == DType::u8) {
      ByteSums sums;
      for (int64_t i = 0; i < size(); ++i) {
        sums.add(static_cast<const uint8_t*>(sample(i)) + c * pixels, pixels);
      }
      // n * sum(x^2) - sum(x)^2 in whole numbers: no cancellation, whatever the order.
      const auto n = static_cast<unsigned __int128>(size()) * static_cast<uint64_t>(pixels);
      const auto spread = n * sums.squares - static_cast<unsigned __int128>(sums.sum) * sums.sum;
      mean = static_cast<double>(sums.sum) / count / 255.0;
      variance = static_cast<double>(spread) / count / count / (255.0 * 255.0);
    } else {
      for (int64_t i = 0; i < size(); ++i) {
        const float* values = static_cast<const float*>(sample(i)) + c * pixels;
        for (int64_t k = 0; k < pixels; ++k) mean += static_cast<double>(values[k]);
      }
      mean /= count;
      for (int64_t i = 0; i < size(); ++i) {
        const float* values = static_cast<const float*>(sample(i)) + c * pixels;
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
