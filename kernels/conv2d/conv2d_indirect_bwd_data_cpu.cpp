// SPDX-License-Identifier: Apache-2.0
// Data gradient of convolution on the CPU, "indirect_gemm": columns from a register-blocked product
// that reads dy where it lies, then col2im.
//
//   dcol[(c,r,s), pq..pq+l] = sum over k of w[k,c,r,s] dy[n, k, pq .. + l],  dx_n += col2im(dcol)
//
// A tile is (image, group, block of channels), and for a 1x1 kernel a block of positions, cut by
// shapes only; one worker computes it, a block of output positions at a time. The weights are stored by panels of six (c, r, s) once. 2 N K PQ
// CRS flops and 12 bytes moved for each element of dcol; for a 1x1 kernel the product is dx itself.
// The sum over k runs in blocks of 256, each a chain of fused multiply-adds; col2im adds in the
// order of (block of positions, c, r, s). Deterministic for any number of threads.
#include "kernels/conv2d/conv2d_indirect.h"
#include "kernels/op.h"

namespace tanul {

namespace {

using cpu::Blocks;
using cpu::ConvShape;
using cpu::PanelLayout;

struct DataPlan {
  ConvShape shape;
  int lanes;
  Blocks channels;     // of a group, a tile each
  Blocks positions;    // of an image
  Blocks filters;      // summed at a time
  int64_t ld;          // positions of a block, filled up to whole vectors
  bool writes_dx;      // dcol is dx
  PanelLayout panels;  // of the (c, r, s) of a channel block
  int64_t panels_at, a_row_at, a_step_at, dy_step_at, copy_step_at, vector_at;  // bytes
  int64_t worker_at, worker_bytes, columns_bytes;

  explicit DataPlan(const StepArgs& args) : shape(cpu::conv_shape(args.out[0], args.in[0], args)) {
    constexpr int64_t kRowsWanted = 512;  // of dcol: with 256 filters the weights fill 512 KiB
    const int64_t PQ = shape.PQ();
    lanes = std::max(1, cpu::indexed_gemm_lanes(PQ, PQ));
    writes_dx = shape.is_pointwise() && PQ % lanes == 0;
    const int64_t for_threads = cpu::ceil_div(cpu::kTilesWanted, shape.N * shape.groups());
    const int64_t for_cache = cpu::ceil_div(shape.CRS(), kRowsWanted);
    channels = cpu::blocks_about(shape.group_channels(),
                                 writes_dx ? for_cache : std::max(for_threads, for_cache), 1);
    const int64_t rows = channels.size * shape.RS();
    const int64_t budget = std::max<int64_t>(1, cpu::kResultElems / (rows * lanes)) * lanes;
    positions = cpu::blocks_of_size(PQ, budget);
    if (writes_dx) {  // nothing is added up: positions are tiles, dy is read once
      positions = cpu::blocks_about(PQ, std::max(for_threads, positions.count), 4 * lanes);
    }
    filters = cpu::blocks_of_size(shape.group_filters(), cpu::kDepthBlock);
    ld = cpu::round_up(positions.size, lanes);
    panels = {rows, shape.group_filters()};

    cpu::WorkspaceLayout layout;
    panels_at = layout.take(panels.elems() * channels.count * shape.groups());
    a_row_at = layout.take(rows);
    a_step_at = layout.take(shape.group_filters());
    dy_step_at = layout.take(shape.group_filters());
    copy_step_at = layout.take(shape.group_filters());
    vector_at = layout.take(ld / lanes);
    worker_at = layout.bytes();
    cpu::WorkspaceLayout worker;
    worker.take(writes_dx ? 0 : rows * ld);
    columns_bytes = worker.bytes();
    worker.take(PQ % lanes == 0 ? 0 : shape.group_filters() * ld);
    worker_bytes = worker.bytes();
  }
};

void fill_tables(const DataPlan& plan, const StepArgs& args) {
  int32_t* a_step = cpu::workspace_at<int32_t>(args, plan.a_step_at);
  int32_t* dy_step = cpu::workspace_at<int32_t>(args, plan.dy_step_at);
  int32_t* copy_step = cpu::workspace_at<int32_t>(args, plan.copy_step_at);
  int32_t* vector = cpu::workspace_at<int32_t>(args, plan.vector_at);
  for (int64_t k = 0; k < plan.shape.group_filters(); ++k) {
    a_step[k] = static_cast<int32_t>(k * cpu::kPanelRows);
    dy_step[k] = static_cast<int32_t>(k * plan.shape.PQ());
    copy_step[k] = static_cast<int32_t>(k * plan.ld);
  }
  for (int64_t v = 0; v < plan.ld / plan.lanes; ++v) {
    vector[v] = static_cast<int32_t>(v * plan.lanes);
  }
  plan.panels.fill_row_offsets(cpu::workspace_at<int32_t>(args, plan.a_row_at));
}

// The panels of one channel block. A shorter last block leaves rows of its last panels undefined:
// they are not read.
void store_panels(const DataPlan& plan, const StepArgs& args, int64_t g, int64_t channel_block) {
  const ConvShape& shape = plan.shape;
  const int64_t rows = plan.channels.length(channel_block) * shape.RS();
  const int32_t* a_row = cpu::workspace_at<int32_t>(args, plan.a_row_at);
  float* to = cpu::workspace_at<float>(args, plan.panels_at) +
              (g * plan.channels.count + channel_block) * plan.panels.elems();
  for (int64_t k = 0; k < shape.group_filters(); ++k, to += cpu::kPanelRows) {
    const float* w = args.in[1].as<float>() + (g * shape.group_filters() + k) * shape.CRS() +
                     plan.channels.begin(channel_block) * shape.RS();
    for (int64_t row = 0; row < rows; ++row) to[a_row[row]] = w[row];
  }
}

// The blocks of positions [first, end) of a tile.
void data_tile(const DataPlan& plan, const StepArgs& args, int64_t n, int64_t g,
               int64_t channel_block, int64_t first, int64_t end, int worker) {
  const ConvShape& shape = plan.shape;
  const int64_t PQ = shape.PQ();
  const int64_t c0 = plan.channels.begin(channel_block);
  const int64_t channels = plan.channels.length(channel_block);
  const float* dy = args.in[0].as<float>() + (n * shape.K + g * shape.group_filters()) * PQ;
  float* dx =
      args.out[0].as<float>() + (n * shape.C + g * shape.group_channels() + c0) * shape.HW();
  const int64_t scratch = plan.worker_at + worker * plan.worker_bytes;
  float* columns = cpu::workspace_at<float>(args, scratch);
  float* copy = cpu::workspace_at<float>(args, scratch + plan.columns_bytes);
  if (!plan.writes_dx) {
    std::memset(dx, 0, static_cast<size_t>(channels * shape.HW()) * sizeof(float));
  }
  cpu::IndexedGemm gemm;
  gemm.rows = channels * shape.RS();
  gemm.lanes = plan.lanes;
  gemm.a = cpu::workspace_at<float>(args, plan.panels_at) +
           (g * plan.channels.count + channel_block) * plan.panels.elems();
  gemm.a_row = cpu::workspace_at<int32_t>(args, plan.a_row_at);
  gemm.b_vector = gemm.c_vector = cpu::workspace_at<int32_t>(args, plan.vector_at);
  gemm.c_row = plan.writes_dx ? PQ : plan.ld;
  for (int64_t block = first; block < end; ++block) {
    const int64_t position = plan.positions.begin(block);
    const int64_t positions = plan.positions.length(block);
    gemm.vectors = cpu::ceil_div(positions, plan.lanes);
    gemm.b = dy + position;
    gemm.c = plan.writes_dx ? dx + position : columns;
    const bool is_copied = positions % plan.lanes != 0;
    if (is_copied) {  // the last vector must not read beyond dy
      for (int64_t k = 0; k < shape.group_filters(); ++k) {
        float* row = copy + k * plan.ld;
        std::memcpy(row, gemm.b + k * PQ, static_cast<size_t>(positions) * sizeof(float));
        std::fill(row + positions, row + gemm.vectors * plan.lanes, 0.0f);
      }
      gemm.b = copy;
    }
    for (int64_t f = 0; f < plan.filters.count; ++f) {
      const int64_t k = plan.filters.begin(f);
      gemm.depth = plan.filters.length(f);
      gemm.a_step = cpu::workspace_at<int32_t>(args, plan.a_step_at) + k;
      gemm.b_step =
          cpu::workspace_at<int32_t>(args, is_copied ? plan.copy_step_at : plan.dy_step_at) + k;
      gemm.accumulate = f > 0;
      cpu::indexed_gemm(gemm);
    }
    if (!plan.writes_dx) {
      cpu::col2im_add(shape, {0, channels, position, positions}, columns, plan.ld, dx);
    }
  }
}

}  // namespace

namespace conv2d_bwd_data_indirect_gemm {

int launch(Stream* stream, const StepArgs& args) {
  const DataPlan plan(args);
  const int64_t groups = plan.shape.groups();
  const int64_t blocks = plan.channels.count;
  fill_tables(plan, args);
  cpu::parallel_for(stream, groups * blocks, [&](int64_t tile, int) {
    store_panels(plan, args, tile / blocks, tile % blocks);
  });
  const int64_t position_tiles = plan.writes_dx ? plan.positions.count : 1;
  cpu::parallel_for(
      stream, plan.shape.N * groups * blocks * position_tiles, [&](int64_t item, int worker) {
        const int64_t tile = item / position_tiles, first = item % position_tiles;
        data_tile(plan, args, tile / (groups * blocks), tile / blocks % groups, tile % blocks,
                  first, plan.writes_dx ? first + 1 : plan.positions.count, worker);
      });
  return 0;
}

int64_t workspace_bytes(const StepArgs& args, int threads) {
  const DataPlan plan(args);
  return plan.worker_at + threads * plan.worker_bytes;
}

const char* supports(const StepArgs& args) {
  const ConvShape shape = cpu::conv_shape(args.out[0], args.in[0], args);
  if (!cpu::fits_offsets(shape)) return "an image is too large for 32-bit offsets";
  const int lanes = cpu::indexed_gemm_lanes(shape.PQ(), shape.PQ());
  if (cpu::wastes_lanes(shape.PQ(), lanes, lanes)) {
    return "the positions of an output plane fill less than half of the vectors";
  }
  return nullptr;
}

}  // namespace conv2d_bwd_data_indirect_gemm
}  // namespace tanul
