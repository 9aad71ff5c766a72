// SPDX-License-Identifier: Apache-2.0
// Weight gradient of convolution on the CPU, "lane_sums": for few taps, first layers above all.
// Vectors of neighbouring output positions, summed lane by lane (kernels/cpu/lane_sums.h).
//
//   sums[k, (c,r,s), l] = sum over n and v of dy[n, k, v lanes + l] x[n, c, v lanes + l + offset(r,s)]
//   dw[k, (c,r,s)]      = sum over l of sums[k, (c,r,s), l]
//
// Positions run across the rows of the copied input (conv2d_phases.h), whose width is that of the
// output and what the kernel reaches over; dy is copied to rows of the same width with zeros in
// between. Nothing is transposed, which is what the other implementations do with dy, and where
// C R S is small costs as much as the products.
//
// A tile is (block of images, group, block of filters), cut by shapes only; one worker sums it into a
// partial result of its own, and the partials are added in the order of the images. 2 N K PQ CRS
// flops, about P wide / PQ of them more for the columns in between; meets the arithmetic roof.
// Deterministic for any number of threads.
#include <algorithm>

#include "kernels/conv2d/conv2d_phases.h"
#include "kernels/cpu/lane_sums.h"
#include "kernels/op.h"

namespace tanul {

namespace {

using cpu::Blocks;
using cpu::ConvShape;
using cpu::PhaseLayout;

// Positions that are summed at a time: a few rows of dy should stay in the first-level cache.
constexpr int64_t kPositions = 768;
constexpr int64_t kSumsBytes = 160 * 1024;  // of a tile, in the second-level cache

// C R S of a group up to which this is faster than "indirect_gemm", where filters do not fill its
// vectors. One Zen 4 core, GFLOP/s of this and that with AVX-512, then with AVX2: 25 taps and 20
// filters 66, 48 and 64, 50 (LeNet); 27 taps and 64 filters 69, 71 and 72, 78 (VGG); 75 taps and 32
// filters 67, 85 and 66, 87 (cifar10-quick).
constexpr int64_t kMostTaps = 40;

struct LaneSumsPlan {
  ConvShape shape;
  int64_t lanes;
  Blocks rows;            // of the output
  PhaseLayout input;      // of the largest block of rows
  int64_t dy_row;         // floats of a filter's copy: whole vectors
  Blocks filters;         // of a group
  Blocks image_tiles;     // a partial result each
  int64_t partial_elems;  // dw [K, CRS] and db [K] of an image tile
  int64_t offsets_at, partials_at, worker_at, worker_bytes;  // bytes
  int64_t input_at, dy_at, sums_at;                          // in a worker's scratch

  explicit LaneSumsPlan(const StepArgs& args)
      : shape(cpu::conv_shape(args.in[0], args.in[1], args)),
        lanes(cpu::lane_sums_lanes()),
        rows(cpu::blocks_about(shape.P,
                               cpu::ceil_div(shape.P * PhaseLayout(shape, 1).wide, kPositions), 1)),
        input(shape, rows.size) {
    dy_row = cpu::round_up(rows.size * input.wide, lanes);
    const int64_t filter_bytes = shape.CRS() * lanes * static_cast<int64_t>(sizeof(float));
    filters = cpu::blocks_about(shape.group_filters(),
                                cpu::ceil_div(shape.group_filters() * filter_bytes, kSumsBytes), 4);
    const int64_t wanted = cpu::ceil_div(cpu::kTilesWanted, shape.groups() * filters.count);
    image_tiles = cpu::blocks_about(shape.N, wanted, 1);
    partial_elems = cpu::round_up(shape.K * shape.CRS() + shape.K, 16);

    cpu::WorkspaceLayout layout;
    offsets_at = layout.take(shape.CRS());
    partials_at = layout.take(partial_elems * image_tiles.count);
    worker_at = layout.bytes();
    cpu::WorkspaceLayout worker;
    input_at = worker.take(input_elems());
    dy_at = worker.take(filters.size * dy_row);
    sums_at = worker.take(filters.size * shape.CRS() * lanes);
    worker_bytes = worker.bytes();
  }

  // What the last vector of positions reaches beyond the last tap of the last channel, too.
  int64_t input_elems() const { return shape.group_channels() * input.channel_elems() + lanes; }
};

void fill_offsets(const LaneSumsPlan& plan, int32_t* offset) {
  const ConvShape& shape = plan.shape;
  for (int64_t c = 0; c < shape.group_channels(); ++c) {
    for (int64_t r = 0; r < shape.R(); ++r) {
      for (int64_t s = 0; s < shape.S(); ++s) {
        *offset++ = static_cast<int32_t>(c * plan.input.channel_elems() + plan.input.offset(r, s));
      }
    }
  }
}

struct Tile {
  int64_t image_tile, g, filter_block;
};

// dw and db of a tile, in the partial result of its images.
void sum_tile(const LaneSumsPlan& plan, const StepArgs& args, const Tile& tile, float* dw,
              float* db, int worker) {
  const ConvShape& shape = plan.shape;
  const int64_t k0 = tile.g * shape.group_filters() + plan.filters.begin(tile.filter_block);
  const int64_t filters = plan.filters.length(tile.filter_block);
  const int64_t scratch = plan.worker_at + worker * plan.worker_bytes;
  float* input = cpu::workspace_at<float>(args, scratch + plan.input_at);
  float* copy = cpu::workspace_at<float>(args, scratch + plan.dy_at);
  float* sums = cpu::workspace_at<float>(args, scratch + plan.sums_at);
  // Zero times what lies between the rows has to be zero.
  std::fill_n(input, plan.input_elems(), 0.0f);
  std::fill_n(copy, filters * plan.dy_row, 0.0f);
  std::fill_n(sums, filters * shape.CRS() * plan.lanes, 0.0f);
  std::fill_n(db, filters, 0.0f);
  cpu::LaneSums operands;
  operands.rows = filters;
  operands.columns = shape.CRS();
  operands.a = copy;
  operands.a_row = plan.dy_row;
  operands.b = input;
  operands.b_row = cpu::workspace_at<int32_t>(args, plan.offsets_at);
  operands.sums = sums;
  const int64_t first = plan.image_tiles.begin(tile.image_tile);
  for (int64_t n = first; n < first + plan.image_tiles.length(tile.image_tile); ++n) {
    const float* x =
        args.in[0].as<float>() + (n * shape.C + tile.g * shape.group_channels()) * shape.HW();
    const float* dy = args.in[1].as<float>() + (n * shape.K + k0) * shape.PQ();
    for (int64_t block = 0; block < plan.rows.count; ++block) {
      const int64_t p0 = plan.rows.begin(block), rows = plan.rows.length(block);
      cpu::copy_phases(shape, plan.input, x, p0, input);
      for (int64_t k = 0; k < filters; ++k) {
        cpu::copy_rows(dy + k * shape.PQ() + p0 * shape.Q, shape.Q, rows, shape.Q,
                       copy + k * plan.dy_row, plan.input.wide);
        // A shorter last block: what an earlier one left behind.
        std::fill(copy + k * plan.dy_row + rows * plan.input.wide, copy + (k + 1) * plan.dy_row,
                  0.0f);
        db[k] += cpu::sum(dy + k * shape.PQ() + p0 * shape.Q, rows * shape.Q);
      }
      operands.vectors = cpu::ceil_div(rows * plan.input.wide, plan.lanes);
      cpu::lane_sums(operands);
    }
  }
  cpu::add_lanes(sums, filters * shape.CRS(), dw);
}

// to = the sum of the partial results at `from`, in order.
void add_partials(Stream* stream, const LaneSumsPlan& plan, const float* from, float* to,
                  int64_t elems) {
  cpu::parallel_ranges(stream, elems, [&](int64_t begin, int64_t end) {
    std::copy(from + begin, from + end, to + begin);
    for (int64_t tile = 1; tile < plan.image_tiles.count; ++tile) {
      cpu::accumulate(from + tile * plan.partial_elems + begin, to + begin, end - begin);
    }
  });
}

}  // namespace

namespace conv2d_bwd_weights_lane_sums {

int launch(Stream* stream, const StepArgs& args) {
  const LaneSumsPlan plan(args);
  const ConvShape& shape = plan.shape;
  const int64_t groups = shape.groups(), blocks = plan.filters.count;
  const int64_t dw_elems = shape.K * shape.CRS();
  float* partials = cpu::workspace_at<float>(args, plan.partials_at);
  fill_offsets(plan, cpu::workspace_at<int32_t>(args, plan.offsets_at));
  cpu::parallel_for(
      stream, plan.image_tiles.count * groups * blocks, [&](int64_t item, int worker) {
        const Tile tile{item / blocks / groups, item / blocks % groups, item % blocks};
        const int64_t k = tile.g * shape.group_filters() + plan.filters.begin(tile.filter_block);
        float* partial = partials + tile.image_tile * plan.partial_elems;
        sum_tile(plan, args, tile, partial + k * shape.CRS(), partial + dw_elems + k, worker);
      });
  add_partials(stream, plan, partials, args.out[0].as<float>(), dw_elems);
  if (args.out[1].present()) {
    add_partials(stream, plan, partials + dw_elems, args.out[1].as<float>(), shape.K);
  }
  return 0;
}

int64_t workspace_bytes(const StepArgs& args, int threads) {
  const LaneSumsPlan plan(args);
  return plan.worker_at + threads * plan.worker_bytes;
}

const char* supports(const StepArgs& args) {
  const ConvShape shape = cpu::conv_shape(args.in[0], args.in[1], args);
  if (!cpu::fits_offsets(shape)) return "an image is too large for 32-bit offsets";
  const PhaseLayout input(shape, 1);
  if (shape.CRS() > kMostTaps) return "many taps: transposing dy costs little";
  const int lanes = cpu::lane_sums_lanes();
  if (lanes > 1 && shape.group_filters() % lanes == 0) {
    return "filters fill whole vectors: the indirect product loses nothing";
  }
  if (2 * shape.PQ() < input.wide * shape.P ||
      2 * shape.PQ() < cpu::round_up(input.wide * shape.P, lanes)) {
    return "the positions of an output plane fill less than half of the vectors";
  }
  return nullptr;
}

}  // namespace conv2d_bwd_weights_lane_sums
}  // namespace tanul
