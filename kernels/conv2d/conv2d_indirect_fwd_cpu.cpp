// SPDX-License-Identifier: Apache-2.0
// Forward convolution on the CPU, "indirect_gemm": y = act(w x + b) with vectors of neighbouring
// output positions and six filters at a time in registers.
//
//   y[n,k,p,q..q+l] = sum over t = (c, r, s) of w[k,t] x[n, base(p, q) + offset(t) .. + l]
//
// Needs stride_w = 1, so that a vector of outputs reads a vector of inputs; nothing is copied but
// the rows of a padded image. A tile is (image, group, block of output rows), cut by shapes only;
// one worker computes it. The weights are stored by panels of six filters once. 2 N K PQ CRS flops;
// meets the arithmetic roof. The sum runs in blocks of about 256 steps, each a chain of fused
// multiply-adds. Deterministic for any number of threads.
#include "kernels/conv2d/conv2d_indirect.h"
#include "kernels/cpu/simd.h"
#include "kernels/op.h"

namespace tanul {

namespace {

using cpu::Blocks;
using cpu::ConvShape;
using cpu::PanelLayout;

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
  bool padded;
  int64_t width;        // of a padded row
  Blocks rows;          // of the output
  int64_t input_rows;   // that the largest block of output rows reads
  int64_t plane;        // floats from one channel to the next in what is read
  int64_t row_vectors;  // vectors of an output row
  Blocks channels;      // summed at a time
  PanelLayout panels;   // of the weights of a group
  int64_t panels_at, a_row_at, a_step_at, b_step_at, b_vector_at, c_vector_at;  // bytes
  int64_t worker_at, worker_bytes, input_bytes;

  explicit ForwardPlan(const StepArgs& args)
      : shape(flattened(cpu::conv_shape(args.in[0], args.out[0], args))) {
    const Conv2dParams& params = shape.params;
    lanes = std::max(1, cpu::indexed_gemm_lanes(shape.Q, shape.Q));
    padded = cpu::is_padded(shape);
    width = shape.W + params.pad_left + params.pad_right;
    row_vectors = cpu::ceil_div(shape.Q, lanes);
    channels = cpu::blocks_of_size(shape.group_channels(),
                                   std::max<int64_t>(1, cpu::kDepthBlock / shape.RS()));
    panels = {shape.group_filters(), shape.CRS()};

    // Enough tiles for the threads, and results that stay in the cache.
    const int64_t for_threads = cpu::ceil_div(cpu::kTilesWanted, shape.N * shape.groups());
    const int64_t row_elems = shape.group_filters() * row_vectors * lanes;
    const int64_t for_cache = cpu::ceil_div(shape.P * row_elems, cpu::kResultElems);
    rows = cpu::blocks_about(shape.P, std::max(for_threads, for_cache), 1);
    input_rows = (rows.size - 1) * params.stride_h + (shape.R() - 1) * params.dilation_h + 1;
    plane = padded ? input_rows * width : shape.HW();

    cpu::WorkspaceLayout layout;
    panels_at = layout.take(panels.elems() * shape.groups());
    a_row_at = layout.take(shape.group_filters());
    a_step_at = layout.take(shape.CRS());
    b_step_at = layout.take(shape.CRS());
    b_vector_at = layout.take(rows.size * row_vectors);
    c_vector_at = layout.take(rows.size * row_vectors);
    worker_at = layout.bytes();
    cpu::WorkspaceLayout worker;
    worker.take(padded ? shape.group_channels() * plane : 0);
    input_bytes = worker.bytes();
    worker.take(sums_in_scratch() ? row_elems * rows.size : 0);
    worker_bytes = worker.bytes();
  }
  bool sums_in_scratch() const { return channels.count > 1; }
};

void fill_tables(const ForwardPlan& plan, const StepArgs& args) {
  const ConvShape& shape = plan.shape;
  const Conv2dParams& params = shape.params;
  plan.panels.fill_row_offsets(cpu::workspace_at<int32_t>(args, plan.a_row_at));
  int32_t* a_step = cpu::workspace_at<int32_t>(args, plan.a_step_at);
  int32_t* b_step = cpu::workspace_at<int32_t>(args, plan.b_step_at);
  int64_t t = 0;
  for (int64_t c = 0; c < shape.group_channels(); ++c) {
    for (int64_t r = 0; r < shape.R(); ++r) {
      for (int64_t s = 0; s < shape.S(); ++s, ++t) {
        a_step[t] = static_cast<int32_t>(t * cpu::kPanelRows);
        b_step[t] = static_cast<int32_t>(c * plan.plane + r * params.dilation_h * plan.width +
                                         s * params.dilation_w);
      }
    }
  }
  // The last vector of a row ends with the row, over its neighbour where Q is no multiple.
  int32_t* b_vector = cpu::workspace_at<int32_t>(args, plan.b_vector_at);
  int32_t* c_vector = cpu::workspace_at<int32_t>(args, plan.c_vector_at);
  for (int64_t p = 0; p < plan.rows.size; ++p) {
    for (int64_t v = 0; v < plan.row_vectors; ++v) {
      const int64_t i = p * plan.row_vectors + v;
      const int64_t q = std::min(v * plan.lanes, shape.Q - plan.lanes);
      b_vector[i] = static_cast<int32_t>(p * params.stride_h * plan.width + q);
      c_vector[i] = static_cast<int32_t>(plan.sums_in_scratch() ? i * plan.lanes : p * shape.Q + q);
    }
  }
}

void store_panels(const ForwardPlan& plan, const StepArgs& args, int64_t g, int64_t panel) {
  const ConvShape& shape = plan.shape;
  const cpu::RowPanels cut = plan.panels.panels();
  const int64_t CRS = shape.CRS();
  float* to = cpu::workspace_at<float>(args, plan.panels_at) + g * plan.panels.elems() +
              panel * CRS * cpu::kPanelRows;
  for (int64_t k = cut.begin(panel); k < cut.begin(panel + 1); ++k, ++to) {
    const float* w = args.in[1].as<float>() + (g * shape.group_filters() + k) * CRS;
    for (int64_t t = 0; t < CRS; ++t) to[t * cpu::kPanelRows] = w[t];
  }
}

// y = act(y + b) for the rows of a tile, from the sums in scratch where there are several.
void write_back(const ForwardPlan& plan, const float* sums, int64_t output_rows, const float* b,
                float* y) {
  const ConvShape& shape = plan.shape;
  const int64_t vectors = output_rows * plan.row_vectors;
  for (int64_t k = 0; k < shape.group_filters(); ++k) {
    float* plane = y + k * shape.PQ();
    if (sums != nullptr) {
      const float* from = sums + k * vectors * plan.lanes;
      for (int64_t i = 0; i < vectors; ++i, from += plan.lanes) {
        const int64_t p = i / plan.row_vectors;
        const int64_t q = std::min(i % plan.row_vectors * plan.lanes, shape.Q - plan.lanes);
        std::memcpy(plane + p * shape.Q + q, from, static_cast<size_t>(plan.lanes) * sizeof(float));
      }
    }
    if (b != nullptr || shape.params.activation != ActivationKind::none) {
      cpu::bias_activation(plane, b == nullptr ? 0.0f : b[k], output_rows * shape.Q,
                           shape.params.activation);
    }
  }
}

void forward_tile(const ForwardPlan& plan, const StepArgs& args, int64_t n, int64_t g,
                  int64_t row_block, int worker) {
  const ConvShape& shape = plan.shape;
  const Conv2dParams& params = shape.params;
  const int64_t p0 = plan.rows.begin(row_block);
  const int64_t output_rows = plan.rows.length(row_block);
  const int64_t k0 = g * shape.group_filters();
  const float* x = args.in[0].as<float>() + (n * shape.C + g * shape.group_channels()) * shape.HW();
  const int64_t scratch = plan.worker_at + worker * plan.worker_bytes;
  if (plan.padded) {
    float* band = cpu::workspace_at<float>(args, scratch);
    cpu::copy_padded(shape, x, shape.group_channels(), p0 * params.stride_h, plan.input_rows, band);
    x = band;
  } else {
    x += p0 * params.stride_h * shape.W;
  }
  float* y = args.out[0].as<float>() + (n * shape.K + k0) * shape.PQ() + p0 * shape.Q;
  float* sums =
      plan.sums_in_scratch() ? cpu::workspace_at<float>(args, scratch + plan.input_bytes) : nullptr;
  cpu::IndexedGemm gemm;
  gemm.rows = shape.group_filters();
  gemm.vectors = output_rows * plan.row_vectors;
  gemm.lanes = plan.lanes;
  gemm.a = cpu::workspace_at<float>(args, plan.panels_at) + g * plan.panels.elems();
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
    cpu::indexed_gemm(gemm);
  }
  const float* b =
      args.in_count > 2 && args.in[2].present() ? args.in[2].as<float>() + k0 : nullptr;
  write_back(plan, sums, output_rows, b, y);
}

}  // namespace

namespace conv2d_fwd_indirect_gemm {

int launch(Stream* stream, const StepArgs& args) {
  const ForwardPlan plan(args);
  const int64_t groups = plan.shape.groups();
  fill_tables(plan, args);
  const int64_t panels = plan.panels.panels().count;
  cpu::parallel_for(stream, groups * panels, [&](int64_t tile, int) {
    store_panels(plan, args, tile / panels, tile % panels);
  });
  cpu::parallel_for(stream, plan.shape.N * groups * plan.rows.count, [&](int64_t tile, int worker) {
    forward_tile(plan, args, tile / (groups * plan.rows.count), tile / plan.rows.count % groups,
                 tile % plan.rows.count, worker);
  });
  return 0;
}

int64_t workspace_bytes(const StepArgs& args, int threads) {
  const ForwardPlan plan(args);
  return plan.worker_at + threads * plan.worker_bytes;
}

const char* supports(const StepArgs& args) {
  const ConvShape shape = flattened(cpu::conv_shape(args.in[0], args.out[0], args));
  if (shape.params.stride_w != 1) return "stride_w is not 1";
  if (!cpu::fits_offsets(shape)) return "an image is too large for 32-bit offsets";
  const int lanes = cpu::indexed_gemm_lanes(shape.Q, shape.Q);
  if (cpu::wastes_lanes(shape.Q, lanes,
                        lanes <= 8 ? std::min(8, cpu::indexed_gemm_max_lanes()) : lanes)) {
    return "output rows fill less than half of the vectors";
  }
  return nullptr;
}

}  // namespace conv2d_fwd_indirect_gemm
}  // namespace tanul
