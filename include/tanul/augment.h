// SPDX-License-Identifier: Apache-2.0
// Random changes to training images that leave their class alone.
#pragma once

#include <cstdint>

namespace tanul {

// Applied to images [C, H, W] (u8 or f32) as they are put into a batch, before normalisation. What happens
// to an image is a function of (seed, epoch, its position in the data) alone: the same for any number of
// threads, any batch, and after continuing a run.
struct Augmentation {
  // > 0: the image with `crop` zeros added on every side, of which a window of the old size is taken
  // anywhere; so it is shifted by up to `crop` pixels each way. Below H and W.
  int64_t crop = 0;
  // Mirrors every second image, by chance, left to right.
  bool flip = false;

  bool is_on() const { return crop > 0 || flip; }
};

}  // namespace tanul
