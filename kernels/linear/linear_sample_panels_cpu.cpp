// SPDX-License-Identifier: Apache-2.0
// Fully connected layer on the CPU, "sample_panels": y^T = w x^T, so that the weights are read where
// they lie.
//
//   fwd  y [N, K] = act(x [N, C] w [K, C]^T + b)
//
// The samples are the vector: x is transposed once, into panels of two vectors of samples and kDepth
// features. A work item is a block of rows of w, all of whose products with a block of samples are made
// at once; the tile of y^T is transposed into y when bias and activation are in it. What is copied is x
// and y, 1 / K and 1 / C of the arithmetic. w comes through the caches once, fetched ahead.
//
// 2 N K C flops. Each element is a chain of fused multiply-adds over kDepth steps, the chains added in
// order, the same bits as "panels" gives. The cuts depend on shapes only: deterministic for any number of
// threads. An item takes neighbouring rows of w: the worker whose gradient and update they will be.
#include <cstring>

#include "kernels/cpu/simd.h"
#include "kernels/cpu/strided_gemm.h"
#include "kernels/cpu/tiling.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/linear_panels.h"
#include "kernels/op.h"

namespace tanul::linear_fwd_sample_panels {

namespace {

using cpu::Blocks;
using cpu::ceil_div;

constexpr int64_t kDepth = kLinearDepth;
constexpr int64_t kFewestSamples = 32;
constexpr int64_t kFewestRows = 64;
constexpr int64_t kMostSamples = 512;  // of a tile
constexpr int64_t kMostRows = 64;      // of w in a tile: its steps [64, 128] are 32 KiB
constexpr int64_t kMostLanes = 16;
constexpr double kFlopsPerItem = 2e6;

struct Problem {
  int64_t N, C, K;
  const float* x;
  const float* w;
  const float* b;
  float* y;
  ActivationKind activation;
  int64_t lanes, wide;  // of a vector, of a panel
  Blocks rows, samples;
  float* panels;  // [chunk][panel][depth of the chunk][wide]
  float* tiles;   // [worker][rows.size, padded samples.size]

  explicit Problem(const StepArgs& args)
      : N(args.in[0].dims[0]),
        C(args.in[0].dims[1]),
        K(args.in[1].dims[0]),
        x(args.in[0].as<float>()),
        w(args.in[1].as<float>()),
        b(args.in_count > 2 && args.in[2].present() ? args.in[2].as<float>() : nullptr),
        y(args.out[0].as<float>()),
        activation(args.params_as<LinearParams>().activation),
        lanes(cpu::strided_gemm_lanes()),
        wide(2 * lanes) {
    const double flops =
        2.0 * static_cast<double>(N) * static_cast<double>(K) * static_cast<double>(C);
    samples = cpu::blocks_about(N, ceil_div(N, kMostSamples), 2 * kMostLanes);
    const auto wanted = static_cast<int64_t>(
        std::min(flops / kFlopsPerItem, static_cast<double>(cpu::kTilesWanted)));
    const int64_t size = ceil_div(K, std::max<int64_t>(1, wanted / samples.count));
    rows = cpu::blocks_of_size(K, std::min(kMostRows, ceil_div(size, 8) * 8));
    panels = static_cast<float*>(args.workspace);
    tiles = panels + panel_elems();
  }

  int64_t chunks() const { return ceil_div(C, kDepth); }
  int64_t depth(int64_t chunk) const { return std::min(kDepth, C - chunk * kDepth); }
  int64_t panel_count() const { return ceil_div(N, wide); }
  float* panel(int64_t chunk, int64_t i) const {
    return panels + chunk * kDepth * panel_count() * wide + i * depth(chunk) * wide;
  }
  int64_t panel_elems() const { return C * ceil_div(N, 2 * kMostLanes) * 2 * kMostLanes; }
  int64_t tile_row() const { return ceil_div(samples.size, 2 * kMostLanes) * 2 * kMostLanes; }
  int64_t tile_elems() const { return rows.size * tile_row(); }
};

void make_panel(const Problem& p, int64_t chunk, int64_t i) {
  const int64_t first = i * p.wide, samples = std::min(p.wide, p.N - first);
  const int64_t depth = p.depth(chunk);
  float* panel = p.panel(chunk, i);
  if (samples < p.wide) std::memset(panel, 0, static_cast<size_t>(depth * p.wide) * sizeof(float));
  cpu::transpose(p.x + first * p.C + chunk * kDepth, p.C, samples, depth, panel, p.wide);
}

void compute(const Problem& p, int64_t row, int64_t rows, int64_t first, int64_t samples,
             float* tile) {
  cpu::StridedGemm gemm;
  gemm.rows = rows;
  gemm.vectors = ceil_div(samples, p.lanes);
  gemm.a_row = p.C;
  gemm.a_step = 1;
  gemm.b_step = p.wide;
  gemm.c = tile;
  gemm.c_row = p.tile_row();
  for (int64_t chunk = 0; chunk < p.chunks(); ++chunk) {
    const bool is_last = chunk + 1 == p.chunks();
    gemm.depth = p.depth(chunk);
    gemm.a = p.w + row * p.C + chunk * kDepth;
    gemm.b = p.panel(chunk, first / p.wide);
    gemm.b_panel = gemm.depth * p.wide;
    gemm.accumulate = chunk > 0;
    if (!is_last) {
      gemm.upcoming[0] = {gemm.a + kDepth, rows, p.C, p.depth(chunk + 1)};
    } else {
      const int64_t next = std::min(p.rows.size, p.K - row - rows);
      gemm.upcoming[0] = {p.w + (row + rows) * p.C, next, p.C, p.depth(0)};
    }
    cpu::strided_gemm(gemm);
  }
  for (int64_t k = 0; k < rows; ++k) {
    cpu::bias_activation(tile + k * p.tile_row(), p.b == nullptr ? 0.0f : p.b[row + k], samples,
                         p.activation);
  }
  cpu::transpose(tile, p.tile_row(), rows, samples, p.y + first * p.K + row, p.K);
}

}  // namespace

const char* supports(const StepArgs& args) {
  const int64_t N = args.in[0].dims[0], K = args.in[1].dims[0];
  if (N < kFewestSamples || N * 8 < ceil_div(N, kMostLanes) * kMostLanes * 7) {
    return "fewer than 32 samples, or many lanes without one";
  }
  if (K < kFewestRows)
    return "fewer than 64 outputs: x would be transposed for too little arithmetic";
  return nullptr;
}

int64_t workspace_bytes(const StepArgs& args, int threads) {
  const Problem p(args);
  return (p.panel_elems() + threads * p.tile_elems()) * static_cast<int64_t>(sizeof(float));
}

int launch(Stream* stream, const StepArgs& args) {
  const Problem p(args);
  cpu::parallel_for(stream, p.chunks() * p.panel_count(), [&](int64_t item, int) {
    make_panel(p, item / p.panel_count(), item % p.panel_count());
  });
  cpu::parallel_for(stream, p.rows.count * p.samples.count, [&](int64_t item, int worker) {
    const int64_t i = item / p.samples.count, j = item % p.samples.count;
    compute(p, p.rows.begin(i), p.rows.length(i), p.samples.begin(j), p.samples.length(j),
            p.tiles + worker * p.tile_elems());
  });
  return 0;
}

}  // namespace tanul::linear_fwd_sample_panels
