// SPDX-License-Identifier: Apache-2.0
// Copies of tensors in the layout that products of 16 bits are fastest in, and back:
//
//   to_channels_last     [N, C, P] float32 -> [N', P, C'] bf16 or fp16; what the copy has more of, images or
//                        channels, is zero
//   from_channels_last   [N', P, C'] float32 -> y [N, C, P] = act(x + b[c]), of what y has
//
// P are the positions of an image; a filter [K, C, R, S] is an image of R S positions. C' is even.
//
// A block takes a tile of 64 channels x 32 positions through shared memory, so that it reads and writes
// runs: 128 bytes in either layout where there are 32 positions; where there are fewer, all channels of the
// tile are one run. Memory bound: 6 bytes an element to the copy, 8 from it.
//
// Numerics: values are rounded once, to nearest, ties to even (kernels/cuda/mma.h says how far off that
// may be); the way back rounds b's addition only. Deterministic: nothing is summed.
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
  int64_t channel_tiles = 0, position_tiles = 0, tiles = 0;
  Divider columns = {};  // positions of a full tile

  // Tiles cover `images` x `channels`.
  void cut(int64_t of_images, int64_t of_channels) {
    channel_tiles = ceil_div(of_channels, kTileChannels);
    position_tiles = ceil_div(positions, kTilePositions);
    tiles = of_images * channel_tiles * position_tiles;
    columns = Divider(std::clamp<int64_t>(positions, 1, kTilePositions));
  }
  Dim3 grid() const {
    constexpr int64_t kMostBlocks = 0x7fffffff;
    return {static_cast<uint32_t>(std::clamp<int64_t>(tiles, 1, kMostBlocks)), 1, 1};
  }
};

struct Tile {
  int64_t image, channel, position;  // the first of them
  int columns;                       // positions of a row of elements

  __device__ Tile(const Tiling& all, int64_t i) : columns(static_cast<int>(all.columns.divisor)) {
    position = i % all.position_tiles * kTilePositions;
    i /= all.position_tiles;
    channel = i % all.channel_tiles * kTileChannels;
    image = i / all.channel_tiles;
  }
};

template <class Format>
__global__ void to_channels_last_kernel(Tiling all, const float* x, uint32_t* copy) {
  TANUL_SHARED(float, tile, kTileChannels* kTilePitch);
  const int own = static_cast<int>(threadIdx.x);
  for (int64_t t = blockIdx.x; t < all.tiles; t += gridDim.x) {
    const Tile at(all, t);
    for (int i = own; i < kTileChannels * at.columns; i += kThreads) {
      const auto split = all.columns.split(i);
      const int64_t c = at.channel + split.quotient, p = at.position + split.rest;
      const bool is_inside = at.image < all.images && c < all.channels && p < all.positions;
      tile[split.quotient * kTilePitch + split.rest] =
          is_inside ? x[(at.image * all.channels + c) * all.positions + p] : 0.0f;
    }
    __syncthreads();
    const int64_t words = all.last_channels / 2;
    for (int i = own; i < kTileChannels / 2 * at.columns; i += kThreads) {
      const int pair = i % (kTileChannels / 2), column = i / (kTileChannels / 2);
      const int64_t word = at.channel / 2 + pair, p = at.position + column;
      if (word >= words || p >= all.positions) continue;
      const float steps[2] = {tile[2 * pair * kTilePitch + column],
                              tile[(2 * pair + 1) * kTilePitch + column]};
      copy[(at.image * all.positions + p) * words + word] = Format::word(steps);
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
  const int own = static_cast<int>(threadIdx.x);
  for (int64_t t = blockIdx.x; t < all.tiles; t += gridDim.x) {
    const Tile at(all, t);
    for (int i = own; i < kTileChannels * at.columns; i += kThreads) {
      const int channel = i % kTileChannels, column = i / kTileChannels;
      const int64_t c = at.channel + channel, p = at.position + column;
      if (c >= all.channels || p >= all.positions) continue;
      tile[channel * kTilePitch + column] =
          x[(at.image * all.positions + p) * all.last_channels + c];
    }
    __syncthreads();
    for (int i = own; i < kTileChannels * at.columns; i += kThreads) {
      const auto split = all.columns.split(i);
      const int64_t c = at.channel + split.quotient, p = at.position + split.rest;
      if (c >= all.channels || p >= all.positions) continue;
      const float sum = tile[split.quotient * kTilePitch + split.rest];
      y[(at.image * all.channels + c) * all.positions + p] =
          activate(f.activation, f.b == nullptr ? sum : sum + f.b[c]);
    }
    __syncthreads();
  }
}

// copy: of images * positions * channels elements of 16 bits, by the extents of `last`
template <class Format>
int launch_to(Stream* stream, Tiling shapes, const float* x, void* copy) {
  shapes.cut(shapes.last_images, shapes.last_channels);
  return launch(stream, to_channels_last_kernel<Format>, shapes.grid(), kThreads, shapes, x,
                static_cast<uint32_t*>(copy));
}
inline int launch_from(Stream* stream, Tiling shapes, const float* x, float* y,
                       const Finish& finish) {
  shapes.cut(shapes.images, shapes.channels);
  return launch(stream, from_channels_last_kernel, shapes.grid(), kThreads, shapes, x, y, finish);
}

}  // namespace tanul::cuda::channels_last
