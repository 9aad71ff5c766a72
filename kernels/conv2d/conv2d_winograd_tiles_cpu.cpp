// SPDX-License-Identifier: Apache-2.0
// Convolution by minimal filtering (conv2d_winograd.h): tiles from planes, and where it pays.
#include <algorithm>
#include <utility>

#include "kernels/conv2d/conv2d_winograd.h"

namespace tanul::cpu {

void transform_input(Winograd kind, const TileGrid& grid, const TileRun& run, const PlaneVector& x,
                     int64_t H, int64_t W, int64_t top, int64_t left, WinogradTiles to,
                     float* band) {
  const int64_t row_elems = W * strided_gemm_lanes();
  const int64_t m = winograd_m(kind);
  const int64_t h0 = run.first * m - top;  // of the band
  const int64_t rows = (run.count - 1) * m + winograd_n(kind);
  const int64_t begin = std::clamp<int64_t>(h0, 0, H), end = std::clamp<int64_t>(h0 + rows, 0, H);
  const auto zero = [&](int64_t from, int64_t until) {
    std::fill(band + (from - h0) * row_elems, band + (until - h0) * row_elems, 0.0f);
  };
  if (begin < end) {
    zero(h0, begin);
    planes_to_pixels(x.data + begin * W, x.stride, x.channels, (end - begin) * W,
                     band + (begin - h0) * row_elems);
    zero(end, h0 + rows);
  } else {
    zero(h0, h0 + rows);
  }
  to.count = grid.wide;
  for (int64_t i = 0; i < run.count; ++i, to.data += grid.wide * to.tile_stride) {
    winograd_input(kind, {band + i * m * row_elems, W, left}, to);
  }
}

void transform_gradient(Winograd kind, const TileGrid& grid, const TileRun& run,
                        const PlaneVector& dy, WinogradTiles to, float* band) {
  const int64_t row_elems = grid.Q * strided_gemm_lanes();
  const int64_t p0 = run.first * grid.m;
  const int64_t rows = run.count * grid.m, height = std::min(rows, grid.P - p0);
  planes_to_pixels(dy.data + p0 * grid.Q, dy.stride, dy.channels, height * grid.Q, band);
  std::fill(band + height * row_elems, band + rows * row_elems, 0.0f);
  to.count = grid.wide;
  for (int64_t i = 0; i < run.count; ++i, to.data += grid.wide * to.tile_stride) {
    winograd_gradient(kind, {band + i * grid.m * row_elems, grid.Q, 0}, to);
  }
}

namespace {

// A model in multiply-adds of whole vectors. An element of a tile costs so many for each vector of
// channels on its way in and on its way out, transposition and memory included, and for each channel
// and vector of filters where the weights are transformed; the direct form reaches so much of the
// multiply-add peak. Fitted to single-threaded runs of the layers of LeNet, cifar10-quick, a
// VGG-like net, ResNet-18 and AlexNet on a Zen 4 core, AVX-512 and AVX2 (`tanul-bench step
// --breakdown`).
constexpr double kCostIn = 7, kCostOut = 10, kCostWeights = 5, kDirectShare = 0.75;
// What the model calls a smaller gain is none.
constexpr double kLeastGain = 1.15;

double cost(Winograd kind, const ConvShape& shape, ConvStep step) {
  const auto count = [](int64_t n) { return static_cast<double>(n); };
  const auto vectors = [](int64_t channels) { return ChannelVectors(channels).count; };
  int64_t C = shape.group_channels(), K = shape.group_filters();
  TileGrid grid(shape.N, shape.P, shape.Q, winograd_m(kind));
  if (step == ConvStep::bwd_data) grid = TileGrid(shape.N, shape.H, shape.W, winograd_m(kind));
  if (step == ConvStep::bwd_data || step == ConvStep::bwd_data_scatter) std::swap(C, K);
  const double tiles = count(grid.tiles());
  const double multiplied =
      step == ConvStep::bwd_weights ? count(K * vectors(C)) : count(C * vectors(K));
  const double ways = step == ConvStep::bwd_weights
                          ? kCostIn * count(vectors(C) + vectors(K))
                          : kCostIn * count(vectors(C)) + kCostOut * count(vectors(K));
  return count(winograd_elems(kind)) * (tiles * (multiplied + ways) + kCostWeights * multiplied);
}

double direct_cost(const ConvShape& shape) {
  return static_cast<double>(shape.N * shape.PQ()) *
         static_cast<double>(shape.CRS() * shape.group_filters()) / strided_gemm_lanes() /
         kDirectShare;
}

}  // namespace

const char* refuse_winograd(Winograd kind, const ConvShape& shape, ConvStep step) {
  const Conv2dParams& params = shape.params;
  const int64_t r = winograd_r(kind);
  if (shape.R() != r || shape.S() != r) return r == 3 ? "kernel is not 3x3" : "kernel is not 5x5";
  if (params.stride_h != 1 || params.stride_w != 1) return "stride is not 1";
  if (params.dilation_h != 1 || params.dilation_w != 1) return "dilation is not 1";
  const double own_cost = cost(kind, shape, step);
  if (own_cost * kLeastGain > direct_cost(shape)) {
    return "too few channels or tiles: transforms would cost what they save";
  }
  if (kind == Winograd::f4x4_3x3 && cost(Winograd::f2x2_3x3, shape, step) < own_cost) {
    return "the planes waste less of tiles of 2x2";
  }
  if (step == ConvStep::bwd_data && cost(kind, shape, ConvStep::bwd_data_scatter) < own_cost) {
    return "dy has fewer tiles than dx";
  }
  if (step == ConvStep::bwd_data_scatter && cost(kind, shape, ConvStep::bwd_data) <= own_cost) {
    return "dx has no more tiles than dy";
  }
  return nullptr;
}

}  // namespace tanul::cpu
