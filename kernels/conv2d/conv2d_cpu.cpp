// SPDX-License-Identifier: Apache-2.0
// Convolution on the CPU, "im2col_gemm": blocks of the column matrix (conv2d_shape.h) are written
// to scratch that stays in the second-level cache and multiplied by single-threaded BLAS.
//
//   fwd          y_n  [K/G, PQ]  = act(w [K/G, CRS] col_n + b)
//   bwd_data     dcol [CRS, PQ]  = w^T dy_n, added into dx_n by col2im
//   bwd_weights  dw   [K/G, CRS] = sum over n of dy_n col_n^T, db = sums of the rows of dy_n
//
// A tile of fwd is (image block, group, block of output positions), of bwd_data (image block,
// group, block of channels), of bwd_weights (image block, group, block of channels); one worker
// computes it, with `scratch` of its own. Small planes of several images stand side by side in one
// GEMM. All blocks depend on the shapes only, and sums over tiles (weight gradients of image
// blocks) are taken in order: deterministic for any number of threads.
//
// 2 N K PQ CRS flops each. Meets the arithmetic roof for large C and K; for few channels the copies
// of im2col weigh as much as the arithmetic.
// Source: K. Chellapilla, S. Puri, P. Simard, "High performance convolutional neural networks for
// document processing", 2006.
#include <cstring>
#include <iterator>

#include "kernels/conv2d/conv2d_indirect.h"
#include "kernels/conv2d/conv2d_shape.h"
#include "kernels/conv2d/conv2d_winograd.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tiling.h"
#include "kernels/op.h"

namespace tanul {

namespace {

using cpu::Blocks;
using cpu::ColumnBlock;
using cpu::ConvShape;

// A block of columns and what it is multiplied with should stay in the second-level cache (512 KiB
// on Zen, 1 to 2 MiB on recent Intel).
constexpr int64_t kColumnElems = 320 * 1024 / 4;
// Planes of fewer positions make a GEMM too narrow: several images are put side by side.
constexpr int64_t kMergePositions = 192;
constexpr int64_t kMinColumns = 16;
constexpr int64_t kMaxPartialBytes = int64_t{8} << 20;
constexpr int64_t kScratchAlign = 16;  // floats

using cpu::round_up;

// How images and output positions are cut. Either several whole images are merged and there is one
// block of positions, or each block holds positions of one image.
struct Cut {
  Blocks images;
  Blocks positions;
  int64_t columns() const { return images.size * positions.size; }  // of the widest block
  bool is_merged() const { return images.size > 1; }
};

// `rows` of the column matrix are handled at a time; `tiles_else` tiles come from other dimensions.
Cut cut_columns(const ConvShape& shape, int64_t rows, int64_t tiles_else) {
  const int64_t budget = std::max(kMinColumns, kColumnElems / rows);
  Cut cut;
  cut.images = cpu::blocks_of_size(shape.N, 1);
  cut.positions = cpu::blocks_of_size(shape.PQ(), budget);
  if (cut.positions.count > 1) {
    cut.positions = cpu::blocks_about(shape.PQ(), cut.positions.count, kMinColumns);
  } else if (shape.PQ() < kMergePositions) {
    const int64_t wanted = cpu::ceil_div(kMergePositions, shape.PQ());
    const int64_t spare = shape.N * tiles_else / cpu::kTilesWanted;  // keeps enough tiles
    cut.images = cpu::blocks_of_size(
        shape.N, std::max<int64_t>(1, std::min({wanted, budget / shape.PQ(), spare})));
  }
  return cut;
}

// planes [images, channels, PQ] of a group -> rows [channels, images PQ], and back.
void gather_planes(const ConvShape& shape, const float* planes, int64_t image_stride,
                   int64_t channels, int64_t images, float* rows) {
  const size_t bytes = static_cast<size_t>(shape.PQ()) * sizeof(float);
  for (int64_t k = 0; k < channels; ++k) {
    for (int64_t n = 0; n < images; ++n, rows += shape.PQ()) {
      std::memcpy(rows, planes + n * image_stride + k * shape.PQ(), bytes);
    }
  }
}

float* worker_scratch(const StepArgs& args, int64_t elems, int worker) {
  return static_cast<float*>(args.workspace) + worker * elems;
}
int64_t scratch_bytes(int64_t elems, int threads) {
  return elems * threads * static_cast<int64_t>(sizeof(float));
}

// ---- forward ----------------------------------------------------------------------------------

struct ForwardPlan {
  ConvShape shape;
  Cut cut;
  int64_t column_elems, out_elems;  // of a worker's scratch
  int64_t scratch() const { return column_elems + out_elems; }

  explicit ForwardPlan(const StepArgs& args)
      : shape(cpu::conv_shape(args.in[0], args.out[0], args)),
        cut(cut_columns(shape, shape.CRS(), shape.groups())) {
    const bool reads_x = shape.is_pointwise() && !cut.is_merged();
    column_elems = reads_x ? 0 : round_up(shape.CRS() * cut.columns(), kScratchAlign);
    out_elems =
        cut.is_merged() ? round_up(shape.group_filters() * cut.columns(), kScratchAlign) : 0;
  }
};

// One image, or a part of it: the product goes straight to y.
void forward_image(const ForwardPlan& plan, const StepArgs& args, int64_t n, int64_t g,
                   int64_t position_block, float* col) {
  const ConvShape& shape = plan.shape;
  const int64_t position = plan.cut.positions.begin(position_block);
  const int64_t positions = plan.cut.positions.length(position_block);
  const float* x = args.in[0].as<float>() + (n * shape.C + g * shape.group_channels()) * shape.HW();
  const float* b = args.in_count > 2 && args.in[2].present() ? args.in[2].as<float>() : nullptr;
  const int64_t k0 = g * shape.group_filters();
  const float* w = args.in[1].as<float>() + k0 * shape.CRS();
  float* y = args.out[0].as<float>() + (n * shape.K + k0) * shape.PQ() + position;
  const float* columns = x + position;
  int64_t ld = shape.PQ();
  if (!shape.is_pointwise()) {
    ld = positions;
    cpu::im2col(shape, {0, shape.group_channels(), position, positions}, x, col, ld);
    columns = col;
  }
  cpu::gemm(false, false, shape.group_filters(), positions, shape.CRS(), 1.0f, w, shape.CRS(),
            columns, ld, 0.0f, y, shape.PQ());
  if (b == nullptr && shape.params.activation == ActivationKind::none) return;
  for (int64_t k = 0; k < shape.group_filters(); ++k) {
    cpu::bias_activation(y + k * shape.PQ(), b == nullptr ? 0.0f : b[k0 + k], positions,
                         shape.params.activation);
  }
}

// Several whole images: the product goes to scratch, from there to the planes of y.
void forward_merged(const ForwardPlan& plan, const StepArgs& args, int64_t image_block, int64_t g,
                    float* col) {
  const ConvShape& shape = plan.shape;
  const int64_t PQ = shape.PQ();
  const int64_t n0 = plan.cut.images.begin(image_block);
  const int64_t images = plan.cut.images.length(image_block);
  const int64_t columns = images * PQ;
  const int64_t k0 = g * shape.group_filters();
  const float* b = args.in_count > 2 && args.in[2].present() ? args.in[2].as<float>() : nullptr;
  float* out = col + plan.column_elems;
  for (int64_t n = 0; n < images; ++n) {
    const float* x =
        args.in[0].as<float>() + ((n0 + n) * shape.C + g * shape.group_channels()) * shape.HW();
    cpu::im2col(shape, {0, shape.group_channels(), 0, PQ}, x, col + n * PQ, columns);
  }
  cpu::gemm(false, false, shape.group_filters(), columns, shape.CRS(), 1.0f,
            args.in[1].as<float>() + k0 * shape.CRS(), shape.CRS(), col, columns, 0.0f, out,
            columns);
  for (int64_t k = 0; k < shape.group_filters(); ++k) {
    float* row = out + k * columns;
    cpu::bias_activation(row, b == nullptr ? 0.0f : b[k0 + k], columns, shape.params.activation);
    for (int64_t n = 0; n < images; ++n) {
      std::memcpy(args.out[0].as<float>() + ((n0 + n) * shape.K + k0 + k) * PQ, row + n * PQ,
                  static_cast<size_t>(PQ) * sizeof(float));
    }
  }
}

int launch_conv2d_fwd(Stream* stream, const StepArgs& args) {
  const ForwardPlan plan(args);
  const int64_t groups = plan.shape.groups();
  const int64_t position_blocks = plan.cut.positions.count;
  cpu::parallel_for(stream, plan.cut.images.count * groups * position_blocks,
                    [&](int64_t tile, int worker) {
                      const int64_t image_block = tile / (groups * position_blocks);
                      const int64_t g = tile / position_blocks % groups;
                      float* scratch = worker_scratch(args, plan.scratch(), worker);
                      if (plan.cut.is_merged()) {
                        forward_merged(plan, args, image_block, g, scratch);
                      } else {
                        forward_image(plan, args, image_block, g, tile % position_blocks, scratch);
                      }
                    });
  return 0;
}

int64_t workspace_conv2d_fwd(const StepArgs& args, int threads) {
  return scratch_bytes(ForwardPlan(args).scratch(), threads);
}

// ---- data gradient ----------------------------------------------------------------------------

struct BackwardDataPlan {
  ConvShape shape;
  Blocks channels;  // of a group
  Cut cut;
  int64_t column_elems, dy_elems;  // of a worker's scratch
  int64_t scratch() const { return column_elems + dy_elems; }

  explicit BackwardDataPlan(const StepArgs& args)
      : shape(cpu::conv_shape(args.out[0], args.in[0], args)) {
    const int64_t wanted = cpu::ceil_div(cpu::kTilesWanted, shape.N * shape.groups());
    channels = cpu::blocks_about(shape.group_channels(), wanted, 4);
    const int64_t rows = channels.size * shape.RS();
    cut = cut_columns(shape, rows, shape.groups() * channels.count);
    const bool writes_dx = shape.is_pointwise() && !cut.is_merged();
    column_elems = writes_dx ? 0 : round_up(rows * cut.columns(), kScratchAlign);
    dy_elems = cut.is_merged() ? round_up(shape.group_filters() * cut.columns(), kScratchAlign) : 0;
  }
};

void backward_data_tile(const BackwardDataPlan& plan, const StepArgs& args, int64_t image_block,
                        int64_t g, int64_t channel_block, float* col) {
  const ConvShape& shape = plan.shape;
  const int64_t PQ = shape.PQ();
  const int64_t n0 = plan.cut.images.begin(image_block);
  const int64_t images = plan.cut.images.length(image_block);
  const int64_t c0 = plan.channels.begin(channel_block);
  const int64_t channels = plan.channels.length(channel_block);
  const int64_t rows = channels * shape.RS();
  const int64_t k0 = g * shape.group_filters();
  const float* w = args.in[1].as<float>() + k0 * shape.CRS() + c0 * shape.RS();
  const float* dy = args.in[0].as<float>() + (n0 * shape.K + k0) * PQ;
  float* dx = args.out[0].as<float>() + (n0 * shape.C + g * shape.group_channels()) * shape.HW();
  const auto product = [&](const float* from, int64_t ld, int64_t columns, float* to,
                           int64_t ld_to) {
    cpu::gemm(true, false, rows, columns, shape.group_filters(), 1.0f, w, shape.CRS(), from, ld,
              0.0f, to, ld_to);
  };
  if (shape.is_pointwise() && !plan.cut.is_merged()) {
    product(dy, PQ, PQ, dx + c0 * PQ, PQ);
    return;
  }
  const size_t bytes = static_cast<size_t>(channels * shape.HW()) * sizeof(float);
  for (int64_t n = 0; n < images; ++n) {
    std::memset(dx + (n * shape.C + c0) * shape.HW(), 0, bytes);
  }
  // col holds the rows of this channel block alone.
  const auto add = [&](int64_t n, int64_t position, int64_t positions, const float* from,
                       int64_t ld) {
    cpu::col2im_add(shape, {0, channels, position, positions}, from, ld,
                    dx + (n * shape.C + c0) * shape.HW());
  };
  if (plan.cut.is_merged()) {
    float* gathered = col + plan.column_elems;
    gather_planes(shape, dy, shape.K * PQ, shape.group_filters(), images, gathered);
    product(gathered, images * PQ, images * PQ, col, images * PQ);
    for (int64_t n = 0; n < images; ++n) add(n, 0, PQ, col + n * PQ, images * PQ);
    return;
  }
  const Blocks& blocks = plan.cut.positions;
  for (int64_t block = 0; block < blocks.count; ++block) {
    const int64_t positions = blocks.length(block);
    product(dy + blocks.begin(block), PQ, positions, col, positions);
    add(0, blocks.begin(block), positions, col, positions);
  }
}

int launch_conv2d_bwd_data(Stream* stream, const StepArgs& args) {
  const BackwardDataPlan plan(args);
  const int64_t groups = plan.shape.groups();
  const int64_t channel_blocks = plan.channels.count;
  cpu::parallel_for(stream, plan.cut.images.count * groups * channel_blocks,
                    [&](int64_t tile, int worker) {
                      backward_data_tile(plan, args, tile / (groups * channel_blocks),
                                         tile / channel_blocks % groups, tile % channel_blocks,
                                         worker_scratch(args, plan.scratch(), worker));
                    });
  return 0;
}

int64_t workspace_conv2d_bwd_data(const StepArgs& args, int threads) {
  return scratch_bytes(BackwardDataPlan(args).scratch(), threads);
}

// ---- weight gradient --------------------------------------------------------------------------

struct BackwardWeightsPlan {
  ConvShape shape;
  Blocks channels;     // of a group
  Blocks image_tiles;  // each makes a partial dw; added up in order when there are several
  Cut cut;             // within an image tile
  int64_t column_elems, dy_elems;  // of a worker's scratch
  int64_t partial_elems;           // dw and db of one image tile; 0 when there is one
  int64_t scratch() const { return column_elems + dy_elems; }

  explicit BackwardWeightsPlan(const StepArgs& args)
      : shape(cpu::conv_shape(args.in[0], args.in[1], args)) {
    constexpr int64_t kMinChannels = 16;  // narrower blocks make narrow GEMMs
    const int64_t dw_elems = shape.K * shape.CRS();
    channels =
        cpu::blocks_about(shape.group_channels(),
                          std::min(cpu::ceil_div(cpu::kTilesWanted, shape.groups()),
                                   std::max<int64_t>(1, shape.group_channels() / kMinChannels)),
                          1);
    const int64_t partial = round_up(dw_elems + shape.K, kScratchAlign);
    const int64_t affordable =
        std::max<int64_t>(1, kMaxPartialBytes / (partial * static_cast<int64_t>(sizeof(float))));
    const int64_t wanted = cpu::ceil_div(cpu::kTilesWanted / 2, shape.groups() * channels.count);
    image_tiles = cpu::blocks_about(shape.N, std::min(wanted, affordable), 1);
    partial_elems = image_tiles.count > 1 ? partial : 0;

    const int64_t rows = channels.size * shape.RS();
    ConvShape within = shape;
    within.N = image_tiles.size;
    cut = cut_columns(within, rows, cpu::kTilesWanted);  // merging takes no tiles away here
    const bool reads_x = shape.is_pointwise() && !cut.is_merged();
    column_elems = reads_x ? 0 : round_up(rows * cut.columns(), kScratchAlign);
    dy_elems = cut.is_merged() ? round_up(shape.group_filters() * cut.columns(), kScratchAlign) : 0;
  }
};

// Adds (or, the first time, stores) dy col^T of `images` images from n on to dw.
void backward_weights_images(const BackwardWeightsPlan& plan, const StepArgs& args, int64_t n,
                             int64_t images, int64_t g, int64_t channel_block, bool is_first,
                             float* dw, float* col) {
  const ConvShape& shape = plan.shape;
  const int64_t PQ = shape.PQ();
  const int64_t c0 = plan.channels.begin(channel_block);
  const int64_t channels = plan.channels.length(channel_block);
  const int64_t k0 = g * shape.group_filters();
  const float* x = args.in[0].as<float>() + (n * shape.C + g * shape.group_channels()) * shape.HW();
  const float* dy = args.in[1].as<float>() + (n * shape.K + k0) * PQ;
  float beta = is_first ? 0.0f : 1.0f;
  const auto product = [&](const float* from_dy, int64_t ld_dy, const float* columns, int64_t ld,
                           int64_t count) {
    cpu::gemm(false, true, shape.group_filters(), channels * shape.RS(), count, 1.0f, from_dy,
              ld_dy, columns, ld, beta, dw + k0 * shape.CRS() + c0 * shape.RS(), shape.CRS());
    beta = 1.0f;
  };
  if (plan.cut.is_merged()) {
    const int64_t columns = images * PQ;
    float* gathered = col + plan.column_elems;
    gather_planes(shape, dy, shape.K * PQ, shape.group_filters(), images, gathered);
    for (int64_t i = 0; i < images; ++i) {
      cpu::im2col(shape, {c0, channels, 0, PQ}, x + i * shape.C * shape.HW(), col + i * PQ,
                  columns);
    }
    product(gathered, columns, col, columns, columns);
  } else if (shape.is_pointwise()) {
    product(dy, PQ, x + c0 * PQ, PQ, PQ);
  } else {
    const Blocks& blocks = plan.cut.positions;
    for (int64_t block = 0; block < blocks.count; ++block) {
      const int64_t positions = blocks.length(block);
      cpu::im2col(shape, {c0, channels, blocks.begin(block), positions}, x, col, positions);
      product(dy + blocks.begin(block), PQ, col, positions, positions);
    }
  }
}

// db of the images [n0, n0 + images) and the filters of a group, in order of n.
void bias_gradient(const ConvShape& shape, const float* dy, int64_t n0, int64_t images, int64_t g,
                   float* db) {
  for (int64_t k = g * shape.group_filters(); k < (g + 1) * shape.group_filters(); ++k) {
    float total = 0.0f;
    for (int64_t n = n0; n < n0 + images; ++n) {
      total += cpu::sum(dy + (n * shape.K + k) * shape.PQ(), shape.PQ());
    }
    db[k] = total;
  }
}

// to = the sum of the partial results at `from`, in order.
void add_partials(Stream* stream, const BackwardWeightsPlan& plan, const float* from, float* to,
                  int64_t elems) {
  cpu::parallel_ranges(stream, elems, [&](int64_t begin, int64_t end) {
    cpu::add(from + begin, from + plan.partial_elems + begin, to + begin, end - begin);
    for (int64_t tile = 2; tile < plan.image_tiles.count; ++tile) {
      cpu::accumulate(from + tile * plan.partial_elems + begin, to + begin, end - begin);
    }
  });
}

int launch_conv2d_bwd_weights(Stream* stream, const StepArgs& args) {
  const BackwardWeightsPlan plan(args);
  const ConvShape& shape = plan.shape;
  const int64_t groups = shape.groups();
  const int64_t channel_blocks = plan.channels.count;
  const int64_t dw_elems = shape.K * shape.CRS();
  const float* dy = args.in[1].as<float>();
  float* dw = args.out[0].as<float>();
  float* db = args.out[1].present() ? args.out[1].as<float>() : nullptr;
  const bool has_partials = plan.partial_elems > 0;
  float* partials = static_cast<float*>(args.workspace);
  const int64_t partials_elems = plan.partial_elems * (has_partials ? plan.image_tiles.count : 0);
  cpu::parallel_for(
      stream, plan.image_tiles.count * groups * channel_blocks, [&](int64_t tile, int worker) {
        const int64_t image_tile = tile / (groups * channel_blocks);
        const int64_t g = tile / channel_blocks % groups;
        const int64_t channel_block = tile % channel_blocks;
        const int64_t n0 = plan.image_tiles.begin(image_tile);
        const int64_t images = plan.image_tiles.length(image_tile);
        float* scratch = partials + partials_elems + worker * plan.scratch();
        float* to = has_partials ? partials + image_tile * plan.partial_elems : dw;
        for (int64_t n = 0; n < images; n += plan.cut.images.size) {
          backward_weights_images(plan, args, n0 + n, std::min(plan.cut.images.size, images - n), g,
                                  channel_block, n == 0, to, scratch);
        }
        if (db != nullptr && channel_block == 0) {
          bias_gradient(shape, dy, n0, images, g, has_partials ? to + dw_elems : db);
        }
      });
  if (has_partials) {
    add_partials(stream, plan, partials, dw, dw_elems);
    if (db != nullptr) add_partials(stream, plan, partials + dw_elems, db, shape.K);
  }
  return 0;
}

int64_t workspace_conv2d_bwd_weights(const StepArgs& args, int threads) {
  const BackwardWeightsPlan plan(args);
  return scratch_bytes(plan.scratch(), threads) +
         plan.image_tiles.count * scratch_bytes(plan.partial_elems, 1);
}

#define TANUL_WINOGRAD(name, step, kind)                        \
  {                                                             \
    name #kind, step##_winograd::supports<cpu::Winograd::kind>, \
        step##_winograd::workspace_bytes<cpu::Winograd::kind>,  \
        step##_winograd::launch<cpu::Winograd::kind>, true      \
  }

const Implementation kForward[] = {
    TANUL_WINOGRAD("winograd_", conv2d_fwd, f4x4_3x3),
    TANUL_WINOGRAD("winograd_", conv2d_fwd, f2x2_5x5),
    TANUL_WINOGRAD("winograd_", conv2d_fwd, f2x2_3x3),
    {"indirect_gemm", conv2d_fwd_indirect_gemm::supports, conv2d_fwd_indirect_gemm::workspace_bytes,
     conv2d_fwd_indirect_gemm::launch},
    {"im2col_gemm", supports_all, workspace_conv2d_fwd, launch_conv2d_fwd}};
const Implementation kBackwardData[] = {
    TANUL_WINOGRAD("winograd_", conv2d_bwd_data, f4x4_3x3),
    TANUL_WINOGRAD("winograd_", conv2d_bwd_data, f2x2_5x5),
    TANUL_WINOGRAD("winograd_", conv2d_bwd_data, f2x2_3x3),
    TANUL_WINOGRAD("winograd_scatter_", conv2d_bwd_data_scatter, f4x4_3x3),
    TANUL_WINOGRAD("winograd_scatter_", conv2d_bwd_data_scatter, f2x2_5x5),
    TANUL_WINOGRAD("winograd_scatter_", conv2d_bwd_data_scatter, f2x2_3x3),
    {"indirect_gemm", conv2d_bwd_data_indirect_gemm::supports,
     conv2d_bwd_data_indirect_gemm::workspace_bytes, conv2d_bwd_data_indirect_gemm::launch},
    {"im2col_gemm", supports_all, workspace_conv2d_bwd_data, launch_conv2d_bwd_data}};
const Implementation kBackwardWeights[] = {
    TANUL_WINOGRAD("winograd_", conv2d_bwd_weights, f4x4_3x3),
    TANUL_WINOGRAD("winograd_", conv2d_bwd_weights, f2x2_5x5),
    TANUL_WINOGRAD("winograd_", conv2d_bwd_weights, f2x2_3x3),
    {"lane_sums", conv2d_bwd_weights_lane_sums::supports,
     conv2d_bwd_weights_lane_sums::workspace_bytes, conv2d_bwd_weights_lane_sums::launch},
    {"indirect_gemm", conv2d_bwd_weights_indirect_gemm::supports,
     conv2d_bwd_weights_indirect_gemm::workspace_bytes, conv2d_bwd_weights_indirect_gemm::launch},
    {"im2col_gemm", supports_all, workspace_conv2d_bwd_weights, launch_conv2d_bwd_weights}};

}  // namespace

const ImplementationList cpu_conv2d_fwd = {kForward, std::size(kForward)};
const ImplementationList cpu_conv2d_bwd_data = {kBackwardData, std::size(kBackwardData)};
const ImplementationList cpu_conv2d_bwd_weights = {kBackwardWeights, std::size(kBackwardWeights)};

}  // namespace tanul
