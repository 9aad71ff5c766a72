// SPDX-License-Identifier: Apache-2.0
// pad on the CPU. Forward: each row of y is filled, or the row of x that lies there copied into its
// middle; exact bits. Backward: one tile a plane (what the leading axes without padding leave), whose
// gradients are added row by row in the order of y: a plain float sum of as many terms as an element has
// places. Deterministic.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tiling.h"
#include "kernels/layout/box.h"
#include "kernels/layout/pad.h"
#include "kernels/op.h"

namespace tanul {

namespace {

// Where the row of y at `index` lies in x: its number, or -1.
int64_t source_row(const cpu::Box& box, PadMode mode, const cpu::RowIndex& index, int first_axis) {
  int64_t row = 0;
  for (int i = first_axis; i < box.last(); ++i) {
    const int64_t at = pad_source(mode, index.at[i], box.begin[i], box.inner[i]);
    if (at < 0) return -1;
    row = row * box.inner[i] + at;
  }
  return row;
}

int launch_fwd(Stream* stream, const StepArgs& args) {
  const PadParams& params = args.params_as<PadParams>();
  const bool is_constant = params.mode == PadMode::constant;
  const cpu::Box box(args.out[0].dims, args.in[0].dims, params.begin, params.rank, !is_constant);
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  const int64_t length = box.outer[box.last()];
  const int64_t inside = box.inner[box.last()];
  const int64_t begin = box.begin[box.last()];
  const cpu::Blocks rows = cpu::blocks_of_size(
      cpu::Box::rows(box.outer, box.rank), std::max<int64_t>(1, cpu::kElementwiseTile / length));
  cpu::parallel_for(stream, rows.count, [&](int64_t tile, int) {
    cpu::RowIndex index(box.outer, box.rank, rows.begin(tile));
    for (int64_t row = rows.begin(tile); row < rows.begin(tile) + rows.length(tile); ++row) {
      float* to = y + row * length;
      const int64_t source = source_row(box, params.mode, index, 0);
      index.next();
      if (source < 0) {
        std::fill(to, to + length, params.value);
        continue;
      }
      const float* from = x + source * inside;
      const auto edge = [&](int64_t i) {
        to[i] = is_constant ? params.value : from[pad_source(params.mode, i, begin, inside)];
      };
      for (int64_t i = 0; i < begin; ++i) edge(i);
      std::memcpy(to + begin, from, static_cast<size_t>(inside) * sizeof(float));
      for (int64_t i = begin + inside; i < length; ++i) edge(i);
    }
  });
  return 0;
}

int launch_bwd(Stream* stream, const StepArgs& args) {
  const PadParams& params = args.params_as<PadParams>();
  const cpu::Box box(args.in[0].dims, args.out[0].dims, params.begin, params.rank, true);
  const float* dy = args.in[0].as<float>();
  float* dx = args.out[0].as<float>();
  // A whole first axis counts the planes.
  const bool has_planes = box.rank > 1 && box.outer[0] == box.inner[0];
  const int first_axis = has_planes ? 1 : 0;
  const int64_t planes = has_planes ? box.outer[0] : 1;
  const int64_t length = box.outer[box.last()];
  const int64_t inside = box.inner[box.last()];
  const int64_t begin = box.begin[box.last()];
  const int64_t rows = cpu::Box::rows(box.outer, box.rank) / planes;
  const int64_t rows_inside = cpu::Box::rows(box.inner, box.rank) / planes;
  cpu::parallel_for(stream, planes, [&](int64_t plane, int) {
    float* to_plane = dx + plane * rows_inside * inside;
    std::fill(to_plane, to_plane + rows_inside * inside, 0.0f);
    cpu::RowIndex index(box.outer, box.rank, plane * rows);
    for (int64_t row = 0; row < rows; ++row) {
      const float* from = dy + (plane * rows + row) * length;
      float* to = to_plane + source_row(box, params.mode, index, first_axis) * inside;
      index.next();
      const auto edge = [&](int64_t i) {
        to[pad_source(params.mode, i, begin, inside)] += from[i];
      };
      for (int64_t i = 0; i < begin; ++i) edge(i);
      for (int64_t i = 0; i < inside; ++i) to[i] += from[begin + i];
      for (int64_t i = begin + inside; i < length; ++i) edge(i);
    }
  });
  return 0;
}

constexpr Implementation kFwd[] = {{"rows", supports_all, no_workspace, launch_fwd}};
constexpr Implementation kBwd[] = {{"rows", supports_all, no_workspace, launch_bwd}};

}  // namespace

const ImplementationList cpu_pad_fwd{kFwd, 1};
const ImplementationList cpu_pad_bwd{kBwd, 1};

}  // namespace tanul
