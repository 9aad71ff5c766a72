// SPDX-License-Identifier: Apache-2.0
// Softmax + cross-entropy on CUDA, "positions". A team takes one position (sample, pixel): a warp or a
// block where its logits lie side by side, a thread where those of neighbouring positions do.
// Forward reads the logits twice (the largest, the sum of exponentials), backward three times, and
// writes once; the repeats come from the cache. Bound by memory where double is fast, else by one
// double exponential an element forward, two backward.
// Numerics: everything is double and rounded once, in an order that depends on the shape only.
// Deterministic.
#include <cmath>

#include "kernels/cuda/ops.h"
#include "kernels/loss/loss_cuda.h"
#include "kernels/softmax_xent/softmax_xent.h"

namespace tanul {

namespace {

using namespace cuda;

struct Loss {
  Scores shape;
  const float* z;         // [N, C, S]
  const int32_t* labels;  // [N, S], or null
  const float* shares;    // [N, C, S]: target probabilities, or null
  const float* weights;   // [C] or null
  double smoothing;
  double spread;  // s/C
  bool has_ignore;
  int32_t ignore;

  explicit Loss(const StepArgs& args)
      : shape(args.in[0]),
        z(args.in[0].as<float>()),
        labels(class_indices(args.in[1])),
        shares(values_of(args.in[1])),
        weights(input_or_null(args, 2)) {
    const auto& params = args.params_as<SoftmaxXentParams>();
    smoothing = static_cast<double>(params.label_smoothing);
    spread = smoothing / static_cast<double>(shape.C);
    has_ignore = params.loss.has_ignore_index != 0;
    ignore = params.loss.ignore_index;
  }
  __device__ bool is_ignored(int64_t p) const {
    return labels != nullptr && has_ignore && labels[p] == ignore;
  }
  __device__ bool is_valid(int64_t p) const {
    return labels == nullptr || (labels[p] >= 0 && labels[p] < shape.C);
  }
  __device__ double weight(int64_t c) const {
    return weights == nullptr ? 1.0 : static_cast<double>(weights[c]);
  }
  // q[c] of target probabilities; `share` is t[c].
  __device__ double wanted(int64_t c, float share) const {
    return weight(c) * ((1 - smoothing) * static_cast<double>(share) + spread);
  }
};

// The loss of one position; `divisor` is v[t] of a class index, 1 of probabilities.
template <typename Team>
__device__ LossSums position_loss(const Loss& loss, int64_t p) {
  if (loss.is_ignored(p)) return {0, 0, 0, 0};
  if (!loss.is_valid(p)) return {kNan, 0, 0, 1};
  const int64_t C = loss.shape.C, S = loss.shape.S, first = loss.shape.first(p);
  const float* z = loss.z + first;
  const Best best = largest<Team>(z, C, S);
  const double max = static_cast<double>(best.value);
  double own = 0;
  Pair smooth{0, 0};  // sum_c v[c] (z[c] - max), sum_c v[c]
  for (int64_t c = Team::rank(); c < C; c += Team::kThreads) {
    const double distance = static_cast<double>(z[c * S]) - max;
    own += std::exp(distance);
    smooth = smooth + Pair{loss.weight(c) * distance, loss.weight(c)};
  }
  const double log_sum = std::log(Team::sum(own));
  if (loss.labels == nullptr) {
    const float* shares = loss.shares + first;
    double value = 0;
    for (int64_t c = Team::rank(); c < C; c += Team::kThreads) {
      const double q = loss.wanted(c, shares[c * S]);
      if (q != 0) value -= q * (static_cast<double>(z[c * S]) - max - log_sum);
    }
    const bool is_correct = largest<Team>(shares, C, S).at == best.at;
    return {Team::sum(value), 1, is_correct ? 1.0 : 0.0, 1};
  }
  const int64_t t = loss.labels[p];
  double value = 0;
  if (loss.smoothing < 1) {
    const double log_p = static_cast<double>(z[t * S]) - max - log_sum;
    value -= (1 - loss.smoothing) * loss.weight(t) * log_p;
  }
  if (loss.smoothing > 0) {
    const Pair all = Team::sum(smooth);
    value -= loss.spread * (all.a - all.b * log_sum);
  }
  return {value, loss.weight(t), best.at == t ? 1.0 : 0.0, 1};
}

template <typename Team>
__global__ void softmax_xent_fwd_positions_kernel(Loss loss, LossOut out) {
  LossSums own{0, 0, 0, 0};
  for (int64_t p = first_row<Team>(); p < loss.shape.positions(); p += row_step<Team>()) {
    const LossSums position = position_loss<Team>(loss, p);
    if (Team::rank() != 0) continue;
    if (out.single != nullptr) out.single[p] = static_cast<float>(position.sum);
    own = own + position;
  }
  out.hand_in(own);
}

// z may lie under dz: each thread writes over what only it still reads.
template <typename Team>
__device__ void position_gradient(const Loss& loss, const LossScale& scale, int64_t p, float* dz) {
  const int64_t C = loss.shape.C, S = loss.shape.S, first = loss.shape.first(p);
  float* to = dz + first;
  if (loss.is_ignored(p) || !loss.is_valid(p)) {
    const float fill = loss.is_ignored(p) ? 0.0f : static_cast<float>(kNan);
    for (int64_t c = Team::rank(); c < C; c += Team::kThreads) to[c * S] = fill;
    return;
  }
  const float* z = loss.z + first;
  const float* shares = loss.shares == nullptr ? nullptr : loss.shares + first;
  const double max = static_cast<double>(largest<Team>(z, C, S).value);
  Pair own{0, 0};  // of exponentials; of q, or of s/C v
  for (int64_t c = Team::rank(); c < C; c += Team::kThreads) {
    const double q =
        shares == nullptr ? loss.spread * loss.weight(c) : loss.wanted(c, shares[c * S]);
    own = own + Pair{std::exp(static_cast<double>(z[c * S]) - max), q};
  }
  const Pair sums = Team::sum(own);
  const int64_t t = loss.labels == nullptr ? -1 : loss.labels[p];
  const double hit = t < 0 ? 0.0 : (1 - loss.smoothing) * loss.weight(t);
  const double q_sum = sums.b + hit;
  const double factor = scale.at(p);
  for (int64_t c = Team::rank(); c < C; c += Team::kThreads) {
    const double share = std::exp(static_cast<double>(z[c * S]) - max) / sums.a;
    const double q = shares == nullptr ? loss.spread * loss.weight(c) + (c == t ? hit : 0.0)
                                       : loss.wanted(c, shares[c * S]);
    to[c * S] = static_cast<float>(factor * (q_sum * share - q));
  }
}

template <typename Team>
__global__ void softmax_xent_bwd_positions_kernel(Loss loss, LossScale scale, float* dz) {
  for (int64_t p = first_row<Team>(); p < loss.shape.positions(); p += row_step<Team>()) {
    position_gradient<Team>(loss, scale, p, dz);
  }
}

// --- launchers ---------------------------------------------------------------------------------

int64_t workspace_fwd(const StepArgs& args, int) {
  return LossOut::workspace_bytes(position_blocks(Scores(args.in[0])));
}

int launch_softmax_xent_fwd_positions(Stream* stream, const StepArgs& args) {
  const Loss loss(args);
  const LossOut out(args, position_blocks(loss.shape), {0, 0, 0, 0});
  const int error = with_team(loss.shape.C, loss.shape.S, [&](auto team) {
    return launch(stream, softmax_xent_fwd_positions_kernel<decltype(team)>,
                  {static_cast<uint32_t>(out.blocks), 1, 1}, kBlockThreads, loss, out);
  });
  return error != 0 ? error : launch_loss_finish(stream, out);
}

int launch_softmax_xent_bwd_positions(Stream* stream, const StepArgs& args) {
  const Loss loss(args);
  const LossScale scale(args, 3, args.in[4].as<float>(), 1);
  return with_team(loss.shape.C, loss.shape.S, [&](auto team) {
    using Team = decltype(team);
    return launch(stream, softmax_xent_bwd_positions_kernel<Team>,
                  grid_for_rows<Team>(loss.shape.positions()), kBlockThreads, loss, scale,
                  args.out[0].as<float>());
  });
}

constexpr Implementation kFwd[] = {
    {"positions", supports_all, workspace_fwd, launch_softmax_xent_fwd_positions}};
constexpr Implementation kBwd[] = {
    {"positions", supports_all, no_workspace, launch_softmax_xent_bwd_positions}};

}  // namespace

const ImplementationList cuda_softmax_xent_fwd{kFwd, 1};
const ImplementationList cuda_softmax_xent_bwd{kBwd, 1};

}  // namespace tanul
