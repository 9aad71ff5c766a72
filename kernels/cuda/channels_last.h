// SPDX-License-Identifier: Apache-2.0
// Copies of tensors in the layout that products of 16 bits are fastest in, and back:
//
//   to_channels_last     [N, C, P] float32 -> [N', P, C'] bf16 or fp16; what the copy has more of, images or
//                        channels, is zero
//   from_channels_last   [N', P, C'] float32 -> y [N, C, P] = act(x + b[c]), of what y has
//
// P are the positions of an image; a filter [K, C, R, S] is an image of R S positions. C' is even.
//
// A block takes a tile of 64 channels x 32 positions, of all images counted through, to shared memory, so that
// lanes walk along the positions on one side and along the channels on the other: runs of 128 bytes, or as long as
// an image or the channels are, whose neighbours the same block touches. Memory bound: 6 bytes an element to the
// copy, 8 from it.
//
// Numerics: values are rounded once, to nearest, ties to even (kernels/cuda/mma.h says how far off that
// may be); the way back rounds the addition of b only. Deterministic: nothing is summed.
#pragma once

#include <algorithm>

#include "kernels/cuda/divide.h"
#include "kernels/cuda/fused_activation.h"
#include "kernels/cuda/kernel.h"

namespace tanul::cuda::channels_last {

constexpr int kTileChannels = 64;
constexpr int kTilePositions = 32;
constexpr int kTilePitch = kTilePositions + 1;  // a column of the tile touches every bank
constexpr uint32_t kThreads = 256;

// The two shapes, and how they are cut into tiles.
struct Tiling {
  int64_t images, channels, positions;  // of [N, C, P]
  int64_t last_images, last_channels;   // of [N', P, C']
  int64_t columns = 0;                  // positions of all images that tiles cover
  int64_t tiles = 0;
  Divider channel_tiles = {};  // tiles of the same positions
  Divider image = {};          // its positions
  Divider width = {};          // channels of a full tile, or pairs of them

  void cut(int64_t of_images, int64_t of_channels, int channels_of_step) {
    columns = of_images * positions;
    channel_tiles = Divider(ceil_div(of_channels, kTileChannels));
    tiles = channel_tiles.divisor * ceil_div(columns, kTilePositions);
    image = Divider(positions);
    width = Divider(std::min<int64_t>(last_channels, kTileChannels) / channels_of_step);
  }
  // For copies of pairs to [N', P, C'], and for single elements from there.
  void cut_to() { cut(last_images, last_channels, 2); }
  void cut_from() { cut(images, channels, 1); }

  Dim3 grid() const {
    constexpr int64_t kMostBlocks = 0x7fffffff;
    return {static_cast<uint32_t>(std::clamp<int64_t>(tiles, 1, kMostBlocks)), 1, 1};
  }
};

// A thread's place in a tile: its column in [N, C, P], and the first of its rows, of which the others follow
// kRowStep apart.
struct Place {
  static constexpr int kRowStep = static_cast<int>(kThreads) / kTilePositions;

  int64_t channel, column;  // the first of the tile
  int lane, row;
  int64_t image, offset;  // of the own column; where its channel 0 lies in [N, C, P]
  bool is_inside;

  __device__ Place(const Tiling& all, int64_t tile)
      : lane(static_cast<int>(threadIdx.x) % kTilePositions),
        row(static_cast<int>(threadIdx.x) / kTilePositions) {
    channel = split_off(all.channel_tiles, tile) * kTileChannels;
    column = tile * kTilePositions;
    image = all.image.quotient(column + lane);
    offset = image * (all.channels - 1) * all.positions + column + lane;
    is_inside = image < all.images && column + lane < all.columns;
  }
};

template <class Format>
__global__ void to_channels_last_kernel(Tiling all, const float* x, uint32_t* copy) {
  TANUL_SHARED(float, tile, kTileChannels* kTilePitch);
  const int64_t words = all.last_channels / 2;
  for (int64_t t = blockIdx.x; t < all.tiles; t += gridDim.x) {
    const Place at(all, t);
    const auto rows =
        static_cast<int>(std::min<int64_t>(kTileChannels, all.last_channels - at.channel));
    for (int row = at.row; row < rows; row += Place::kRowStep) {
      const int64_t c = at.channel + row;
      tile[row * kTilePitch + at.lane] =
          at.is_inside && c < all.channels ? x[at.offset + c * all.positions] : 0.0f;
    }
    __syncthreads();
    const auto pairs = static_cast<int32_t>(all.width.divisor);
    for (auto i = static_cast<int32_t>(threadIdx.x); i < pairs * kTilePositions; i += kThreads) {
      const auto split = all.width.split(i);
      const int pair = split.rest, column = split.quotient;
      if (at.channel / 2 + pair >= words || at.column + column >= all.columns) continue;
      const float steps[2] = {tile[2 * pair * kTilePitch + column],
                              tile[(2 * pair + 1) * kTilePitch + column]};
      copy[(at.column + column) * words + at.channel / 2 + pair] = Format::word(steps);
    }
    __syncthreads();
  }
}

// b [C], null: none
struct Finish {
  const float* b;
  ActivationKind activation;
};

static __global__ void from_channels_last_kernel(Tiling all, const float* x, float* y, Finish f) {
  TANUL_SHARED(float, tile, kTileChannels* kTilePitch);
  for (int64_t t = blockIdx.x; t < all.tiles; t += gridDim.x) {
    const Place at(all, t);
    const auto width = static_cast<int32_t>(all.width.divisor);
    for (auto i = static_cast<int32_t>(threadIdx.x); i < width * kTilePositions; i += kThreads) {
      const auto split = all.width.split(i);
      const int64_t c = at.channel + split.rest, column = at.column + split.quotient;
      if (c >= all.channels || column >= all.columns) continue;
      tile[split.rest * kTilePitch + split.quotient] = x[column * all.last_channels + c];
    }
    __syncthreads();
    const auto rows = static_cast<int>(std::min<int64_t>(kTileChannels, all.channels - at.channel));
    for (int row = at.row; row < rows && at.is_inside; row += Place::kRowStep) {
      const int64_t c = at.channel + row;
      const float sum = tile[row * kTilePitch + at.lane];
      y[at.offset + c * all.positions] =
          activate(f.activation, f.b == nullptr ? sum : sum + f.b[c]);
    }
    __syncthreads();
  }
}

// copy [N', P, C'], in elements of 16 bits
template <class Format>
int launch_to(Stream* stream, Tiling shapes, const float* x, void* copy) {
  shapes.cut_to();
  return launch(stream, to_channels_last_kernel<Format>, shapes.grid(), kThreads, shapes, x,
                static_cast<uint32_t*>(copy));
}
inline int launch_from(Stream* stream, Tiling shapes, const float* x, float* y,
                       const Finish& finish) {
  shapes.cut_from();
  return launch(stream, from_channels_last_kernel, shapes.grid(), kThreads, shapes, x, y, finish);
}

}  // namespace tanul::cuda::channels_last
