// SPDX-License-Identifier: Apache-2.0
// The extents of a convolution by their letters, and im2col between an image and columns.
//
// The column matrix of an image and a group: col[(c R + r) S + s, p Q + q] = x[c, h, w] with
// h = p stride_h - pad_top + r dilation_h, w likewise; 0 where (h, w) lies in the padding.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/backend_abi.h"
#include "kernels/conv2d/conv2d.h"

namespace tanul::cpu {

struct ConvShape {
  int64_t N, C, H, W, K, P, Q;
  Conv2dParams params;

  int64_t R() const { return params.kernel_h; }
  int64_t S() const { return params.kernel_w; }
  int64_t groups() const { return params.groups; }
  int64_t group_channels() const { return C / params.groups; }  // C/G
  int64_t group_filters() const { return K / params.groups; }   // K/G
  int64_t HW() const { return H * W; }
  int64_t PQ() const { return P * Q; }
  int64_t RS() const { return R() * S(); }
  int64_t CRS() const { return group_channels() * RS(); }  // of one group

  // A 1x1 kernel that reads each element once: the image is its own column matrix.
  bool is_pointwise() const {
    return RS() == 1 && params.stride_h == 1 && params.stride_w == 1 && params.pad_top == 0 &&
           params.pad_left == 0 && params.pad_bottom == 0 && params.pad_right == 0 && H == P &&
           W == Q;
  }
};

// The one place that reads extents from operands: x [N, C, H, W] and y [N, K, P, Q], or signals
// [N, C, W] and [N, K, Q] of height 1.
inline ConvShape conv_shape(const Operand& x, const Operand& y, const StepArgs& args) {
  const bool is_signal = x.rank == 3;
  return {x.dims[0],
          x.dims[1],
          is_signal ? 1 : x.dims[2],
          x.dims[x.rank - 1],
          y.dims[1],
          is_signal ? 1 : y.dims[2],
          y.dims[y.rank - 1],
          args.params_as<Conv2dParams>()};
}

// A part of the column matrix: channels [channel, channel + channels) of a group and output
// positions [position, position + positions), counted as p Q + q.
struct ColumnBlock {
  int64_t channel, channels;
  int64_t position, positions;
};

// col [channels R S, positions] with rows ld apart, from x [C/G, H, W] of one image and group.
void im2col(const ConvShape& shape, const ColumnBlock& block, const float* x, float* col,
            int64_t ld);
// x += the transposed copy: every element of col goes to where im2col took it from.
void col2im_add(const ConvShape& shape, const ColumnBlock& block, const float* col, int64_t ld,
                float* x);

}  // namespace tanul::cpu
