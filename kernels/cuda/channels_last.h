// SPDX-License-Identifier: Apache-2.0
// Copies of tensors in the layout that products of 16 bits are fastest in, and back:
//
//   to_channels_last     [N, C, P] float32 -> [N', P, C'] bf16 or fp16; what the copy has more of, images or
//                        channels, is zero
//   from_channels_last   [N', P, C'] bf16 or fp16 -> y [N, C, P] float32 = act(x + b[c]), of what y has
//
// P are the positions of an image; a filter [K, C, R, S] is an image of R S positions. The copy is read and
// written in words of two channels where C' is even, and channel by channel where it is odd.
//
// A block takes a tile of 64 channels x 32 positions, of all images counted through, to shared memory, so that
// lanes walk along the positions on one side and along the channels on the other: runs of 128 bytes, or as long as
// an image or the channels are, whose neighbours the same block touches. Memory bound: 6 bytes an element.
//
// Numerics: values are rounded once, to nearest, ties to even (kernels/cuda/mma.h says how far off that
// may be); the way back is exact but for the addition of b and act. Deterministic: nothing is summed.
#pragma once

#include <algorithm>

#include "kernels/cuda/divide.h"
#include "kernels/cuda/fused_activation.h"
#include "kernels/cuda/kernel.h"

namespace tanul::cuda::channels_last {

constexpr int kTileChannels = 64;
constexpr int kTilePositions = 32;
constexpr int kTilePitch =
    kTilePositions + 1;  // a column of the tile touches every bank, two rows of it half of them
constexpr uint32_t kThreads = 256;

// The two shapes, and how they are cut into tiles.
struct Tiling {
  int64_t images, channels, positions;  // of [N, C, P]
  int64_t last_images, last_channels;   // of [N', P, C']
  int64_t columns = 0;                  // positions of all images that tiles cover
  int64_t tiles = 0;
  Divider channel_tiles = {};  // tiles of the same positions
  Divider image = {};          // its positions
  Divider width = {};          // words of a full tile's channels

  void cut(int64_t of_images, int64_t of_channels) {
    columns = of_images * positions;
    channel_tiles = Divider(ceil_div(of_channels, kTileChannels));
    tiles = channel_tiles.divisor * ceil_div(columns, kTilePositions);
    image = Divider(positions);
    width = Divider(std::min<int64_t>(last_channels, kTileChannels) / channels_of_word());
  }
  // For copies to [N', P, C'], and from there.
  void cut_to() { cut(last_images, last_channels); }
  void cut_from() { cut(images, channels); }
  int channels_of_word() const { return last_channels % 2 == 0 ? 2 : 1; }

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

// Of the copy: uint32_t, the first of two channels in the lower half, or uint16_t.
template <class Word>
constexpr int kChannels = static_cast<int>(sizeof(Word) / sizeof(uint16_t));

template <class Format, class Word>
__global__ void to_channels_last_kernel(Tiling all, const float* x, Word* copy) {
  TANUL_SHARED(float, tile, kTileChannels* kTilePitch);
  const int64_t words = all.last_channels / kChannels<Word>;
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
    const auto width = static_cast<int32_t>(all.width.divisor);
    for (auto i = static_cast<int32_t>(threadIdx.x); i < width * kTilePositions; i += kThreads) {
      const auto split = all.width.split(i);
      const int64_t word = at.channel / kChannels<Word> + split.rest;
      const int64_t column = at.column + split.quotient;
      if (word >= words || column >= all.columns) continue;
      float steps[2] = {};
      for (int k = 0; k < kChannels<Word>; ++k) {
        steps[k] = tile[(kChannels<Word> * split.rest + k) * kTilePitch + split.quotient];
      }
      copy[column * words + word] = static_cast<Word>(Format::word(steps));
    }
    __syncthreads();
  }
}

// b [C], null: none
struct Finish {
  const float* b;
  ActivationKind activation;
};

template <class Format, class Word>
__global__ void from_channels_last_kernel(Tiling all, const Word* copy, float* y, Finish f) {
  TANUL_SHARED(float, tile, kTileChannels* kTilePitch);
  const int64_t words = all.last_channels / kChannels<Word>;
  for (int64_t t = blockIdx.x; t < all.tiles; t += gridDim.x) {
    const Place at(all, t);
    const auto width = static_cast<int32_t>(all.width.divisor);
    for (auto i = static_cast<int32_t>(threadIdx.x); i < width * kTilePositions; i += kThreads) {
      const auto split = all.width.split(i);
      const int64_t word = at.channel / kChannels<Word> + split.rest;
      const int64_t column = at.column + split.quotient;
      if (word >= words || column >= all.columns) continue;
      const Word both = copy[column * words + word];
      for (int k = 0; k < kChannels<Word>; ++k) {
        tile[(kChannels<Word> * split.rest + k) * kTilePitch + split.quotient] =
            Format::number(static_cast<uint16_t>(both >> 16 * k));
      }
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

// Calls body(a word of the copy).
template <class Body>
int with_word(const Tiling& shapes, const Body& body) {
  return shapes.channels_of_word() == 2 ? body(uint32_t{}) : body(uint16_t{});
}

// copy [N', P, C'], in elements of 16 bits
template <class Format>
int launch_to(Stream* stream, Tiling shapes, const float* x, void* copy) {
  shapes.cut_to();
  return with_word(shapes, [&](auto word) {
    using Word = decltype(word);
    return launch(stream, to_channels_last_kernel<Format, Word>, shapes.grid(), kThreads, shapes, x,
                  static_cast<Word*>(copy));
  });
}
template <class Format>
int launch_from(Stream* stream, Tiling shapes, const void* copy, float* y, const Finish& finish) {
  shapes.cut_from();
  return with_word(shapes, [&](auto word) {
    using Word = decltype(word);
    return launch(stream, from_channels_last_kernel<Format, Word>, shapes.grid(), kThreads, shapes,
                  static_cast<const Word*>(copy), y, finish);
  });
}

}  // namespace tanul::cuda::channels_last
