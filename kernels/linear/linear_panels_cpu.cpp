// SPDX-License-Identifier: Apache-2.0
// Fully connected layer on the CPU, "panels": products by strided_gemm (kernels/cpu/strided_gemm.h).
//
//   fwd          y  [N, K] = act(x [N, C] w [K, C]^T + b)
//   bwd_data     dx [N, C] = dy [N, K] w [K, C]
//   bwd_weights  dw [K, C] = dy [N, K]^T x [N, C], db [K] = column sums of dy
//
// A work item is a rectangle of the result: all its rows times two vectors of columns at a time. The
// right operand of such a panel is copied (for fwd: transposed) kDepth steps at a time into half of the
// first-level cache, and used for all rows before the next steps; the left operand is read where it
// lies. Copying costs 1 / rows of the arithmetic: a GEMM called once for each rectangle copies both
// operands again for each of them.
//
// Neighbouring items go to one worker, so that with few samples each worker reads in fwd the rows of w
// that it makes the gradient of and updates.
//
// 2 N K C flops each. Each element is a chain of fused multiply-adds over kDepth steps, the chains added
// in order. The cuts depend on shapes only: deterministic for any number of threads.
#include <cstring>

#include "kernels/cpu/simd.h"
#include "kernels/cpu/strided_gemm.h"
#include "kernels/cpu/tiling.h"
#include "kernels/linear/linear.h"
#include "kernels/linear/linear_panels.h"
#include "kernels/op.h"

namespace tanul {

namespace {

using cpu::Blocks;
using cpu::ceil_div;

constexpr int64_t kDepth = 128;
constexpr int64_t kMostRows = 256;  // their left operand, kDepth steps: 128 KiB
constexpr int64_t kLineFloats = 16;
constexpr double kFlopsPerItem = 2e6;

int64_t panel_columns() { return 2 * cpu::strided_gemm_lanes(); }
int64_t scratch_elems() { return (kDepth + kMostRows) * 2 * kLineFloats; }

// c [m, n] = a [m, k] b [k, n]
struct Product {
  int64_t m, n, k;
  const float* a;  // [m, k], rows a_row apart
  int64_t a_row;
  const float* b;  // [k, n], or [n, k] where it is transposed
  bool is_b_transposed;
  float* c;
};

struct Cut {
  Blocks rows, columns;
  bool by_columns;  // the order of the items

  Cut(int64_t m, int64_t n, int64_t k, bool by_columns_) : by_columns(by_columns_) {
    rows = cpu::blocks_about(m, ceil_div(m, kMostRows), 8);
    const double flops =
        2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    const double items = std::min(flops / kFlopsPerItem, static_cast<double>(cpu::kTilesWanted));
    columns = cpu::blocks_about(n, static_cast<int64_t>(items) / rows.count, 2 * kLineFloats);
  }
  int64_t count() const { return rows.count * columns.count; }
  int64_t row_block(int64_t item) const {
    return by_columns ? item % rows.count : item / columns.count;
  }
  int64_t column_block(int64_t item) const {
    return by_columns ? item / rows.count : item % columns.count;
  }
};

// Steps [t, t + depth) of the columns [j, j + columns) of b as [depth, panel_columns()]. What lies
// behind `columns` is 0.
void copy_panel(const Product& p, int64_t t, int64_t depth, int64_t j, int64_t columns,
                float* panel) {
  const int64_t wide = panel_columns();
  if (columns < wide) std::memset(panel, 0, static_cast<size_t>(depth * wide) * sizeof(float));
  if (p.is_b_transposed) {
    cpu::transpose(p.b + j * p.k + t, p.k, columns, depth, panel, wide);
    return;
  }
  // A row of b is often 4 KiB from the next one, which no hardware prefetcher follows; what comes next
  // is fetched while this panel is multiplied.
  const bool is_last = t + depth == p.k;
  const float* next = p.b + (is_last ? j + columns : (t + depth) * p.n + j);
  const int64_t next_rows = !is_last ? p.k - t - depth : j + 2 * columns <= p.n ? depth : 0;
  for (int64_t i = 0; i < depth; ++i) {
    std::memcpy(panel + i * wide, p.b + (t + i) * p.n + j,
                static_cast<size_t>(columns) * sizeof(float));
    if (i >= next_rows) continue;
    for (int64_t c = 0; c < columns; c += kLineFloats) __builtin_prefetch(next + i * p.n + c);
  }
}

// The rows [row, row + rows) of c, columns [begin, end).
void compute(const Product& p, int64_t row, int64_t rows, int64_t begin, int64_t end,
             float* scratch) {
  const int64_t wide = panel_columns(), lanes = wide / 2;
  float* panel = scratch;
  float* tail = scratch + kDepth * wide;  // [rows, wide]: columns that do not fill vectors
  for (int64_t j = begin; j < end; j += wide) {
    const int64_t columns = std::min(wide, end - j);
    const bool is_whole = columns % lanes == 0;
    float* out = p.c + row * p.n + j;
    cpu::StridedGemm gemm;
    gemm.rows = rows;
    gemm.vectors = ceil_div(columns, lanes);
    gemm.a_row = p.a_row;
    gemm.a_step = 1;
    gemm.b = panel;
    gemm.b_panel = 0;
    gemm.b_step = wide;
    gemm.c = is_whole ? out : tail;
    gemm.c_row = is_whole ? p.n : wide;
    for (int64_t t = 0; t < p.k; t += kDepth) {
      gemm.depth = std::min(kDepth, p.k - t);
      copy_panel(p, t, gemm.depth, j, columns, panel);
      gemm.a = p.a + row * p.a_row + t;
      gemm.accumulate = t > 0;
      cpu::strided_gemm(gemm);
    }
    if (is_whole) continue;
    for (int64_t i = 0; i < rows; ++i) {
      std::memcpy(out + i * p.n, tail + i * wide, static_cast<size_t>(columns) * sizeof(float));
    }
  }
}

// `finish(row, column, columns)` is called for each row of a rectangle while it is in cache.
template <typename Finish>
void multiply(Stream* stream, const StepArgs& args, int64_t scratch_at, const Product& p,
              const Cut& cut, const Finish& finish) {
  float* scratch = static_cast<float*>(args.workspace) + scratch_at;
  cpu::parallel_for(stream, cut.count(), [&](int64_t item, int worker) {
    const int64_t i = cut.row_block(item), j = cut.column_block(item);
    const int64_t row = cut.rows.begin(i), rows = cut.rows.length(i);
    const int64_t column = cut.columns.begin(j), columns = cut.columns.length(j);
    compute(p, row, rows, column, column + columns, scratch + worker * scratch_elems());
    for (int64_t r = row; r < row + rows; ++r) finish(r, column, columns);
  });
}

int64_t scratch_bytes(int threads) {
  return threads * scratch_elems() * static_cast<int64_t>(sizeof(float));
}

const char* refuse(int64_t m, int64_t n) {
  if (m < 16) return "fewer than 16 rows: a panel would be copied for too little arithmetic";
  if (n < 64) return "fewer than 64 columns";
  return nullptr;
}

}  // namespace

namespace linear_fwd_panels {

const char* supports(const StepArgs& args) {
  return refuse(args.in[0].dims[0], args.in[1].dims[0]);
}

int64_t workspace_bytes(const StepArgs&, int threads) { return scratch_bytes(threads); }

int launch(Stream* stream, const StepArgs& args) {
  const int64_t N = args.in[0].dims[0], C = args.in[0].dims[1], K = args.in[1].dims[0];
  const float* b = args.in_count > 2 && args.in[2].present() ? args.in[2].as<float>() : nullptr;
  float* y = args.out[0].as<float>();
  const ActivationKind activation = args.params_as<LinearParams>().activation;
  const Product p{N, K, C, args.in[0].as<float>(), C, args.in[1].as<float>(), true, y};
  multiply(stream, args, 0, p, Cut(N, K, C, N < K),
           [&](int64_t row, int64_t column, int64_t columns) {
             cpu::bias_row_activation(y + row * K + column, b == nullptr ? nullptr : b + column,
                                      columns, activation);
           });
  return 0;
}

}  // namespace linear_fwd_panels

namespace linear_bwd_data_panels {

const char* supports(const StepArgs& args) {
  return refuse(args.in[0].dims[0], args.in[1].dims[1]);
}

int64_t workspace_bytes(const StepArgs&, int threads) { return scratch_bytes(threads); }

int launch(Stream* stream, const StepArgs& args) {
  const int64_t N = args.in[0].dims[0], K = args.in[0].dims[1], C = args.in[1].dims[1];
  const Product p{
      N, C, K, args.in[0].as<float>(), K, args.in[1].as<float>(), false, args.out[0].as<float>()};
  multiply(stream, args, 0, p, Cut(N, C, K, N < C), [](int64_t, int64_t, int64_t) {});
  return 0;
}

}  // namespace linear_bwd_data_panels

namespace linear_bwd_weights_panels {

const char* supports(const StepArgs& args) {
  return refuse(args.in[1].dims[1], args.in[0].dims[1]);
}

// dy^T [K, N] in front of the scratch of the workers
int64_t transposed_elems(const StepArgs& args) {
  return cpu::ceil_div(args.in[1].elems(), kLineFloats) * kLineFloats;
}

int64_t workspace_bytes(const StepArgs& args, int threads) {
  return transposed_elems(args) * static_cast<int64_t>(sizeof(float)) + scratch_bytes(threads);
}

int launch(Stream* stream, const StepArgs& args) {
  const int64_t N = args.in[0].dims[0], C = args.in[0].dims[1], K = args.in[1].dims[1];
  const float* dy = args.in[1].as<float>();
  float* db = args.out[1].present() ? args.out[1].as<float>() : nullptr;
  float* transposed = static_cast<float*>(args.workspace);
  const Cut cut(K, C, N, false);
  cpu::parallel_for(stream, cut.rows.count, [&](int64_t block, int) {
    const int64_t k = cut.rows.begin(block), rows = cut.rows.length(block);
    cpu::transpose(dy + k, K, N, rows, transposed + k * N, N);
    if (db == nullptr) return;
    for (int64_t i = k; i < k + rows; ++i) db[i] = cpu::sum(transposed + i * N, N);
  });
  const Product p{K, C, N, transposed, N, args.in[0].as<float>(), false, args.out[0].as<float>()};
  multiply(stream, args, transposed_elems(args), p, cut, [](int64_t, int64_t, int64_t) {});
  return 0;
}

}  // namespace linear_bwd_weights_panels
}  // namespace tanul
