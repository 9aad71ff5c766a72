// SPDX-License-Identifier: Apache-2.0
// concat on the CPU: y seen as [outer, rows of all parts], outer = extents before the axis. One part
// of one outer index is one contiguous piece, copied by one tile. Moves only: exact bits.
// Bytes: each element is read once and written once.
#include <algorithm>
#include <cstring>

#include "kernels/concat/concat.h"
#include "kernels/cpu/parallel.h"
#include "kernels/op.h"

namespace tanul {

namespace {

// Extents of the whole tensor, from the operand that holds all parts.
struct Pieces {
  int64_t outer;       // product of the extents before the axis
  int64_t inner;       // product of the extents behind the axis
  int64_t whole;       // elements of one outer index
  int64_t outer_tile;  // outer indices of one tile, from the shape alone

  Pieces(const Operand& y, int axis) : outer(1), inner(1) {
    for (int i = 0; i < axis; ++i) outer *= y.dims[i];
    for (int i = axis + 1; i < y.rank; ++i) inner *= y.dims[i];
    whole = y.dims[axis] * inner;
    outer_tile = whole > 0 ? cpu::ceil_div(cpu::kElementwiseTile, whole) : 1;
  }
  int64_t tiles() const { return cpu::ceil_div(outer, outer_tile); }
};

// Calls body(part, offset of the part inside one outer index, elements) for each part.
template <typename Body>
void for_each_part(const ConcatParams& params, int64_t inner, Body&& body) {
  int64_t offset = 0;
  for (int i = 0; i < params.count; ++i) {
    const int64_t elems = params.extents[i] * inner;
    body(i, offset, elems);
    offset += elems;
  }
}

int launch_concat_fwd_copy(Stream* stream, const StepArgs& args) {
  const ConcatParams& params = args.params_as<ConcatParams>();
  float* y = args.out[0].as<float>();
  const Pieces pieces(args.out[0], params.axis);
  cpu::parallel_for(stream, pieces.tiles(), [&](int64_t tile, int) {
    const int64_t begin = tile * pieces.outer_tile;
    const int64_t end = std::min(begin + pieces.outer_tile, pieces.outer);
    for_each_part(params, pieces.inner, [&](int part, int64_t offset, int64_t elems) {
      const float* x = args.in[part].as<float>();
      for (int64_t o = begin; o < end; ++o) {
        std::memcpy(y + o * pieces.whole + offset, x + o * elems,
                    static_cast<size_t>(elems) * sizeof(float));
      }
    });
  });
  return 0;
}

int launch_concat_bwd_copy(Stream* stream, const StepArgs& args) {
  const ConcatParams& params = args.params_as<ConcatParams>();
  const float* dy = args.in[0].as<float>();
  const Pieces pieces(args.in[0], params.axis);
  cpu::parallel_for(stream, pieces.tiles(), [&](int64_t tile, int) {
    const int64_t begin = tile * pieces.outer_tile;
    const int64_t end = std::min(begin + pieces.outer_tile, pieces.outer);
    for_each_part(params, pieces.inner, [&](int part, int64_t offset, int64_t elems) {
      if (!args.out[part].present()) return;
      float* dx = args.out[part].as<float>();
      for (int64_t o = begin; o < end; ++o) {
        std::memcpy(dx + o * elems, dy + o * pieces.whole + offset,
                    static_cast<size_t>(elems) * sizeof(float));
      }
    });
  });
  return 0;
}

constexpr Implementation kFwd[] = {{"copy", supports_all, no_workspace, launch_concat_fwd_copy}};
constexpr Implementation kBwd[] = {{"copy", supports_all, no_workspace, launch_concat_bwd_copy}};

}  // namespace

const ImplementationList cpu_concat_fwd{kFwd, 1};
const ImplementationList cpu_concat_bwd{kBwd, 1};

}  // namespace tanul
