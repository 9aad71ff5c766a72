// SPDX-License-Identifier: Apache-2.0
// An input as convolutions that read it in vectors want it: padded, and split by the phase of the
// stride. Input (h, w) goes to plane (h mod stride_h, w mod stride_w), where the outputs' step is 1.
#pragma once

#include "kernels/conv2d/conv2d_indirect.h"
#include "kernels/cpu/simd.h"

namespace tanul::cpu {

// The copy of what `rows` output rows read: planes [channel, row phase, column phase] of
// [high, wide]. Outputs (p, q) read tap (r, s) at row p + r dilation / stride of its phase, and so
// on.
struct PhaseLayout {
  int64_t stride_h, stride_w, dilation_h, dilation_w;
  int64_t high, wide;

  PhaseLayout(const ConvShape& shape, int64_t rows)
      : stride_h(shape.params.stride_h),
        stride_w(shape.params.stride_w),
        dilation_h(shape.params.dilation_h),
        dilation_w(shape.params.dilation_w),
        high(rows + (shape.R() - 1) * dilation_h / stride_h),
        wide(shape.Q + (shape.S() - 1) * dilation_w / stride_w) {}
  int64_t phase_elems() const { return high * wide; }
  // From a channel to the next: not a power of two, where all would share a set of the cache.
  int64_t channel_elems() const { return round_up(stride_h * stride_w * phase_elems(), 32) + 16; }
  int64_t offset(int64_t r, int64_t s) const {
    const int64_t h = r * dilation_h, w = s * dilation_w;
    return (h % stride_h * stride_w + w % stride_w) * phase_elems() + h / stride_h * wide +
           w / stride_w;
  }
};

// One row of a phase: to[j] = x[j stride + first], 0 outside [0, W).
inline void copy_phase_row(const float* x, int64_t W, int64_t first, int64_t stride, int64_t wide,
                           float* to) {
  const int64_t begin = std::min(wide, first >= 0 ? 0 : ceil_div(-first, stride));
  const int64_t end = std::clamp(first >= W ? 0 : (W - 1 - first) / stride + 1, begin, wide);
  std::fill(to, to + begin, 0.0f);
  const float* from = x + first;
  if (stride == 1) {
    std::copy(from + begin, from + end, to + begin);
  } else if (stride == 2) {
    every_second(from + 2 * begin, to + begin, end - begin);
  } else {
    for (int64_t j = begin; j < end; ++j) to[j] = from[stride * j];
  }
  std::fill(to + end, to + wide, 0.0f);
}

// Fills the phases that some tap reads, for the output rows from p0 on. x [channels, H, W].
inline void copy_phases(const ConvShape& shape, const PhaseLayout& layout, const float* x,
                        int64_t p0, float* to) {
  const auto is_read = [](int64_t phase, int64_t taps, int64_t dilation, int64_t stride) {
    for (int64_t t = 0; t < taps; ++t) {
      if (t * dilation % stride == phase) return true;
    }
    return false;
  };
  for (int64_t c = 0; c < shape.group_channels(); ++c, x += shape.HW()) {
    float* phase = to + c * layout.channel_elems();
    for (int64_t a = 0; a < layout.stride_h; ++a) {
      for (int64_t b = 0; b < layout.stride_w; ++b, phase += layout.phase_elems()) {
        if (!is_read(a, shape.R(), layout.dilation_h, layout.stride_h) ||
            !is_read(b, shape.S(), layout.dilation_w, layout.stride_w)) {
          continue;
        }
        for (int64_t i = 0; i < layout.high; ++i) {
          const int64_t h = (p0 + i) * layout.stride_h + a - shape.params.pad_top;
          float* row = phase + i * layout.wide;
          if (h < 0 || h >= shape.H) {
            std::fill(row, row + layout.wide, 0.0f);
          } else {
            copy_phase_row(x + h * shape.W, shape.W, b - shape.params.pad_left, layout.stride_w,
                           layout.wide, row);
          }
        }
      }
    }
  }
}

}  // namespace tanul::cpu
