// SPDX-License-Identifier: Apache-2.0
// Three-dimensional convolution on the CPU, "vol2col_gemm": blocks of the column matrix
// (conv3d_shape.h) are written to scratch that stays in the second-level cache and multiplied by
// single-threaded BLAS.
//
//   fwd          y_n  [K/G, ZPQ]  = act(w [K/G, CTRS] col_n + b), summed over blocks of channels
//   bwd_data     dcol [CTRS, ZPQ] = w^T dy_n, added into dx_n by col2vol
//   bwd_weights  dw   [K/G, CTRS] = sum over n, z of dy_n col_n^T, db = sums of the rows of dy_n
//
// A tile of fwd is (volume, group, block of output positions), of bwd_data (volume, group, block of
// channels), of bwd_weights (run of output slices (n, z), group, block of channels); one worker computes
// it, with scratch of its own. All blocks depend on the shapes only, and the weight gradients of the
// runs are added in their order: deterministic for any number of threads.
//
// 2 N K ZPQ CTRS flops each. Meets the arithmetic roof for large C and K; for few channels the copies
// of vol2col weigh as much as the arithmetic.
#include <cstring>

#include "kernels/conv3d/conv3d_shape.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tiling.h"
#include "kernels/op.h"

namespace tanul {

namespace {

using cpu::Blocks;
using cpu::ColumnBlock;
using cpu::VolumeShape;

// Rows and elements of a block of columns: 320 KiB, so that it and what it is multiplied with stay in a
// second-level cache of 512 KiB to 2 MiB.
constexpr int64_t kRowsWanted = 512;
constexpr int64_t kColumnElems = 320 * 1024 / 4;
constexpr int64_t kMinColumns = 16;
constexpr int64_t kMaxPartialBytes = int64_t{8} << 20;
constexpr int64_t kScratchAlign = 16;  // floats

int64_t aligned(int64_t elems) { return cpu::ceil_div(elems, kScratchAlign) * kScratchAlign; }

// The channels of a group in about `wanted` blocks, of about kRowsWanted rows of columns at most.
Blocks channel_blocks(const VolumeShape& shape, int64_t wanted) {
  const int64_t for_cache = cpu::ceil_div(shape.CTRS(), kRowsWanted);
  return cpu::blocks_about(shape.group_channels(), std::max(wanted, for_cache), 1);
}
Blocks position_blocks(const VolumeShape& shape, const Blocks& channels) {
  const int64_t budget = std::max(kMinColumns, kColumnElems / (channels.size * shape.TRS()));
  return cpu::blocks_about(shape.ZPQ(), cpu::ceil_div(shape.ZPQ(), budget), kMinColumns);
}

float* worker_scratch(const StepArgs& args, int64_t elems, int worker) {
  return static_cast<float*>(args.workspace) + worker * elems;
}
int64_t scratch_bytes(int64_t elems, int threads) {
  return elems * threads * static_cast<int64_t>(sizeof(float));
}

const float* group_input(const VolumeShape& shape, const Operand& x, int64_t n, int64_t g) {
  return x.as<float>() + (n * shape.C + g * shape.group_channels()) * shape.DHW();
}
const float* group_output(const VolumeShape& shape, const Operand& y, int64_t n, int64_t g) {
  return y.as<float>() + (n * shape.K + g * shape.group_filters()) * shape.ZPQ();
}

// ---- forward ----------------------------------------------------------------------------------

struct ForwardPlan {
  VolumeShape shape;
  Blocks channels;  // summed at a time
  Blocks positions;
  int64_t scratch;  // floats of a worker

  explicit ForwardPlan(const StepArgs& args)
      : shape(cpu::volume_shape(args.in[0], args.out[0], args)),
        channels(channel_blocks(shape, 1)),
        positions(position_blocks(shape, channels)) {
    scratch = shape.is_pointwise() ? 0 : aligned(channels.size * shape.TRS() * positions.size);
  }
};

void forward_tile(const ForwardPlan& plan, const StepArgs& args, int64_t n, int64_t g,
                  int64_t block, float* col) {
  const VolumeShape& shape = plan.shape;
  const int64_t position = plan.positions.begin(block);
  const int64_t positions = plan.positions.length(block);
  const int64_t k0 = g * shape.group_filters();
  const float* x = group_input(shape, args.in[0], n, g);
  const float* w = args.in[1].as<float>() + k0 * shape.CTRS();
  const float* b = args.in_count > 2 && args.in[2].present() ? args.in[2].as<float>() : nullptr;
  float* y = args.out[0].as<float>() + (n * shape.K + k0) * shape.ZPQ() + position;
  for (int64_t i = 0; i < plan.channels.count; ++i) {
    const int64_t c = plan.channels.begin(i);
    const float* columns = x + c * shape.DHW() + position;
    int64_t ld = shape.DHW();
    if (!shape.is_pointwise()) {
      ld = positions;
      cpu::vol2col(shape, {c, plan.channels.length(i), position, positions}, x, col, ld);
      columns = col;
    }
    cpu::gemm(false, false, shape.group_filters(), positions, plan.channels.length(i) * shape.TRS(),
              1.0f, w + c * shape.TRS(), shape.CTRS(), columns, ld, i == 0 ? 0.0f : 1.0f, y,
              shape.ZPQ());
  }
  const ActivationKind activation = shape.params.plane.activation;
  if (b == nullptr && activation == ActivationKind::none) return;
  for (int64_t k = 0; k < shape.group_filters(); ++k) {
    cpu::bias_activation(y + k * shape.ZPQ(), b == nullptr ? 0.0f : b[k0 + k], positions,
                         activation);
  }
}

int launch_conv3d_fwd(Stream* stream, const StepArgs& args) {
  const ForwardPlan plan(args);
  const int64_t groups = plan.shape.groups();
  const int64_t blocks = plan.positions.count;
  cpu::parallel_for(stream, plan.shape.N * groups * blocks, [&](int64_t tile, int worker) {
    forward_tile(plan, args, tile / (groups * blocks), tile / blocks % groups, tile % blocks,
                 worker_scratch(args, plan.scratch, worker));
  });
  return 0;
}

int64_t workspace_conv3d_fwd(const StepArgs& args, int threads) {
  return scratch_bytes(ForwardPlan(args).scratch, threads);
}

// ---- data gradient ----------------------------------------------------------------------------

struct BackwardDataPlan {
  VolumeShape shape;
  Blocks channels;  // a tile each
  Blocks positions;
  int64_t scratch;

  explicit BackwardDataPlan(const StepArgs& args)
      : shape(cpu::volume_shape(args.out[0], args.in[0], args)),
        channels(channel_blocks(shape, cpu::ceil_div(cpu::kTilesWanted, shape.N * shape.groups()))),
        positions(position_blocks(shape, channels)) {
    scratch = shape.is_pointwise() ? 0 : aligned(channels.size * shape.TRS() * positions.size);
  }
};

void backward_data_tile(const BackwardDataPlan& plan, const StepArgs& args, int64_t n, int64_t g,
                        int64_t channel_block, float* col) {
  const VolumeShape& shape = plan.shape;
  const int64_t c0 = plan.channels.begin(channel_block);
  const int64_t channels = plan.channels.length(channel_block);
  const int64_t rows = channels * shape.TRS();
  const float* w =
      args.in[1].as<float>() + g * shape.group_filters() * shape.CTRS() + c0 * shape.TRS();
  const float* dy = group_output(shape, args.in[0], n, g);
  float* dx =
      args.out[0].as<float>() + (n * shape.C + g * shape.group_channels() + c0) * shape.DHW();
  if (!shape.is_pointwise()) {
    std::memset(dx, 0, static_cast<size_t>(channels * shape.DHW()) * sizeof(float));
  }
  for (int64_t i = 0; i < plan.positions.count; ++i) {
    const int64_t position = plan.positions.begin(i);
    const int64_t positions = plan.positions.length(i);
    float* to = shape.is_pointwise() ? dx + position : col;
    const int64_t ld = shape.is_pointwise() ? shape.DHW() : positions;
    cpu::gemm(true, false, rows, positions, shape.group_filters(), 1.0f, w, shape.CTRS(),
              dy + position, shape.ZPQ(), 0.0f, to, ld);
    // col holds the rows of this channel block alone
    if (!shape.is_pointwise()) {
      cpu::col2vol_add(shape, {0, channels, position, positions}, col, ld, dx);
    }
  }
}

int launch_conv3d_bwd_data(Stream* stream, const StepArgs& args) {
  const BackwardDataPlan plan(args);
  const int64_t groups = plan.shape.groups();
  const int64_t blocks = plan.channels.count;
  cpu::parallel_for(stream, plan.shape.N * groups * blocks, [&](int64_t tile, int worker) {
    backward_data_tile(plan, args, tile / (groups * blocks), tile / blocks % groups, tile % blocks,
                       worker_scratch(args, plan.scratch, worker));
  });
  return 0;
}

int64_t workspace_conv3d_bwd_data(const StepArgs& args, int threads) {
  return scratch_bytes(BackwardDataPlan(args).scratch, threads);
}

// ---- weight gradient --------------------------------------------------------------------------

struct BackwardWeightsPlan {
  VolumeShape shape;
  Blocks channels;        // a tile each
  Blocks slices;          // runs of output slices (n, z), a partial dw each
  int64_t columns;        // positions of a product, at most
  int64_t scratch;        // floats of a worker
  int64_t partial_elems;  // dw and db of a run; 0 when there is one

  explicit BackwardWeightsPlan(const StepArgs& args)
      : shape(cpu::volume_shape(args.in[0], args.in[1], args)), channels(channel_blocks(shape, 1)) {
    const int64_t partial = aligned(shape.K * shape.CTRS() + shape.K);
    const int64_t affordable =
        std::max<int64_t>(1, kMaxPartialBytes / (partial * static_cast<int64_t>(sizeof(float))));
    const int64_t wanted = cpu::ceil_div(cpu::kTilesWanted, shape.groups() * channels.count);
    slices = cpu::blocks_about(shape.N * shape.Z, std::min(wanted, affordable), 1);
    partial_elems = slices.count > 1 ? partial : 0;
    columns = position_blocks(shape, channels).size;
    scratch = shape.is_pointwise() ? 0 : aligned(channels.size * shape.TRS() * columns);
  }
};

// Calls body(n, position, positions) for the volumes of a run of slices, in order.
template <typename Body>
void for_volumes(const BackwardWeightsPlan& plan, int64_t run, const Body& body) {
  const VolumeShape& shape = plan.shape;
  int64_t slice = plan.slices.begin(run);
  const int64_t end = slice + plan.slices.length(run);
  while (slice < end) {
    const int64_t n = slice / shape.Z;
    const int64_t z = slice % shape.Z;
    const int64_t count = std::min(shape.Z - z, end - slice);
    body(n, z * shape.PQ(), count * shape.PQ());
    slice += count;
  }
}

void backward_weights_tile(const BackwardWeightsPlan& plan, const StepArgs& args, int64_t run,
                           int64_t g, int64_t channel_block, float* dw, float* col) {
  const VolumeShape& shape = plan.shape;
  const int64_t c = plan.channels.begin(channel_block);
  const int64_t channels = plan.channels.length(channel_block);
  float* to = dw + g * shape.group_filters() * shape.CTRS() + c * shape.TRS();
  float beta = 0.0f;
  for_volumes(plan, run, [&](int64_t n, int64_t first, int64_t count) {
    const float* x = group_input(shape, args.in[0], n, g);
    const float* dy = group_output(shape, args.in[1], n, g);
    for (int64_t at = 0; at < count; at += plan.columns) {
      const int64_t position = first + at;
      const int64_t positions = std::min(plan.columns, count - at);
      const float* columns = x + c * shape.DHW() + position;
      int64_t ld = shape.DHW();
      if (!shape.is_pointwise()) {
        ld = positions;
        cpu::vol2col(shape, {c, channels, position, positions}, x, col, ld);
        columns = col;
      }
      cpu::gemm(false, true, shape.group_filters(), channels * shape.TRS(), positions, 1.0f,
                dy + position, shape.ZPQ(), columns, ld, beta, to, shape.CTRS());
      beta = 1.0f;
    }
  });
}

// db of a run and the filters of a group, in order of the slices.
void bias_gradient(const BackwardWeightsPlan& plan, const StepArgs& args, int64_t run, int64_t g,
                   float* db) {
  const VolumeShape& shape = plan.shape;
  for (int64_t k = 0; k < shape.group_filters(); ++k) {
    float total = 0.0f;
    for_volumes(plan, run, [&](int64_t n, int64_t first, int64_t count) {
      total += cpu::sum(group_output(shape, args.in[1], n, g) + k * shape.ZPQ() + first, count);
    });
    db[g * shape.group_filters() + k] = total;
  }
}

// to = the sum of the partial results at `from`, in order.
void add_partials(Stream* stream, const BackwardWeightsPlan& plan, const float* from, float* to,
                  int64_t elems) {
  cpu::parallel_ranges(stream, elems, [&](int64_t begin, int64_t end) {
    cpu::add(from + begin, from + plan.partial_elems + begin, to + begin, end - begin);
    for (int64_t run = 2; run < plan.slices.count; ++run) {
      cpu::accumulate(from + run * plan.partial_elems + begin, to + begin, end - begin);
    }
  });
}

int launch_conv3d_bwd_weights(Stream* stream, const StepArgs& args) {
  const BackwardWeightsPlan plan(args);
  const VolumeShape& shape = plan.shape;
  const int64_t groups = shape.groups();
  const int64_t blocks = plan.channels.count;
  const int64_t dw_elems = shape.K * shape.CTRS();
  float* dw = args.out[0].as<float>();
  float* db = args.out[1].present() ? args.out[1].as<float>() : nullptr;
  const bool has_partials = plan.partial_elems > 0;
  float* partials = static_cast<float*>(args.workspace);
  float* scratch = partials + plan.partial_elems * plan.slices.count;
  cpu::parallel_for(stream, plan.slices.count * groups * blocks, [&](int64_t tile, int worker) {
    const int64_t run = tile / (groups * blocks);
    const int64_t g = tile / blocks % groups;
    const int64_t channel_block = tile % blocks;
    float* to = has_partials ? partials + run * plan.partial_elems : dw;
    backward_weights_tile(plan, args, run, g, channel_block, to, scratch + worker * plan.scratch);
    if (db != nullptr && channel_block == 0) {
      bias_gradient(plan, args, run, g, has_partials ? to + dw_elems : db);
    }
  });
  if (has_partials) {
    add_partials(stream, plan, partials, dw, dw_elems);
    if (db != nullptr) add_partials(stream, plan, partials + dw_elems, db, shape.K);
  }
  return 0;
}

int64_t workspace_conv3d_bwd_weights(const StepArgs& args, int threads) {
  const BackwardWeightsPlan plan(args);
  return scratch_bytes(plan.scratch, threads) +
         plan.slices.count * scratch_bytes(plan.partial_elems, 1);
}

const Implementation kForward[] = {
    {"vol2col_gemm", supports_all, workspace_conv3d_fwd, launch_conv3d_fwd}};
const Implementation kBackwardData[] = {
    {"vol2col_gemm", supports_all, workspace_conv3d_bwd_data, launch_conv3d_bwd_data}};
const Implementation kBackwardWeights[] = {
    {"vol2col_gemm", supports_all, workspace_conv3d_bwd_weights, launch_conv3d_bwd_weights}};

}  // namespace

const ImplementationList cpu_conv3d_fwd = {kForward, 1};
const ImplementationList cpu_conv3d_bwd_data = {kBackwardData, 1};
const ImplementationList cpu_conv3d_bwd_weights = {kBackwardWeights, 1};

}  // namespace tanul
