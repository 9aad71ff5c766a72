// SPDX-License-Identifier: Apache-2.0
// upsample on the CPU. For each axis a table says which elements of x an output is made of, and with
// which weights (one, two or four). Forward, a tile is some rows of y: the rows of x that a row of y is
// made of are added up, weighted, and the sum is interpolated along the last axis. Backward, a tile is a
// plane: the same in reverse, into sums for the whole plane of x. Both sum in double and round once: an
// error of u relative to the largest neighbour. Deterministic.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tiling.h"
#include "kernels/op.h"
#include "kernels/upsample/taps.h"
#include "kernels/upsample/upsample.h"

namespace tanul {

namespace {

// The spatial axes as three, [D, H, W]; those that are missing have one element.
struct Plan {
  int64_t planes;
  int64_t in[3] = {1, 1, 1}, out[3] = {1, 1, 1};
  int count[3] = {1, 1, 1};  // taps

  Plan(const Operand& batch, const UpsampleParams& params) : planes(batch.dims[0] * batch.dims[1]) {
    for (int i = 0; i < params.axes; ++i) {
      const int axis = 3 - params.axes + i;
      in[axis] = params.in[i];
      out[axis] = params.out[i];
      count[axis] = taps_of(params.mode);
    }
  }
  int64_t in_elems() const { return in[0] * in[1] * in[2]; }
  int64_t out_elems() const { return out[0] * out[1] * out[2]; }
  int64_t table_elems() const { return out[0] + out[1] + out[2]; }
  int64_t table_bytes() const {
    return cpu::ceil_div(table_elems() * static_cast<int64_t>(sizeof(Taps)), 64) * 64;
  }
};

// The three tables, behind each other.
struct Tables {
  const Taps* axis[3];

  Tables(const Plan& plan, const UpsampleParams& params, void* memory) {
    Taps* to = static_cast<Taps*>(memory);
    for (int i = 0; i < 3; ++i) {
      axis[i] = to;
      const int own = i - (3 - params.axes);
      for (int64_t k = 0; k < plan.out[i]; ++k) {
        *to = Taps{};
        to->weight[0] = 1;
        if (own >= 0) *to = make_taps(params, own, k);
        ++to;
      }
    }
  }
};

double* doubles_behind(const Plan& plan, void* memory) {
  return reinterpret_cast<double*>(static_cast<char*>(memory) + plan.table_bytes());
}

// Calls body(row of x, weight) for the rows of x that row (d, h) of y is made of.
template <typename Body>
void for_rows(const Plan& plan, const Taps& of_d, const Taps& of_h, const Body& body) {
  for (int i = 0; i < plan.count[0]; ++i) {
    for (int j = 0; j < plan.count[1]; ++j) {
      const double weight = of_d.weight[i] * of_h.weight[j];
      if (weight != 0) body(of_d.at[i] * plan.in[1] + of_h.at[j], weight);
    }
  }
}

int64_t workspace_fwd(const StepArgs& args, int threads) {
  const Plan plan(args.in[0], args.params_as<UpsampleParams>());
  return plan.table_bytes() + threads * plan.in[2] * static_cast<int64_t>(sizeof(double));
}

int launch_fwd(Stream* stream, const StepArgs& args) {
  const UpsampleParams& params = args.params_as<UpsampleParams>();
  const Plan plan(args.in[0], params);
  const Tables tables(plan, params, args.workspace);
  double* rows = doubles_behind(plan, args.workspace);
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  const int64_t rows_out = plan.out[0] * plan.out[1];
  const cpu::Blocks tiles = cpu::blocks_of_size(
      plan.planes * rows_out, std::max<int64_t>(1, cpu::kElementwiseTile / 4 / plan.out[2]));
  cpu::parallel_for(stream, tiles.count, [&](int64_t tile, int worker) {
    double* sum = rows + worker * plan.in[2];
    for (int64_t row = tiles.begin(tile); row < tiles.begin(tile) + tiles.length(tile); ++row) {
      const float* plane = x + row / rows_out * plan.in_elems();
      const int64_t d = row % rows_out / plan.out[1], h = row % plan.out[1];
      std::fill(sum, sum + plan.in[2], 0.0);
      for_rows(plan, tables.axis[0][d], tables.axis[1][h], [&](int64_t from, double weight) {
        const float* source = plane + from * plan.in[2];
        for (int64_t w = 0; w < plan.in[2]; ++w) sum[w] += weight * static_cast<double>(source[w]);
      });
      float* to = y + row * plan.out[2];
      for (int64_t w = 0; w < plan.out[2]; ++w) {
        const Taps& taps = tables.axis[2][w];
        double value = 0;
        for (int k = 0; k < plan.count[2]; ++k) {
          if (taps.weight[k] != 0) value += taps.weight[k] * sum[taps.at[k]];
        }
        to[w] = static_cast<float>(value);
      }
    }
  });
  return 0;
}

// Tables; for each worker a plane of x and a row of it.
int64_t workspace_bwd(const StepArgs& args, int threads) {
  const Plan plan(args.in[0], args.params_as<UpsampleParams>());
  return plan.table_bytes() +
         threads * (plan.in_elems() + plan.in[2]) * static_cast<int64_t>(sizeof(double));
}

int launch_bwd(Stream* stream, const StepArgs& args) {
  const UpsampleParams& params = args.params_as<UpsampleParams>();
  const Plan plan(args.in[0], params);
  const Tables tables(plan, params, args.workspace);
  double* memory = doubles_behind(plan, args.workspace);
  const float* dy = args.in[0].as<float>();
  float* dx = args.out[0].as<float>();
  cpu::parallel_for(stream, plan.planes, [&](int64_t plane, int worker) {
    double* sums = memory + worker * (plan.in_elems() + plan.in[2]);
    double* row = sums + plan.in_elems();
    std::fill(sums, sums + plan.in_elems(), 0.0);
    for (int64_t at = 0; at < plan.out[0] * plan.out[1]; ++at) {
      const float* from = dy + plane * plan.out_elems() + at * plan.out[2];
      std::fill(row, row + plan.in[2], 0.0);
      for (int64_t w = 0; w < plan.out[2]; ++w) {
        const Taps& taps = tables.axis[2][w];
        for (int k = 0; k < plan.count[2]; ++k) {
          row[taps.at[k]] += taps.weight[k] * static_cast<double>(from[w]);
        }
      }
      for_rows(plan, tables.axis[0][at / plan.out[1]], tables.axis[1][at % plan.out[1]],
               [&](int64_t to, double weight) {
                 double* target = sums + to * plan.in[2];
                 for (int64_t w = 0; w < plan.in[2]; ++w) target[w] += weight * row[w];
               });
    }
    float* to = dx + plane * plan.in_elems();
    for (int64_t i = 0; i < plan.in_elems(); ++i) to[i] = static_cast<float>(sums[i]);
  });
  return 0;
}

constexpr Implementation kFwd[] = {{"tables", supports_all, workspace_fwd, launch_fwd}};
constexpr Implementation kBwd[] = {{"tables", supports_all, workspace_bwd, launch_bwd}};

}  // namespace

const ImplementationList cpu_upsample_fwd{kFwd, 1};
const ImplementationList cpu_upsample_bwd{kBwd, 1};

}  // namespace tanul
