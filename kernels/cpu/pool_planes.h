// SPDX-License-Identifier: Apache-2.0
// Pooling over one plane, in two passes: down the columns of a row of windows, side by side, then along
// that row. Behind the first pass a margin stands round the row, so that windows which reach over the
// edge are computed like all others.
#pragma once

#include <cstdint>

namespace tanul::cpu {

// y [P, Q] from x [H, W]; window (p, q) begins at row p stride_h - pad_h, column q stride_w - pad_w, and
// holds at least one element of x.
struct PoolPlane {
  int64_t H, W, P, Q;
  int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
};

// Null, or why a plane cannot be computed here.
const char* pool_plane_refusal(const PoolPlane& plane);

// argmax (may be null) = row W + column of the first of equal ones, or of the first NaN, in row order.
void max_pool_plane(const PoolPlane& plane, const float* x, float* y, int32_t* argmax);

// y = the sum of a window / counts [P, Q]; columns are summed first, then from left to right.
void average_pool_plane(const PoolPlane& plane, const float* x, const float* counts, float* y);
// dx [H, W] from dy [P, Q]: the shares dy / counts of a row of windows are added from right to left, and
// the sums of these rows from the top to the bottom.
void average_pool_plane_bwd(const PoolPlane& plane, const float* dy, const float* counts,
                            float* dx);

}  // namespace tanul::cpu
