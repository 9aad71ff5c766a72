// SPDX-License-Identifier: Apache-2.0
// The inner loops of the normalisations (batchnorm, groupnorm, lrn), for one thread. The instruction
// set is picked at run time (Highway); all code for it lies in norm_simd.cpp.
//
// Numerics: sums are double, of exact differences and products of floats; element-wise results are
// float, and each is computed by the same operations whatever its place and however a range is cut.
// Outputs may lie over an input of the same extent.
#pragma once

#include <cstdint>

namespace tanul::cpu {

// --- per channel: x [N, C, inner] --------------------------------------------------------------

// A part of x: `samples` times `channels` runs of `inner` floats.
struct ChannelBlock {
  int64_t samples, channels, inner;
  int64_t sample_stride, channel_stride;  // in floats
};
// Most channels of a block whose inner is above 1: their accumulators lie on the stack.
constexpr int64_t kMostBlockChannels = 64;

struct Sums {
  double a, b;
};

// sums [channels] = {mean, sum of squared distances from the mean} of a block. Sums are shifted by the
// channel's first element: its distance from the mean is at most sqrt(n) deviations, so what cancels
// is at most n times 2^-53 of the result, however large the mean is.
void channel_moments(const ChannelBlock& block, const float* x, Sums* sums);

// y = (x - mean) scale + shift, each [channels]; with relu: max of it and 0. A backward pass that
// repeats it gets the same bits.
struct ChannelAffine {
  const float* mean;
  const float* scale;
  const float* shift;
  bool has_relu;
};
// sums [channels] = {sum g, sum g (x - mean)}, g = dy where y > 0 or there is no relu, else 0
void channel_gradient_sums(const ChannelBlock& block, const float* dy, const float* x,
                           const ChannelAffine& affine, Sums* sums);

// Elements [begin, end) of x and y [N, C, inner].
void channel_normalize(int64_t begin, int64_t end, int64_t channels, int64_t inner, const float* x,
                       const ChannelAffine& affine, float* y);
// dx = g scale - offset - (x - mean) slope, offset and slope [channels]. Both null: dx = g scale.
void channel_input_gradient(int64_t begin, int64_t end, int64_t channels, int64_t inner,
                            const float* dy, const float* x, const ChannelAffine& affine,
                            const float* offset, const float* slope, float* dx);

// --- per row: x [n] ----------------------------------------------------------------------------

// {mean, sum of squared distances from it}, as channel_moments
Sums row_moments(const float* x, int64_t n);
// sum of squares
double row_squares(const float* x, int64_t n);

// y = (x - mean) inv_std gamma + beta; gamma and beta [n] may be null.
void row_normalize(const float* x, int64_t n, float mean, float inv_std, const float* gamma,
                   const float* beta, float* y);
// {sum dy gamma, sum dy gamma (x - mean)}
Sums row_gradient_sums(const float* dy, const float* x, int64_t n, float mean, const float* gamma);
// dx = dy gamma inv_std - offset - (x - mean) slope
void row_input_gradient(const float* dy, const float* x, int64_t n, float mean, float inv_std,
                        const float* gamma, float offset, float slope, float* dx);
// Over `rows` rows, `stride` floats apart: sums [n] = {sum dy, sum dy (x - mean) inv_std}; mean (may be
// null: 0) and inv_std are [rows].
void row_parameter_sums(const float* dy, const float* x, int64_t rows, int64_t stride, int64_t n,
                        const float* mean, const float* inv_std, Sums* sums);

// --- across channels: x [C, stride] ------------------------------------------------------------

// t = k + alpha sum of x[c']^2 over c' = c - back … c + ahead that exist;  y = x t^-beta
struct LrnWindow {
  int64_t channels, stride;  // stride: floats between channels
  int64_t back, ahead;
  float alpha, k;
  double beta;
};
// n positions of every channel.
void lrn_fwd(const LrnWindow& window, const float* x, int64_t n, float* y);
// dx = dy t^-beta - 2 alpha beta x sum over the outputs that x enters of dy x t^(-beta - 1).
// scratch [2, C, n]
void lrn_bwd(const LrnWindow& window, const float* dy, const float* x, int64_t n, float* scratch,
             float* dx);

}  // namespace tanul::cpu
