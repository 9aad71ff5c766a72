// SPDX-License-Identifier: Apache-2.0
#include "data/augment.h"

#include <algorithm>
#include <cstring>

#include "core/format.h"
#include "core/philox.h"

namespace tanul {

namespace {

// Where the pixels of an image come from: y[p][q] = x[p + down][q + right], zero outside; then each row
// backwards, where it is mirrored.
struct Move {
  int64_t down = 0;
  int64_t right = 0;
  bool is_mirrored = false;
};

// One Philox block an image: its first two words are the shifts, the third one's highest bit mirrors.
Move draw(const Philox& random, int64_t position, const Augmentation& augmentation) {
  const PhiloxBlock words = random.block(static_cast<uint64_t>(position));
  const auto shift = [&](uint32_t word) {
    const auto places = static_cast<uint64_t>(2 * augmentation.crop + 1);
    return static_cast<int64_t>((uint64_t{word} * places) >> 32) - augmentation.crop;
  };
  return {shift(words[0]), shift(words[1]), augmentation.flip && (words[2] >> 31) != 0};
}

// to[i] = from[count - 1 - i]; returns the end of `to`.
float* copy_backwards(const float* from, int64_t count, float* to) {
  return std::reverse_copy(from, from + count, to);
}
uint8_t* copy_backwards(const uint8_t* from, int64_t count, uint8_t* to) {
  for (; count >= 8; count -= 8, to += 8) {  // eight bytes at a time
    uint64_t word;
    std::memcpy(&word, from + count - 8, 8);
    word = __builtin_bswap64(word);
    std::memcpy(to, &word, 8);
  }
  return std::reverse_copy(from, from + count, to);
}

template <typename T>
void move_image(const T* x, const Shape& shape, const Move& move, T* y) {  // [C, H, W] both
  const int64_t height = shape[1], width = shape[2];
  // Columns [begin, end) of x are seen.
  const int64_t begin = std::max<int64_t>(0, move.right);
  const int64_t end = std::min(width, width + move.right);
  for (int64_t row = 0; row < shape[0] * height; ++row, y += width) {
    const int64_t from = row % height + move.down;
    if (from < 0 || from >= height) {
      std::fill_n(y, width, T{0});
      continue;
    }
    const T* seen = x + (row / height * height + from) * width;
    if (move.is_mirrored) {
      const int64_t first = width - (end - move.right);
      std::fill_n(y, first, T{0});
      T* behind = copy_backwards(seen + begin, end - begin, y + first);
      std::fill(behind, y + width, T{0});
    } else {
      const int64_t first = begin - move.right;
      std::fill_n(y, first, T{0});
      T* behind = std::copy(seen + begin, seen + end, y + first);
      std::fill(behind, y + width, T{0});
    }
  }
}

}  // namespace

void check_augmentation(const Augmentation& a, const Shape& sample, const char* where) {
  if (a.crop < 0) {
    fail(Code::invalid_argument, "{}: augmentation: crop must be at least 0, got {}", where,
         a.crop);
  }
  if (!a.is_on()) return;
  if (sample.rank() != 3) {
    fail(Code::invalid_argument, "{}: augmentation is for images [C, H, W], the samples are {}",
         where, sample.str());
  }
  const int64_t shorter = std::min(sample[1], sample[2]);
  if (a.crop >= shorter) {
    fail(Code::invalid_argument,
         "{}: augmentation: crop {} would shift images {} out of sight; it must be below {}", where,
         a.crop, sample.str(), shorter);
  }
}

void check_augmentation(const Augmentation& a, const DataView& data, const char* where) {
  check_augmentation(a, data.sample_shape(), where);
  if (!a.is_on()) return;
  if (data.inputs() > 1) {
    fail(Code::invalid_argument, "{}: augmentation is for one input, the samples have {}", where,
         data.inputs());
  }
  for (size_t i = 0; i < data.targets(); ++i) {
    if (data.target_shape(i).rank() < 2) continue;
    fail(Code::invalid_argument,
         "{}: augmentation moves the images but not their targets {}; use it with labels or values",
         where, data.target_shape(i).str());
  }
}

void gather_augmented(const DataView& data, const int64_t* positions, int64_t count,
                      const Augmentation& augmentation, uint64_t seed, uint32_t epoch, void* to) {
  const Philox random{seed, philox_stream("augment"), epoch};
  const Shape shape = data.sample_shape();
  const int64_t elems = shape.elems();
  for (int64_t i = 0; i < count; ++i) {
    const void* sample = data.sample(positions[i]);
    const Move move = draw(random, positions[i], augmentation);
    if (data.sample_dtype() == DType::u8) {
      move_image(static_cast<const uint8_t*>(sample), shape, move,
                 static_cast<uint8_t*>(to) + i * elems);
    } else {
      move_image(static_cast<const float*>(sample), shape, move,
                 static_cast<float*>(to) + i * elems);
    }
  }
}

}  // namespace tanul
