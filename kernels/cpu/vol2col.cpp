// SPDX-License-Identifier: Apache-2.0
// vol2col and col2vol for a block of channels and output positions, see conv3d_shape.h.
//
// The loops run over (c, t, r, s) and the rows (z, p) of the block, as those of im2col.cpp do over
// (c, r, s) and p. Of such a row the positions [q0, q1) lie inside the input's width: they are one run
// of x with a step of stride_w, what is left and right of them is padding. Moves 8 bytes an element of
// col.
#include <algorithm>
#include <cstring>

#include "kernels/conv3d/conv3d_shape.h"
#include "kernels/cpu/parallel.h"

namespace tanul::cpu {

namespace {

struct Tap {
  int64_t t, r, s;
};

// The positions of one output row that a block holds, for one tap.
struct Run {
  int64_t q_begin, q_end;  // of the block
  int64_t q0, q1;          // of them: inside the input
  int64_t from;            // offset in the channel's volume of what q0 reads
  int64_t column;          // of q_begin in the block
};

// Calls body(run) for each row of the block; where the whole row is padding, q0 == q1.
template <typename Body>
void for_runs(const VolumeShape& shape, const ColumnBlock& block, const Tap& tap,
              const Body& body) {
  const Conv3dParams& params = shape.params;
  const Conv2dParams& plane = params.plane;
  const int64_t shift = tap.s * plane.dilation_w - plane.pad_left;  // w = q stride_w + shift
  const int64_t inside_begin = shift >= 0 ? 0 : ceil_div(-shift, plane.stride_w);
  const int64_t inside_end = shift >= shape.W ? 0 : (shape.W - 1 - shift) / plane.stride_w + 1;
  const int64_t end = block.position + block.positions;
  int64_t z = block.position / shape.PQ();
  int64_t p = block.position / shape.Q % shape.P;
  for (int64_t position = block.position; position < end;) {
    const int64_t first = (z * shape.P + p) * shape.Q;  // of the row
    const int64_t d = z * params.stride_d - params.pad_front + tap.t * params.dilation_d;
    const int64_t h = p * plane.stride_h - plane.pad_top + tap.r * plane.dilation_h;
    Run run;
    run.q_begin = position - first;
    run.q_end = std::min(shape.Q, end - first);
    run.column = position - block.position;
    run.q0 = std::clamp(inside_begin, run.q_begin, run.q_end);
    run.q1 = std::clamp(inside_end, run.q0, run.q_end);
    if (d < 0 || d >= shape.D || h < 0 || h >= shape.H) run.q0 = run.q1 = run.q_end;
    run.from = (d * shape.H + h) * shape.W + run.q0 * plane.stride_w + shift;
    body(run);
    position = first + shape.Q;
    if (++p == shape.P) {
      p = 0;
      ++z;
    }
  }
}

// Calls body(volume of the channel, tap) for each row of col.
template <typename Body>
void for_rows(const VolumeShape& shape, const ColumnBlock& block, const Body& body) {
  for (int64_t c = block.channel; c < block.channel + block.channels; ++c) {
    for (int64_t t = 0; t < shape.T(); ++t) {
      for (int64_t r = 0; r < shape.R(); ++r) {
        for (int64_t s = 0; s < shape.S(); ++s) body(c * shape.DHW(), Tap{t, r, s});
      }
    }
  }
}

}  // namespace

void vol2col(const VolumeShape& shape, const ColumnBlock& block, const float* x, float* col,
             int64_t ld) {
  const int64_t stride = shape.params.plane.stride_w;
  for_rows(shape, block, [&](int64_t volume, const Tap& tap) {
    for_runs(shape, block, tap, [&](const Run& run) {
      float* to = col + run.column;
      to = std::fill_n(to, run.q0 - run.q_begin, 0.0f);
      if (run.q0 < run.q1) {
        const float* from = x + volume + run.from;
        const int64_t count = run.q1 - run.q0;
        if (stride == 1) {
          std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
        } else {
          for (int64_t i = 0; i < count; ++i) to[i] = from[i * stride];
        }
        to += count;
      }
      std::fill_n(to, run.q_end - run.q1, 0.0f);
    });
    col += ld;
  });
}

void col2vol_add(const VolumeShape& shape, const ColumnBlock& block, const float* col, int64_t ld,
                 float* x) {
  const int64_t stride = shape.params.plane.stride_w;
  for_rows(shape, block, [&](int64_t volume, const Tap& tap) {
    for_runs(shape, block, tap, [&](const Run& run) {
      if (run.q0 == run.q1) return;
      const float* from = col + run.column + (run.q0 - run.q_begin);
      float* to = x + volume + run.from;
      const int64_t count = run.q1 - run.q0;
      if (stride == 1) {
        for (int64_t i = 0; i < count; ++i) to[i] += from[i];
      } else {
        for (int64_t i = 0; i < count; ++i) to[i * stride] += from[i];
      }
    });
    col += ld;
  });
}

}  // namespace tanul::cpu
