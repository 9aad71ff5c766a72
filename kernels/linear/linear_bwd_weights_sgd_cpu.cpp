// SPDX-License-Identifier: Apache-2.0
// Fully connected layer on the CPU: the gradient of the weights and their update by SGD in one step,
// "panels".
//
//   dw [K, C] = dy [N, K]^T x [N, C], db [K] = column sums of dy;  w, v [K, C] = sgd_update(w, dw, v)
//
// Both operands are packed once: dy transposed, x into panels of two vectors of columns. A work item is a
// rectangle of w. A tile of it, kTileRows times kTileColumns, is multiplied in the second-level cache while
// the same tile of w and v is fetched, and updates these at once: dw never goes to memory, which leaves
// 16 bytes a weight to move instead of 28.
//
// 2 N K C + 7 K C flops. The same bits as linear_bwd_weights "panels" and sgd_update "elementwise" give.
// The cuts depend on shapes only: deterministic for any number of threads.
#include <cstring>

#include "kernels/cpu/simd.h"
#include "kernels/cpu/strided_gemm.h"
#include "kernels/cpu/tiling.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/linear_panels.h"
#include "kernels/op.h"
#include "kernels/optim/optim_cpu.h"

namespace tanul::linear_bwd_weights_sgd_panels {

namespace {

using cpu::Blocks;
using cpu::ceil_div;

// Where rows are 4 KiB apart, those of a tile lie in 32 sets of a second-level cache of 1 MiB: 64 rows of w
// and v take 4 of its 8 lines each. And a row is long enough not to be loaded while the row before it, at
// the same place of another page, is being stored: with 32 columns an update took five times as long (Zen 4).
constexpr int64_t kTileRows = 64;
constexpr int64_t kTileColumns = 128;
constexpr int64_t kItemRows = 256;  // of the packed dy, kLinearDepth steps: 128 KiB
constexpr int64_t kLineFloats = 16;
constexpr double kFlopsPerItem = 2e6;

int64_t padded(int64_t n) { return ceil_div(n, 2 * kLineFloats) * 2 * kLineFloats; }

struct Problem {
  int64_t N, C, K;
  const float* x;
  float* w;
  float* v;  // or null
  cpu::SgdRates rates;
  int64_t wide;   // columns of a panel
  float* dy;      // packed, see pack_dy()
  float* panels;  // [chunk][panel][samples of the chunk][wide]

  int64_t chunks() const { return ceil_div(N, kLinearDepth); }
  int64_t depth(int64_t chunk) const { return std::min(kLinearDepth, N - chunk * kLinearDepth); }
  int64_t panel_count() const { return ceil_div(C, wide); }
  float* panel(int64_t chunk, int64_t i) const {
    return panels + chunk * kLinearDepth * panel_count() * wide + i * depth(chunk) * wide;
  }
};

// Panel i of x.
void pack_x(const Problem& p, int64_t i) {
  const int64_t columns = std::min(p.wide, p.C - i * p.wide);
  for (int64_t chunk = 0; chunk < p.chunks(); ++chunk) {
    float* panel = p.panel(chunk, i);
    if (columns < p.wide) {
      std::memset(panel, 0, static_cast<size_t>(p.depth(chunk) * p.wide) * sizeof(float));
    }
    cpu::copy_rows(p.x + chunk * kLinearDepth * p.C + i * p.wide, p.C, p.depth(chunk), columns,
                   panel, p.wide);
  }
}

// The weights [row, row + rows) x [column, column + columns), at most a tile of them.
void update_tile(const Problem& p, int64_t row, int64_t rows, int64_t column, int64_t columns,
                 float* tile) {
  const int64_t at = row * p.C + column;
  float* v = p.v == nullptr ? nullptr : p.v + at;
  cpu::StridedGemm gemm;
  gemm.rows = rows;
  gemm.vectors = ceil_div(columns, p.wide / 2);
  gemm.a_step = 1;
  gemm.b_step = p.wide;
  gemm.c = tile;
  gemm.c_row = kTileColumns;
  for (int64_t chunk = 0; chunk < p.chunks(); ++chunk) {
    gemm.depth = gemm.a_row = p.depth(chunk);
    gemm.a = p.dy + chunk * kLinearDepth * p.K + row * gemm.depth;
    gemm.b = p.panel(chunk, column / p.wide);
    gemm.b_panel = gemm.depth * p.wide;
    gemm.accumulate = chunk > 0;
    if (chunk + 1 == p.chunks()) {
      gemm.upcoming[0] = {p.w + at, rows, p.C, columns, true};
      if (v != nullptr) gemm.upcoming[1] = {v, rows, p.C, columns, true};
    }
    cpu::strided_gemm(gemm);
  }
  cpu::sgd_update_rows(p.w + at, v, p.C, tile, kTileColumns, rows, columns, p.rates);
}

int64_t dy_elems(const StepArgs& args) { return padded(args.in[1].elems()); }
int64_t panel_elems(const StepArgs& args) {
  return args.in[0].dims[0] * padded(args.in[0].dims[1]);
}

}  // namespace

const char* supports(const StepArgs& args) {
  const int64_t C = args.in[0].dims[1], K = args.in[1].dims[1];
  if (K < 16) return "fewer than 16 outputs";
  if (C < 64) return "fewer than 64 features";
  return nullptr;
}

int64_t workspace_bytes(const StepArgs& args, int threads) {
  return (dy_elems(args) + panel_elems(args) + threads * kTileRows * kTileColumns) *
         static_cast<int64_t>(sizeof(float));
}

int launch(Stream* stream, const StepArgs& args) {
  const int64_t N = args.in[0].dims[0], C = args.in[0].dims[1], K = args.in[1].dims[1];
  float* workspace = static_cast<float*>(args.workspace);
  const Problem p{
      N,
      C,
      K,
      args.in[0].as<float>(),
      args.out[0].as<float>(),
      args.out[1].present() ? args.out[1].as<float>() : nullptr,
      cpu::sgd_rates(args, args.params_as<LinearSgdParams>().sgd, 1.0f, args.block->step),
      2 * cpu::strided_gemm_lanes(),
      workspace,
      workspace + dy_elems(args)};
  float* tiles = p.panels + panel_elems(args);
  pack_dy(stream, args.in[1].as<float>(), N, K, p.dy,
          args.out[2].present() ? args.out[2].as<float>() : nullptr);
  cpu::parallel_for(stream, p.panel_count(), [&](int64_t i, int) { pack_x(p, i); });

  const Blocks rows = cpu::blocks_about(K, ceil_div(K, kItemRows), 8);
  const double flops =
      2.0 * static_cast<double>(N) * static_cast<double>(K) * static_cast<double>(C);
  const auto items =
      static_cast<int64_t>(std::min(flops / kFlopsPerItem, static_cast<double>(cpu::kTilesWanted)));
  const Blocks columns = cpu::blocks_about(C, items / rows.count, kTileColumns);
  cpu::parallel_for(stream, rows.count * columns.count, [&](int64_t item, int worker) {
    const int64_t i = item / columns.count, j = item % columns.count;
    const int64_t last_row = rows.begin(i) + rows.length(i);
    const int64_t last_column = columns.begin(j) + columns.length(j);
    float* tile = tiles + worker * kTileRows * kTileColumns;
    for (int64_t c = columns.begin(j); c < last_column; c += kTileColumns) {
      for (int64_t k = rows.begin(i); k < last_row; k += kTileRows) {
        update_tile(p, k, std::min(kTileRows, last_row - k), c,
                    std::min(kTileColumns, last_column - c), tile);
      }
    }
  });
  return 0;
}

}  // namespace tanul::linear_bwd_weights_sgd_panels
