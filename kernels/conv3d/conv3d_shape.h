// SPDX-License-Identifier: Apache-2.0
// The extents of a three-dimensional convolution by their letters, and vol2col between a volume and
// columns.
//
// The column matrix of a volume and a group:
//   col[((c T + t) R + r) S + s, (z P + p) Q + q] = x[c, d, h, w],   d = z stride_d - pad_front + t dilation_d,
// h and w likewise; 0 where (d, h, w) lies in the padding.
#pragma once

#include <cstdint>

#include "kernels/backend_abi.h"
#include "kernels/conv2d/conv2d_shape.h"
#include "kernels/conv3d/conv3d.h"

namespace tanul::cpu {

struct VolumeShape {
  int64_t N, C, D, H, W, K, Z, P, Q;
  Conv3dParams params;

  int64_t T() const { return params.kernel_d; }
  int64_t R() const { return params.plane.kernel_h; }
  int64_t S() const { return params.plane.kernel_w; }
  int64_t groups() const { return params.plane.groups; }
  int64_t group_channels() const { return C / groups(); }  // C/G
  int64_t group_filters() const { return K / groups(); }   // K/G
  int64_t DHW() const { return D * H * W; }
  int64_t PQ() const { return P * Q; }
  int64_t ZPQ() const { return Z * PQ(); }
  int64_t TRS() const { return T() * R() * S(); }
  int64_t CTRS() const { return group_channels() * TRS(); }  // of one group

  // A kernel of one tap that reads each element once: the volume is its own column matrix.
  bool is_pointwise() const {
    const Conv2dParams& plane = params.plane;
    return TRS() == 1 && params.stride_d == 1 && plane.stride_h == 1 && plane.stride_w == 1 &&
           params.pad_front == 0 && plane.pad_top == 0 && plane.pad_left == 0 && D == Z && H == P &&
           W == Q;
  }
};

inline VolumeShape volume_shape(const Operand& x, const Operand& y, const StepArgs& args) {
  return {x.dims[0], x.dims[1], x.dims[2], x.dims[3], x.dims[4],
          y.dims[1], y.dims[2], y.dims[3], y.dims[4], args.params_as<Conv3dParams>()};
}

// col [channels T R S, positions] with rows ld apart, from x [C/G, D, H, W] of one volume and group.
// Positions of the block count as (z P + p) Q + q.
void vol2col(const VolumeShape& shape, const ColumnBlock& block, const float* x, float* col,
             int64_t ld);
// x += the transposed copy: every element of col goes to where vol2col took it from.
void col2vol_add(const VolumeShape& shape, const ColumnBlock& block, const float* col, int64_t ld,
                 float* x);

}  // namespace tanul::cpu
