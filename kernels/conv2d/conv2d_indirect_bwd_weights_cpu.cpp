// SPDX-License-Identifier: Apache-2.0
// Weight gradient of convolution on the CPU, "indirect_gemm": vectors of filters and six (c, r, s)
// at a time in registers; x is read where it lies, one element for each position.
//
//   dw^T[(c,r,s), k..k+l] = sum over t = (n, p, q) of x[n, c, base(t) + offset(r, s)] dy^T[t, k..k+l]
//
// dy is transposed into scratch, about 256 positions at a time (of several small images or of some
// rows of a large one), x is copied only where it is padded. A tile is (block of images, group,
// block of channels), cut by shapes only; one worker computes it into a partial dw^T of its own,
// and the partials are added in the order of the images. 2 N K PQ CRS flops; meets the arithmetic
// roof. Deterministic for any number of threads.
#include "kernels/conv2d/conv2d_indirect.h"
#include "kernels/cpu/simd.h"
#include "kernels/op.h"

namespace tanul {

namespace {

using cpu::Blocks;
using cpu::ConvShape;

constexpr int64_t kMaxOffset = int64_t{1} << 30;

struct WeightsPlan {
  ConvShape shape;
  int lanes;
  bool padded;
  int64_t height, width;  // of a padded plane
  int64_t vectors;        // of the filters of a group
  Blocks channels;        // of a group, a tile each
  Blocks image_tiles;     // a partial result each
  int64_t merged;         // images of one product; more than 1 only where rows holds all
  Blocks rows;            // of the output, of one product
  int64_t depth;          // of the largest product
  int64_t image_step;     // floats from one image to the next in what is read
  int64_t partial_elems;  // dw^T [G, CRS, vectors lanes] and db [K] of an image tile
  int64_t a_row_at, a_step_at, b_step_at, b_vector_at, c_vector_at, partials_at;  // bytes
  int64_t worker_at, worker_bytes, input_bytes;

  int64_t filled_filters() const { return vectors * lanes; }
  int64_t dw_elems() const { return shape.groups() * shape.CRS() * filled_filters(); }

  explicit WeightsPlan(const StepArgs& args)
      : shape(cpu::conv_shape(args.in[0], args.in[1], args)) {
    const Conv2dParams& params = shape.params;
    lanes = std::max(1, cpu::indexed_gemm_lanes(shape.group_filters(), INT32_MAX));
    padded = cpu::is_padded(shape);
    height = shape.H + params.pad_top + params.pad_bottom;
    width = shape.W + params.pad_left + params.pad_right;
    vectors = cpu::ceil_div(shape.group_filters(), lanes);
    partial_elems = cpu::round_up(dw_elems() + shape.K, 16);
    cut_tiles();
    image_step = padded ? channels.size * height * width : shape.C * shape.HW();
    merged = std::clamp<int64_t>(std::min(cpu::kDepthBlock / shape.PQ(), kMaxOffset / image_step),
                                 1, image_tiles.size);
    rows = cpu::blocks_of_size(shape.P, std::max<int64_t>(1, cpu::kDepthBlock / shape.Q));
    depth = merged > 1 ? merged * shape.PQ() : rows.size * shape.Q;

    cpu::WorkspaceLayout layout;
    a_row_at = layout.take(channels.size * shape.RS());
    a_step_at = layout.take(depth);
    b_step_at = layout.take(depth);
    b_vector_at = layout.take(vectors);
    c_vector_at = layout.take(vectors);
    partials_at = layout.take(partial_elems * image_tiles.count);
    worker_at = layout.bytes();
    cpu::WorkspaceLayout worker;
    worker.take(padded ? merged * image_step : 0);
    input_bytes = worker.bytes();
    worker.take(cpu::round_up(vectors, 2) * lanes * depth);
    worker_bytes = worker.bytes();
  }

  // Blocks of channels first, since they need no partial results; then blocks of images.
  void cut_tiles() {
    constexpr int64_t kMinRows = 96;  // (c, r, s) of a tile
    constexpr int64_t kMaxPartialElems = int64_t{2} << 20;
    const int64_t least = cpu::ceil_div(kMinRows, shape.RS());
    const int64_t wanted = std::min(cpu::ceil_div(cpu::kTilesWanted, shape.groups()),
                                    std::max<int64_t>(1, shape.group_channels() / least));
    channels = cpu::blocks_about(shape.group_channels(), wanted, 1);
    const int64_t images_wanted =
        cpu::ceil_div(cpu::kTilesWanted / 2, shape.groups() * channels.count);
    const int64_t affordable = std::max<int64_t>(1, kMaxPartialElems / partial_elems);
    image_tiles = cpu::blocks_about(shape.N, std::min(images_wanted, affordable), 1);
  }
};

void fill_tables(const WeightsPlan& plan, const StepArgs& args) {
  const ConvShape& shape = plan.shape;
  const Conv2dParams& params = shape.params;
  int32_t* a_row = cpu::workspace_at<int32_t>(args, plan.a_row_at);
  for (int64_t c = 0; c < plan.channels.size; ++c) {
    for (int64_t r = 0; r < shape.R(); ++r) {
      for (int64_t s = 0; s < shape.S(); ++s) {
        *a_row++ = static_cast<int32_t>((c * plan.height + r * params.dilation_h) * plan.width +
                                        s * params.dilation_w);
      }
    }
  }
  int32_t* a_step = cpu::workspace_at<int32_t>(args, plan.a_step_at);
  int32_t* b_step = cpu::workspace_at<int32_t>(args, plan.b_step_at);
  const int64_t rows = plan.merged > 1 ? shape.P : plan.rows.size;
  int64_t t = 0;
  for (int64_t n = 0; n < plan.merged; ++n) {
    for (int64_t p = 0; p < rows; ++p) {
      for (int64_t q = 0; q < shape.Q; ++q, ++t) {
        a_step[t] = static_cast<int32_t>(n * plan.image_step + p * params.stride_h * plan.width +
                                         q * params.stride_w);
        b_step[t] = static_cast<int32_t>(t * 2 * plan.lanes);
      }
    }
  }
  int32_t* b_vector = cpu::workspace_at<int32_t>(args, plan.b_vector_at);
  int32_t* c_vector = cpu::workspace_at<int32_t>(args, plan.c_vector_at);
  for (int64_t v = 0; v < plan.vectors; ++v) {
    b_vector[v] = static_cast<int32_t>((v / 2 * plan.depth * 2 + v % 2) * plan.lanes);
    c_vector[v] = static_cast<int32_t>(v * plan.lanes);
  }
}

// Positions [from, from + count) of one image of dy to the steps t, t + 1, … of the transposed
// copy: pairs of vectors, each pair [depth, 2 lanes]. Filters that do not exist are zero.
void transpose_dy(const WeightsPlan& plan, const float* dy, int64_t from, int64_t count, int64_t t,
                  float* to) {
  const int64_t PQ = plan.shape.PQ();
  const int64_t filters = plan.shape.group_filters();
  const int64_t pair = 2 * plan.lanes;
  for (int64_t k0 = 0; k0 < plan.filled_filters(); k0 += pair) {
    float* rows = to + k0 * plan.depth + t * pair;
    const int64_t present = std::min(pair, filters - k0);
    cpu::transpose(dy + k0 * PQ + from, PQ, present, count, rows, pair);
    if (present == pair) continue;
    for (int64_t i = 0; i < count; ++i) {
      std::fill(rows + i * pair + present, rows + (i + 1) * pair, 0.0f);
    }
  }
}

struct Tile {
  int64_t image_tile, g, channel_block;
};

// All products of a tile, added up in dw [rows of the channel block, filled filters].
void weights_tile(const WeightsPlan& plan, const StepArgs& args, const Tile& tile, float* dw,
                  int worker) {
  const ConvShape& shape = plan.shape;
  const Conv2dParams& params = shape.params;
  const int64_t c0 = tile.g * shape.group_channels() + plan.channels.begin(tile.channel_block);
  const int64_t channels = plan.channels.length(tile.channel_block);
  const int64_t scratch = plan.worker_at + worker * plan.worker_bytes;
  float* input = cpu::workspace_at<float>(args, scratch);
  float* transposed = cpu::workspace_at<float>(args, scratch + plan.input_bytes);
  cpu::IndexedGemm gemm;
  gemm.rows = channels * shape.RS();
  gemm.vectors = plan.vectors;
  gemm.lanes = plan.lanes;
  gemm.a_row = cpu::workspace_at<int32_t>(args, plan.a_row_at);
  gemm.a_step = cpu::workspace_at<int32_t>(args, plan.a_step_at);
  gemm.b = transposed;
  gemm.b_vector = cpu::workspace_at<int32_t>(args, plan.b_vector_at);
  gemm.b_step = cpu::workspace_at<int32_t>(args, plan.b_step_at);
  gemm.c = dw;
  gemm.c_row = plan.filled_filters();
  gemm.c_vector = cpu::workspace_at<int32_t>(args, plan.c_vector_at);
  gemm.accumulate = false;
  const int64_t end =
      plan.image_tiles.begin(tile.image_tile) + plan.image_tiles.length(tile.image_tile);
  for (int64_t n = plan.image_tiles.begin(tile.image_tile); n < end; n += plan.merged) {
    const int64_t images = std::min(plan.merged, end - n);
    const float* x = args.in[0].as<float>() + (n * shape.C + c0) * shape.HW();
    const float* dy =
        args.in[1].as<float>() + (n * shape.K + tile.g * shape.group_filters()) * shape.PQ();
    if (plan.padded) {
      for (int64_t i = 0; i < images; ++i) {
        cpu::copy_padded(shape, x + i * shape.C * shape.HW(), channels, 0, plan.height,
                         input + i * plan.image_step);
      }
      x = input;
    }
    if (plan.merged > 1) {
      for (int64_t i = 0; i < images; ++i) {
        transpose_dy(plan, dy + i * shape.K * shape.PQ(), 0, shape.PQ(), i * shape.PQ(),
                     transposed);
      }
      gemm.a = x;
      gemm.depth = images * shape.PQ();
      cpu::indexed_gemm(gemm);
      gemm.accumulate = true;
      continue;
    }
    for (int64_t block = 0; block < plan.rows.count; ++block) {
      const int64_t p = plan.rows.begin(block);
      gemm.depth = plan.rows.length(block) * shape.Q;
      transpose_dy(plan, dy, p * shape.Q, gemm.depth, 0, transposed);
      gemm.a = x + p * params.stride_h * plan.width;
      cpu::indexed_gemm(gemm);
      gemm.accumulate = true;
    }
  }
}

// db of an image tile, in the order of the images.
void bias_gradient(const WeightsPlan& plan, const float* dy, const Tile& tile, float* db) {
  const ConvShape& shape = plan.shape;
  const int64_t first = plan.image_tiles.begin(tile.image_tile);
  const int64_t end = first + plan.image_tiles.length(tile.image_tile);
  for (int64_t k = tile.g * shape.group_filters(); k < (tile.g + 1) * shape.group_filters(); ++k) {
    float total = 0.0f;
    for (int64_t n = first; n < end; ++n) {
      total += cpu::sum(dy + (n * shape.K + k) * shape.PQ(), shape.PQ());
    }
    db[k] = total;
  }
}

// Adds the partial results of rows [row, row + rows) of dw^T of group g in the order of the images,
// and stores them transposed.
void finish_rows(const WeightsPlan& plan, float* partials, int64_t g, int64_t row, int64_t rows,
                 float* dw) {
  const ConvShape& shape = plan.shape;
  const int64_t ld = plan.filled_filters();
  const int64_t CRS = shape.CRS();
  float* total = partials + (g * CRS + row) * ld;
  for (int64_t i = 1; i < plan.image_tiles.count; ++i) {
    cpu::accumulate(total + i * plan.partial_elems, total, rows * ld);
  }
  cpu::transpose(total, ld, rows, shape.group_filters(), dw + g * shape.group_filters() * CRS + row,
                 CRS);
}

}  // namespace

namespace conv2d_bwd_weights_indirect_gemm {

int launch(Stream* stream, const StepArgs& args) {
  const WeightsPlan plan(args);
  const ConvShape& shape = plan.shape;
  const int64_t groups = shape.groups();
  const int64_t blocks = plan.channels.count;
  float* partials = cpu::workspace_at<float>(args, plan.partials_at);
  float* db = args.out[1].present() ? args.out[1].as<float>() : nullptr;
  fill_tables(plan, args);
  cpu::parallel_for(
      stream, plan.image_tiles.count * groups * blocks, [&](int64_t index, int worker) {
        const Tile tile{index / (groups * blocks), index / blocks % groups, index % blocks};
        float* partial = partials + tile.image_tile * plan.partial_elems;
        const int64_t row =
            tile.g * shape.CRS() + plan.channels.begin(tile.channel_block) * shape.RS();
        weights_tile(plan, args, tile, partial + row * plan.filled_filters(), worker);
        if (db != nullptr && tile.channel_block == 0) {
          bias_gradient(plan, args.in[1].as<float>(), tile, partial + plan.dw_elems());
        }
      });
  const Blocks finish = cpu::blocks_of_size(shape.CRS(), 16);  // a cache line of dw
  cpu::parallel_for(stream, groups * finish.count, [&](int64_t tile, int) {
    const int64_t block = tile % finish.count;
    finish_rows(plan, partials, tile / finish.count, finish.begin(block), finish.length(block),
                args.out[0].as<float>());
  });
  if (db != nullptr) {
    const float* from = partials + plan.dw_elems();
    std::copy_n(from, shape.K, db);
    for (int64_t i = 1; i < plan.image_tiles.count; ++i) {
      cpu::accumulate(from + i * plan.partial_elems, db, shape.K);
    }
  }
  return 0;
}

int64_t workspace_bytes(const StepArgs& args, int threads) {
  const WeightsPlan plan(args);
  return plan.worker_at + threads * plan.worker_bytes;
}

const char* supports(const StepArgs& args) {
  const ConvShape shape = cpu::conv_shape(args.in[0], args.in[1], args);
  if (!cpu::fits_offsets(shape)) return "an image is too large for 32-bit offsets";
  const int lanes = cpu::indexed_gemm_lanes(shape.group_filters(), INT32_MAX);
  if (cpu::wastes_lanes(shape.group_filters(), lanes, lanes)) {
    return "the filters of a group fill less than half of the vectors";
  }
  return nullptr;
}

}  // namespace conv2d_bwd_weights_indirect_gemm
}  // namespace tanul
