// SPDX-License-Identifier: Apache-2.0
// Fully connected layer on the CPU, "panels": products by strided_gemm (kernels/cpu/strided_gemm.h).
//
//   fwd          y  [N, K] = act(x [N, C] w [K, C]^T + b)
//   bwd_data     dx [N, C] = dy [N, K] w [K, C]
//   bwd_weights  dw [K, C] = dy [N, K]^T x [N, C], db [K] = column sums of dy
//
// A work item is a rectangle of the result: all its rows times two vectors of columns at a time. The
// right operand of such a panel is copied (for fwd: transposed) kDepth steps at a time into half of the
// first-level cache, and used for all rows before the next steps. The left operand is packed once, so
// that the rows of a block lie side by side: rows of a power of two would share a set of the cache.
// Copying costs 1 / rows and 1 / columns of the arithmetic. What comes next is fetched meanwhile: the
// next panel.
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

constexpr int64_t kDepth = kLinearDepth;
constexpr int64_t kMostRows = 256;  // their left operand, kDepth steps: 128 KiB
constexpr int64_t kLineFloats = 16;
constexpr double kFlopsPerItem = 2e6;

int64_t panel_columns() { return 2 * cpu::strided_gemm_lanes(); }
int64_t scratch_elems() { return (kDepth + kMostRows) * 2 * kLineFloats; }

// c [m, n] = a [m, k] b [k, n]
struct Product {
  int64_t m, n, k;
  const float* a;  // packed: [chunk of kDepth steps][m][steps of the chunk]
  const float* b;  // [k, n], or [n, k] where it is transposed
  bool is_b_transposed;
  float* c;

  int64_t depth(int64_t t) const { return std::min(kDepth, k - t); }
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

int64_t packed_elems(const Operand& a) { return ceil_div(a.elems(), kLineFloats) * kLineFloats; }
// a [m, k] as Product::a
void pack(Stream* stream, const float* a, int64_t m, int64_t k, float* packed) {
  cpu::parallel_for(stream, ceil_div(k, kDepth), [&](int64_t chunk, int) {
    const int64_t t = chunk * kDepth, depth = std::min(kDepth, k - t);
    cpu::copy_rows(a + t, k, m, depth, packed + t * m, depth);
  });
}

// Steps [t, t + depth) of the columns [j, j + columns) of b as [depth, panel_columns()]. What lies
// behind `columns` is 0.
void copy_panel(const Product& p, int64_t t, int64_t j, int64_t columns, float* panel) {
  const int64_t wide = panel_columns(), depth = p.depth(t);
  if (columns < wide) std::memset(panel, 0, static_cast<size_t>(depth * wide) * sizeof(float));
  if (p.is_b_transposed) {
    cpu::transpose(p.b + j * p.k + t, p.k, columns, depth, panel, wide);
  } else {
    cpu::copy_rows(p.b + t * p.n + j, p.n, depth, columns, panel, wide);
  }
}
// What copy_panel() will read of the panel that begins at column j, where there is one.
cpu::Upcoming upcoming_panel(const Product& p, int64_t t, int64_t j) {
  const int64_t depth = p.depth(t), columns = std::min(panel_columns(), p.n - j);
  return p.is_b_transposed ? cpu::Upcoming{p.b + j * p.k + t, columns, p.k, depth}
                           : cpu::Upcoming{p.b + t * p.n + j, depth, p.n, columns};
}

cpu::StridedGemm gemm_of_panel(const float* panel, int64_t columns, float* c, int64_t c_row) {
  cpu::StridedGemm gemm;
  gemm.vectors = ceil_div(columns, panel_columns() / 2);
  gemm.a_step = 1;
  gemm.b = panel;
  gemm.b_panel = 0;
  gemm.b_step = panel_columns();
  gemm.c = c;
  gemm.c_row = c_row;
  return gemm;
}

// The rows [row, row + rows) of c, columns [j, j + columns), at most panel_columns() of them.
void compute_panel(const Product& p, int64_t row, int64_t rows, int64_t j, int64_t columns,
                   float* scratch) {
  const int64_t wide = panel_columns();
  float* panel = scratch;
  float* tile = scratch + kDepth * wide;  // [rows, wide]
  float* c = p.c + row * p.n + j;
  const bool is_direct = p.k <= kDepth && columns % (wide / 2) == 0;
  cpu::StridedGemm gemm =
      gemm_of_panel(panel, columns, is_direct ? c : tile, is_direct ? p.n : wide);
  gemm.rows = rows;
  for (int64_t t = 0; t < p.k; t += kDepth) {
    const bool is_last = t + kDepth >= p.k;
    gemm.depth = gemm.a_row = p.depth(t);
    copy_panel(p, t, j, columns, panel);
    gemm.a = p.a + t * p.m + row * gemm.depth;
    gemm.accumulate = t > 0;
    gemm.upcoming[0] =
        is_last ? upcoming_panel(p, 0, j + columns) : upcoming_panel(p, t + kDepth, j);
    cpu::strided_gemm(gemm);
  }
  if (!is_direct) cpu::copy_rows(tile, wide, rows, columns, c, p.n);
}

// The rows [row, row + rows) of c, columns [begin, end).
void compute(const Product& p, int64_t row, int64_t rows, int64_t begin, int64_t end,
             float* scratch) {
  const int64_t wide = panel_columns();
  for (int64_t j = begin; j < end; j += wide) {
    compute_panel(p, row, rows, j, std::min(wide, end - j), scratch);
  }
}

// `finish(row, column, columns)` is called for each row of a rectangle while it is in cache.
template <typename Finish>
void multiply(Stream* stream, const Product& p, const Cut& cut, float* scratch,
              const Finish& finish) {
  cpu::parallel_for(stream, cut.count(), [&](int64_t item, int worker) {
    const int64_t i = cut.row_block(item), j = cut.column_block(item);
    const int64_t row = cut.rows.begin(i), rows = cut.rows.length(i);
    const int64_t column = cut.columns.begin(j), columns = cut.columns.length(j);
    compute(p, row, rows, column, column + columns, scratch + worker * scratch_elems());
    for (int64_t r = row; r < row + rows; ++r) finish(r, column, columns);
  });
}
void multiply(Stream* stream, const Product& p, const Cut& cut, float* scratch) {
  multiply(stream, p, cut, scratch, [](int64_t, int64_t, int64_t) {});
}

// The packed left operand, behind it the scratch of the workers.
int64_t bytes_needed(const Operand& left, int threads) {
  return (packed_elems(left) + threads * scratch_elems()) * static_cast<int64_t>(sizeof(float));
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

int64_t workspace_bytes(const StepArgs& args, int threads) {
  return bytes_needed(args.in[0], threads);
}

int launch(Stream* stream, const StepArgs& args) {
  const int64_t N = args.in[0].dims[0], C = args.in[0].dims[1], K = args.in[1].dims[0];
  const float* b = args.in_count > 2 && args.in[2].present() ? args.in[2].as<float>() : nullptr;
  float* y = args.out[0].as<float>();
  float* packed = static_cast<float*>(args.workspace);
  const ActivationKind activation = args.params_as<LinearParams>().activation;
  pack(stream, args.in[0].as<float>(), N, C, packed);
  const Product p{N, K, C, packed, args.in[1].as<float>(), true, y};
  multiply(stream, p, Cut(N, K, C, N < K), packed + packed_elems(args.in[0]),
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

int64_t workspace_bytes(const StepArgs& args, int threads) {
  return bytes_needed(args.in[0], threads);
}

int launch(Stream* stream, const StepArgs& args) {
  const int64_t N = args.in[0].dims[0], K = args.in[0].dims[1], C = args.in[1].dims[1];
  float* packed = static_cast<float*>(args.workspace);
  pack(stream, args.in[0].as<float>(), N, K, packed);
  const Product p{N, C, K, packed, args.in[1].as<float>(), false, args.out[0].as<float>()};
  multiply(stream, p, Cut(N, C, K, N < C), packed + packed_elems(args.in[0]));
  return 0;
}

}  // namespace linear_bwd_data_panels

void pack_dy(Stream* stream, const float* dy, int64_t N, int64_t K, float* packed, float* db) {
  const int64_t chunks = ceil_div(N, kLinearDepth);
  // By columns, so that few samples also are packed by all threads.
  const Blocks columns = cpu::blocks_about(K, cpu::kTilesWanted, 2 * kLineFloats);
  cpu::parallel_for(stream, columns.count, [&](int64_t block, int) {
    const int64_t k = columns.begin(block), count = columns.length(block);
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const int64_t t = chunk * kLinearDepth, depth = std::min(kLinearDepth, N - t);
      float* rows = packed + t * K + k * depth;
      cpu::transpose(dy + t * K + k, K, depth, count, rows, depth);
      if (db == nullptr) continue;
      for (int64_t i = 0; i < count; ++i) {
        const float sum = cpu::sum(rows + i * depth, depth);
        db[k + i] = chunk == 0 ? sum : db[k + i] + sum;
      }
    }
  });
}

namespace linear_bwd_weights_panels {

const char* supports(const StepArgs& args) {
  return refuse(args.in[1].dims[1], args.in[0].dims[1]);
}

int64_t workspace_bytes(const StepArgs& args, int threads) {
  return bytes_needed(args.in[1], threads);
}

int launch(Stream* stream, const StepArgs& args) {
  const int64_t N = args.in[0].dims[0], C = args.in[0].dims[1], K = args.in[1].dims[1];
  float* db = args.out[1].present() ? args.out[1].as<float>() : nullptr;
  float* packed = static_cast<float*>(args.workspace);
  pack_dy(stream, args.in[1].as<float>(), N, K, packed, db);
  const Product p{K, C, N, packed, args.in[0].as<float>(), false, args.out[0].as<float>()};
  multiply(stream, p, Cut(K, C, N, false), packed + packed_elems(args.in[1]));
  return 0;
}

}  // namespace linear_bwd_weights_panels
}  // namespace tanul
