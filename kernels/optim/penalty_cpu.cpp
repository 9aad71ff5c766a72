// SPDX-License-Identifier: Apache-2.0
// Penalties on the CPU, in tiles of kElementwiseTile elements. Memory bound: 4 bytes an element forward,
// 8 backward. Numerics: sums in double, each tile by itself, tiles in order; dw in double, rounded once.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/parallel.h"
#include "kernels/op.h"
#include "kernels/optim/penalty.h"

namespace tanul {

namespace {

constexpr double as_double(float value) { return static_cast<double>(value); }

int64_t tiles_of(const Operand& w) { return cpu::ceil_div(w.elems(), cpu::kElementwiseTile); }

int64_t all_tiles(const StepArgs& args) {
  int64_t tiles = 0;
  for (int i = 0; i < args.in_count; ++i) tiles += tiles_of(args.in[i]);
  return tiles;
}

int64_t workspace_penalty(const StepArgs& args, int) {
  return all_tiles(args) * static_cast<int64_t>(sizeof(double));
}

int launch_penalty_fwd_tiles(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<PenaltyParams>();
  const double l1 = as_double(p.l1), half_l2 = as_double(p.l2) / 2;
  double* sums = static_cast<double*>(args.workspace);  // [tiles], those of in[0] first
  const int64_t tiles = all_tiles(args);
  cpu::parallel_for(stream, tiles, [&](int64_t tile, int) {
    int64_t begin = tile;
    int i = 0;
    for (; begin >= tiles_of(args.in[i]); ++i) begin -= tiles_of(args.in[i]);
    begin *= cpu::kElementwiseTile;
    const int64_t end = std::min(begin + cpu::kElementwiseTile, args.in[i].elems());
    const float* w = args.in[i].as<float>();
    double sum = 0;
    for (int64_t k = begin; k < end; ++k) {
      const double value = as_double(w[k]);
      sum += l1 * std::fabs(value) + half_l2 * value * value;
    }
    sums[tile] = sum;
  });
  double sum = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) sum += sums[tile];
  args.out[0].as<float>()[0] = static_cast<float>(sum);
  return 0;
}

int launch_penalty_bwd_elementwise(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<PenaltyParams>();
  const double d = as_double(args.in[1].as<float>()[0]);
  const double l1 = as_double(p.l1), l2 = as_double(p.l2);
  const float* w = args.in[0].as<float>();
  float* dw = args.out[0].as<float>();
  cpu::parallel_ranges(stream, args.in[0].elems(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double value = as_double(w[i]);
      const double sign = value > 0 ? 1.0 : value < 0 ? -1.0 : value;  // NaN stays NaN
      dw[i] = static_cast<float>(d * (l1 * sign + l2 * value));
    }
  });
  return 0;
}

constexpr Implementation kForward[] = {
    {"tiles", supports_all, workspace_penalty, launch_penalty_fwd_tiles}};
constexpr Implementation kBackward[] = {
    {"elementwise", supports_all, no_workspace, launch_penalty_bwd_elementwise}};

}  // namespace

const ImplementationList cpu_penalty_fwd{kForward, 1};
const ImplementationList cpu_penalty_bwd{kBackward, 1};

}  // namespace tanul
