// SPDX-License-Identifier: Apache-2.0
// im2col and col2im for a block of channels and output positions, see conv2d_shape.h.
//
// The loops run over (c, r, s) and the rows p of the block. Of such a row the positions [q0, q1)
// lie inside the input's width: they are one run of x with a step of stride_w, what is left and
// right of them is padding. Moves 8 bytes an element of col.
#include <cstring>

#include "kernels/conv2d/conv2d_shape.h"
#include "kernels/cpu/parallel.h"

namespace tanul::cpu {

namespace {

// The positions of one output row that a block holds, for one (r, s).
struct Run {
  int64_t q_begin, q_end;  // of the block
  int64_t q0, q1;          // of them: inside the input
  int64_t h, w0;           // where x is read for q0
  int64_t column;          // of q_begin in the block
};

// Calls body(run) for each row of the block; where the whole row is padding, q0 == q1.
template <typename Body>
void for_runs(const ConvShape& shape, const ColumnBlock& block, int64_t r, int64_t s,
              const Body& body) {
  const Conv2dParams& params = shape.params;
  const int64_t shift = s * params.dilation_w - params.pad_left;  // w = q stride_w + shift
  const int64_t inside_begin = shift >= 0 ? 0 : ceil_div(-shift, params.stride_w);
  const int64_t inside_end = shift >= shape.W ? 0 : (shape.W - 1 - shift) / params.stride_w + 1;
  const int64_t end = block.position + block.positions;
  for (int64_t position = block.position; position < end;) {
    const int64_t p = position / shape.Q;
    Run run;
    run.q_begin = position - p * shape.Q;
    run.q_end = std::min(shape.Q, end - p * shape.Q);
    run.column = position - block.position;
    run.h = p * params.stride_h - params.pad_top + r * params.dilation_h;
    run.q0 = std::clamp(inside_begin, run.q_begin, run.q_end);
    run.q1 = std::clamp(inside_end, run.q0, run.q_end);
    if (run.h < 0 || run.h >= shape.H) run.q0 = run.q1 = run.q_end;
    run.w0 = run.q0 * params.stride_w + shift;
    body(run);
    position = (p + 1) * shape.Q;
  }
}

}  // namespace

void im2col(const ConvShape& shape, const ColumnBlock& block, const float* x, float* col,
            int64_t ld) {
  const int64_t stride = shape.params.stride_w;
  for (int64_t c = block.channel; c < block.channel + block.channels; ++c) {
    const float* plane = x + c * shape.HW();
    for (int64_t r = 0; r < shape.R(); ++r) {
      for (int64_t s = 0; s < shape.S(); ++s, col += ld) {
        for_runs(shape, block, r, s, [&](const Run& run) {
          float* to = col + run.column;
          for (int64_t q = run.q_begin; q < run.q0; ++q) *to++ = 0.0f;
          if (run.q0 < run.q1) {
            const float* from = plane + run.h * shape.W + run.w0;
            if (stride == 1) {
              std::memcpy(to, from, static_cast<size_t>(run.q1 - run.q0) * sizeof(float));
              to += run.q1 - run.q0;
            } else {
              for (int64_t q = run.q0; q < run.q1; ++q, from += stride) *to++ = *from;
            }
          }
          for (int64_t q = run.q1; q < run.q_end; ++q) *to++ = 0.0f;
        });
      }
    }
  }
}

void col2im_add(const ConvShape& shape, const ColumnBlock& block, const float* col, int64_t ld,
                float* x) {
  const int64_t stride = shape.params.stride_w;
  for (int64_t c = block.channel; c < block.channel + block.channels; ++c) {
    float* plane = x + c * shape.HW();
    for (int64_t r = 0; r < shape.R(); ++r) {
      for (int64_t s = 0; s < shape.S(); ++s, col += ld) {
        for_runs(shape, block, r, s, [&](const Run& run) {
          if (run.q0 == run.q1) return;
          const float* from = col + run.column + (run.q0 - run.q_begin);
          float* to = plane + run.h * shape.W + run.w0;
          const int64_t count = run.q1 - run.q0;
          if (stride == 1) {
            for (int64_t i = 0; i < count; ++i) to[i] += from[i];
          } else {
            for (int64_t i = 0; i < count; ++i) to[i * stride] += from[i];
          }
        });
      }
    }
  }
}

}  // namespace tanul::cpu
