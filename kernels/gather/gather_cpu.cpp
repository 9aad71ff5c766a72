// SPDX-License-Identifier: Apache-2.0
// gather_rows on the CPU: a copy of each row, or the image moved (data/image_move.h). A tile is some rows.
// Bytes: each element is read and written once. Numerics: none, bits are moved.
#include <algorithm>
#include <cstring>

#include "data/image_move.h"
#include "kernels/cpu/parallel.h"
#include "kernels/gather/gather.h"
#include "kernels/op.h"

namespace tanul {

namespace {

// Calls body(n, p) for each row n of the batch, which is row p of the data set.
template <typename Body>
void for_each_row(Stream* stream, const StepArgs& args, Body&& body) {
  const Operand& y = args.out[0];  // [N, ...]
  const int64_t count = y.dims[0];
  if (y.elems() == 0) return;
  const int32_t* order = args.in[1].as<int32_t>() + args.block->first;
  const int64_t tile_rows = cpu::ceil_div(cpu::kElementwiseTile, y.elems() / count);
  cpu::parallel_for(stream, cpu::ceil_div(count, tile_rows), [&](int64_t tile, int) {
    const int64_t end = std::min((tile + 1) * tile_rows, count);
    for (int64_t n = tile * tile_rows; n < end; ++n) body(n, int64_t{order[n]});
  });
}

template <typename T>
void copy_rows(Stream* stream, const StepArgs& args) {
  const int64_t elems = args.out[0].elems() / args.out[0].dims[0];
  const T* rows = args.in[0].as<T>();
  T* y = args.out[0].as<T>();
  for_each_row(stream, args, [&](int64_t n, int64_t p) {
    std::memcpy(y + n * elems, rows + p * elems, static_cast<size_t>(elems) * sizeof(T));
  });
}

template <typename T>
void move_images(Stream* stream, const StepArgs& args) {
  const GatherParams& params = args.params_as<GatherParams>();
  const int64_t elems = args.out[0].elems() / args.out[0].dims[0];
  const T* rows = args.in[0].as<T>();
  T* y = args.out[0].as<T>();
  const Philox random = augmentation_random(params.seed, args.block->epoch);
  for_each_row(stream, args, [&](int64_t n, int64_t p) {
    const ImageMove move = draw_move(random, p, params.crop, params.may_flip != 0);
    move_image(rows + p * elems, elems / params.width, params.height, params.width, move,
               y + n * elems);
  });
}

int launch_gather_rows(Stream* stream, const StepArgs& args) {
  const bool is_u8 = args.out[0].dtype == static_cast<int32_t>(DType::u8);
  if (moves_images(args.params_as<GatherParams>())) {
    is_u8 ? move_images<uint8_t>(stream, args) : move_images<float>(stream, args);
  } else {
    is_u8 ? copy_rows<uint8_t>(stream, args) : copy_rows<float>(stream, args);
  }
  return 0;
}

constexpr Implementation kImplementations[] = {
    {"by_row", supports_all, no_workspace, launch_gather_rows}};

}  // namespace

const ImplementationList cpu_gather_rows{kImplementations, 1};

}  // namespace tanul
