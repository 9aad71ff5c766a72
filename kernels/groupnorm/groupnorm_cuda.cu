// SPDX-License-Identifier: Apache-2.0
// layer_norm, rms_norm, group_norm and instance_norm on CUDA. Formulas and operands are in groupnorm.h.
//
//   rows   a warp, or a block where groups are long, takes one group: it sums it up and walks it once
//          more. Sums are those of x - k and (x - k)^2, k the first element of the group, so that nothing
//          cancels however large the mean is.
//   The gradients of gamma and beta are sums over groups: kernels/cuda/channel_sums.h, with x as
//   [groups, n, 1] (layer_norm) or [N, C, inner].
//
// Memory bound: forward reads x and writes y (8 bytes an element; the second reading comes from the cache),
// backward moves 12, and 8 more with gamma or beta.
// Numerics: sums in double; mean and inv_std are rounded to float once, and everything behind them is
// computed from the rounded numbers. Deterministic.
#include <cmath>

#include "kernels/cuda/channel_sums.h"
#include "kernels/cuda/operands.h"
#include "kernels/cuda/ops.h"
#include "kernels/groupnorm/groupnorm.h"

namespace tanul {

namespace {

using namespace cuda;

// x as `rows` groups of n contiguous elements, and the parameters that belong to them.
struct Groups {
  int64_t rows, n;
  int64_t C, inner;  // parameters; elements that share one
  int64_t channels;  // parameters of a group
  Divider by_groups, by_inner;

  Groups(int64_t row_count, int64_t group_elems, int64_t params, int64_t plane, int64_t of_group)
      : rows(row_count),
        n(group_elems),
        C(params),
        inner(plane),
        channels(of_group),
        by_groups(params / of_group),
        by_inner(plane) {}

  static Groups of_layer(const Operand& x, const StepArgs& args) {
    int64_t n = 1;
    for (int i = x.rank - args.params_as<GroupNormParams>().axes; i < x.rank; ++i) n *= x.dims[i];
    return {x.elems() / n, n, n, 1, n};
  }
  static Groups of_channels(const Operand& x, const StepArgs& args) {
    const int64_t N = x.dims[0], C = x.dims[1], inner = x.elems() / (N * C);
    const int64_t groups = args.params_as<GroupNormParams>().groups;
    return {N * groups, C / groups * inner, C, inner, C / groups};
  }

  // The parameter of element i of a group whose first one is first_parameter(row).
  __device__ int64_t first_parameter(int64_t row) const {
    return by_groups.split(row).rest * channels;
  }
  __device__ int64_t parameter(int64_t first, int64_t i) const {
    return first + by_inner.quotient(i);
  }
};

using GroupsOf = Groups (*)(const Operand& x, const StepArgs& args);

// --- forward -----------------------------------------------------------------------------------

// gamma, beta, means and inv_stds may be null. y may lie over x.
template <typename Team, bool kMean>
__global__ void group_norm_fwd_rows_kernel(Groups groups, double eps, const float* x,
                                           const float* gamma, const float* beta, float* y,
                                           float* means, float* inv_stds) {
  for (int64_t row = first_row<Team>(); row < groups.rows; row += row_step<Team>()) {
    const float* from = x + row * groups.n;
    const double center = kMean ? static_cast<double>(from[0]) : 0;
    Pair own{0, 0};
    for (int64_t i = Team::rank(); i < groups.n; i += Team::kThreads) {
      const double distance = static_cast<double>(from[i]) - center;
      own = own + Pair{distance, distance * distance};
    }
    const Pair sum = Team::sum(own);
    const auto count = static_cast<double>(groups.n);
    const double to_mean = kMean ? sum.a / count : 0;
    const double squares = sum.b - (kMean ? sum.a * to_mean : 0);
    const auto mean = static_cast<float>(center + to_mean);
    const double var = squares < 0 ? 0 : squares / count;
    const auto inv_std = static_cast<float>(1 / std::sqrt(var + eps));
    if (Team::rank() == 0) {
      if (means != nullptr) means[row] = mean;
      if (inv_stds != nullptr) inv_stds[row] = inv_std;
    }
    const int64_t first = groups.first_parameter(row);
    for (int64_t i = Team::rank(); i < groups.n; i += Team::kThreads) {
      const int64_t at = groups.parameter(first, i);
      const float x_hat = (from[i] - mean) * inv_std;
      y[row * groups.n + i] =
          fmaf(x_hat, gamma == nullptr ? 1.0f : gamma[at], beta == nullptr ? 0.0f : beta[at]);
    }
  }
}

template <GroupsOf kGroupsOf, bool kMean>
int launch_fwd_rows(Stream* stream, const StepArgs& args) {
  const Groups groups = kGroupsOf(args.in[0], args);
  return with_row_team(groups.n, [&](auto team) {
    using Team = decltype(team);
    return launch(stream, group_norm_fwd_rows_kernel<Team, kMean>, grid_for_rows<Team>(groups.rows),
                  kBlockThreads, groups, args.params_as<GroupNormParams>().eps,
                  args.in[0].as<float>(), input_or_null(args, 1), input_or_null(args, 2),
                  args.out[0].as<float>(), output_or_null(args, 1), output_or_null(args, 2));
  });
}

// --- backward ----------------------------------------------------------------------------------

// The operands of a backward step. gamma and mean may be null (mean: RMS).
struct Backward {
  const float *dy, *x, *gamma, *mean, *inv_std;

  explicit Backward(const StepArgs& args)
      : dy(args.in[0].as<float>()),
        x(args.in[1].as<float>()),
        gamma(input_or_null(args, 2)),
        mean(input_or_null(args, 3)),
        inv_std(args.in[4].as<float>()) {}
  __device__ float mean_of(int64_t row) const { return mean == nullptr ? 0.0f : mean[row]; }
};

// dy and dy x_hat, of x as [N, C, inner].
struct ParameterTerms {
  Backward b;
  int64_t C;
  Divider by_channels;
  __device__ Pair operator()(int64_t at, int64_t n, int64_t c) const {
    const int64_t row = by_channels.quotient(n * C + c);
    const double distance = static_cast<double>(b.x[at]) - static_cast<double>(b.mean_of(row));
    const auto dy = static_cast<double>(b.dy[at]);
    return {dy, dy * distance * static_cast<double>(b.inv_std[row])};
  }
};

// dgamma and dbeta may be null.
template <typename Team>
__global__ void group_norm_parameters_kernel(ChannelTiling t, const Pair* sums, float* dgamma,
                                             float* dbeta) {
  for (int64_t c = first_row<Team>(); c < t.C; c += row_step<Team>()) {
    const Pair sum = channel_total<Team>(t, sums, c);
    if (Team::rank() != 0) continue;
    if (dgamma != nullptr) dgamma[c] = static_cast<float>(sum.b);
    if (dbeta != nullptr) dbeta[c] = static_cast<float>(sum.a);
  }
}

// dx = dy gamma inv_std - offset - (x - mean) slope. dx may lie over dy or x.
template <typename Team>
__global__ void group_norm_bwd_rows_kernel(Groups groups, Backward b, float* dx) {
  for (int64_t row = first_row<Team>(); row < groups.rows; row += row_step<Team>()) {
    const int64_t first = groups.first_parameter(row);
    const float mean = b.mean_of(row), inv_std = b.inv_std[row];
    Pair own{0, 0};  // of dy gamma, of dy gamma (x - mean)
    for (int64_t i = Team::rank(); i < groups.n; i += Team::kThreads) {
      const int64_t at = row * groups.n + i;
      double g = static_cast<double>(b.dy[at]);
      if (b.gamma != nullptr) g *= static_cast<double>(b.gamma[groups.parameter(first, i)]);
      own = own + Pair{g, g * (static_cast<double>(b.x[at]) - static_cast<double>(mean))};
    }
    const Pair sum = Team::sum(own);
    const auto count = static_cast<double>(groups.n), scale = static_cast<double>(inv_std);
    const auto offset = static_cast<float>(b.mean == nullptr ? 0 : scale * sum.a / count);
    const auto slope = static_cast<float>(scale * scale * scale * sum.b / count);
    for (int64_t i = Team::rank(); i < groups.n; i += Team::kThreads) {
      const int64_t at = row * groups.n + i;
      const float g =
          b.gamma == nullptr ? b.dy[at] : b.dy[at] * b.gamma[groups.parameter(first, i)];
      dx[at] = fmaf(mean - b.x[at], slope, fmaf(g, inv_std, -offset));
    }
  }
}

ChannelTiling parameter_tiling(const Groups& groups) {
  return {groups.rows * groups.n / (groups.C * groups.inner), groups.C, groups.inner};
}

bool has_parameter_gradients(const StepArgs& args) {
  return args.out[1].present() || args.out[2].present();
}

template <GroupsOf kGroupsOf>
int64_t workspace_bwd(const StepArgs& args, int) {
  if (!has_parameter_gradients(args)) return 0;
  return parameter_tiling(kGroupsOf(args.in[1], args)).sums() * static_cast<int64_t>(sizeof(Pair));
}

int launch_parameters(Stream* stream, const StepArgs& args, const Groups& groups) {
  const ChannelTiling t = parameter_tiling(groups);
  Pair* sums = static_cast<Pair*>(args.workspace);
  const ParameterTerms terms{Backward(args), groups.C, Divider(groups.channels)};
  const int error = launch_channel_sums(stream, t, terms, sums);
  if (error != 0) return error;
  return with_channel_team(t, [&](auto team) {
    using Team = decltype(team);
    return launch(stream, group_norm_parameters_kernel<Team>, grid_for_rows<Team>(t.C),
                  kBlockThreads, t, sums, output_or_null(args, 1), output_or_null(args, 2));
  });
}

template <GroupsOf kGroupsOf>
int launch_bwd_rows(Stream* stream, const StepArgs& args) {
  const Groups groups = kGroupsOf(args.in[1], args);
  if (has_parameter_gradients(args)) {  // first, since dx may lie over dy or x
    const int error = launch_parameters(stream, args, groups);
    if (error != 0) return error;
  }
  if (!args.out[0].present()) return 0;
  return with_row_team(groups.n, [&](auto team) {
    using Team = decltype(team);
    return launch(stream, group_norm_bwd_rows_kernel<Team>, grid_for_rows<Team>(groups.rows),
                  kBlockThreads, groups, Backward(args), args.out[0].as<float>());
  });
}

constexpr Implementation kLayerFwd[] = {
    {"rows", supports_all, no_workspace, launch_fwd_rows<Groups::of_layer, true>}};
constexpr Implementation kRmsFwd[] = {
    {"rows", supports_all, no_workspace, launch_fwd_rows<Groups::of_layer, false>}};
constexpr Implementation kLayerBwd[] = {
    {"rows", supports_all, workspace_bwd<Groups::of_layer>, launch_bwd_rows<Groups::of_layer>}};
constexpr Implementation kGroupFwd[] = {
    {"rows", supports_all, no_workspace, launch_fwd_rows<Groups::of_channels, true>}};
constexpr Implementation kGroupBwd[] = {{"rows", supports_all, workspace_bwd<Groups::of_channels>,
                                         launch_bwd_rows<Groups::of_channels>}};

}  // namespace

const ImplementationList cuda_layer_norm_fwd{kLayerFwd, 1};
const ImplementationList cuda_rms_norm_fwd{kRmsFwd, 1};
const ImplementationList cuda_layer_norm_bwd{kLayerBwd, 1};
const ImplementationList cuda_group_norm_fwd{kGroupFwd, 1};
const ImplementationList cuda_instance_norm_fwd{kGroupFwd, 1};
const ImplementationList cuda_group_norm_bwd{kGroupBwd, 1};

}  // namespace tanul
