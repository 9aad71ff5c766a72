// SPDX-License-Identifier: Apache-2.0
#include "data/augment.h"

#include <algorithm>

#include "core/format.h"
#include "data/image_move.h"

namespace tanul {

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
  const Philox random = augmentation_random(seed, epoch);
  const Shape shape = data.sample_shape();
  const int64_t elems = shape.elems();
  const int64_t rows = shape[0] * shape[1];
  for (int64_t i = 0; i < count; ++i) {
    const void* sample = data.sample(positions[i]);
    const ImageMove move = draw_move(random, positions[i], augmentation.crop, augmentation.flip);
    if (data.sample_dtype() == DType::u8) {
      move_image(static_cast<const uint8_t*>(sample), rows, shape[1], shape[2], move,
                 static_cast<uint8_t*>(to) + i * elems);
    } else {
      move_image(static_cast<const float*>(sample), rows, shape[1], shape[2], move,
                 static_cast<float*>(to) + i * elems);
    }
  }
}

}  // namespace tanul
