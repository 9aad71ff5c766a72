// SPDX-License-Identifier: Apache-2.0
// The transforms of Winograd's minimal filtering, for one thread, with a vector of channels in each
// operation. Correlation of a tile d [n, n] with a filter w [r, r] gives y [m, m], n = m + r - 1:
//
//   y  = A^T ((G w G^T) . (B^T d B)) A                     . is the product element by element
//
// and, with the same matrices, for a gradient dy [m, m] of y the transposes of this map from w and d:
//
//   dw = G^T ((B^T d B) . (A dy A^T)) G
//   dd = B ((G w G^T) . (A dy A^T)) B^T
//
// Summed over channels (or tiles) the products of one of the n n
// elements are a matrix product; what comes before and after it is here.
//
// The matrices are Toom and Cook's for the points 0, +-a, +-b and infinity (n = 6) or 0, +-1 and
// infinity (n = 4): with f(x) = x (x^2 - a^2) (x^2 - b^2), or x (x^2 - 1),
//   row j of B^T: coefficients of f(x) / (x - p_j), lowest power first; the last row those of f
//   row j of G:   1, p_j, p_j^2, ... divided by f'(p_j); the last row 0 ... 0 1
//   row j of A:   1, p_j, p_j^2, ...;                    the last row 0 ... 0 1
// a = 5/8 and b = 3/2 make every element of B and A exact in float and the errors small; see
// conv2d_winograd.h for these.
// Sources: S. Winograd, "Arithmetic Complexity of Computations", 1980; A. Lavin, S. Gray, "Fast
// Algorithms for Convolutional Neural Networks", 2016; B. Barabasz et al., "Error Analysis and
// Improving the Accuracy of Winograd Convolution for Deep Neural Networks", 2020, on points.
#pragma once

#include <cstdint>

#include "kernels/activation/activation.h"

namespace tanul::cpu {

// F(m x m, r x r)
enum class Winograd { f4x4_3x3, f2x2_5x5, f2x2_3x3 };

constexpr int winograd_m(Winograd w) { return w == Winograd::f4x4_3x3 ? 4 : 2; }
constexpr int winograd_r(Winograd w) { return w == Winograd::f2x2_5x5 ? 5 : 3; }
constexpr int winograd_n(Winograd w) { return winograd_m(w) + winograd_r(w) - 1; }
constexpr int winograd_elems(Winograd w) { return winograd_n(w) * winograd_n(w); }

// "Pixels": values of `lanes` neighbouring channels side by side, [..., lanes]; lanes is that of
// strided_gemm. Channels that do not exist are zero.

// to [pixels, lanes] from planes of `channels` channels, plane_stride floats apart, and back.
void planes_to_pixels(const float* planes, int64_t plane_stride, int64_t channels, int64_t pixels,
                      float* to);
void pixels_to_planes(const float* from, int64_t channels, int64_t pixels, float* planes,
                      int64_t plane_stride);

// Where the n n transformed elements of the tiles of a row go, or come from: element e of tile t and
// lane l at data[e * elem_stride + t * tile_stride + l].
struct WinogradTiles {
  float* data;
  int64_t elem_stride, tile_stride;
  int64_t count;  // tiles of the row
};

// Rows of pixels [rows, width, lanes], as many as a row of tiles touches.
struct PixelRows {
  float* data;
  int64_t width;
  int64_t left;  // pixels that the first tile starts left of the rows; may be negative
};

// B^T d B of a row of tiles; n rows of pixels, tile t begins at pixel t m - left. Pixels outside the
// rows count as zero.
void winograd_input(Winograd kind, const PixelRows& from, const WinogradTiles& to);
// A dy A^T of a row of tiles; m rows of pixels, left = 0.
void winograd_gradient(Winograd kind, const PixelRows& from, const WinogradTiles& to);
// act(A^T e A + bias [lanes]) of a row of tiles, into the first `rows` of m rows of pixels; pixels
// beyond the width are dropped. `activation` is none or relu; bias may be null.
void winograd_output(Winograd kind, const WinogradTiles& from, const float* bias,
                     ActivationKind activation, const PixelRows& to, int64_t rows);
// Adds B e B^T of a row of tiles to n rows of pixels, tile t from pixel t m - left on; pixels outside
// are dropped.
void winograd_scatter(Winograd kind, const WinogradTiles& from, const PixelRows& to);
// G w G^T of `count` filters, w [count, r, r, lanes]; filters are the tiles of `to`. Backwards:
// w turned by 180 degrees, for the data gradient.
void winograd_weights(Winograd kind, const float* w, bool is_backwards, const WinogradTiles& to);
// G^T e G of `count` filters into w [count, r, r, lanes].
void winograd_weights_gradient(Winograd kind, const WinogradTiles& from, float* w);

}  // namespace tanul::cpu
