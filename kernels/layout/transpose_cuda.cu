// SPDX-License-Identifier: Apache-2.0
// transpose on CUDA. Axes that stay neighbours are merged. Moves only: exact bits, 8 bytes an element.
//
//   tiles     planes of the two axes that are last in x and in y are transposed: a block of 32 x 8 threads
//             brings a tile of 32 x 32 through shared memory, so that reads and writes are both contiguous
//   elements  a thread moves an element of y: where the last axis stays the last, or a plane is narrow
#include <algorithm>

#include "kernels/cuda/broadcast.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/strided.h"
#include "kernels/layout/transpose.h"

namespace tanul {

namespace {

using namespace cuda;

constexpr int kTile = 32;
constexpr int kTileRows = 8;  // of threads

// The axes of y, from the last to the first, merged: how long each is, and how far apart its elements lie.
struct Axes {
  int32_t count = 0;
  int64_t elems = 1;
  int64_t extents[kMaxOperandRank];
  int64_t x_strides[kMaxOperandRank];
  int64_t y_strides[kMaxOperandRank];

  Axes(const Operand& x, const TransposeParams& params) {
    int64_t strides[kMaxOperandRank];
    int64_t step = 1;
    for (int i = x.rank - 1; i >= 0; --i) {
      strides[i] = step;
      step *= x.dims[i];
    }
    for (int i = x.rank - 1; i >= 0; --i) {
      const int from = params.perm[i];
      const int64_t extent = x.dims[from];
      if (extent == 1) continue;
      if (count > 0 && strides[from] == x_strides[count - 1] * extents[count - 1]) {
        extents[count - 1] *= extent;
      } else {
        extents[count] = extent;
        x_strides[count] = strides[from];
        y_strides[count++] = elems;
      }
      elems *= extent;
    }
  }
  // The axis that is the last one of x.
  int last_of_x() const {
    int axis = 0;
    while (axis < count && x_strides[axis] != 1) ++axis;
    return axis;
  }
};

// All axes but `a` and `b` as one index: where its element i begins in x and y.
using Planes = BroadcastAxes<2>;
Planes planes_of(const Axes& axes, int a, int b) {
  Planes planes;
  for (int i = 0; i < axes.count; ++i) {
    if (i != a && i != b) planes.add_outer(axes.extents[i], {axes.x_strides[i], axes.y_strides[i]});
  }
  return planes;
}

__global__ void transpose_elements_kernel(StridedAxes axes, const float* x, float* y) {
  for (int64_t i = grid_thread(); i < axes.elems; i += grid_threads()) y[i] = x[axes.offset(i)];
}

int launch_elements(Stream* stream, const StepArgs& args) {
  const Axes axes(args.in[0], args.params_as<TransposeParams>());
  StridedAxes all;
  for (int i = 0; i < axes.count; ++i) all.add_outer(axes.extents[i], axes.x_strides[i]);
  return launch(stream, transpose_elements_kernel, blocks_for(all.elems), kBlockThreads, all,
                args.in[0].as<float>(), args.out[0].as<float>());
}

// Of each plane: x [rows, columns] with its rows x_stride apart, y [columns, rows] with y_stride.
struct Plane {
  int64_t rows, columns, x_stride, y_stride;
  int64_t row_tiles() const { return ceil_div(rows, kTile); }
  int64_t column_tiles() const { return ceil_div(columns, kTile); }
};

__global__ void transpose_tiles_kernel(Planes planes, Plane plane, Divider column_tiles,
                                       const float* x, float* y) {
  constexpr int kStride = kTile + 1;  // columns of a tile lie in different banks
  TANUL_SHARED(float, tile, kTile* kStride);
  const auto split = column_tiles.split(static_cast<int64_t>(blockIdx.x));
  const int64_t row0 = split.quotient * kTile, column0 = split.rest * kTile;
  const int lane = static_cast<int>(threadIdx.x), first = static_cast<int>(threadIdx.y);
  for (int64_t i = blockIdx.y; i < planes.elems; i += gridDim.y) {
    const Planes::Offsets place = planes.offsets(i);
    for (int r = first; r < kTile; r += kTileRows) {
      if (row0 + r < plane.rows && column0 + lane < plane.columns) {
        tile[r * kStride + lane] = x[place.at[0] + (row0 + r) * plane.x_stride + column0 + lane];
      }
    }
    __syncthreads();
    for (int c = first; c < kTile; c += kTileRows) {
      if (column0 + c < plane.columns && row0 + lane < plane.rows) {
        y[place.at[1] + (column0 + c) * plane.y_stride + row0 + lane] = tile[lane * kStride + c];
      }
    }
    __syncthreads();
  }
}

const char* supports_tiles(const StepArgs& args) {
  constexpr int64_t kNarrow = 16;
  const Axes axes(args.in[0], args.params_as<TransposeParams>());
  const int inner = axes.last_of_x();
  if (inner == 0 || inner == axes.count) return "the last axis stays the last";
  if (axes.extents[0] < kNarrow || axes.extents[inner] < kNarrow) return "narrow planes";
  return nullptr;
}

int launch_tiles(Stream* stream, const StepArgs& args) {
  const Axes axes(args.in[0], args.params_as<TransposeParams>());
  const int inner = axes.last_of_x();
  const Plane plane{axes.extents[0], axes.extents[inner], axes.x_strides[0], axes.y_strides[inner]};
  const Planes planes = planes_of(axes, 0, inner);
  const Dim3 grid{static_cast<uint32_t>(plane.row_tiles() * plane.column_tiles()),
                  static_cast<uint32_t>(std::min<int64_t>(planes.elems, 65535)), 1};
  return launch(stream, transpose_tiles_kernel, grid, Dim3{kTile, kTileRows, 1}, planes, plane,
                Divider(plane.column_tiles()), args.in[0].as<float>(), args.out[0].as<float>());
}

constexpr Implementation kFwd[] = {{"tiles", supports_tiles, no_workspace, launch_tiles},
                                   {"elements", supports_all, no_workspace, launch_elements}};

}  // namespace

const ImplementationList cuda_transpose_fwd{kFwd, 2};

}  // namespace tanul
