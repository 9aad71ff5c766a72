// SPDX-License-Identifier: Apache-2.0
// Forward convolution and data gradient on the CPU by minimal filtering: "winograd_f4x4_3x3",
// "winograd_f2x2_5x5", "winograd_f2x2_3x3" (conv2d_winograd.h; matrices in kernels/cpu/winograd.h).
//
//   y = A^T (sum over c of U . V) A,  U = G w G^T [e, c, k],  V = B^T x B [e, tile, c]
//
// n n matrix products [tiles, C] [C, K], one for each transformed element e. The data gradient is
// the same correlation of dy with the weights turned by 180 degrees, C and K exchanged, padding
// r - 1 - pad; or, "winograd_scatter_..." where dy has fewer tiles than dx (small planes without
// padding), the transpose of the forward map: dx += B (sum over k of U . D) B^T, D = A dy A^T.
// Two schedules, chosen by shape:
//
//   by tiles    U of all filters is made first. A work item is a block of tile rows: V of the block
//               stays in the second-level cache while the filters pass, 2 vectors of them at a time,
//               their product goes back into pixels at once. U is read once a block.
//   by filters  for few tiles (small planes, small batches): V of all tiles is made first. A work
//               item is 2 vectors of filters, which makes its part of U in its own scratch.
//
// 2 n n C K flops a tile instead of 2 m m r r C K, and those of the transforms, which go with C + K: it
// takes many channels to gain what the counts promise (conv2d_winograd_tiles_cpu.cpp has the model).
// Meets the arithmetic roof. All cuts go by shapes: deterministic for any number of threads.
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
using cpu::WinogradTiles;

// out[n,k,p,q] = act(b[k] + sum over c, r, s of in[n, c, p - top + r, q - left + s] w'[k,c,r,s]), in
// groups; w' is w or, backwards, w turned by 180 degrees.
struct Correlation {
  int64_t N, groups;
  int64_t C, H, W;  // of the input, C of a group
  int64_t K, P, Q;  // of the output, K of a group
  int64_t top, left;
  int64_t w_output, w_input, w_group;  // floats in w from one channel to the next
  bool is_backwards;
  // The tiles are those of the input: out += what each of them contributes, the transpose of the
  // correlation of out with w.
  bool is_scatter;
  const float* in;
  const float* w;
  const float* bias;  // may be null
  float* out;
  ActivationKind activation;
};

Correlation forward(const StepArgs& args) {
  const ConvShape s = cpu::conv_shape(args.in[0], args.out[0], args);
  const bool has_bias = args.in_count > 2 && args.in[2].present();
  return {s.N,
          s.groups(),
          s.group_channels(),
          s.H,
          s.W,
          s.group_filters(),
          s.P,
          s.Q,
          s.params.pad_top,
          s.params.pad_left,
          s.CRS(),
          s.RS(),
          s.group_filters() * s.CRS(),
          false,
          false,
          args.in[0].as<float>(),
          args.in[1].as<float>(),
          has_bias ? args.in[2].as<float>() : nullptr,
          args.out[0].as<float>(),
          s.params.activation};
}

Correlation backward_data(const StepArgs& args) {
  const ConvShape s = cpu::conv_shape(args.out[0], args.in[0], args);
  return {s.N,
          s.groups(),
          s.group_filters(),
          s.P,
          s.Q,
          s.group_channels(),
          s.H,
          s.W,
          s.R() - 1 - s.params.pad_top,
          s.S() - 1 - s.params.pad_left,
          s.RS(),
          s.CRS(),
          s.group_filters() * s.CRS(),
          true,
          false,
          args.in[0].as<float>(),
          args.in[1].as<float>(),
          nullptr,
          args.out[0].as<float>(),
          ActivationKind::none};
}

Correlation backward_data_scatter(const StepArgs& args) {
  Correlation c = backward_data(args);
  const auto& params = args.params_as<Conv2dParams>();
  c.top = params.pad_top;
  c.left = params.pad_left;
  c.is_backwards = false;
  c.is_scatter = true;
  return c;
}

// Input channels whose weights are transformed together.
constexpr int64_t kWeightsTogether = 16;
// Scratch of a worker should stay in a second-level cache of 1 MiB with room for what streams by.
constexpr int64_t kBlockBytes = 640 * 1024;
constexpr int64_t kFewTiles = 128;

struct CorrelationPlan {
  Correlation c;
  Winograd kind;
  TileGrid grid;
  ChannelVectors inputs, outputs;
  int64_t elems;  // n n
  bool by_filters;
  Blocks rows;            // of tiles
  Blocks channels;        // by filters: input channels of a part of U
  int64_t block_tiles;    // of the largest block of rows
  int64_t v_row, v_elem;  // floats from a tile of V to the next, from an element to the next
  int64_t m_row, m_elem;  // of the product of two vectors of filters
  int64_t u_row, u_elem, u_panel;  // of U: from an input channel to the next, element, panel
  int64_t shared_at, worker_at, worker_bytes;  // bytes
  int64_t v_at, m_at, u_at, band_at;           // in a worker's scratch

  CorrelationPlan(const Correlation& correlation, Winograd kind_)
      : c(correlation),
        kind(kind_),
        grid(c.N, c.is_scatter ? c.H : c.P, c.is_scatter ? c.W : c.Q, winograd_m(kind_)),
        inputs(c.C),
        outputs(c.K),
        elems(winograd_elems(kind_)) {
    const int64_t lanes = inputs.lanes;
    v_row = cpu::odd_lines(inputs.filled());
    m_row = u_row = 2 * lanes;
    by_filters = grid.tiles() <= kFewTiles;
    if (by_filters) {
      rows = cpu::blocks_of_size(grid.rows(), grid.high);  // of the first stage: an image
      channels = cpu::blocks_about(c.C, cpu::ceil_div(c.C, 64), 1);
      block_tiles = grid.tiles();
    } else {
      const int64_t tile_bytes = elems * (v_row + m_row) * 4;
      const int64_t for_cache = kBlockBytes / (tile_bytes * grid.wide);
      const int64_t for_threads = grid.rows() * c.groups / cpu::kTilesWanted;
      const int64_t size = std::max<int64_t>(1, std::min(for_cache, for_threads));
      // Neighbouring tiles add to the same pixels: whole images.
      rows = cpu::blocks_of_size(grid.rows(), c.is_scatter ? cpu::round_up(size, grid.high) : size);
      channels = cpu::blocks_of_size(c.C, c.C);
      block_tiles = rows.size * grid.wide;
    }
    // Elements begin on different sets of the cache too.
    v_elem = cpu::odd_lines(block_tiles * v_row);
    m_elem = cpu::odd_lines(block_tiles * m_row);
    u_elem = cpu::odd_lines(channels.size * u_row);
    u_panel = elems * u_elem;

    cpu::WorkspaceLayout layout;
    shared_at = layout.take(c.groups * (by_filters ? elems * v_elem : outputs.panels() * u_panel));
    worker_at = layout.bytes();
    cpu::WorkspaceLayout worker;
    v_at = worker.take(by_filters ? 0 : elems * v_elem);
    m_at = worker.take(elems * m_elem);
    u_at = worker.take(by_filters ? u_panel : 0);
    const int64_t run = std::min(grid.high, rows.size);
    const int64_t weights =
        kWeightsTogether * cpu::winograd_r(kind) * cpu::winograd_r(kind) * lanes;
    band_at = worker.take(
        std::max({cpu::band_elems(kind, run, c.W), output_rows(run) * c.Q * lanes, weights}));
    worker_bytes = worker.bytes();
  }

  // Rows of pixels that a run of tile rows writes to.
  int64_t output_rows(int64_t run) const {
    if (!c.is_scatter) return run * grid.m;
    return std::max(c.P + c.top, (run - 1) * grid.m + cpu::winograd_n(kind));
  }
  template <typename T>
  T* shared(const StepArgs& args) const {
    return cpu::workspace_at<T>(args, shared_at);
  }
  float* scratch(const StepArgs& args, int worker, int64_t at) const {
    return cpu::workspace_at<float>(args, worker_at + worker * worker_bytes + at);
  }
};

// U of one vector of output channels and some input channels; u: where the first of these goes.
void transform_weights(const CorrelationPlan& plan, int64_t g, int64_t vector, int64_t first,
                       int64_t count, float* u, float* band) {
  const Correlation& c = plan.c;
  const int64_t taps = cpu::winograd_r(plan.kind) * cpu::winograd_r(plan.kind);
  const float* w =
      c.w + g * c.w_group + plan.outputs.begin(vector) * c.w_output + first * c.w_input;
  const int64_t filters = plan.outputs.length(vector);
  for (int64_t i = 0; i < count; i += kWeightsTogether) {
    const int64_t together = std::min(kWeightsTogether, count - i);
    if (c.w_input == taps) {
      cpu::planes_to_pixels(w + i * c.w_input, c.w_output, filters, together * taps, band);
    } else {
      for (int64_t t = 0; t < together; ++t) {
        cpu::planes_to_pixels(w + (i + t) * c.w_input, c.w_output, filters, taps,
                              band + t * taps * plan.outputs.lanes);
      }
    }
    cpu::winograd_weights(plan.kind, band, c.is_backwards,
                          {u + i * plan.u_row, plan.u_elem, plan.u_row, together});
  }
}

// V (or D) of one vector of input channels and the tile rows [row, row + rows); v: where the first
// goes.
void transform_inputs(const CorrelationPlan& plan, int64_t g, int64_t vector, int64_t row,
                      int64_t rows, float* v, float* band) {
  const Correlation& c = plan.c;
  const int64_t channel = g * c.C + plan.inputs.begin(vector);
  cpu::for_runs_of(plan.grid, row, rows, [&](const TileRun& run, int64_t tile) {
    const cpu::PlaneVector x{c.in + (run.n * c.groups * c.C + channel) * c.H * c.W, c.H * c.W,
                             plan.inputs.length(vector)};
    const WinogradTiles to{v + tile * plan.v_row, plan.v_elem, plan.v_row, 0};
    if (c.is_scatter) {
      cpu::transform_gradient(plan.kind, plan.grid, run, x, to, band);
    } else {
      cpu::transform_input(plan.kind, plan.grid, run, x, c.H, c.W, c.top, c.left, to, band);
    }
  });
}

// Planes of one vector of output channels, and what happens to them on their way out.
struct Outputs {
  int64_t channels;
  const float* bias;  // [lanes] or null
  ActivationKind activation;
};

// The outputs of a run of tile rows.
void gather_run(const CorrelationPlan& plan, const TileRun& run, WinogradTiles from,
                const Outputs& outputs, float* y, float* band) {
  const Correlation& c = plan.c;
  const int64_t m = plan.grid.m, p0 = run.first * m;
  const int64_t height = std::min(run.count * m, c.P - p0);
  const bool is_relu = outputs.activation == ActivationKind::relu;
  for (int64_t i = 0; i < run.count; ++i, from.data += from.count * from.tile_stride) {
    cpu::winograd_output(
        plan.kind, from, outputs.bias, is_relu ? ActivationKind::relu : ActivationKind::none,
        {band + i * m * c.Q * plan.outputs.lanes, c.Q, 0}, std::min(m, c.P - p0 - i * m));
  }
  cpu::pixels_to_planes(band, outputs.channels, height * c.Q, y + p0 * c.Q, c.P * c.Q);
  if (is_relu || outputs.activation == ActivationKind::none) return;
  for (int64_t k = 0; k < outputs.channels; ++k) {
    cpu::bias_activation(y + k * c.P * c.Q + p0 * c.Q, 0.0f, height * c.Q, outputs.activation);
  }
}

// The contributions of all tiles of an image.
void scatter_image(const CorrelationPlan& plan, WinogradTiles from, int64_t channels, float* y,
                   float* band) {
  const Correlation& c = plan.c;
  const int64_t row_elems = c.Q * plan.outputs.lanes;
  std::fill_n(band, plan.output_rows(plan.grid.high) * row_elems, 0.0f);
  for (int64_t i = 0; i < plan.grid.high; ++i, from.data += from.count * from.tile_stride) {
    cpu::winograd_scatter(plan.kind, from, {band + i * plan.grid.m * row_elems, c.Q, c.left});
  }
  cpu::pixels_to_planes(band + c.top * row_elems, channels, c.P * c.Q, y, c.P * c.Q);
}

// Outputs of one vector of channels and the tile rows [row, row + rows) from their products.
void transform_outputs(const CorrelationPlan& plan, int64_t g, int64_t vector, int64_t row,
                       int64_t rows, float* product, float* band) {
  const Correlation& c = plan.c;
  const int64_t channel = g * c.K + plan.outputs.begin(vector);
  Outputs outputs{plan.outputs.length(vector), nullptr, c.activation};
  float bias[16] = {};  // lanes
  if (c.bias != nullptr) {
    std::copy_n(c.bias + channel, outputs.channels, bias);
    outputs.bias = bias;
  }
  cpu::for_runs_of(plan.grid, row, rows, [&](const TileRun& run, int64_t tile) {
    const WinogradTiles from{product + tile * plan.m_row, plan.m_elem, plan.m_row, plan.grid.wide};
    float* y = c.out + (run.n * c.groups * c.K + channel) * c.P * c.Q;
    if (c.is_scatter) {
      scatter_image(plan, from, outputs.channels, y, band);
    } else {
      gather_run(plan, run, from, outputs, y, band);
    }
  });
}

// product (+)= V U for the input channels [first, first + count) and one panel of output channels.
void multiply(const CorrelationPlan& plan, int64_t tiles, int64_t first, int64_t count,
              int64_t vectors, const float* v, const float* u, bool accumulate, float* product) {
  cpu::StridedGemm gemm;
  gemm.rows = tiles;
  gemm.vectors = vectors;
  gemm.depth = count;
  gemm.a_row = plan.v_row;
  gemm.a_step = 1;
  gemm.b_panel = 0;
  gemm.b_step = plan.u_row;
  gemm.c_row = plan.m_row;
  gemm.accumulate = accumulate;
  for (int64_t e = 0; e < plan.elems; ++e) {
    gemm.a = v + e * plan.v_elem + first;
    gemm.b = u + e * plan.u_elem;
    gemm.c = product + e * plan.m_elem;
    cpu::strided_gemm(gemm);
  }
}

void run_by_tiles(const CorrelationPlan& plan, Stream* stream, const StepArgs& args) {
  const Correlation& c = plan.c;
  const int64_t panels = plan.outputs.panels(), vectors = plan.outputs.count;
  const int64_t lanes = plan.outputs.lanes;
  float* u = plan.shared<float>(args);
  cpu::parallel_for(stream, c.groups * vectors, [&](int64_t item, int worker) {
    const int64_t g = item / vectors, vector = item % vectors;
    transform_weights(plan, g, vector, 0, c.C,
                      u + (g * panels + vector / 2) * plan.u_panel + vector % 2 * lanes,
                      plan.scratch(args, worker, plan.band_at));
  });
  cpu::parallel_for(stream, c.groups * plan.rows.count, [&](int64_t item, int worker) {
    const int64_t g = item % c.groups, block = item / c.groups;
    const int64_t row = plan.rows.begin(block), rows = plan.rows.length(block);
    float* v = plan.scratch(args, worker, plan.v_at);
    float* product = plan.scratch(args, worker, plan.m_at);
    float* band = plan.scratch(args, worker, plan.band_at);
    for (int64_t i = 0; i < plan.inputs.count; ++i) {
      transform_inputs(plan, g, i, row, rows, v + plan.inputs.begin(i), band);
    }
    for (int64_t panel = 0; panel < panels; ++panel) {
      const int64_t count = std::min<int64_t>(2, vectors - panel * 2);
      multiply(plan, rows * plan.grid.wide, 0, c.C, count, v,
               u + (g * panels + panel) * plan.u_panel, false, product);
      for (int64_t i = 0; i < count; ++i) {
        transform_outputs(plan, g, panel * 2 + i, row, rows, product + i * lanes, band);
      }
    }
  });
}

void run_by_filters(const CorrelationPlan& plan, Stream* stream, const StepArgs& args) {
  const Correlation& c = plan.c;
  const int64_t panels = plan.outputs.panels(), vectors = plan.outputs.count;
  const int64_t lanes = plan.outputs.lanes;
  float* all_v = plan.shared<float>(args);
  const int64_t items = plan.rows.count * plan.inputs.count;
  cpu::parallel_for(stream, c.groups * items, [&](int64_t item, int worker) {
    const int64_t g = item / items, block = item % items / plan.inputs.count;
    const int64_t vector = item % plan.inputs.count, row = plan.rows.begin(block);
    float* v = all_v + g * plan.elems * plan.v_elem + row * plan.grid.wide * plan.v_row;
    transform_inputs(plan, g, vector, row, plan.rows.length(block), v + plan.inputs.begin(vector),
                     plan.scratch(args, worker, plan.band_at));
  });
  cpu::parallel_for(stream, c.groups * panels, [&](int64_t item, int worker) {
    const int64_t g = item / panels, panel = item % panels;
    const int64_t count = std::min<int64_t>(2, vectors - panel * 2);
    float* u = plan.scratch(args, worker, plan.u_at);
    float* product = plan.scratch(args, worker, plan.m_at);
    float* band = plan.scratch(args, worker, plan.band_at);
    for (int64_t block = 0; block < plan.channels.count; ++block) {
      const int64_t first = plan.channels.begin(block), length = plan.channels.length(block);
      for (int64_t i = 0; i < count; ++i) {
        transform_weights(plan, g, panel * 2 + i, first, length, u + i * lanes, band);
      }
      multiply(plan, plan.grid.tiles(), first, length, count, all_v + g * plan.elems * plan.v_elem,
               u, block > 0, product);
    }
    for (int64_t i = 0; i < count; ++i) {
      transform_outputs(plan, g, panel * 2 + i, 0, plan.grid.rows(), product + i * lanes, band);
    }
  });
}

int run(const CorrelationPlan& plan, Stream* stream, const StepArgs& args) {
  if (plan.by_filters) {
    run_by_filters(plan, stream, args);
  } else {
    run_by_tiles(plan, stream, args);
  }
  return 0;
}

int64_t workspace(const CorrelationPlan& plan, int threads) {
  return plan.worker_at + threads * plan.worker_bytes;
}

}  // namespace

#define TANUL_DEFINE_VERBS(step, correlation, x, y)                                         \
  namespace conv2d_##step##_winograd {                                                      \
    template <Winograd kKind>                                                               \
    const char* supports(const StepArgs& args) {                                            \
      return cpu::refuse_winograd(kKind, cpu::conv_shape(x, y, args), cpu::ConvStep::step); \
    }                                                                                       \
    template <Winograd kKind>                                                               \
    int64_t workspace_bytes(const StepArgs& args, int threads) {                            \
      return workspace(CorrelationPlan(correlation(args), kKind), threads);                 \
    }                                                                                       \
    template <Winograd kKind>                                                               \
    int launch(Stream* stream, const StepArgs& args) {                                      \
      return run(CorrelationPlan(correlation(args), kKind), stream, args);                  \
    }                                                                                       \
    TANUL_WINOGRAD_VERBS(template)                                                          \
  }
TANUL_DEFINE_VERBS(fwd, forward, args.in[0], args.out[0])
TANUL_DEFINE_VERBS(bwd_data, backward_data, args.out[0], args.in[0])
TANUL_DEFINE_VERBS(bwd_data_scatter, backward_data_scatter, args.out[0], args.in[0])
#undef TANUL_DEFINE_VERBS

}  // namespace tanul
