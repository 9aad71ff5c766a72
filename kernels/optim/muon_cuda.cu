// SPDX-License-Identifier: Apache-2.0
// Muon on CUDA, "newton_schulz": the momentum as a matrix X [r, c] with r <= c (transposed where w is taller
// than wide), then per iteration
//   A = X X^T,  B = b A + c A A,  X = a X + B X
// by the tiled GEMM of kernels/cuda/gemm.h; A is symmetric, so that A A is A A^T. ns_steps (4 r^2 c + 2 r^3)
// flops: meets the arithmetic roof.
// Numerics: momentum and the last update in double, rounded once where they are stored; the norm in double
// in an order that the shape fixes; the iteration in float. It does not contract errors: each step
// multiplies them by up to max |a + 3 b s^2 + 5 c s^4| over the singular values s (0 … 1.2), that is 3.9.
// Deterministic.
#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce.h"
#include "kernels/optim/optim.h"
#include "kernels/optim/optim_cuda.h"

namespace tanul {

namespace {

using namespace cuda;
using gemm::ColumnMajor;
using gemm::has_vectors;
using gemm::RowMajor;
using gemm::Schedule;
using Tile = gemm::Tile64x64;
using Index = int64_t;

constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;

__host__ __device__ constexpr double as_double(float value) { return static_cast<double>(value); }

// w as a matrix, and X.
struct MuonShape {
  int64_t rows, columns;

  explicit MuonShape(const StepArgs& args)
      : rows(args.in[0].dims[0]), columns(args.in[0].elems() / rows) {}
  __host__ __device__ int64_t elems() const { return rows * columns; }
  int64_t r() const { return std::min(rows, columns); }
  int64_t c() const { return std::max(rows, columns); }
  // Blocks that sum squares.
  int64_t tiles() const {
    return std::clamp<int64_t>(ceil_div(elems(), 4 * kBlockThreads), 1, 1024);
  }
  // Where element i of w lies in X.
  __device__ int64_t place(int64_t i) const {
    return rows > columns ? i % columns * rows + i / columns : i;
  }
};

// X, the next X [r, c]; A, B [r, r]; sums of squares [tiles], and behind them what X is scaled by; partial
// products. Matrices begin at multiples of 16 bytes.
struct Scratch {
  double* sums;
  float *x, *next, *a, *b;
  float* partials;
  int64_t bytes;

  Scratch(const MuonShape& shape, void* workspace, int64_t partial_bytes) : bytes(0) {
    const auto take = [&](int64_t wanted) {
      std::byte* part = static_cast<std::byte*>(workspace) + bytes;
      bytes += ceil_div(wanted, 16) * 16;
      return part;
    };
    const auto floats = [&](int64_t count) {
      return reinterpret_cast<float*>(take(count * static_cast<int64_t>(sizeof(float))));
    };
    sums =
        reinterpret_cast<double*>(take((shape.tiles() + 1) * static_cast<int64_t>(sizeof(double))));
    x = floats(shape.elems());
    next = floats(shape.elems());
    a = floats(shape.r() * shape.r());
    b = floats(shape.r() * shape.r());
    partials = reinterpret_cast<float*>(take(partial_bytes));
  }
};

// The products of an iteration: X X^T, A A, B X.
struct Schedules {
  Schedule gram, square, apply;

  explicit Schedules(const MuonShape& shape)
      : gram(gemm::make_schedule<Tile>(shape.r(), shape.r(), shape.c(), 1)),
        square(gemm::make_schedule<Tile>(shape.r(), shape.r(), shape.r(), 1)),
        apply(gemm::make_schedule<Tile>(shape.r(), shape.c(), shape.r(), 1)) {}
  int64_t partial_bytes() const {
    return std::max({gram.partial_bytes(), square.partial_bytes(), apply.partial_bytes()});
  }
};

int64_t workspace_muon(const StepArgs& args, int) {
  const MuonShape shape(args);
  return Scratch(shape, nullptr, Schedules(shape).partial_bytes()).bytes;
}

// Moves the momentum on and puts the direction into X, its squares into `sums`. A step that is left out
// goes through the motions on X alone.
__global__ void muon_direction_kernel(MuonShape shape, MuonParams p, UpdateOperands of, float* x,
                                      double* sums) {
  const double momentum = momentum_of(*of.block, p.momentum);
  const double scale = of.clip == nullptr ? 1.0 : as_double(of.clip[1]);
  const bool is_kept = !is_left_out(of);
  double own = 0;
  for (int64_t i = grid_thread(); i < shape.elems(); i += grid_threads()) {
    const double gradient = scale * as_double(of.g[i]);
    const double moved = momentum * as_double(of.states[0][i]) + (1 - momentum) * gradient;
    const double u = p.nesterov != 0 ? (1 - momentum) * gradient + momentum * moved : moved;
    if (is_kept) of.states[0][i] = static_cast<float>(moved);
    x[shape.place(i)] = static_cast<float>(u);
    own += u * u;
  }
  const double sum = block_sum(own);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// One block: sums[tiles] = 1 / max(norm, eps)
__global__ void muon_norm_kernel(int64_t tiles, float eps, double* sums) {
  double own = 0;
  for (int64_t i = threadIdx.x; i < tiles; i += blockDim.x) own += sums[i];
  const double norm = sqrt(block_sum(own));
  // NaN stays NaN
  if (threadIdx.x == 0) sums[tiles] = 1 / (norm < as_double(eps) ? as_double(eps) : norm);
}

__global__ void muon_scale_kernel(int64_t n, const double* factor, float* x) {
  for (int64_t i = grid_thread(); i < n; i += grid_threads()) {
    x[i] = static_cast<float>(as_double(x[i]) * *factor);
  }
}

// to = alpha product + beta from; all [rows, columns], `from` may be null.
struct SumOut {
  float* to;
  const float* from;
  float alpha, beta;
  int64_t rows, columns;

  __device__ void store(Index row, Index column, float4 v) const {
    if (row >= rows) return;
    const float values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (column + k >= columns) continue;
      const int64_t i = row * columns + column + k;
      to[i] = from == nullptr ? alpha * values[k] : fmaf(alpha, values[k], beta * from[i]);
    }
  }
};

template <class B>
struct Product {
  using Index = int64_t;
  RowMajor<Index> left;
  B right;
  SumOut result;
  Index column_count, depth_count;

  __device__ Index columns(int) const { return column_count; }
  __device__ Index depth(int) const { return depth_count; }
  __device__ const RowMajor<Index>& a(int) const { return left; }
  __device__ const B& b(int) const { return right; }
  __device__ const SumOut& out(int) const { return result; }
};

RowMajor<Index> row_major(const float* data, int64_t rows, int64_t columns) {
  return {data, rows, columns, has_vectors(data, columns)};
}

// to [r, r] = alpha M M^T + beta from, with M [r, depth].
int launch_gram(Stream* stream, const Schedule& schedule, float* partials, const float* matrix,
                int64_t r, int64_t depth, const SumOut& out) {
  const RowMajor<Index> operand = row_major(matrix, r, depth);
  const Product<RowMajor<Index>> product{operand, operand, out, r, depth};
  return gemm::launch_gemm<Tile>(stream, product, schedule, partials);
}

// One iteration: the next X.
int launch_iteration(Stream* stream, const MuonShape& shape, const Schedules& schedules,
                     const Scratch& s) {
  const int64_t r = shape.r(), c = shape.c();
  int status =
      launch_gram(stream, schedules.gram, s.partials, s.x, r, c, {s.a, nullptr, 1.0f, 0.0f, r, r});
  if (status != 0) return status;
  status = launch_gram(stream, schedules.square, s.partials, s.a, r, r, {s.b, s.a, kC, kB, r, r});
  if (status != 0) return status;
  const ColumnMajor<Index> x{s.x, c, r, -1, has_vectors(s.x, c)};
  const Product<ColumnMajor<Index>> product{
      row_major(s.b, r, r), x, {s.next, s.x, 1.0f, kA, r, c}, c, r};
  return gemm::launch_gemm<Tile>(stream, product, schedules.apply, s.partials);
}

__global__ void muon_update_kernel(MuonShape shape, MuonParams p, UpdateOperands of, double size,
                                   const float* x) {
  if (is_left_out(of)) return;
  float* w = of.w;
  const double lr = rate_of(*of.block, p.lr_scale);
  const double shrink = 1 - lr * as_double(p.weight_decay);
  for (int64_t i = grid_thread(); i < shape.elems(); i += grid_threads()) {
    w[i] = static_cast<float>(shrink * as_double(w[i]) - lr * size * as_double(x[shape.place(i)]));
  }
}

int launch_muon_newton_schulz(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<MuonParams>();
  const MuonShape shape(args);
  const Schedules schedules(shape);
  Scratch s(shape, args.workspace, schedules.partial_bytes());
  const UpdateOperands of = update_operands(args, {2}, 3);
  const int64_t tiles = shape.tiles(), n = shape.elems();

  int status = launch(stream, muon_direction_kernel, Dim3{static_cast<uint32_t>(tiles), 1, 1},
                      kBlockThreads, shape, p, of, s.x, s.sums);
  if (status != 0) return status;
  status = launch(stream, muon_norm_kernel, Dim3{1, 1, 1}, kBlockThreads, tiles, p.eps, s.sums);
  if (status != 0) return status;
  status = launch(stream, muon_scale_kernel, blocks_for(n), kBlockThreads, n, s.sums + tiles, s.x);
  for (int step = 0; step < p.ns_steps && status == 0; ++step) {
    status = launch_iteration(stream, shape, schedules, s);
    std::swap(s.x, s.next);
  }
  if (status != 0) return status;
  const auto rows = static_cast<double>(shape.rows), columns = static_cast<double>(shape.columns);
  const double size = p.match_rms_adamw != 0 ? 0.2 * std::sqrt(std::max(rows, columns))
                                             : std::sqrt(std::max(1.0, rows / columns));
  return launch(stream, muon_update_kernel, blocks_for(n), kBlockThreads, shape, p, of, size, s.x);
}

constexpr Implementation kMuon[] = {
    {"newton_schulz", supports_all, workspace_muon, launch_muon_newton_schulz}};

}  // namespace

const ImplementationList cuda_muon_update{kMuon, 1};

}  // namespace tanul
