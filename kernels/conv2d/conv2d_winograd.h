// SPDX-License-Identifier: Apache-2.0
// Convolution by minimal filtering (kernels/cpu/winograd.h): what the three steps share.
//
// y, dx or dw are cut into tiles of m x m outputs (of r x r weights for dw), each of which reads n x n
// inputs. In the transformed domain a tile costs n n multiplications instead of m m r r: 36 instead of
// 144 for F(4x4, 3x3), 36 instead of 100 for F(2x2, 5x5), 16 instead of 36 for F(2x2, 3x3).
//
// Numerics. With T_w the same computation on absolute values (|G| |w| |G^T| and so on) the error of
// an element is at most (depth + 24) u T_w, u = 2^-24: `depth` for the sum over channels (or tiles),
// the rest for two transforms of at most five roundings on each of the three ways (tests/ops/
// winograd_rules.cpp checks every element against this). T_w exceeds T, the sum of absolute
// products, by up to 63 for F(4x4, 3x3), 46 for F(2x2, 5x5), 8 for F(2x2, 3x3) where all operands
// have the same size. Measured with normal random operands and 64 channels, the root mean square of
// the error over that of the result in units of u: 13.6, 14.2, 4.6; plain sums of the same products
// have 7.1 (3x3) and 11.7 (5x5) as one chain, 4.7 in blocks of 256. An infinity or NaN reaches all
// outputs of its tiles.
#pragma once

#include "kernels/conv2d/conv2d_indirect.h"
#include "kernels/cpu/strided_gemm.h"
#include "kernels/cpu/winograd.h"

namespace tanul::cpu {

// Rows of floats whose neighbours should not share a set of the cache: an odd number of cache lines.
inline int64_t odd_lines(int64_t elems) {
  const int64_t lines = ceil_div(elems, 16);
  return (lines + (lines % 2 == 0 ? 1 : 0)) * 16;
}

// Rows of tiles over planes [P, Q] of N images: row i is row i mod high of image i / high.
struct TileGrid {
  int64_t N, P, Q, m;
  int64_t high, wide;  // tiles of an image

  TileGrid(int64_t images, int64_t height, int64_t width, int64_t m_)
      : N(images), P(height), Q(width), m(m_), high(ceil_div(P, m)), wide(ceil_div(Q, m)) {}
  int64_t rows() const { return N * high; }
  int64_t tiles() const { return rows() * wide; }
};

// Rows of tiles [first, first + count) of one image.
struct TileRun {
  int64_t n, first, count;
};
// Calls body(run, tile) for each image that the tile rows [row, row + rows) touch; `tile` counts from
// the first of them.
template <typename Body>
void for_runs_of(const TileGrid& grid, int64_t row, int64_t rows, const Body& body) {
  for (int64_t at = row; at < row + rows;) {
    const int64_t n = at / grid.high;
    const int64_t first = at - n * grid.high;
    const int64_t count = std::min(grid.high - first, row + rows - at);
    body(TileRun{n, first, count}, (at - row) * grid.wide);
    at += count;
  }
}

// Vectors of channels.
struct ChannelVectors {
  int64_t channels, lanes, count;
  explicit ChannelVectors(int64_t channels_)
      : channels(channels_),
        lanes(strided_gemm_lanes()),
        count(ceil_div(channels_, strided_gemm_lanes())) {}
  int64_t begin(int64_t vector) const { return vector * lanes; }
  int64_t length(int64_t vector) const { return std::min(lanes, channels - vector * lanes); }
  int64_t filled() const { return count * lanes; }
  int64_t panels() const { return ceil_div(count, 2); }  // of strided_gemm
};

// Planes of one vector of channels, plane 0 at `data`.
struct PlaneVector {
  const float* data;
  int64_t stride, channels;
};

// Pixels of scratch for runs of at most `run` tile rows over planes of width `width`: as many rows as
// they read, or write.
inline int64_t band_elems(Winograd kind, int64_t run, int64_t width) {
  return ((run - 1) * winograd_m(kind) + winograd_n(kind)) * width * strided_gemm_lanes();
}

// V of a run: B^T d B of what its outputs read of x [channels, H, W], output (p, q) from
// (p - top, q - left) on. `to` is where the first tile goes.
void transform_input(Winograd kind, const TileGrid& grid, const TileRun& run, const PlaneVector& x,
                     int64_t H, int64_t W, int64_t top, int64_t left, WinogradTiles to,
                     float* band);
// D of a run: A dy A^T.
void transform_gradient(Winograd kind, const TileGrid& grid, const TileRun& run,
                        const PlaneVector& dy, WinogradTiles to, float* band);

enum class ConvStep { fwd, bwd_data, bwd_data_scatter, bwd_weights };

// Why the kind cannot compute this step of a convolution, or is not worth it; null: it can and is.
const char* refuse_winograd(Winograd kind, const ConvShape& shape, ConvStep step);

}  // namespace tanul::cpu

namespace tanul {

// The verbs of each kind for each step; the lists are in conv2d_cpu.cpp.
#define TANUL_WINOGRAD_VERBS_OF(how, kind)                                \
  how const char* supports<cpu::Winograd::kind>(const StepArgs&);         \
  how int64_t workspace_bytes<cpu::Winograd::kind>(const StepArgs&, int); \
  how int launch<cpu::Winograd::kind>(Stream*, const StepArgs&);
#define TANUL_WINOGRAD_VERBS(how)        \
  TANUL_WINOGRAD_VERBS_OF(how, f4x4_3x3) \
  TANUL_WINOGRAD_VERBS_OF(how, f2x2_5x5) \
  TANUL_WINOGRAD_VERBS_OF(how, f2x2_3x3)
#define TANUL_DECLARE_VERBS(step)                             \
  namespace step {                                            \
  template <cpu::Winograd kKind>                              \
  const char* supports(const StepArgs& args);                 \
  template <cpu::Winograd kKind>                              \
  int64_t workspace_bytes(const StepArgs& args, int threads); \
  template <cpu::Winograd kKind>                              \
  int launch(Stream* stream, const StepArgs& args);           \
  TANUL_WINOGRAD_VERBS(extern template)                       \
  }
TANUL_DECLARE_VERBS(conv2d_fwd_winograd)
TANUL_DECLARE_VERBS(conv2d_bwd_data_winograd)
TANUL_DECLARE_VERBS(conv2d_bwd_data_scatter_winograd)
TANUL_DECLARE_VERBS(conv2d_bwd_weights_winograd)
#undef TANUL_DECLARE_VERBS

}  // namespace tanul
