// SPDX-License-Identifier: Apache-2.0
// The first step of a plan: samples as they lie in the data set become normalised floats.
//   x[n,c,...] = (v - mean[c]) / deviation[c],   v = u8 / 255, or the f32 itself
//
//   input_load  in: samples u8 or f32 [N, C, ...], mean [C], deviation [C]   out: x f32, same shape
//   Rank 2 samples [N, F] have one channel: mean [1], deviation [1].
#pragma once

namespace tanul {

struct InputLoadParams {
  int unused;
};

}  // namespace tanul
