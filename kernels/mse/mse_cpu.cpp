// SPDX-License-Identifier: Apache-2.0
// Mean squared error on the CPU. A tile is kElementwiseTile elements, or, against class
// indices, the whole rows (samples) that make about as many; tiles are then added in order.
// Memory bound: 8 bytes read an element.
// Numerics: differences, squares and sums are double, in an order that depends on the shape only.
#include <algorithm>
#include <limits>

#include "kernels/cpu/parallel.h"
#include "kernels/mse/mse.h"
#include "kernels/op.h"

namespace tanul {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// x as [rows, columns]; `classes` or `values` is null.
struct Mse {
  int64_t rows, columns;
  int64_t elems;
  int64_t tile_rows;
  const float* x;          // [rows, columns]
  const int32_t* classes;  // [rows]
  const float* values;     // [rows, columns]

  explicit Mse(const StepArgs& args)
      : rows(args.in[0].dims[0]),
        columns(args.in[0].elems() / rows),
        elems(args.in[0].elems()),
        tile_rows(cpu::ceil_div(cpu::kElementwiseTile, columns)),
        x(args.in[0].as<float>()) {
    const bool has_classes = args.in[1].dtype == static_cast<int32_t>(DType::i32);
    classes = has_classes ? args.in[1].as<int32_t>() : nullptr;
    values = has_classes ? nullptr : args.in[1].as<float>();
  }
  int64_t class_tiles() const { return cpu::ceil_div(rows, tile_rows); }
  int64_t value_tiles() const { return cpu::ceil_div(elems, cpu::kElementwiseTile); }
  bool is_valid(int64_t n) const { return classes[n] >= 0 && classes[n] < columns; }
};

struct Part {
  double squares;
  int64_t correct;
};

// Sum of squares of [begin, end) against values; eight sums side by side, added in order.
double sum_squares(const Mse& mse, int64_t begin, int64_t end) {
  double sums[8] = {};
  int64_t i = begin;
  for (; i + 8 <= end; i += 8) {
    for (int lane = 0; lane < 8; ++lane) {
      const double d =
          static_cast<double>(mse.x[i + lane]) - static_cast<double>(mse.values[i + lane]);
      sums[lane] += d * d;
    }
  }
  double sum = 0;
  for (double part : sums) sum += part;
  for (; i < end; ++i) {
    const double d = static_cast<double>(mse.x[i]) - static_cast<double>(mse.values[i]);
    sum += d * d;
  }
  return sum;
}

Part row_against_class(const Mse& mse, int64_t n) {
  if (!mse.is_valid(n)) return {kNan, 0};
  const float* x = mse.x + n * mse.columns;
  double sum = 0;
  int64_t best = 0;
  for (int64_t c = 0; c < mse.columns; ++c) {
    const double d = static_cast<double>(x[c]) - (c == mse.classes[n] ? 1.0 : 0.0);
    sum += d * d;
    if (x[c] > x[best]) best = c;
  }
  return {sum, best == mse.classes[n] ? 1 : 0};
}

int64_t workspace_fwd(const StepArgs& args, int) {
  const Mse mse(args);
  return (mse.classes != nullptr ? mse.class_tiles() : mse.value_tiles()) *
         static_cast<int64_t>(sizeof(Part));
}

int launch_mse_fwd_tiles(Stream* stream, const StepArgs& args) {
  const Mse mse(args);
  Part* parts = static_cast<Part*>(args.workspace);  // [tiles]
  int64_t tiles = 0;
  if (mse.classes != nullptr) {
    tiles = mse.class_tiles();
    cpu::parallel_for(stream, tiles, [&](int64_t tile, int) {
      Part part{0, 0};
      const int64_t end = std::min((tile + 1) * mse.tile_rows, mse.rows);
      for (int64_t n = tile * mse.tile_rows; n < end; ++n) {
        const Part row = row_against_class(mse, n);
        part.squares += row.squares;
        part.correct += row.correct;
      }
      parts[tile] = part;
    });
  } else {
    tiles = mse.value_tiles();
    cpu::parallel_ranges(stream, mse.elems, [&](int64_t begin, int64_t end) {
      parts[begin / cpu::kElementwiseTile] = {sum_squares(mse, begin, end), 0};
    });
  }
  Part all{0, 0};
  for (int64_t tile = 0; tile < tiles; ++tile) {
    all.squares += parts[tile].squares;
    all.correct += parts[tile].correct;
  }
  args.out[0].as<float>()[0] = static_cast<float>(all.squares / static_cast<double>(mse.elems));
  float* stats = args.out[1].as<float>();
  stats[0] = static_cast<float>(all.squares);
  stats[1] = static_cast<float>(mse.elems);
  stats[2] = static_cast<float>(all.correct);
  stats[3] = static_cast<float>(mse.rows);
  return 0;
}

int launch_mse_bwd_elementwise(Stream* stream, const StepArgs& args) {
  const Mse mse(args);
  float* dx = args.out[0].as<float>();
  const double factor =
      2.0 * static_cast<double>(args.in[2].as<float>()[0]) / static_cast<double>(mse.elems);
  if (mse.classes != nullptr) {
    cpu::parallel_for(stream, mse.class_tiles(), [&](int64_t tile, int) {
      const int64_t end = std::min((tile + 1) * mse.tile_rows, mse.rows);
      for (int64_t n = tile * mse.tile_rows; n < end; ++n) {
        const float* x = mse.x + n * mse.columns;
        float* to = dx + n * mse.columns;
        for (int64_t c = 0; c < mse.columns; ++c) {
          const double t = c == mse.classes[n] ? 1.0 : 0.0;
          to[c] =
              static_cast<float>(mse.is_valid(n) ? factor * (static_cast<double>(x[c]) - t) : kNan);
        }
      }
    });
    return 0;
  }
  cpu::parallel_ranges(stream, mse.elems, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      dx[i] = static_cast<float>(
          factor * (static_cast<double>(mse.x[i]) - static_cast<double>(mse.values[i])));
    }
  });
  return 0;
}

constexpr Implementation kFwd[] = {{"tiles", supports_all, workspace_fwd, launch_mse_fwd_tiles}};
constexpr Implementation kBwd[] = {
    {"elementwise", supports_all, no_workspace, launch_mse_bwd_elementwise}};

}  // namespace

const ImplementationList cpu_mse_fwd{kFwd, 1};
const ImplementationList cpu_mse_bwd{kBwd, 1};

}  // namespace tanul
