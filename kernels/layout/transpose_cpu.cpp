// SPDX-License-Identifier: Apache-2.0
// transpose on the CPU. Axes that stay neighbours are merged. Where the last axis stays the last, rows
// are copied; else planes of the two axes that are last in x and in y are transposed, a block of
// columns a tile, through cpu::transpose. Moves only: exact bits.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tiling.h"
#include "kernels/layout/transpose.h"
#include "kernels/op.h"

namespace tanul {

namespace {

// The axes of y in their order, merged: how long each is, and how far apart its elements lie in x and y.
struct Axes {
  int rank = 0;
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
    for (int i = 0; i < x.rank; ++i) {
      const int from = params.perm[i];
      if (x.dims[from] == 1) continue;
      if (rank > 0 && x_strides[rank - 1] == strides[from] * x.dims[from]) {
        extents[rank - 1] *= x.dims[from];
        x_strides[rank - 1] = strides[from];
        continue;
      }
      extents[rank] = x.dims[from];
      x_strides[rank] = strides[from];
      ++rank;
    }
    if (rank == 0) {
      extents[rank] = x_strides[rank] = 1;
      ++rank;
    }
    step = 1;
    for (int i = rank - 1; i >= 0; --i) {
      y_strides[i] = step;
      step *= extents[i];
    }
  }
  // The axis that is the last one of x.
  int last_of_x() const {
    int axis = rank - 1;
    while (x_strides[axis] != 1) --axis;
    return axis;
  }
};

// Where index `i` of all axes but `a` and `b` begins.
struct Offsets {
  int64_t x = 0, y = 0;

  Offsets(const Axes& axes, int a, int b, int64_t i) {
    for (int axis = axes.rank - 1; axis >= 0; --axis) {
      if (axis == a || axis == b) continue;
      const int64_t at = i % axes.extents[axis];
      i /= axes.extents[axis];
      x += at * axes.x_strides[axis];
      y += at * axes.y_strides[axis];
    }
  }
};

int launch_blocks(Stream* stream, const StepArgs& args) {
  const Axes axes(args.in[0], args.params_as<TransposeParams>());
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  const int last = axes.rank - 1;
  const int inner = axes.last_of_x();
  const int64_t elems = args.in[0].elems();
  if (inner == last) {
    const int64_t length = axes.extents[last];
    const int64_t rows = elems / length;
    const cpu::Blocks parts = cpu::blocks_of_size(length, cpu::kElementwiseTile);
    const cpu::Blocks tiles =
        cpu::blocks_of_size(rows, std::max<int64_t>(1, cpu::kElementwiseTile / length));
    cpu::parallel_for(stream, tiles.count * parts.count, [&](int64_t tile, int) {
      const int64_t block = tile / parts.count, part = tile % parts.count;
      for (int64_t row = tiles.begin(block); row < tiles.begin(block) + tiles.length(block);
           ++row) {
        const Offsets at(axes, last, last, row);
        std::memcpy(y + at.y + parts.begin(part), x + at.x + parts.begin(part),
                    static_cast<size_t>(parts.length(part)) * sizeof(float));
      }
    });
    return 0;
  }
  const int64_t rows = axes.extents[last], columns = axes.extents[inner];
  const int64_t planes = elems / (rows * columns);
  const cpu::Blocks blocks =
      cpu::blocks_of_size(columns, std::max<int64_t>(4, cpu::kElementwiseTile / rows / 4 * 4));
  const cpu::Blocks tiles =
      cpu::blocks_of_size(planes, std::max<int64_t>(1, cpu::kElementwiseTile / (rows * columns)));
  cpu::parallel_for(stream, tiles.count * blocks.count, [&](int64_t tile, int) {
    const int64_t first = tiles.begin(tile / blocks.count), block = tile % blocks.count;
    for (int64_t plane = first; plane < first + tiles.length(tile / blocks.count); ++plane) {
      const Offsets at(axes, inner, last, plane);
      const int64_t column = blocks.begin(block);
      cpu::transpose(x + at.x + column, axes.x_strides[last], rows, blocks.length(block),
                     y + at.y + column * axes.y_strides[inner], axes.y_strides[inner]);
    }
  });
  return 0;
}

constexpr Implementation kFwd[] = {{"blocks", supports_all, no_workspace, launch_blocks}};

}  // namespace

const ImplementationList cpu_transpose_fwd{kFwd, 1};

}  // namespace tanul
