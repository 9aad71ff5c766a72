// SPDX-License-Identifier: Apache-2.0
// Fully connected layer on the CPU, "gemm": each product is one GEMM, cut into rectangles of its
// result; a worker computes a rectangle with single-threaded BLAS.
//
//   fwd          y  [N, K] = act(x [N, C] w [K, C]^T + b): bias and activation while the tile is in
//                cache
//   bwd_data     dx [N, C] = dy [N, K] w [K, C]
//   bwd_weights  dw [K, C] = dy [N, K]^T x [N, C], db = sums of the columns of dy, in order of n;
//                bwd_weights_sgd: behind it the update, in a second pass
//
// 2 N K C flops each; meets the arithmetic roof unless N is small, then the bytes of w.
// Deterministic for any number of threads: the rectangles depend on the shapes only.
#include <cstring>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tiling.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/linear_panels.h"
#include "kernels/op.h"
#include "kernels/optim/optim_cpu.h"

namespace tanul {

namespace {

// The rectangle of the result that a tile computes.
struct Rectangle {
  int64_t row, rows, column, columns;
};

// Of a product [m, k] [k, n]. Neighbouring rectangles go to one worker, so that with few samples each
// worker reads in fwd (by_columns) the rows of w that it makes the gradient of (by rows) and updates.
template <typename Body>
void for_rectangles(Stream* stream, int64_t m, int64_t n, int64_t k, bool by_columns,
                    const Body& body) {
  const cpu::GemmTiles cut = cpu::gemm_tiles(m, n, k);
  cpu::parallel_for(stream, cut.count(), [&](int64_t tile, int) {
    const int64_t i = by_columns ? tile % cut.rows.count : tile / cut.columns.count;
    const int64_t j = by_columns ? tile / cut.rows.count : tile % cut.columns.count;
    body(Rectangle{cut.rows.begin(i), cut.rows.length(i), cut.columns.begin(j),
                   cut.columns.length(j)});
  });
}

int launch_linear_fwd(Stream* stream, const StepArgs& args) {
  const int64_t N = args.in[0].dims[0];
  const int64_t C = args.in[0].dims[1];
  const int64_t K = args.in[1].dims[0];
  const float* x = args.in[0].as<float>();
  const float* w = args.in[1].as<float>();
  const float* b = args.in_count > 2 && args.in[2].present() ? args.in[2].as<float>() : nullptr;
  float* y = args.out[0].as<float>();
  const ActivationKind activation = args.params_as<LinearParams>().activation;
  for_rectangles(stream, N, K, C, N < K, [&](const Rectangle& r) {
    float* to = y + r.row * K + r.column;
    cpu::gemm(false, true, r.rows, r.columns, C, 1.0f, x + r.row * C, C, w + r.column * C, C, 0.0f,
              to, K);
    for (int64_t row = 0; row < r.rows; ++row) {
      cpu::bias_row_activation(to + row * K, b == nullptr ? nullptr : b + r.column, r.columns,
                               activation);
    }
  });
  return 0;
}

int launch_linear_bwd_data(Stream* stream, const StepArgs& args) {
  const int64_t N = args.in[0].dims[0];
  const int64_t K = args.in[0].dims[1];
  const int64_t C = args.in[1].dims[1];
  const float* dy = args.in[0].as<float>();
  const float* w = args.in[1].as<float>();
  float* dx = args.out[0].as<float>();
  for_rectangles(stream, N, C, K, N < C, [&](const Rectangle& r) {
    cpu::gemm(false, false, r.rows, r.columns, K, 1.0f, dy + r.row * K, K, w + r.column, C, 0.0f,
              dx + r.row * C + r.column, C);
  });
  return 0;
}

void multiply_weights(Stream* stream, const StepArgs& args, float* dw, float* db) {
  const int64_t N = args.in[0].dims[0];
  const int64_t C = args.in[0].dims[1];
  const int64_t K = args.in[1].dims[1];
  const float* x = args.in[0].as<float>();
  const float* dy = args.in[1].as<float>();
  for_rectangles(stream, K, C, N, false, [&](const Rectangle& r) {
    cpu::gemm(true, false, r.rows, r.columns, N, 1.0f, dy + r.row, K, x + r.column, C, 0.0f,
              dw + r.row * C + r.column, C);
    if (db == nullptr || r.column != 0) return;
    std::memcpy(db + r.row, dy + r.row, static_cast<size_t>(r.rows) * sizeof(float));
    for (int64_t n = 1; n < N; ++n) cpu::accumulate(dy + n * K + r.row, db + r.row, r.rows);
  });
}

int launch_linear_bwd_weights(Stream* stream, const StepArgs& args) {
  multiply_weights(stream, args, args.out[0].as<float>(),
                   args.out[1].present() ? args.out[1].as<float>() : nullptr);
  return 0;
}

// dw lies in the workspace.
int64_t workspace_linear_bwd_weights_sgd(const StepArgs& args, int) {
  return args.in[2].elems() * static_cast<int64_t>(sizeof(float));
}

int launch_linear_bwd_weights_sgd(Stream* stream, const StepArgs& args) {
  float* dw = static_cast<float*>(args.workspace);
  float* w = args.out[0].as<float>();
  float* v = args.out[1].present() ? args.out[1].as<float>() : nullptr;
  multiply_weights(stream, args, dw, args.out[2].present() ? args.out[2].as<float>() : nullptr);
  const cpu::SgdRates rates =
      cpu::sgd_rates(args, args.params_as<LinearSgdParams>().sgd, 1.0f, args.block->step);
  cpu::parallel_ranges(stream, args.in[2].elems(), [&](int64_t begin, int64_t end) {
    cpu::sgd_update(w + begin, dw + begin, v == nullptr ? nullptr : v + begin, end - begin, rates);
  });
  return 0;
}

// What a panel implementation refuses, "gemm" takes: few samples, few features.
#define TANUL_PANELS(step) \
  { "panels", step::supports, step::workspace_bytes, step::launch }
const Implementation kForward[] = {
    {"sample_panels", linear_fwd_sample_panels::supports, linear_fwd_sample_panels::workspace_bytes,
     linear_fwd_sample_panels::launch},
    TANUL_PANELS(linear_fwd_panels),
    {"gemm", supports_all, no_workspace, launch_linear_fwd}};
const Implementation kBackwardData[] = {
    TANUL_PANELS(linear_bwd_data_panels),
    {"gemm", supports_all, no_workspace, launch_linear_bwd_data}};
const Implementation kBackwardWeights[] = {
    TANUL_PANELS(linear_bwd_weights_panels),
    {"gemm", supports_all, no_workspace, launch_linear_bwd_weights}};
const Implementation kBackwardWeightsSgd[] = {
    TANUL_PANELS(linear_bwd_weights_sgd_panels),
    {"gemm", supports_all, workspace_linear_bwd_weights_sgd, launch_linear_bwd_weights_sgd}};
#undef TANUL_PANELS

}  // namespace

const ImplementationList cpu_linear_fwd = {kForward, 3};
const ImplementationList cpu_linear_bwd_data = {kBackwardData, 2};
const ImplementationList cpu_linear_bwd_weights = {kBackwardWeights, 2};
const ImplementationList cpu_linear_bwd_weights_sgd = {kBackwardWeightsSgd, 2};

}  // namespace tanul
