// SPDX-License-Identifier: Apache-2.0
// Batch normalisation on CUDA. Formulas and operands are in batchnorm.h.
//
//   channel_sums  forward: the sums of x - k and (x - k)^2, k the first element of the channel, so that
//                 nothing cancels however large the mean is; backward: of g and g (x - mean). Statistics
//                 and gradients of gamma and beta follow, a thread or a warp a channel.
//   elementwise   the pass over x: threads along the planes, coefficients once a plane
//
// Memory bound: forward reads x twice and writes y (12 bytes an element), backward reads x and dy twice
// and writes dx (20 bytes).
// Numerics: sums in double (kernels/cuda/channel_sums.h); mean and var are rounded to float once, and
// everything behind them is computed from the rounded numbers, so that the backward pass sees what the
// forward pass saw. y has one formula, with its fused operation written out: computed again it has the
// same bits. Deterministic.
#include <cmath>

#include "kernels/batchnorm/batchnorm.h"
#include "kernels/cuda/channel_sums.h"
#include "kernels/cuda/operands.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/planes.h"

namespace tanul {

namespace {

using namespace cuda;

int64_t inner_of(const Operand& x) { return x.elems() / (x.dims[0] * x.dims[1]); }
ChannelTiling tiling_of(const Operand& x) { return {x.dims[0], x.dims[1], inner_of(x)}; }

// gamma, beta (null: left out) and eps.
struct Parameters {
  const float *gamma, *beta;  // [C]
  double eps;
  bool has_relu;

  Parameters(const StepArgs& args, int gamma_operand)
      : gamma(input_or_null(args, gamma_operand)), beta(input_or_null(args, gamma_operand + 1)) {
    const auto& p = args.params_as<BatchNormParams>();
    eps = p.eps;
    has_relu = p.activation == ActivationKind::relu;
  }
  __device__ double inv_std(float var) const {
    return 1 / std::sqrt(static_cast<double>(var) + eps);
  }
  // gamma / sqrt(var + eps); the float of it is what all passes multiply with.
  __device__ double scale(float var, int64_t c) const {
    return inv_std(var) * (gamma == nullptr ? 1.0 : static_cast<double>(gamma[c]));
  }
  __device__ float shift(int64_t c) const { return beta == nullptr ? 0.0f : beta[c]; }
};

// Workspace: sums, then floats [C] each: scale, shift, and two more: statistics that nobody reads
// (forward), offset and slope (backward).
struct Workspace {
  Pair* sums;
  float *scale, *shift, *first, *second;

  Workspace(void* memory, int64_t sum_count, int64_t C) : sums(static_cast<Pair*>(memory)) {
    scale = reinterpret_cast<float*>(sums + sum_count);
    shift = scale + C;
    first = shift + C;
    second = first + C;
  }
  static int64_t bytes(int64_t sum_count, int64_t C) {
    return sum_count * static_cast<int64_t>(sizeof(Pair)) +
           4 * C * static_cast<int64_t>(sizeof(float));
  }
};

template <int kX>
int64_t workspace_tiles(const StepArgs& args, int) {
  const ChannelTiling t = tiling_of(args.in[kX]);
  return Workspace::bytes(t.sums(), t.C);
}
int64_t workspace_eval_fwd(const StepArgs& args, int) {
  return Workspace::bytes(0, args.in[0].dims[1]);
}

// y = (x - mean) scale + shift, each [C]; with relu at least 0.
struct Affine {
  const float *mean, *scale, *shift;
  bool has_relu;

  struct Channel {
    float mean, scale, shift;
    __device__ float y(float x) const { return fmaf(x - mean, scale, shift); }
  };
  __device__ Channel channel(int64_t c) const { return {mean[c], scale[c], shift[c]}; }
  // What arrives behind the relu.
  __device__ float gradient(const Channel& own, float dy, float x) const {
    return !has_relu || own.y(x) > 0 ? dy : 0.0f;
  }
};

// --- sums over channels ------------------------------------------------------------------------

struct MomentTerms {
  const float* x;
  int64_t inner;
  __device__ Pair operator()(int64_t at, int64_t, int64_t c) const {
    const double distance = static_cast<double>(x[at]) - static_cast<double>(x[c * inner]);
    return {distance, distance * distance};
  }
};

struct GradientTerms {
  const float *dy, *x;
  Affine affine;
  __device__ Pair operator()(int64_t at, int64_t, int64_t c) const {
    const Affine::Channel own = affine.channel(c);
    const auto g = static_cast<double>(affine.gradient(own, dy[at], x[at]));
    return {g, g * (static_cast<double>(x[at]) - static_cast<double>(own.mean))};
  }
};

template <typename Team>
__global__ void batchnorm_statistics_kernel(ChannelTiling t, const Pair* sums, const float* x,
                                            Parameters p, float* mean, float* var, float* scale,
                                            float* shift) {
  for (int64_t c = first_row<Team>(); c < t.C; c += row_step<Team>()) {
    const Pair sum = channel_total<Team>(t, sums, c);
    if (Team::rank() != 0) continue;
    const auto count = static_cast<double>(t.N * t.inner);
    const double distance = sum.a / count;
    const double squares = sum.b - sum.a * distance;
    mean[c] = static_cast<float>(static_cast<double>(x[c * t.inner]) + distance);
    var[c] = static_cast<float>(squares < 0 ? 0 : squares / count);
    scale[c] = static_cast<float>(p.scale(var[c], c));
    shift[c] = p.shift(c);
  }
}

// scale and shift where mean and var are given.
__global__ void batchnorm_affine_kernel(int64_t C, const float* var, Parameters p, float* scale,
                                        float* shift) {
  for (int64_t c = grid_thread(); c < C; c += grid_threads()) {
    scale[c] = static_cast<float>(p.scale(var[c], c));
    shift[c] = p.shift(c);
  }
}

// dgamma and dbeta may be null.
template <typename Team>
__global__ void batchnorm_gradients_kernel(ChannelTiling t, const Pair* sums, const float* var,
                                           Parameters p, float* dgamma, float* dbeta, float* offset,
                                           float* slope) {
  for (int64_t c = first_row<Team>(); c < t.C; c += row_step<Team>()) {
    const Pair sum = channel_total<Team>(t, sums, c);
    if (Team::rank() != 0) continue;
    const auto count = static_cast<double>(t.N * t.inner);
    const double inv_std = p.inv_std(var[c]), scale = p.scale(var[c], c);
    if (dgamma != nullptr) dgamma[c] = static_cast<float>(sum.b * inv_std);
    if (dbeta != nullptr) dbeta[c] = static_cast<float>(sum.a);
    offset[c] = static_cast<float>(scale * sum.a / count);
    slope[c] = static_cast<float>(scale * inv_std * inv_std * sum.b / count);
  }
}

// --- passes over x -----------------------------------------------------------------------------

__global__ void batchnorm_normalize_kernel(Planes planes, Divider by_C, const float* x,
                                           Affine affine, float* y) {
  const int64_t plane = planes.plane();
  if (plane >= planes.count) return;
  const Affine::Channel own = affine.channel(by_C.split(plane).rest);
  for (int64_t i = planes.begin(); i < planes.end(); i += planes.step()) {
    const int64_t at = plane * planes.inner + i;
    const float value = own.y(x[at]);
    y[at] = affine.has_relu && value < 0 ? 0.0f : value;
  }
}

// dx = g scale - offset - (x - mean) slope; offset null: dx = g scale. dx may lie over dy or x.
__global__ void batchnorm_input_gradient_kernel(Planes planes, Divider by_C, const float* dy,
                                                const float* x, Affine affine, const float* offset,
                                                const float* slope, float* dx) {
  const int64_t plane = planes.plane();
  if (plane >= planes.count) return;
  const int64_t c = by_C.split(plane).rest;
  const Affine::Channel own = affine.channel(c);
  const float from = offset == nullptr ? 0 : offset[c], along = offset == nullptr ? 0 : slope[c];
  for (int64_t i = planes.begin(); i < planes.end(); i += planes.step()) {
    const int64_t at = plane * planes.inner + i;
    const float v = x[at];
    const float g = affine.gradient(own, dy[at], v);
    dx[at] =
        offset == nullptr ? g * own.scale : fmaf(own.mean - v, along, fmaf(g, own.scale, -from));
  }
}

// --- launchers ---------------------------------------------------------------------------------

int launch_normalize(Stream* stream, const Operand& x, const Affine& affine, const Operand& y) {
  const Planes planes(x.dims[0] * x.dims[1], inner_of(x));
  return launch(stream, batchnorm_normalize_kernel, planes.grid(), kBlockThreads, planes,
                Divider(x.dims[1]), x.as<float>(), affine, y.as<float>());
}

int launch_batchnorm_fwd(Stream* stream, const StepArgs& args) {
  const ChannelTiling t = tiling_of(args.in[0]);
  const Workspace w(args.workspace, t.sums(), t.C);
  const Parameters p(args, 1);
  const float* x = args.in[0].as<float>();
  float* mean = args.out[1].present() ? args.out[1].as<float>() : w.first;
  float* var = args.out[2].present() ? args.out[2].as<float>() : w.second;
  int error = launch_channel_sums(stream, t, MomentTerms{x, t.inner}, w.sums);
  if (error == 0) {
    error = with_channel_team(t, [&](auto team) {
      using Team = decltype(team);
      return launch(stream, batchnorm_statistics_kernel<Team>, grid_for_rows<Team>(t.C),
                    kBlockThreads, t, w.sums, x, p, mean, var, w.scale, w.shift);
    });
  }
  if (error != 0) return error;
  return launch_normalize(stream, args.in[0], {mean, w.scale, w.shift, p.has_relu}, args.out[0]);
}

int launch_batchnorm_eval_fwd(Stream* stream, const StepArgs& args) {
  const int64_t C = args.in[0].dims[1];
  const Workspace w(args.workspace, 0, C);
  const Parameters p(args, 1);
  const int error = launch(stream, batchnorm_affine_kernel, blocks_for(C), kBlockThreads, C,
                           args.in[4].as<float>(), p, w.scale, w.shift);
  if (error != 0) return error;
  return launch_normalize(stream, args.in[0],
                          {args.in[3].as<float>(), w.scale, w.shift, p.has_relu}, args.out[0]);
}

// kStatistics: mean and var depend on x.
template <bool kStatistics>
int launch_batchnorm_bwd(Stream* stream, const StepArgs& args) {
  const Operand& shape = args.in[1];
  const ChannelTiling t = tiling_of(shape);
  const Workspace w(args.workspace, t.sums(), t.C);
  const Parameters p(args, 2);
  const float* dy = args.in[0].as<float>();
  const float* x = shape.as<float>();
  const float* var = args.in[5].as<float>();
  float* dgamma = output_or_null(args, 1);
  float* dbeta = output_or_null(args, 2);
  const Affine affine{args.in[4].as<float>(), w.scale, w.shift, p.has_relu};
  int error = launch(stream, batchnorm_affine_kernel, blocks_for(t.C), kBlockThreads, t.C, var, p,
                     w.scale, w.shift);
  if (error == 0 && (kStatistics || dgamma != nullptr || dbeta != nullptr)) {
    error = launch_channel_sums(stream, t, GradientTerms{dy, x, affine}, w.sums);
    if (error != 0) return error;
    error = with_channel_team(t, [&](auto team) {
      using Team = decltype(team);
      return launch(stream, batchnorm_gradients_kernel<Team>, grid_for_rows<Team>(t.C),
                    kBlockThreads, t, w.sums, var, p, dgamma, dbeta, w.first, w.second);
    });
  }
  if (error != 0 || !args.out[0].present()) return error;
  const Planes planes(t.N * t.C, t.inner);
  return launch(stream, batchnorm_input_gradient_kernel, planes.grid(), kBlockThreads, planes,
                Divider(t.C), dy, x, affine, kStatistics ? w.first : nullptr,
                kStatistics ? w.second : nullptr, args.out[0].as<float>());
}

// running may lie under out.
__global__ void batchnorm_stats_update_kernel(int64_t C, double momentum, double unbiased,
                                              const float* running_mean, const float* mean,
                                              const float* running_var, const float* var,
                                              float* out_mean, float* out_var) {
  for (int64_t c = grid_thread(); c < C; c += grid_threads()) {
    out_mean[c] = static_cast<float>((1 - momentum) * static_cast<double>(running_mean[c]) +
                                     momentum * static_cast<double>(mean[c]));
    out_var[c] = static_cast<float>((1 - momentum) * static_cast<double>(running_var[c]) +
                                    momentum * (unbiased * static_cast<double>(var[c])));
  }
}

int launch_batchnorm_stats_update(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<BatchNormStatsParams>();
  const int64_t C = args.in[0].dims[0];
  const double unbiased = static_cast<double>(p.count) / static_cast<double>(p.count - 1);
  return launch(stream, batchnorm_stats_update_kernel, blocks_for(C), kBlockThreads, C, p.momentum,
                unbiased, args.in[0].as<float>(), args.in[1].as<float>(), args.in[2].as<float>(),
                args.in[3].as<float>(), args.out[0].as<float>(), args.out[1].as<float>());
}

constexpr Implementation kFwd[] = {
    {"channel_sums", supports_all, workspace_tiles<0>, launch_batchnorm_fwd}};
constexpr Implementation kBwd[] = {
    {"channel_sums", supports_all, workspace_tiles<1>, launch_batchnorm_bwd<true>}};
constexpr Implementation kEvalFwd[] = {
    {"elementwise", supports_all, workspace_eval_fwd, launch_batchnorm_eval_fwd}};
constexpr Implementation kEvalBwd[] = {
    {"channel_sums", supports_all, workspace_tiles<1>, launch_batchnorm_bwd<false>}};
constexpr Implementation kStatsUpdate[] = {
    {"elementwise", supports_all, no_workspace, launch_batchnorm_stats_update}};

}  // namespace

const ImplementationList cuda_batchnorm_fwd{kFwd, 1};
const ImplementationList cuda_batchnorm_bwd{kBwd, 1};
const ImplementationList cuda_batchnorm_eval_fwd{kEvalFwd, 1};
const ImplementationList cuda_batchnorm_eval_bwd{kEvalBwd, 1};
const ImplementationList cuda_batchnorm_stats_update{kStatsUpdate, 1};

}  // namespace tanul
