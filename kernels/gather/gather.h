// SPDX-License-Identifier: Apache-2.0
// A batch from a data set that lies on the device: rows in the order of the epoch.
//   y[n] = rows[p],  p = order[first + n],  first = StepBlock.first
// With augmentation the rows are images [C, H, W], and y[n] is rows[p] shifted by up to `crop` pixels, zeros
// behind it, and mirrored where `may_flip` and chance say so: ImageMove of data/image_move.h with the
// random numbers of (seed, StepBlock.epoch, p).
//
//   gather_rows  in: rows u8, i32 or f32 [S, ...], order i32 [S]   out: y [N, ...] of the same type
#pragma once

#include <cstdint>

#include "kernels/backend_abi.h"

namespace tanul {

struct GatherParams {
  int64_t batch;  // N
  // Without augmentation 0.
  int64_t height;
  int64_t width;
  int64_t crop;
  uint64_t seed;
  int32_t may_flip;
};

inline bool moves_images(const GatherParams& params) { return params.height > 0; }

}  // namespace tanul
