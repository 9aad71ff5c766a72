// SPDX-License-Identifier: Apache-2.0
// Resizing of the spatial axes of x [N, C, …], one to three of them, up or down, without a low-pass
// filter. Along each axis, output i lies at s in x, with r = 1 / scale where a scale is given, else
// in / out:
//   nearest          element floor(i r)
//   nearest_exact    element floor((i + 1/2) r)
//   linear           between floor(s) and the next: s = (i + 1/2) r - 1/2, at least 0
//   cubic            four elements round s, which is not bounded; weights with a = -0.75; beyond the
//                    ends the last element again (R. Keys, "Cubic Convolution Interpolation", 1981)
// With align_corners, s = i (in - 1) / (out - 1) for the last two: the corners stay where they are.
//
//   upsample_fwd  in: x   out: y
//   upsample_bwd  in: dy  out: dx   the transposed map: dx gets what its element gave, weighted
#pragma once

#include <cstdint>

namespace tanul {

enum class Resize : int32_t { nearest = 0, nearest_exact, linear, cubic };

struct UpsampleParams {
  Resize mode;
  int32_t align_corners;  // linear, cubic
  int32_t axes;           // spatial axes: set by infer
  int32_t out[3];         // sizes; 0: floor(in scale), set by infer
  int32_t in[3];          // set by infer
  double scale[3];        // 0: by the sizes
};

}  // namespace tanul
