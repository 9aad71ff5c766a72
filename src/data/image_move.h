// SPDX-License-Identifier: Apache-2.0
// How an augmented image is made of the one in the data set: a shift with zeros behind it, and a mirror.
// Drawn with the same bits by every device; kernels/gather moves images on them, data/augment.cpp on the
// host.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/philox.h"
#include "kernels/host_device.h"

namespace tanul {

// Where the pixels of an image come from: y[p][q] = x[p + down][q + right], zero outside; then each row
// backwards, where it is mirrored.
struct ImageMove {
  int64_t down = 0;
  int64_t right = 0;
  bool is_mirrored = false;
};

// Of an epoch: its random numbers.
inline Philox augmentation_random(uint64_t seed, uint32_t epoch) {
  return {seed, philox_stream("augment"), epoch};
}

// Shifts by at most `crop`. One Philox block an image: its first two words are the shifts, the third one's
// highest bit mirrors.
TANUL_HOST_DEVICE constexpr ImageMove draw_move(const Philox& random, int64_t position,
                                                int64_t crop, bool may_flip) {
  const PhiloxBlock words = random.block(static_cast<uint64_t>(position));
  const auto places = static_cast<uint64_t>(2 * crop + 1);
  return {static_cast<int64_t>((uint64_t{words[0]} * places) >> 32) - crop,
          static_cast<int64_t>((uint64_t{words[1]} * places) >> 32) - crop,
          may_flip && (words[2] >> 31) != 0};
}

// to[i] = from[count - 1 - i]; returns the end of `to`.
inline float* copy_backwards(const float* from, int64_t count, float* to) {
  return std::reverse_copy(from, from + count, to);
}
inline uint8_t* copy_backwards(const uint8_t* from, int64_t count, uint8_t* to) {
  for (; count >= 8; count -= 8, to += 8) {  // eight bytes at a time
    uint64_t word;
    std::memcpy(&word, from + count - 8, 8);
    word = __builtin_bswap64(word);
    std::memcpy(to, &word, 8);
  }
  return std::reverse_copy(from, from + count, to);
}

// On the host; `rows` = C H rows of x and of y [C, H, W].
template <typename T>
void move_image(const T* x, int64_t rows, int64_t height, int64_t width, const ImageMove& move,
                T* y) {
  // Columns [begin, end) of x are seen.
  const int64_t begin = std::max<int64_t>(0, move.right);
  const int64_t end = std::min(width, width + move.right);
  for (int64_t row = 0; row < rows; ++row, y += width) {
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

}  // namespace tanul
