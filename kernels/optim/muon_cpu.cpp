// SPDX-License-Identifier: Apache-2.0
// Muon on the CPU, "newton_schulz": the momentum as a matrix X [r, c] with r <= c (transposed where w is
// taller than wide), then per iteration
//   A = X X^T,  B = b A + c A A,  X = a X + B X
// as GEMMs cut into rectangles of their results; a worker computes a rectangle with single-threaded
// BLAS. ns_steps (4 r^2 c + 2 r^3) flops: meets the arithmetic roof.
// Numerics: momentum and the last update in double, rounded once where they are stored; the norm in
// double in a fixed order; the iteration in float. It does not contract errors: each step multiplies
// them by up to max |a + 3 b s^2 + 5 c s^4| over the singular values s (0 … 1.2), that is 3.9.
#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/tiling.h"
#include "kernels/op.h"
#include "kernels/optim/optim.h"
#include "kernels/optim/optim_cpu.h"

namespace tanul {

namespace {

constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;

constexpr double as_double(float value) { return static_cast<double>(value); }

// w as a matrix, and X.
struct MuonShape {
  int64_t rows, columns;
  bool is_tall() const { return rows > columns; }
  int64_t r() const { return std::min(rows, columns); }
  int64_t c() const { return std::max(rows, columns); }
  int64_t elems() const { return rows * columns; }
  int64_t tiles() const { return cpu::ceil_div(elems(), cpu::kElementwiseTile); }
};

MuonShape shape_of(const StepArgs& args) {
  const int64_t rows = args.in[0].dims[0];
  return {rows, args.in[0].elems() / rows};
}

// X, the next X [r, c]; A, B [r, r]; sums of squares [tiles]
struct Scratch {
  double* sums;
  float *x, *next, *a, *b;
};

Scratch scratch_of(const StepArgs& args, const MuonShape& shape) {
  Scratch s{};
  s.sums = static_cast<double*>(args.workspace);
  s.x = reinterpret_cast<float*>(s.sums + shape.tiles());
  s.next = s.x + shape.elems();
  s.a = s.next + shape.elems();
  s.b = s.a + shape.r() * shape.r();
  return s;
}

int64_t workspace_muon(const StepArgs& args, int) {
  const MuonShape shape = shape_of(args);
  return shape.tiles() * static_cast<int64_t>(sizeof(double)) +
         (2 * shape.elems() + 2 * shape.r() * shape.r()) * static_cast<int64_t>(sizeof(float));
}

// C [m, n] = alpha A op(B) + beta C; A [m, k], op(B) [k, n]: B itself, or B^T where B is [n, k].
void product(Stream* stream, bool is_transposed, int64_t m, int64_t n, int64_t k, float alpha,
             const float* a, const float* b, float beta, float* c) {
  const cpu::GemmTiles cut = cpu::gemm_tiles(m, n, k);
  cpu::parallel_for(stream, cut.count(), [&](int64_t tile, int) {
    const int64_t i = cut.rows.begin(tile / cut.columns.count);
    const int64_t j = cut.columns.begin(tile % cut.columns.count);
    const int64_t ldb = is_transposed ? k : n;
    cpu::gemm(false, is_transposed, cut.rows.length(tile / cut.columns.count),
              cut.columns.length(tile % cut.columns.count), k, alpha, a + i * k, k,
              is_transposed ? b + j * ldb : b + j, ldb, beta, c + i * n + j, n);
  });
}

// Moves the momentum on and puts the direction into X; returns its norm.
double load_direction(Stream* stream, const StepArgs& args, const MuonShape& shape,
                      const Scratch& scratch) {
  const auto& p = args.params_as<MuonParams>();
  const double momentum = cpu::momentum_of(args, p.momentum);
  const double scale = cpu::grad_scale(args, 3);
  const bool is_nesterov = p.nesterov != 0;
  const float* g = args.in[1].as<float>();
  float* m = args.out[1].as<float>();
  cpu::parallel_ranges(stream, shape.elems(), [&](int64_t begin, int64_t end) {
    double sum = 0;
    for (int64_t i = begin; i < end; ++i) {
      const double gradient = scale * as_double(g[i]);
      const double moved = momentum * as_double(m[i]) + (1 - momentum) * gradient;
      const double u = is_nesterov ? (1 - momentum) * gradient + momentum * moved : moved;
      m[i] = static_cast<float>(moved);
      const int64_t row = i / shape.columns, column = i % shape.columns;
      scratch.x[shape.is_tall() ? column * shape.rows + row : i] = static_cast<float>(u);
      sum += u * u;
    }
    scratch.sums[begin / cpu::kElementwiseTile] = sum;
  });
  double sum = 0;
  for (int64_t tile = 0; tile < shape.tiles(); ++tile) sum += scratch.sums[tile];
  return std::sqrt(sum);
}

int launch_muon_newton_schulz(Stream* stream, const StepArgs& args) {
  if (cpu::is_left_out(args, 3)) return 0;
  const auto& p = args.params_as<MuonParams>();
  const MuonShape shape = shape_of(args);
  Scratch s = scratch_of(args, shape);
  const double norm = load_direction(stream, args, shape, s);
  const double inverse = 1 / std::max(norm, as_double(p.eps));
  cpu::parallel_ranges(stream, shape.elems(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      s.x[i] = static_cast<float>(as_double(s.x[i]) * inverse);
    }
  });
  const int64_t r = shape.r(), c = shape.c();
  for (int step = 0; step < p.ns_steps; ++step) {
    product(stream, true, r, r, c, 1.0f, s.x, s.x, 0.0f, s.a);
    cpu::parallel_ranges(stream, r * r, [&](int64_t begin, int64_t end) {
      std::copy(s.a + begin, s.a + end, s.b + begin);
    });
    product(stream, false, r, r, r, kC, s.a, s.a, kB, s.b);
    cpu::parallel_ranges(stream, r * c, [&](int64_t begin, int64_t end) {
      std::copy(s.x + begin, s.x + end, s.next + begin);
    });
    product(stream, false, r, c, r, 1.0f, s.b, s.x, kA, s.next);
    std::swap(s.x, s.next);
  }
  const auto rows = static_cast<double>(shape.rows), columns = static_cast<double>(shape.columns);
  const double size = p.match_rms_adamw != 0 ? 0.2 * std::sqrt(std::max(rows, columns))
                                             : std::sqrt(std::max(1.0, rows / columns));
  const double lr = cpu::rate_of(args, p.lr_scale);
  const double shrink = 1 - lr * as_double(p.weight_decay);
  float* w = args.out[0].as<float>();
  cpu::parallel_ranges(stream, shape.elems(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / shape.columns, column = i % shape.columns;
      const double direction = as_double(s.x[shape.is_tall() ? column * shape.rows + row : i]);
      w[i] = static_cast<float>(shrink * as_double(w[i]) - lr * size * direction);
    }
  });
  return 0;
}

constexpr Implementation kMuon[] = {
    {"newton_schulz", supports_all, workspace_muon, launch_muon_newton_schulz}};

}  // namespace

const ImplementationList cpu_muon_update{kMuon, 1};

}  // namespace tanul
