// SPDX-License-Identifier: Apache-2.0
// Weight gradient of convolution on the CPU by minimal filtering: "winograd_f4x4_3x3" and so on
// (conv2d_winograd.h; matrices in kernels/cpu/winograd.h).
//
//   dw = G^T (sum over tiles of V . D) G,  V = B^T x B [e, tile, c],  D = A dy A^T [e, tile, k]
//
// n n matrix products [K, tiles] [tiles, C], one for each transformed element e. Rows of tiles are
// taken a part at a time. Three schedules, chosen by shape:
//
//   by lots      where the weights are few: a work item is a lot of rows with sums [e, k, c] of its
//                own. V and D of a part stay in its worker's second-level cache; nothing is passed
//                between workers until the sums of the lots are added up in order.
//   by elements  V and D of a part are made by all workers and stay in the third-level cache while
//                they are multiplied: a work item is one e and a block of filters; sums over the
//                parts collect in the workspace [e, k, c], the last transform is a pass of its own.
//   by blocks    where all tiles are one part and filters are many: a work item is a block of
//                filters and channels with all e; its sums stay in its own scratch.
//
// 2 n n C K flops a tile instead of 2 m m r r C K. All cuts go by shapes and parts are added in
// order: deterministic for any number of threads.
#include <algorithm>

#include "kernels/conv2d/conv2d_winograd.h"
#include "kernels/cpu/simd.h"
#include "kernels/op.h"

namespace tanul {

namespace {

using cpu::Blocks;
using cpu::ChannelVectors;
using cpu::ConvShape;
using cpu::TileGrid;
using cpu::TileRun;
using cpu::Winograd;

constexpr int64_t kPartBytes = int64_t{1} << 20;  // V and D of a part
constexpr int64_t kPartOfLotBytes = int64_t{1} << 19;
constexpr int64_t kLotsBytes = int64_t{1} << 21;  // sums of all lots
constexpr int64_t kMostLots = 16, kFewestLots = 4;
constexpr int64_t kMinPartTiles = 64;
// Tiles summed at a time: two vectors of V for each of them fill half of the first-level cache.
constexpr int64_t kTilesSummed = 128;
// Blocks are the items where sums in memory would cost more than reading V and D again for each
// block: few tiles, many weights.
constexpr int64_t kFewTiles = 96;
constexpr int64_t kManyWeights = 128 * 128;  // K C

struct WeightsPlan {
  ConvShape s;
  Winograd kind;
  TileGrid grid;
  ChannelVectors inputs, filters;
  int64_t elems;
  bool by_blocks, by_lots;
  Blocks lots;           // of rows of tiles; one where items are not lots
  Blocks rows;           // of tiles (of a lot): the parts
  Blocks filter_blocks;  // of a group
  Blocks vector_blocks;  // of input channels; one where items are elements
  int64_t v_row, v_elem, d_row, d_elem;
  int64_t sum_row, sum_elem;                             // [k, c] of an element
  int64_t v_at, d_at, sums_at, worker_at, worker_bytes;  // bytes

  WeightsPlan(const StepArgs& args, Winograd kind_)
      : s(cpu::conv_shape(args.in[0], args.in[1], args)),
        kind(kind_),
        grid(s.N, s.P, s.Q, winograd_m(kind_)),
        inputs(s.group_channels()),
        filters(s.group_filters()),
        elems(winograd_elems(kind_)) {
    const int64_t lanes = inputs.lanes, G = s.groups();
    v_row = cpu::odd_lines(inputs.filled());
    d_row = cpu::odd_lines(filters.filled());
    const int64_t row_bytes = elems * (v_row + d_row) * 4 * grid.wide * G;
    by_blocks = inputs.channels * filters.channels >= kManyWeights && grid.tiles() <= kFewTiles;
    const int64_t lot_bytes = G * elems * filters.channels * inputs.filled() * 4;
    const int64_t wanted =
        std::min({kMostLots, kLotsBytes / lot_bytes, grid.tiles() / kMinPartTiles});
    by_lots = !by_blocks && wanted >= kFewestLots;
    lots = cpu::blocks_of_size(grid.rows(), grid.rows());
    if (by_lots) {
      lots = cpu::blocks_about(grid.rows(), wanted, 1);
      rows = cpu::blocks_of_size(lots.size, kPartOfLotBytes / row_bytes);
      filter_blocks = cpu::blocks_of_size(filters.channels, filters.channels);
      vector_blocks = cpu::blocks_of_size(inputs.count, inputs.count);
    } else if (by_blocks) {
      rows = cpu::blocks_of_size(grid.rows(), grid.rows());
      filter_blocks = cpu::blocks_of_size(filters.channels, 32);
      vector_blocks = cpu::blocks_of_size(inputs.count, 64 / lanes);
    } else {
      rows = cpu::blocks_of_size(
          grid.rows(), std::max(kPartBytes / row_bytes, cpu::ceil_div(kMinPartTiles, grid.wide)));
      filter_blocks = cpu::blocks_about(filters.channels, cpu::ceil_div(filters.channels, 128), 8);
      vector_blocks = cpu::blocks_of_size(inputs.count, inputs.count);
    }
    const int64_t tiles = rows.size * grid.wide;
    v_elem = cpu::odd_lines(tiles * v_row);
    d_elem = cpu::odd_lines(tiles * d_row);
    sum_row = vector_blocks.size * lanes;
    sum_elem = cpu::odd_lines((by_blocks ? filter_blocks.size : filters.channels) * sum_row);

    cpu::WorkspaceLayout layout;
    v_at = layout.take(by_lots ? 0 : G * elems * v_elem);
    d_at = layout.take(by_lots ? 0 : G * elems * d_elem);
    lot_sums = by_blocks ? 0 : G * elems * sum_elem;
    sums_at = layout.take(lots.count * lot_sums);
    worker_at = layout.bytes();
    cpu::WorkspaceLayout worker;
    const int64_t run = std::min(grid.high, rows.size);
    worker.take(std::max({cpu::band_elems(kind, run, s.W), run * grid.m * s.Q * lanes,
                          vector_blocks.size * s.RS() * lanes}));
    sums_in_worker = worker.take(by_blocks ? elems * sum_elem : 0);
    v_in_worker = worker.take(by_lots ? G * elems * v_elem : 0);
    d_in_worker = worker.take(by_lots ? G * elems * d_elem : 0);
    worker_bytes = worker.bytes();
  }
  int64_t lot_sums;  // elements
  int64_t sums_in_worker, v_in_worker, d_in_worker;

  float* at(const StepArgs& args, int64_t bytes) const {
    return cpu::workspace_at<float>(args, bytes);
  }
  float* band(const StepArgs& args, int worker) const {
    return at(args, worker_at + worker * worker_bytes);
  }
};

// The tile rows [row, row + rows) of a part, with its V and D.
struct Part {
  int64_t row, rows;
  float* v;  // [g, e, tile, c]
  float* d;  // [g, e, tile, k]
  // One item is one image and one vector of channels or filters.
  int64_t n0, items;

  Part(const WeightsPlan& plan, int64_t first, int64_t count, float* v_, float* d_)
      : row(first), rows(count), v(v_), d(d_), n0(first / plan.grid.high) {
    const int64_t images = (row + rows - 1) / plan.grid.high + 1 - n0;
    items = plan.s.groups() * images * (plan.inputs.count + plan.filters.count);
  }
};

void transform_item(const WeightsPlan& plan, const StepArgs& args, const Part& part, int64_t item,
                    float* band) {
  const ConvShape& s = plan.s;
  const int64_t vectors = plan.inputs.count + plan.filters.count;
  const int64_t items = part.items / s.groups();
  const int64_t g = item / items, vector = item % vectors;
  const int64_t n = part.n0 + item % items / vectors;
  const int64_t begin = std::max(part.row, n * plan.grid.high);
  const int64_t end = std::min(part.row + part.rows, (n + 1) * plan.grid.high);
  const int64_t tile = (begin - part.row) * plan.grid.wide;
  const TileRun run{n, begin - n * plan.grid.high, end - begin};
  if (vector >= plan.inputs.count) {
    const int64_t filter_vector = vector - plan.inputs.count;
    const int64_t k = g * s.group_filters() + plan.filters.begin(filter_vector);
    float* d = part.d + g * plan.elems * plan.d_elem + tile * plan.d_row +
               plan.filters.begin(filter_vector);
    const float* dy = args.in[1].as<float>() + (n * s.K + k) * s.PQ();
    cpu::transform_gradient(plan.kind, plan.grid, run,
                            {dy, s.PQ(), plan.filters.length(filter_vector)},
                            {d, plan.d_elem, plan.d_row, 0}, band);
    return;
  }
  const int64_t c = g * s.group_channels() + plan.inputs.begin(vector);
  float* v = part.v + g * plan.elems * plan.v_elem + tile * plan.v_row + plan.inputs.begin(vector);
  const float* x = args.in[0].as<float>() + (n * s.C + c) * s.HW();
  cpu::transform_input(plan.kind, plan.grid, run, {x, s.HW(), plan.inputs.length(vector)}, s.H, s.W,
                       s.params.pad_top, s.params.pad_left, {v, plan.v_elem, plan.v_row, 0}, band);
}

// V and D of a part, by all workers.
void transform_part(const WeightsPlan& plan, Stream* stream, const StepArgs& args, int64_t row,
                    int64_t rows) {
  const Part part(plan, row, rows, plan.at(args, plan.v_at), plan.at(args, plan.d_at));
  cpu::parallel_for(stream, part.items, [&](int64_t item, int worker) {
    transform_item(plan, args, part, item, plan.band(args, worker));
  });
}

// sums [filters of a block, vectors of a block] (+)= D^T V over the `tiles` of a part, for one e.
void multiply(const WeightsPlan& plan, int64_t tiles, const float* d, int64_t filter_block,
              const float* v, int64_t vector_block, bool accumulate, float* sums) {
  cpu::StridedGemm gemm;
  gemm.rows = plan.filter_blocks.length(filter_block);
  gemm.vectors = plan.vector_blocks.length(vector_block);
  gemm.a_row = 1;
  gemm.a_step = plan.d_row;
  gemm.b_panel = 2 * plan.inputs.lanes;
  gemm.b_step = plan.v_row;
  gemm.c = sums;
  gemm.c_row = plan.sum_row;
  for (int64_t tile = 0; tile < tiles; tile += kTilesSummed) {
    gemm.depth = std::min(kTilesSummed, tiles - tile);
    gemm.a = d + tile * plan.d_row + plan.filter_blocks.begin(filter_block);
    gemm.b = v + tile * plan.v_row + plan.vector_blocks.begin(vector_block) * plan.inputs.lanes;
    gemm.accumulate = accumulate || tile > 0;
    cpu::strided_gemm(gemm);
  }
}

// dw of one filter and a block of channels from their sums.
void finish(const WeightsPlan& plan, int64_t k, int64_t vector_block, float* sums, float* dw,
            float* band) {
  const ConvShape& s = plan.s;
  const int64_t lanes = plan.inputs.lanes;
  const int64_t count = plan.vector_blocks.length(vector_block);
  cpu::winograd_weights_gradient(plan.kind, {sums, plan.sum_elem, lanes, count}, band);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t vector = plan.vector_blocks.begin(vector_block) + i;
    cpu::pixels_to_planes(band + i * s.RS() * lanes, plan.inputs.length(vector), s.RS(),
                          dw + k * s.CRS() + plan.inputs.begin(vector) * s.RS(), s.RS());
  }
}

void run_by_lots(const WeightsPlan& plan, Stream* stream, const StepArgs& args) {
  const ConvShape& s = plan.s;
  float* sums = plan.at(args, plan.sums_at);
  cpu::parallel_for(stream, plan.lots.count, [&](int64_t lot, int worker) {
    float* band = plan.band(args, worker);
    float* v = band + plan.v_in_worker / static_cast<int64_t>(sizeof(float));
    float* d = band + plan.d_in_worker / static_cast<int64_t>(sizeof(float));
    for (int64_t done = 0; done < plan.lots.length(lot); done += plan.rows.size) {
      const int64_t rows = std::min(plan.rows.size, plan.lots.length(lot) - done);
      const Part part(plan, plan.lots.begin(lot) + done, rows, v, d);
      for (int64_t item = 0; item < part.items; ++item) {
        transform_item(plan, args, part, item, band);
      }
      for (int64_t ge = 0; ge < s.groups() * plan.elems; ++ge) {
        multiply(plan, rows * plan.grid.wide, d + ge * plan.d_elem, 0, v + ge * plan.v_elem, 0,
                 done > 0, sums + lot * plan.lot_sums + ge * plan.sum_elem);
      }
    }
  });
  cpu::parallel_for(stream, s.K, [&](int64_t k, int worker) {
    const int64_t g = k / s.group_filters();
    float* of_k = sums + g * plan.elems * plan.sum_elem + k % s.group_filters() * plan.sum_row;
    for (int64_t lot = 1; lot < plan.lots.count; ++lot) {
      for (int64_t e = 0; e < plan.elems; ++e) {
        float* to = of_k + e * plan.sum_elem;
        cpu::accumulate(to + lot * plan.lot_sums, to, plan.sum_row);
      }
    }
    finish(plan, k, 0, of_k, args.out[0].as<float>(), plan.band(args, worker));
  });
}

void run_by_elements(const WeightsPlan& plan, Stream* stream, const StepArgs& args) {
  const ConvShape& s = plan.s;
  const int64_t G = s.groups(), blocks = plan.filter_blocks.count;
  float* sums = plan.at(args, plan.sums_at);
  for (int64_t part = 0; part < plan.rows.count; ++part) {
    const int64_t rows = plan.rows.length(part);
    transform_part(plan, stream, args, plan.rows.begin(part), rows);
    cpu::parallel_for(stream, G * plan.elems * blocks, [&](int64_t item, int) {
      const int64_t ge = item / blocks, block = item % blocks;
      multiply(plan, rows * plan.grid.wide, plan.at(args, plan.d_at) + ge * plan.d_elem, block,
               plan.at(args, plan.v_at) + ge * plan.v_elem, 0, part > 0,
               sums + ge * plan.sum_elem + plan.filter_blocks.begin(block) * plan.sum_row);
    });
  }
  cpu::parallel_for(stream, s.K, [&](int64_t k, int worker) {
    const int64_t g = k / s.group_filters();
    float* of_k = sums + g * plan.elems * plan.sum_elem + k % s.group_filters() * plan.sum_row;
    finish(plan, k, 0, of_k, args.out[0].as<float>(), plan.band(args, worker));
  });
}

void run_by_blocks(const WeightsPlan& plan, Stream* stream, const StepArgs& args) {
  const ConvShape& s = plan.s;
  const int64_t filter_blocks = plan.filter_blocks.count;
  const int64_t items = filter_blocks * plan.vector_blocks.count;
  transform_part(plan, stream, args, 0, plan.grid.rows());
  cpu::parallel_for(stream, s.groups() * items, [&](int64_t item, int worker) {
    const int64_t g = item / items, filter_block = item % filter_blocks;
    const int64_t vector_block = item % items / filter_blocks;
    const float* d = plan.at(args, plan.d_at) + g * plan.elems * plan.d_elem;
    const float* v = plan.at(args, plan.v_at) + g * plan.elems * plan.v_elem;
    float* band = plan.band(args, worker);
    float* sums = band + plan.sums_in_worker / static_cast<int64_t>(sizeof(float));
    for (int64_t e = 0; e < plan.elems; ++e) {
      multiply(plan, plan.grid.tiles(), d + e * plan.d_elem, filter_block, v + e * plan.v_elem,
               vector_block, false, sums + e * plan.sum_elem);
    }
    for (int64_t i = 0; i < plan.filter_blocks.length(filter_block); ++i) {
      const int64_t k = g * s.group_filters() + plan.filter_blocks.begin(filter_block) + i;
      finish(plan, k, vector_block, sums + i * plan.sum_row, args.out[0].as<float>(), band);
    }
  });
}

// db in the order of the images.
void bias_gradient(const ConvShape& s, Stream* stream, const float* dy, float* db) {
  cpu::parallel_for(stream, s.K, [&](int64_t k, int) {
    float total = 0.0f;
    for (int64_t n = 0; n < s.N; ++n) total += cpu::sum(dy + (n * s.K + k) * s.PQ(), s.PQ());
    db[k] = total;
  });
}

}  // namespace

namespace conv2d_bwd_weights_winograd {

template <Winograd kKind>
int launch(Stream* stream, const StepArgs& args) {
  const WeightsPlan plan(args, kKind);
  if (plan.by_lots) {
    run_by_lots(plan, stream, args);
  } else if (plan.by_blocks) {
    run_by_blocks(plan, stream, args);
  } else {
    run_by_elements(plan, stream, args);
  }
  if (args.out[1].present()) {
    bias_gradient(plan.s, stream, args.in[1].as<float>(), args.out[1].as<float>());
  }
  return 0;
}

template <Winograd kKind>
int64_t workspace_bytes(const StepArgs& args, int threads) {
  const WeightsPlan plan(args, kKind);
  return plan.worker_at + threads * plan.worker_bytes;
}

template <Winograd kKind>
const char* supports(const StepArgs& args) {
  return cpu::refuse_winograd(kKind, cpu::conv_shape(args.in[0], args.in[1], args),
                              cpu::ConvStep::bwd_weights);
}

TANUL_WINOGRAD_VERBS(template)

}  // namespace conv2d_bwd_weights_winograd
}  // namespace tanul
