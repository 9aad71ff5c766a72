// SPDX-License-Identifier: Apache-2.0
// Forward convolution on the CPU, "indirect_gemm": y = act(w x + b) with vectors of neighbouring
// output positions and six filters at a time in registers.
//
//   y[n,k,p,q..q+l] = sum over t = (c, r, s) of w[k,t] x[n, base(p, q) + offset(t) .. + l]
//
// A vector of outputs has to read a vector of inputs. Without padding and with stride_w = 1 it does
// so in the image itself; otherwise the rows that a tile reads are copied, padded and split by their
// phase: input (h, w) goes to plane (h mod stride_h, w mod stride_w) of the copy, where the outputs'
// step is 1. Vectors end with the rows of the output or, "flat", run across them over the columns
// in between, whose results are dropped: better where rows are short.
//
// A tile is (image, group, block of filters, block of output rows), cut by shapes only; one worker computes it. The
// weights are stored by panels of six filters once. 2 N K PQ CRS flops; meets the arithmetic roof.
// The sum runs in blocks of about 256 steps, each a chain of fused multiply-adds. Deterministic for
// any number of threads.
#include "kernels/conv2d/conv2d_indirect.h"
#include "kernels/conv2d/conv2d_phases.h"
#include "kernels/cpu/simd.h"
#include "kernels/op.h"

namespace tanul {

namespace {

using cpu::Blocks;
using cpu::ConvShape;
using cpu::PanelLayout;
using cpu::PhaseLayout;

constexpr double kMaxOffset = 1 << 30;
// Beyond this im2col and BLAS are faster where rows have to be split. ResNet-18 on one Zen 4 core
// (`tanul-bench step --breakdown`), GFLOP/s here and there: 147 terms 86 and 62, 576 terms 67 and 72,
// 1152 terms 70 and 78; AlexNet's 363 terms 81 and 63.
constexpr int64_t kMostStridedTerms = 400;

// A pointwise convolution does not look at rows: its plane becomes one row.
ConvShape flattened(ConvShape shape) {
  if (shape.is_pointwise()) {
    shape.W = shape.Q = shape.HW();
    shape.H = shape.P = 1;
  }
  return shape;
}

struct ForwardPlan {
  ConvShape shape;
  int lanes;
  Blocks rows;     // of the output
  Blocks filters;  // of a group
  bool is_flat;
  bool is_copied;
  PhaseLayout copy;     // for the largest block of rows
  int64_t row_vectors;  // vectors of an output row, where they end with it
  Blocks channels;      // summed at a time
  PanelLayout panels;   // of the weights of a block of filters
  int64_t panels_at, a_row_at, a_step_at, b_step_at, b_vector_at, c_vector_at;  // bytes
  int64_t worker_at, worker_bytes, input_bytes;

  explicit ForwardPlan(const StepArgs& args)
      : shape(flattened(cpu::conv_shape(args.in[0], args.out[0], args))),
        lanes(std::max(1, cpu::indexed_gemm_lanes(shape.Q, shape.Q))),
        rows(cut_rows(shape, lanes)),
        filters(cut_filters(shape, rows.count)),
        is_flat(flat_is_better(shape, lanes, rows.size)),
        is_copied(is_flat || cpu::is_padded(shape) || shape.params.stride_w != 1),
        copy(shape, rows.size) {
    if (is_flat) lanes = cpu::indexed_gemm_max_lanes();
    row_vectors = cpu::ceil_div(shape.Q, lanes);
    channels = cpu::blocks_of_size(shape.group_channels(),
                                   std::max<int64_t>(1, cpu::kDepthBlock / shape.RS()));
    panels = {filters.size, shape.CRS()};

    cpu::WorkspaceLayout layout;
    panels_at = layout.take(panels.elems() * filters.count * shape.groups());
    a_row_at = layout.take(filters.size);
    a_step_at = layout.take(shape.CRS());
    b_step_at = layout.take(shape.CRS());
    b_vector_at = layout.take(vectors(rows.size));
    c_vector_at = layout.take(vectors(rows.size));
    worker_at = layout.bytes();
    cpu::WorkspaceLayout worker;
    // The last flat vector may reach beyond the copy.
    worker.take(is_copied ? shape.group_channels() * copy.channel_elems() + lanes : 0);
    input_bytes = worker.bytes();
    worker.take(has_sums() ? filters.size * vectors(rows.size) * lanes : 0);
    worker_bytes = worker.bytes();
  }

  // Rows so that results stay in the cache, and enough tiles for the threads; but several vectors of
  // positions, for each of which the weights are read.
  static Blocks cut_rows(const ConvShape& shape, int lanes) {
    constexpr int64_t kLeastVectors = 4;
    const int64_t for_threads = cpu::ceil_div(cpu::kTilesWanted, shape.N * shape.groups());
    const int64_t most =
        std::max<int64_t>(1, shape.PQ() / (kLeastVectors * cpu::indexed_gemm_max_lanes()));
    const int64_t row_elems = shape.group_filters() * cpu::round_up(shape.Q, lanes);
    const int64_t for_cache = cpu::ceil_div(shape.P * row_elems, cpu::kResultElems);
    return cpu::blocks_about(shape.P, std::max(std::min(for_threads, most), for_cache), 1);
  }
  // What is missing of enough tiles then.
  static Blocks cut_filters(const ConvShape& shape, int64_t row_blocks) {
    constexpr int64_t kLeastFilters = 8 * cpu::kPanelRows;
    const int64_t wanted = cpu::ceil_div(cpu::kTilesWanted, shape.N * shape.groups() * row_blocks);
    const int64_t most = std::max<int64_t>(1, shape.group_filters() / kLeastFilters);
    return cpu::blocks_about(shape.group_filters(), std::min(wanted, most), cpu::kPanelRows);
  }
  static int64_t flat_vectors(const ConvShape& shape, int64_t output_rows) {
    const PhaseLayout copy(shape, output_rows);
    return cpu::ceil_div((output_rows - 1) * copy.wide + shape.Q, cpu::indexed_gemm_max_lanes());
  }
  // Flat takes fewer vectors and, since there are machines where a wide vector counts as two, no more
  // lanes.
  static bool flat_is_better(const ConvShape& shape, int lanes, int64_t output_rows) {
    constexpr double kCopyCost = 1.1;  // of the results, back into rows
    const int widest = cpu::indexed_gemm_max_lanes();
    const int64_t flat = flat_vectors(shape, output_rows);
    const int64_t by_rows = output_rows * cpu::ceil_div(shape.Q, lanes);
    return static_cast<double>(flat) * kCopyCost < static_cast<double>(by_rows) &&
           flat * widest <= by_rows * std::max(lanes, widest / 2);
  }
  int64_t vectors(int64_t output_rows) const {
    return is_flat ? flat_vectors(shape, output_rows) : output_rows * row_vectors;
  }
  bool has_sums() const { return is_flat || channels.count > 1; }
};

void fill_tables(const ForwardPlan& plan, const StepArgs& args) {
  const ConvShape& shape = plan.shape;
  const Conv2dParams& params = shape.params;
  const int64_t channel_elems = plan.is_copied ? plan.copy.channel_elems() : shape.HW();
  plan.panels.fill_row_offsets(cpu::workspace_at<int32_t>(args, plan.a_row_at));
  int32_t* a_step = cpu::workspace_at<int32_t>(args, plan.a_step_at);
  int32_t* b_step = cpu::workspace_at<int32_t>(args, plan.b_step_at);
  int64_t t = 0;
  for (int64_t c = 0; c < shape.group_channels(); ++c) {
    for (int64_t r = 0; r < shape.R(); ++r) {
      for (int64_t s = 0; s < shape.S(); ++s, ++t) {
        a_step[t] = static_cast<int32_t>(t * cpu::kPanelRows);
        const int64_t tap = plan.is_copied
                                ? plan.copy.offset(r, s)
                                : r * params.dilation_h * shape.W + s * params.dilation_w;
        b_step[t] = static_cast<int32_t>(c * channel_elems + tap);
      }
    }
  }
  // The last vector of a row ends with the row, over its neighbour where Q is no multiple.
  int32_t* b_vector = cpu::workspace_at<int32_t>(args, plan.b_vector_at);
  int32_t* c_vector = cpu::workspace_at<int32_t>(args, plan.c_vector_at);
  if (plan.is_flat) {
    for (int64_t v = 0; v < plan.vectors(plan.rows.size); ++v) {
      b_vector[v] = c_vector[v] = static_cast<int32_t>(v * plan.lanes);
    }
    return;
  }
  const int64_t row_step = plan.is_copied ? plan.copy.wide : params.stride_h * shape.W;
  for (int64_t p = 0; p < plan.rows.size; ++p) {
    for (int64_t v = 0; v < plan.row_vectors; ++v) {
      const int64_t i = p * plan.row_vectors + v;
      const int64_t q = std::min(v * plan.lanes, shape.Q - plan.lanes);
      b_vector[i] = static_cast<int32_t>(p * row_step + q);
      c_vector[i] = static_cast<int32_t>(plan.has_sums() ? i * plan.lanes : p * shape.Q + q);
    }
  }
}

// One panel of the weights of a block of filters.
void store_panels(const ForwardPlan& plan, const StepArgs& args, int64_t g, int64_t filter_block,
                  int64_t panel) {
  const cpu::RowPanels cut = plan.panels.panels();
  const int64_t CRS = plan.shape.CRS();
  const int64_t k0 = g * plan.shape.group_filters() + plan.filters.begin(filter_block);
  const int64_t end = std::min(cut.begin(panel + 1), plan.filters.length(filter_block));
  float* to = cpu::workspace_at<float>(args, plan.panels_at) +
              (g * plan.filters.count + filter_block) * plan.panels.elems() +
              panel * CRS * cpu::kPanelRows;
  for (int64_t k = cut.begin(panel); k < end; ++k, ++to) {
    const float* w = args.in[1].as<float>() + (k0 + k) * CRS;
    for (int64_t t = 0; t < CRS; ++t) to[t * cpu::kPanelRows] = w[t];
  }
}

// The rows of a tile from the sums in scratch.
void copy_back(const ForwardPlan& plan, const float* sums, int64_t filters, int64_t output_rows,
               float* y) {
  const ConvShape& shape = plan.shape;
  const int64_t vectors = plan.vectors(output_rows);
  const int64_t row = plan.is_flat ? plan.copy.wide : plan.row_vectors * plan.lanes;
  // The last vector of a row, where it is not flat, overlaps the one in front of it.
  const int64_t whole = plan.is_flat ? shape.Q : shape.Q / plan.lanes * plan.lanes;
  for (int64_t k = 0; k < filters; ++k, sums += vectors * plan.lanes, y += shape.PQ()) {
    cpu::copy_rows(sums, row, output_rows, whole, y, shape.Q);
    if (whole == shape.Q) continue;
    cpu::copy_rows(sums + row - plan.lanes, row, output_rows, plan.lanes, y + shape.Q - plan.lanes,
                   shape.Q);
  }
}

struct Tile {
  int64_t n, g, filter_block, row_block;
};

void forward_tile(const ForwardPlan& plan, const StepArgs& args, const Tile& tile, int worker) {
  const ConvShape& shape = plan.shape;
  const ActivationKind activation = shape.params.activation;
  const int64_t p0 = plan.rows.begin(tile.row_block);
  const int64_t output_rows = plan.rows.length(tile.row_block);
  const int64_t filters = plan.filters.length(tile.filter_block);
  const int64_t k0 = tile.g * shape.group_filters() + plan.filters.begin(tile.filter_block);
  const float* x =
      args.in[0].as<float>() + (tile.n * shape.C + tile.g * shape.group_channels()) * shape.HW();
  const int64_t scratch = plan.worker_at + worker * plan.worker_bytes;
  if (plan.is_copied) {
    float* copy = cpu::workspace_at<float>(args, scratch);
    cpu::copy_phases(shape, plan.copy, x, p0, copy);
    x = copy;
  } else {
    x += p0 * shape.params.stride_h * shape.W;
  }
  float* y = args.out[0].as<float>() + (tile.n * shape.K + k0) * shape.PQ() + p0 * shape.Q;
  float* sums =
      plan.has_sums() ? cpu::workspace_at<float>(args, scratch + plan.input_bytes) : nullptr;
  cpu::IndexedGemm gemm;
  gemm.rows = filters;
  gemm.vectors = plan.vectors(output_rows);
  gemm.lanes = plan.lanes;
  gemm.a = cpu::workspace_at<float>(args, plan.panels_at) +
           (tile.g * plan.filters.count + tile.filter_block) * plan.panels.elems();
  gemm.a_row = cpu::workspace_at<int32_t>(args, plan.a_row_at);
  gemm.b = x;
  gemm.b_vector = cpu::workspace_at<int32_t>(args, plan.b_vector_at);
  gemm.c = sums != nullptr ? sums : y;
  gemm.c_row = sums != nullptr ? gemm.vectors * plan.lanes : shape.PQ();
  gemm.c_vector = cpu::workspace_at<int32_t>(args, plan.c_vector_at);
  for (int64_t block = 0; block < plan.channels.count; ++block) {
    const int64_t t = plan.channels.begin(block) * shape.RS();
    gemm.depth = plan.channels.length(block) * shape.RS();
    gemm.a_step = cpu::workspace_at<int32_t>(args, plan.a_step_at) + t;
    gemm.b_step = cpu::workspace_at<int32_t>(args, plan.b_step_at) + t;
    gemm.accumulate = block > 0;
    if (block + 1 == plan.channels.count) {
      if (args.in_count > 2 && args.in[2].present()) gemm.bias = args.in[2].as<float>() + k0;
      gemm.is_relu = activation == ActivationKind::relu;
    }
    cpu::indexed_gemm(gemm);
  }
  if (sums != nullptr) copy_back(plan, sums, filters, output_rows, y);
  if (activation == ActivationKind::none || activation == ActivationKind::relu) return;
  for (int64_t k = 0; k < filters; ++k) {
    cpu::bias_activation(y + k * shape.PQ(), 0.0f, output_rows * shape.Q, activation);
  }
}

}  // namespace

namespace conv2d_fwd_indirect_gemm {

int launch(Stream* stream, const StepArgs& args) {
  const ForwardPlan plan(args);
  const int64_t groups = plan.shape.groups();
  fill_tables(plan, args);
  const int64_t panels = plan.panels.panels().count, blocks = plan.filters.count;
  cpu::parallel_for(stream, groups * blocks * panels, [&](int64_t item, int) {
    store_panels(plan, args, item / panels / blocks, item / panels % blocks, item % panels);
  });
  const int64_t row_blocks = plan.rows.count;
  cpu::parallel_for(
      stream, plan.shape.N * groups * blocks * row_blocks, [&](int64_t item, int worker) {
        const int64_t ng = item / row_blocks / blocks;
        forward_tile(plan, args,
                     {ng / groups, ng % groups, item / row_blocks % blocks, item % row_blocks},
                     worker);
      });
  return 0;
}

int64_t workspace_bytes(const StepArgs& args, int threads) {
  const ForwardPlan plan(args);
  return plan.worker_at + threads * plan.worker_bytes;
}

const char* supports(const StepArgs& args) {
  const ConvShape shape = flattened(cpu::conv_shape(args.in[0], args.out[0], args));
  const double copied = static_cast<double>(shape.group_channels()) *
                        static_cast<double>(PhaseLayout(shape, shape.P).channel_elems());
  if (!cpu::fits_offsets(shape) || copied > kMaxOffset) {
    return "an image is too large for 32-bit offsets";
  }
  if (shape.params.stride_w != 1 && shape.CRS() > kMostStridedTerms) {
    return "strided and many channels: splitting the input costs more than im2col";
  }
  const ForwardPlan plan(args);
  if (2 * plan.rows.size * shape.Q < plan.vectors(plan.rows.size) * cpu::indexed_gemm_max_lanes()) {
    return "the positions of an output plane fill less than half of the vectors";
  }
  return nullptr;
}

}  // namespace conv2d_fwd_indirect_gemm
}  // namespace tanul
