// SPDX-License-Identifier: Apache-2.0
#include "train/resident_data.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "core/format.h"

namespace tanul {

namespace {

constexpr int64_t kAlignment = 256;
constexpr int64_t kPieceBytes = int64_t{16} << 20;  // that one copy takes

constexpr int64_t aligned(int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Four sums beside each other, so that a pass over the data is bound by its reading.
class Hash {
 public:
  void add(const void* data, int64_t bytes) {
    const auto* from = static_cast<const std::byte*>(data);
    Lanes lanes = lanes_;  // in registers
    for (; bytes >= 32; bytes -= 32, from += 32) add_block(lanes, from);
    if (bytes > 0) {
      std::byte rest[32] = {};
      std::memcpy(rest, from, static_cast<size_t>(bytes));
      add_block(lanes, rest);
    }
    lanes_ = lanes;
  }
  void add(int64_t number) { add(&number, sizeof number); }
  uint64_t value() const {
    uint64_t sum = lanes_.a;
    for (const uint64_t lane : {lanes_.b, lanes_.c, lanes_.d}) sum = mix(sum ^ lane);
    return mix(sum);
  }

 private:
  struct Lanes {
    uint64_t a = 1, b = 2, c = 3, d = 4;
  };
  static uint64_t mix(uint64_t x) {
    x *= 0x9E3779B97F4A7C15u;
    return x ^ x >> 29;
  }
  static uint64_t with_word(uint64_t lane, const std::byte* from) {
    uint64_t word;
    std::memcpy(&word, from, sizeof word);
    return std::rotl(mix(lane ^ word), 23);
  }
  static void add_block(Lanes& lanes, const std::byte* from) {
    lanes = {with_word(lanes.a, from), with_word(lanes.b, from + 8), with_word(lanes.c, from + 16),
             with_word(lanes.d, from + 24)};
  }
  Lanes lanes_;
};

void add_form(Hash& hash, const Shape& shape, DType dtype) {
  hash.add(static_cast<int64_t>(dtype));
  hash.add(shape.rank());
  for (const int64_t extent : shape) hash.add(extent);
}

}  // namespace

uint64_t fingerprint(const DataView& data) {
  Hash hash;
  hash.add(data.size());
  for (size_t i = 0; i < data.inputs(); ++i) {
    add_form(hash, data.sample_shape(i), data.sample_dtype(i));
    const int64_t bytes = data.sample_bytes(i);
    for (int64_t n = 0; n < data.size(); ++n) hash.add(data.sample(n, i), bytes);
  }
  for (size_t i = 0; i < data.targets(); ++i) {
    add_form(hash, data.target_shape(i), data.target_dtype(i));
    const int64_t bytes = data.target_bytes(i);
    for (int64_t n = 0; n < data.size(); ++n) hash.add(data.target(n, i), bytes);
  }
  return hash.value();
}

int64_t ResidentData::bytes_of(const DataView& data) {
  int64_t bytes = aligned(data.size() * static_cast<int64_t>(sizeof(int32_t)));
  for (size_t i = 0; i < data.inputs(); ++i) bytes += aligned(data.size() * data.sample_bytes(i));
  for (size_t i = 0; i < data.targets(); ++i) bytes += aligned(data.size() * data.target_bytes(i));
  return bytes;
}

ResidentData::ResidentData(Backend& backend, const DataView& data, uint64_t fingerprint, int64_t id)
    : backend_(backend),
      fingerprint_(fingerprint),
      id_(id),
      size_(data.size()),
      sample_shape_(data.sample_shape()),
      memory_(backend, bytes_of(data)) {
  int64_t at = aligned(size_ * static_cast<int64_t>(sizeof(int32_t)));
  std::vector<int64_t> positions;
  const auto upload = [&](int64_t row_bytes, const auto& gather) {
    const int64_t begin = at;
    const int64_t piece = std::max<int64_t>(1, kPieceBytes / std::max<int64_t>(1, row_bytes));
    for (int64_t first = 0; first < size_; first += piece) {
      positions.resize(static_cast<size_t>(std::min(piece, size_ - first)));
      std::iota(positions.begin(), positions.end(), first);
      std::byte* to = memory_.data() + begin + first * row_bytes;
      const auto count = static_cast<int64_t>(positions.size());
      gather(positions.data(), count, backend_.begin_write(to, count * row_bytes));
      backend_.end_write(to, count * row_bytes);
    }
    at += aligned(size_ * row_bytes);
    return begin;
  };
  for (size_t i = 0; i < data.inputs(); ++i) {
    samples_.push_back(upload(data.sample_bytes(i), [&](const int64_t* p, int64_t n, void* to) {
      data.gather_input(i, p, n, to);
    }));
  }
  for (size_t i = 0; i < data.targets(); ++i) {
    targets_.push_back(upload(data.target_bytes(i), [&](const int64_t* p, int64_t n, void* to) {
      data.gather_target(i, p, n, to);
    }));
  }
}

void ResidentData::set_order(const std::vector<int64_t>& order) {
  if (static_cast<int64_t>(order.size()) != size_) {
    fail(Code::internal, "an order of {} samples for {}", order.size(), size_);
  }
  const auto is_same = [](int32_t a, int64_t b) { return a == b; };
  if (std::equal(order_.begin(), order_.end(), order.begin(), order.end(), is_same)) return;
  order_.assign(order.begin(), order.end());
  backend_.copy_in(memory_.data(), order_.data(),
                   static_cast<int64_t>(order_.size() * sizeof(int32_t)));
}

std::byte* ResidentData::address(const StepGraph::DataSet& values, ValueId value) const {
  if (value == values.order) return memory_.data();
  for (size_t i = 0; i < values.samples.size(); ++i) {
    if (values.samples[i] == value) return memory_.data() + samples_.at(i);
  }
  for (size_t i = 0; i < values.targets.size(); ++i) {
    if (values.targets[i] == value) return memory_.data() + targets_.at(i);
  }
  fail(Code::internal, "value {} is no part of a data set", value);
}

}  // namespace tanul
