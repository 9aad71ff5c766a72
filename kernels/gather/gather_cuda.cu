// SPDX-License-Identifier: Apache-2.0
// gather_rows on CUDA. Rows as they are: a thread copies its words of a row, of four bytes where rows are
// whole words, else of one. Images that are moved (data/image_move.h): a thread draws the move of its image,
// which is a Philox block, and makes its pixels of it. Where the batch begins and which epoch it is lies in
// device memory, so that a replayed graph takes the next batch.
// Bytes: each element is read and written once; 4 more a row. Numerics: none, bits are moved.
#include "data/image_move.h"
#include "kernels/cuda/divide.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/planes.h"
#include "kernels/gather/gather.h"
#include "tanul/tensor.h"

namespace tanul {

namespace {

using namespace cuda;

template <typename Word>
__global__ void gather_rows_kernel(Planes rows, const StepBlock* block, const int32_t* order,
                                   const Word* x, Word* y) {
  const int64_t n = rows.plane();
  if (n >= rows.count) return;
  const Word* from = x + order[block->first + n] * rows.inner;
  for (int64_t i = rows.begin(); i < rows.end(); i += rows.step()) {
    y[n * rows.inner + i] = from[i];
  }
}

struct Images {
  uint64_t seed;
  uint32_t stream;
  int64_t crop;
  bool may_flip;
  int64_t height, width;
  Divider by_height, by_width;

  explicit Images(const GatherParams& params)
      : seed(params.seed),
        stream(augmentation_random(0, 0).stream),
        crop(params.crop),
        may_flip(params.may_flip != 0),
        height(params.height),
        width(params.width),
        by_height(params.height),
        by_width(params.width) {}

  __device__ ImageMove draw(uint32_t epoch, int64_t position) const {
    return draw_move(Philox{seed, stream, epoch}, position, crop, may_flip);
  }
};

template <typename T>
__global__ void gather_images_kernel(Planes rows, Images images, const StepBlock* block,
                                     const int32_t* order, const T* x, T* y) {
  const int64_t n = rows.plane();
  if (n >= rows.count) return;
  const int64_t position = order[block->first + n];
  const ImageMove move = images.draw(block->epoch, position);
  const T* from = x + position * rows.inner;
  for (int64_t i = rows.begin(); i < rows.end(); i += rows.step()) {
    const auto row = images.by_width.split(i);  // of C H rows; the column
    const int64_t h = images.by_height.split(row.quotient).rest;
    const int64_t column = move.is_mirrored ? images.width - 1 - row.rest : row.rest;
    const int64_t from_h = h + move.down, from_w = column + move.right;
    const bool is_inside =
        from_h >= 0 && from_h < images.height && from_w >= 0 && from_w < images.width;
    y[n * rows.inner + i] =
        is_inside ? from[(row.quotient + move.down) * images.width + from_w] : T{0};
  }
}

template <typename Word>
int launch_rows(Stream* stream, const StepArgs& args, int64_t words) {
  const Planes rows(args.out[0].dims[0], words);
  return launch(stream, gather_rows_kernel<Word>, rows.grid(), kBlockThreads, rows, args.block,
                args.in[1].as<int32_t>(), args.in[0].as<Word>(), args.out[0].as<Word>());
}

template <typename T>
int launch_images(Stream* stream, const StepArgs& args, int64_t elems) {
  const Planes rows(args.out[0].dims[0], elems);
  return launch(stream, gather_images_kernel<T>, rows.grid(), kBlockThreads, rows,
                Images(args.params_as<GatherParams>()), args.block, args.in[1].as<int32_t>(),
                args.in[0].as<T>(), args.out[0].as<T>());
}

int launch_gather_rows(Stream* stream, const StepArgs& args) {
  const Operand& y = args.out[0];  // [N, ...]
  if (y.elems() == 0) return 0;
  const int64_t elems = y.elems() / y.dims[0];
  const bool is_u8 = y.dtype == static_cast<int32_t>(DType::u8);
  if (moves_images(args.params_as<GatherParams>())) {
    return is_u8 ? launch_images<uint8_t>(stream, args, elems)
                 : launch_images<float>(stream, args, elems);
  }
  if (!is_u8) return launch_rows<uint32_t>(stream, args, elems);
  return elems % 4 == 0 ? launch_rows<uint32_t>(stream, args, elems / 4)
                        : launch_rows<uint8_t>(stream, args, elems);
}

constexpr Implementation kImplementations[] = {
    {"by_row", supports_all, no_workspace, launch_gather_rows}};

}  // namespace

const ImplementationList cuda_gather_rows{kImplementations, 1};

}  // namespace tanul
