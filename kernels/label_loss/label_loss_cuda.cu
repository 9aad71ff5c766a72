// SPDX-License-Identifier: Apache-2.0
// Losses against class indices on CUDA, "positions". A team takes one position (sample, pixel) with all
// its scores: a warp or a block where they lie side by side, a thread where those of neighbouring
// positions do. Blocks are added up in order.
// Memory bound: 4 bytes read an element forward, 4 to 8 moved backward.
// Numerics: everything is double and rounded once, in an order that depends on the shape only.
// Deterministic.
#include "kernels/cuda/ops.h"
#include "kernels/label_loss/label_loss.h"
#include "kernels/loss/loss_cuda.h"

namespace tanul {

namespace {

using namespace cuda;

// What a formula sees of one position: the scores of its classes lie `stride` apart.
struct Row {
  const float* x;
  int64_t C, stride;
  __device__ double at(int64_t c) const { return static_cast<double>(x[c * stride]); }
};

struct Nll {
  static constexpr bool kDividesByWeights = true;
  explicit Nll(const LabelLossParams&) {}
  template <typename Team>
  __device__ double value(const Row& row, int64_t t) const {
    return -row.at(t);
  }
  // dx may lie over row.x.
  template <typename Team>
  __device__ void gradient(const Row& row, int64_t t, double scale, float* dx) const {
    for (int64_t c = Team::rank(); c < row.C; c += Team::kThreads) {
      dx[c * row.stride] = c == t ? static_cast<float>(-scale) : 0.0f;
    }
  }
};

struct MultiMargin {
  static constexpr bool kDividesByWeights = false;
  bool is_squared;
  double margin;
  explicit MultiMargin(const LabelLossParams& p)
      : is_squared(p.power == 2), margin(static_cast<double>(p.margin)) {}
  template <typename Team>
  __device__ double value(const Row& row, int64_t t) const {
    const double base = margin - row.at(t);
    double own = 0;
    for (int64_t c = Team::rank(); c < row.C; c += Team::kThreads) {
      const double lack = base + row.at(c);
      if (c != t && !(lack <= 0)) own += is_squared ? lack * lack : lack;
    }
    return Team::sum(own) / static_cast<double>(row.C);
  }
  // The target's element is written last: all threads of the team read its score.
  template <typename Team>
  __device__ void gradient(const Row& row, int64_t t, double scale, float* dx) const {
    const double base = margin - row.at(t);
    const double step = scale / static_cast<double>(row.C);
    double own = 0;
    for (int64_t c = Team::rank(); c < row.C; c += Team::kThreads) {
      if (c == t) continue;
      const double lack = base + row.at(c);
      const double slope = lack <= 0 ? 0 : step * (is_squared ? 2 * lack : 1);
      own += slope;
      dx[c * row.stride] = static_cast<float>(slope);
    }
    const double sum = Team::sum(own);
    if (Team::rank() == 0) dx[t * row.stride] = static_cast<float>(-sum);
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
        weights(input_or_null(args, 2)) {
    const LossParams& params = args.params_as<LabelLossParams>().loss;
    has_ignore = params.has_ignore_index != 0;
    ignore = params.ignore_index;
  }
  __device__ bool is_ignored(int64_t p) const { return has_ignore && labels[p] == ignore; }
  __device__ bool is_valid(int64_t p) const { return labels[p] >= 0 && labels[p] < shape.C; }
  __device__ double weight(int64_t p) const {
    return weights == nullptr ? 1.0 : static_cast<double>(weights[labels[p]]);
  }
};

template <typename Team, typename Formula>
__device__ LossSums position_loss(const Loss<Formula>& loss, int64_t p) {
  if (loss.is_ignored(p)) return {0, Formula::kDividesByWeights ? 0.0 : 1.0, 0, 0};
  if (!loss.is_valid(p)) return {kNan, Formula::kDividesByWeights ? 0.0 : 1.0, 0, 1};
  const Row row{loss.x + loss.shape.first(p), loss.shape.C, loss.shape.S};
  const int64_t t = loss.labels[p];
  const double v = loss.weight(p);
  const double value = v * loss.formula.template value<Team>(row, t);
  const bool is_correct = largest<Team>(row.x, row.C, row.stride).at == t;
  return {value, Formula::kDividesByWeights ? v : 1.0, is_correct ? 1.0 : 0.0, 1};
}

template <typename Team, typename Formula>
__global__ void label_loss_fwd_positions_kernel(Loss<Formula> loss, LossOut out) {
  LossSums own{0, 0, 0, 0};
  for (int64_t p = first_row<Team>(); p < loss.shape.positions(); p += row_step<Team>()) {
    const LossSums position = position_loss<Team>(loss, p);
    if (Team::rank() != 0) continue;
    if (out.single != nullptr) out.single[p] = static_cast<float>(position.sum);
    own = own + position;
  }
  out.hand_in(own);
}

template <typename Team, typename Formula>
__global__ void label_loss_bwd_positions_kernel(Loss<Formula> loss, LossScale scale, float* dx) {
  const int64_t C = loss.shape.C, S = loss.shape.S;
  for (int64_t p = first_row<Team>(); p < loss.shape.positions(); p += row_step<Team>()) {
    const int64_t first = loss.shape.first(p);
    if (!loss.is_ignored(p) && loss.is_valid(p)) {
      loss.formula.template gradient<Team>({loss.x + first, C, S}, loss.labels[p],
                                           scale.at(p) * loss.weight(p), dx + first);
      continue;
    }
    const float fill = loss.is_ignored(p) ? 0.0f : static_cast<float>(kNan);
    for (int64_t c = Team::rank(); c < C; c += Team::kThreads) dx[first + c * S] = fill;
  }
}

// --- launchers ---------------------------------------------------------------------------------

int64_t workspace_fwd(const StepArgs& args, int) {
  return LossOut::workspace_bytes(position_blocks(Scores(args.in[0])));
}

template <typename Formula>
int launch_fwd_positions(Stream* stream, const StepArgs& args) {
  const Loss<Formula> loss(args);
  const LossOut out(args, position_blocks(loss.shape), {0, 0, 0, 0});
  const int error = with_team(loss.shape.C, loss.shape.S, [&](auto team) {
    return launch(stream, label_loss_fwd_positions_kernel<decltype(team), Formula>,
                  {static_cast<uint32_t>(out.blocks), 1, 1}, kBlockThreads, loss, out);
  });
  return error != 0 ? error : launch_loss_finish(stream, out);
}

template <typename Formula>
int launch_bwd_positions(Stream* stream, const StepArgs& args) {
  const Loss<Formula> loss(args);
  const LossScale scale(args, 3, args.in[4].as<float>(), 1);
  return with_team(loss.shape.C, loss.shape.S, [&](auto team) {
    using Team = decltype(team);
    return launch(stream, label_loss_bwd_positions_kernel<Team, Formula>,
                  grid_for_rows<Team>(loss.shape.positions()), kBlockThreads, loss, scale,
                  args.out[0].as<float>());
  });
}

template <typename Formula>
constexpr Implementation kFwd[] = {
    {"positions", supports_all, workspace_fwd, launch_fwd_positions<Formula>}};
template <typename Formula>
constexpr Implementation kBwd[] = {
    {"positions", supports_all, no_workspace, launch_bwd_positions<Formula>}};

}  // namespace

const ImplementationList cuda_nll_fwd{kFwd<Nll>, 1};
const ImplementationList cuda_nll_bwd{kBwd<Nll>, 1};
const ImplementationList cuda_multi_margin_fwd{kFwd<MultiMargin>, 1};
const ImplementationList cuda_multi_margin_bwd{kBwd<MultiMargin>, 1};

}  // namespace tanul
