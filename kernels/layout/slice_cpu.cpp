// SPDX-License-Identifier: Apache-2.0
// slice on the CPU: rows are copied. Moves only: exact bits, 8 bytes an element of y.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tiling.h"
#include "kernels/layout/box.h"
#include "kernels/layout/slice.h"
#include "kernels/op.h"

namespace tanul {

namespace {

int launch_rows(Stream* stream, const StepArgs& args) {
  const SliceParams& params = args.params_as<SliceParams>();
  const cpu::Box box(args.in[0].dims, args.out[0].dims, params.begin, params.rank, false);
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  const int64_t length = box.inner[box.last()];
  const cpu::Blocks rows = cpu::blocks_of_size(
      cpu::Box::rows(box.inner, box.rank), std::max<int64_t>(1, cpu::kElementwiseTile / length));
  cpu::parallel_for(stream, rows.count, [&](int64_t tile, int) {
    cpu::RowIndex index(box.inner, box.rank, rows.begin(tile));
    for (int64_t row = rows.begin(tile); row < rows.begin(tile) + rows.length(tile); ++row) {
      int64_t from = 0;
      for (int i = 0; i < box.last(); ++i) from = from * box.outer[i] + index.at[i] + box.begin[i];
      from = from * box.outer[box.last()] + box.begin[box.last()];
      std::memcpy(y + row * length, x + from, static_cast<size_t>(length) * sizeof(float));
      index.next();
    }
  });
  return 0;
}

constexpr Implementation kFwd[] = {{"rows", supports_all, no_workspace, launch_rows}};

}  // namespace

const ImplementationList cpu_slice_fwd{kFwd, 1};

}  // namespace tanul
