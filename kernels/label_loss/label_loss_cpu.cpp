// SPDX-License-Identifier: Apache-2.0
// Losses against class indices on the CPU. A tile is some positions (samples, pixels), each with all its
// scores; tiles are then added in order.
// Memory bound: 4 bytes read an element forward, 4 to 8 moved backward.
// Numerics: everything is double and rounded once, in an order that depends on the shape only.
#include <algorithm>

#include "kernels/cpu/parallel.h"
#include "kernels/label_loss/label_loss.h"
#include "kernels/loss/loss_cpu.h"
#include "kernels/op.h"

namespace tanul {

namespace {

using namespace cpu;

constexpr int64_t kTileElems = 8192;

// What a formula sees of one position: the scores of its classes lie `stride` apart.
struct Row {
  const float* x;
  int64_t C, stride;
  double at(int64_t c) const { return static_cast<double>(x[c * stride]); }
};

struct Nll {
  static constexpr bool kDividesByWeights = true;
  explicit Nll(const LabelLossParams&) {}
  double value(const Row& row, int64_t t) const { return -row.at(t); }
  // dx may lie over row.x.
  void gradient(const Row& row, int64_t t, double scale, float* dx) const {
    for (int64_t c = 0; c < row.C; ++c) dx[c * row.stride] = 0;
    dx[t * row.stride] = static_cast<float>(-scale);
  }
};

struct MultiMargin {
  static constexpr bool kDividesByWeights = false;
  bool is_squared;
  double margin;
  explicit MultiMargin(const LabelLossParams& p)
      : is_squared(p.power == 2), margin(static_cast<double>(p.margin)) {}
  double value(const Row& row, int64_t t) const {
    const double base = margin - row.at(t);
    double sum = 0;
    for (int64_t c = 0; c < row.C; ++c) {
      const double lack = base + row.at(c);
      if (c != t && !(lack <= 0)) sum += is_squared ? lack * lack : lack;
    }
    return sum / static_cast<double>(row.C);
  }
  void gradient(const Row& row, int64_t t, double scale, float* dx) const {
    const double base = margin - row.at(t);
    const double step = scale / static_cast<double>(row.C);
    double sum = 0;
    for (int64_t c = 0; c < row.C; ++c) {
      const double lack = base + row.at(c);
      const bool is_short = c != t && !(lack <= 0);
      const double slope = is_short ? step * (is_squared ? 2 * lack : 1) : 0;
      sum += slope;
      dx[c * row.stride] = static_cast<float>(slope);
    }
    dx[t * row.stride] = static_cast<float>(-sum);
  }
};

template <typename Formula>
struct Loss {
  Formula formula;
  Scores shape;
  const float* x;         // [N, C, S]
  const int32_t* labels;  // [N, S]
  const float* weights;   // [C] or null
  bool has_ignore;
  int32_t ignore;

  explicit Loss(const StepArgs& args)
      : formula(args.params_as<LabelLossParams>()),
        shape(args.in[0]),
        x(args.in[0].as<float>()),
        labels(args.in[1].as<int32_t>()),
        weights(args.in_count > 2 && args.in[2].present() ? args.in[2].as<float>() : nullptr) {
    const LossParams& params = args.params_as<LabelLossParams>().loss;
    has_ignore = params.has_ignore_index != 0;
    ignore = params.ignore_index;
  }
  int64_t tile_positions() const { return ceil_div(kTileElems, shape.C); }
  int64_t tiles() const { return ceil_div(shape.positions(), tile_positions()); }
  // Calls body(position) for those of a tile, in order.
  template <typename Body>
  void for_each(int64_t tile, Body&& body) const {
    const int64_t end = std::min((tile + 1) * tile_positions(), shape.positions());
    for (int64_t p = tile * tile_positions(); p < end; ++p) body(p);
  }
  bool is_ignored(int64_t p) const { return has_ignore && labels[p] == ignore; }
  bool is_valid(int64_t p) const { return labels[p] >= 0 && labels[p] < shape.C; }
  Row row(int64_t p) const { return {x + shape.first(p), shape.C, shape.S}; }
  double weight(int64_t p) const {
    return weights == nullptr ? 1.0 : static_cast<double>(weights[labels[p]]);
  }

  LossSums of_position(int64_t p) const {
    if (is_ignored(p)) return {0, Formula::kDividesByWeights ? 0.0 : 1.0, 0, 0};
    if (!is_valid(p)) return {kNan, Formula::kDividesByWeights ? 0.0 : 1.0, 0, 1};
    const Row scores = row(p);
    const double v = weight(p);
    return {v * formula.value(scores, labels[p]), Formula::kDividesByWeights ? v : 1.0,
            arg_max(scores.x, scores.C, scores.stride) == labels[p] ? 1 : 0, 1};
  }
};

template <typename Formula>
int64_t workspace_fwd(const StepArgs& args, int) {
  return Loss<Formula>(args).tiles() * static_cast<int64_t>(sizeof(LossSums));
}

template <typename Formula>
int launch_fwd_positions(Stream* stream, const StepArgs& args) {
  const Loss<Formula> loss(args);
  LossSums* parts = static_cast<LossSums*>(args.workspace);  // [tiles]
  float* single = single_losses(args);
  parallel_for(stream, loss.tiles(), [&](int64_t tile, int) {
    LossSums part;
    loss.for_each(tile, [&](int64_t p) {
      const LossSums position = loss.of_position(p);
      if (single != nullptr) single[p] = static_cast<float>(position.sum);
      part.add(position);
    });
    parts[tile] = part;
  });
  write_loss(args, add_in_order(parts, loss.tiles()));
  return 0;
}

template <typename Formula>
int launch_bwd_positions(Stream* stream, const StepArgs& args) {
  const Loss<Formula> loss(args);
  const LossScale scale(args, 3, static_cast<double>(args.in[4].as<float>()[1]));
  float* dx = args.out[0].as<float>();
  parallel_for(stream, loss.tiles(), [&](int64_t tile, int) {
    loss.for_each(tile, [&](int64_t p) {
      const Row scores = loss.row(p);
      float* to = dx + loss.shape.first(p);
      if (!loss.is_ignored(p) && loss.is_valid(p)) {
        loss.formula.gradient(scores, loss.labels[p], scale.at(p) * loss.weight(p), to);
        return;
      }
      const float fill = loss.is_ignored(p) ? 0.0f : static_cast<float>(kNan);
      for (int64_t c = 0; c < scores.C; ++c) to[c * scores.stride] = fill;
    });
  });
  return 0;
}

template <typename Formula>
constexpr Implementation kFwd[] = {
    {"positions", supports_all, workspace_fwd<Formula>, launch_fwd_positions<Formula>}};
template <typename Formula>
constexpr Implementation kBwd[] = {
    {"positions", supports_all, no_workspace, launch_bwd_positions<Formula>}};

}  // namespace

const ImplementationList cpu_nll_fwd{kFwd<Nll>, 1};
const ImplementationList cpu_nll_bwd{kBwd<Nll>, 1};
const ImplementationList cpu_multi_margin_fwd{kFwd<MultiMargin>, 1};
const ImplementationList cpu_multi_margin_bwd{kBwd<MultiMargin>, 1};

}  // namespace tanul
