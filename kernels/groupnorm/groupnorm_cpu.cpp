// SPDX-License-Identifier: Apache-2.0
// layer_norm, rms_norm, group_norm and instance_norm on the CPU. One worker takes some whole groups: it
// sums each one up and normalises it while it lies in the cache. The gradients of gamma and beta are
// sums over groups: of tiles in order (layer_norm), or of the sums that dx needs anyway (group_norm).
// Meets the memory roof: forward moves 8 bytes an element where a group fits the cache, backward 12
// (layer_norm with gamma: 20).
// Numerics: sums in double (norm_simd.h); mean and inv_std are rounded to float once, and everything
// behind them is computed from the rounded numbers.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/norm_simd.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tiling.h"
#include "kernels/groupnorm/groupnorm.h"
#include "kernels/op.h"

namespace tanul {

namespace {

constexpr int64_t kTileElems = 16384;
constexpr int64_t kChannelsPerTask = 64;

float* data_or_null(const Operand& operand) {
  return operand.present() ? operand.as<float>() : nullptr;
}

float inv_std_of(double var, double eps) { return static_cast<float>(1 / std::sqrt(var + eps)); }

// Calls body(row) for rows of n elements.
template <typename Body>
void parallel_rows(Stream* stream, int64_t rows, int64_t n, const Body& body) {
  const cpu::Blocks blocks = cpu::blocks_of_size(rows, kTileElems / n);
  cpu::parallel_for(stream, blocks.count, [&](int64_t block, int) {
    const int64_t begin = blocks.begin(block);
    for (int64_t row = begin; row < begin + blocks.length(block); ++row) body(row);
  });
}

// --- layer_norm, rms_norm: x as [rows, n] ------------------------------------------------------

int64_t row_length(const Operand& x, int32_t axes) {
  int64_t n = 1;
  for (int i = x.rank - axes; i < x.rank; ++i) n *= x.dims[i];
  return n;
}

template <bool kMean>
int launch_layer_norm_fwd_rows(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<GroupNormParams>();
  const int64_t n = row_length(args.in[0], p.axes);
  const float* x = args.in[0].as<float>();
  const float* gamma = args.in_count > 1 ? data_or_null(args.in[1]) : nullptr;
  const float* beta = args.in_count > 2 ? data_or_null(args.in[2]) : nullptr;
  float* y = args.out[0].as<float>();
  float* means = data_or_null(args.out[1]);
  float* inv_stds = data_or_null(args.out[2]);
  parallel_rows(stream, args.in[0].elems() / n, n, [&](int64_t row) {
    const float* from = x + row * n;
    const auto count = static_cast<double>(n);
    const cpu::Sums moments =
        kMean ? cpu::row_moments(from, n) : cpu::Sums{0, cpu::row_squares(from, n)};
    const auto mean = static_cast<float>(moments.a);
    const float inv_std = inv_std_of(moments.b / count, p.eps);
    if (means != nullptr) means[row] = mean;
    if (inv_stds != nullptr) inv_stds[row] = inv_std;
    cpu::row_normalize(from, n, mean, inv_std, gamma, beta, y + row * n);
  });
  return 0;
}

// The sums of dgamma and dbeta: blocks of rows times blocks of columns, [row blocks, n].
struct ParameterTiles {
  cpu::Blocks rows, columns;

  ParameterTiles(int64_t row_count, int64_t n) {
    columns = cpu::blocks_of_size(n, 1024);
    const int64_t wanted = row_count * columns.size / (2 * kTileElems);
    rows = cpu::blocks_about(row_count, std::min(wanted, cpu::kTilesWanted), 1);
  }
  int64_t count() const { return rows.count * columns.count; }
};

int64_t workspace_layer_bwd(const StepArgs& args, int) {
  if (!args.out[1].present() && !args.out[2].present()) return 0;
  const int64_t n = row_length(args.in[1], args.params_as<GroupNormParams>().axes);
  return ParameterTiles(args.in[1].elems() / n, n).rows.count * n *
         static_cast<int64_t>(sizeof(cpu::Sums));
}

void sum_parameters(Stream* stream, const StepArgs& args, int64_t row_count, int64_t n) {
  const ParameterTiles tiles(row_count, n);
  auto* sums = static_cast<cpu::Sums*>(args.workspace);  // [row blocks, n]
  const float* mean = data_or_null(args.in[3]);
  const float* inv_std = args.in[4].as<float>();
  cpu::parallel_for(stream, tiles.count(), [&](int64_t tile, int) {
    const int64_t block = tile / tiles.columns.count;
    const int64_t row = tiles.rows.begin(block);
    const int64_t column = tiles.columns.begin(tile % tiles.columns.count);
    const int64_t first = row * n + column;
    cpu::row_parameter_sums(
        args.in[0].as<float>() + first, args.in[1].as<float>() + first, tiles.rows.length(block), n,
        tiles.columns.length(tile % tiles.columns.count), mean == nullptr ? nullptr : mean + row,
        inv_std + row, sums + block * n + column);
  });
  float* dgamma = data_or_null(args.out[1]);
  float* dbeta = data_or_null(args.out[2]);
  cpu::parallel_for(stream, tiles.columns.count, [&](int64_t block, int) {
    const int64_t begin = tiles.columns.begin(block);
    for (int64_t c = begin; c < begin + tiles.columns.length(block); ++c) {
      cpu::Sums sum{0, 0};
      for (int64_t b = 0; b < tiles.rows.count; ++b) {
        sum.a += sums[b * n + c].a;
        sum.b += sums[b * n + c].b;
      }
      if (dgamma != nullptr) dgamma[c] = static_cast<float>(sum.b);
      if (dbeta != nullptr) dbeta[c] = static_cast<float>(sum.a);
    }
  });
}

int launch_layer_norm_bwd_rows(Stream* stream, const StepArgs& args) {
  const int64_t n = row_length(args.in[1], args.params_as<GroupNormParams>().axes);
  const int64_t rows = args.in[1].elems() / n;
  // First, since dx may lie over dy or x.
  if (args.out[1].present() || args.out[2].present()) sum_parameters(stream, args, rows, n);
  if (!args.out[0].present()) return 0;
  const float* gamma = data_or_null(args.in[2]);
  const float* means = data_or_null(args.in[3]);
  const float* inv_stds = args.in[4].as<float>();
  parallel_rows(stream, rows, n, [&](int64_t row) {
    const float* dy = args.in[0].as<float>() + row * n;
    const float* x = args.in[1].as<float>() + row * n;
    const float mean = means == nullptr ? 0 : means[row];
    const cpu::Sums sums = cpu::row_gradient_sums(dy, x, n, mean, gamma);
    const auto inv_std = static_cast<double>(inv_stds[row]);
    const auto count = static_cast<double>(n);
    const double offset = means == nullptr ? 0 : inv_std * sums.a / count;
    const double slope = inv_std * inv_std * inv_std * sums.b / count;
    cpu::row_input_gradient(dy, x, n, mean, inv_stds[row], gamma, static_cast<float>(offset),
                            static_cast<float>(slope), args.out[0].as<float>() + row * n);
  });
  return 0;
}

// --- group_norm, instance_norm: x as N C planes of `inner` elements ----------------------------

struct Planes {
  int64_t N, C, inner, groups;
  int64_t channels;  // of a group

  Planes(const Operand& x, int64_t group_count)
      : N(x.dims[0]),
        C(x.dims[1]),
        inner(x.elems() / (x.dims[0] * x.dims[1])),
        groups(group_count),
        channels(C / groups) {}
  int64_t count() const { return N * C; }
  int64_t rows() const { return N * groups; }
  int64_t row_elems() const { return channels * inner; }
};

// Five floats and two sums a plane.
struct PlaneWorkspace {
  cpu::Sums* sums;
  float *mean, *scale, *shift, *offset, *slope;

  PlaneWorkspace(void* memory, int64_t planes) {
    sums = static_cast<cpu::Sums*>(memory);
    mean = reinterpret_cast<float*>(sums + planes);
    scale = mean + planes;
    shift = scale + planes;
    offset = shift + planes;
    slope = offset + planes;
  }
};

template <int kX>
int64_t workspace_planes(const StepArgs& args, int) {
  const int64_t planes = args.in[kX].dims[0] * args.in[kX].dims[1];
  return planes * static_cast<int64_t>(sizeof(cpu::Sums) + 5 * sizeof(float));
}

int launch_group_norm_fwd_rows(Stream* stream, const StepArgs& args) {
  const auto& p = args.params_as<GroupNormParams>();
  const Planes planes(args.in[0], p.groups);
  const PlaneWorkspace w(args.workspace, planes.count());
  const float* x = args.in[0].as<float>();
  const float* gamma = args.in_count > 1 ? data_or_null(args.in[1]) : nullptr;
  const float* beta = args.in_count > 2 ? data_or_null(args.in[2]) : nullptr;
  float* means = data_or_null(args.out[1]);
  float* inv_stds = data_or_null(args.out[2]);
  const int64_t n = planes.row_elems();
  const cpu::ChannelAffine affine{w.mean, w.scale, w.shift, false};
  parallel_rows(stream, planes.rows(), n, [&](int64_t row) {
    const cpu::Sums moments = cpu::row_moments(x + row * n, n);
    const auto mean = static_cast<float>(moments.a);
    const float inv_std = inv_std_of(moments.b / static_cast<double>(n), p.eps);
    if (means != nullptr) means[row] = mean;
    if (inv_stds != nullptr) inv_stds[row] = inv_std;
    const int64_t first = row * planes.channels;
    for (int64_t plane = first; plane < first + planes.channels; ++plane) {
      const int64_t c = plane % planes.C;
      w.mean[plane] = mean;
      w.scale[plane] = gamma == nullptr ? inv_std : gamma[c] * inv_std;
      w.shift[plane] = beta == nullptr ? 0 : beta[c];
    }
    cpu::channel_normalize(row * n, (row + 1) * n, planes.count(), planes.inner, x, affine,
                           args.out[0].as<float>());
  });
  return 0;
}

int launch_group_norm_bwd_rows(Stream* stream, const StepArgs& args) {
  const Planes planes(args.in[1], args.params_as<GroupNormParams>().groups);
  const PlaneWorkspace w(args.workspace, planes.count());
  const float* dy = args.in[0].as<float>();
  const float* x = args.in[1].as<float>();
  const float* gamma = data_or_null(args.in[2]);
  const float* means = args.in[3].as<float>();
  const float* inv_stds = args.in[4].as<float>();
  const int64_t n = planes.row_elems();
  const cpu::ChannelAffine affine{w.mean, w.scale, w.shift, false};
  parallel_rows(stream, planes.rows(), n, [&](int64_t row) {
    const int64_t first = row * planes.channels;
    const float inv_std = inv_stds[row];
    for (int64_t plane = first; plane < first + planes.channels; ++plane) {
      w.mean[plane] = means[row];
      w.scale[plane] = gamma == nullptr ? inv_std : gamma[plane % planes.C] * inv_std;
      w.shift[plane] = 0;
    }
    const cpu::Blocks blocks = cpu::blocks_of_size(planes.channels, cpu::kMostBlockChannels);
    for (int64_t b = 0; b < blocks.count; ++b) {
      const int64_t plane = first + blocks.begin(b);
      const cpu::ChannelBlock block{1, blocks.length(b), planes.inner, 0, planes.inner};
      const cpu::ChannelAffine own{w.mean + plane, w.scale + plane, w.shift + plane, false};
      cpu::channel_gradient_sums(block, dy + plane * planes.inner, x + plane * planes.inner, own,
                                 w.sums + plane);
    }
    cpu::Sums sums{0, 0};  // of dy gamma, of dy gamma (x - mean)
    for (int64_t plane = first; plane < first + planes.channels; ++plane) {
      const double weight = gamma == nullptr ? 1 : static_cast<double>(gamma[plane % planes.C]);
      sums.a += weight * w.sums[plane].a;
      sums.b += weight * w.sums[plane].b;
    }
    if (!args.out[0].present()) return;
    const auto scale = static_cast<double>(inv_std);
    const double offset = scale * sums.a / static_cast<double>(n);
    const double slope = scale * scale * scale * sums.b / static_cast<double>(n);
    std::fill_n(w.offset + first, planes.channels, static_cast<float>(offset));
    std::fill_n(w.slope + first, planes.channels, static_cast<float>(slope));
    cpu::channel_input_gradient(row * n, (row + 1) * n, planes.count(), planes.inner, dy, x, affine,
                                w.offset, w.slope, args.out[0].as<float>());
  });
  float* dgamma = data_or_null(args.out[1]);
  float* dbeta = data_or_null(args.out[2]);
  if (dgamma == nullptr && dbeta == nullptr) return 0;
  const cpu::Blocks blocks = cpu::blocks_of_size(planes.C, kChannelsPerTask);
  cpu::parallel_for(stream, blocks.count, [&](int64_t block, int) {
    cpu::Sums sums[kChannelsPerTask] = {};
    const int64_t begin = blocks.begin(block);
    for (int64_t sample = 0; sample < planes.N; ++sample) {
      for (int64_t i = 0; i < blocks.length(block); ++i) {
        const int64_t plane = sample * planes.C + begin + i;
        sums[i].a += w.sums[plane].a;
        sums[i].b += w.sums[plane].b * static_cast<double>(inv_stds[plane / planes.channels]);
      }
    }
    for (int64_t i = 0; i < blocks.length(block); ++i) {
      if (dgamma != nullptr) dgamma[begin + i] = static_cast<float>(sums[i].b);
      if (dbeta != nullptr) dbeta[begin + i] = static_cast<float>(sums[i].a);
    }
  });
  return 0;
}

constexpr Implementation kLayerFwd[] = {
    {"rows", supports_all, no_workspace, launch_layer_norm_fwd_rows<true>}};
constexpr Implementation kRmsFwd[] = {
    {"rows", supports_all, no_workspace, launch_layer_norm_fwd_rows<false>}};
constexpr Implementation kLayerBwd[] = {
    {"rows", supports_all, workspace_layer_bwd, launch_layer_norm_bwd_rows}};
constexpr Implementation kGroupFwd[] = {
    {"rows", supports_all, workspace_planes<0>, launch_group_norm_fwd_rows}};
constexpr Implementation kGroupBwd[] = {
    {"rows", supports_all, workspace_planes<1>, launch_group_norm_bwd_rows}};

}  // namespace

const ImplementationList cpu_layer_norm_fwd{kLayerFwd, 1};
const ImplementationList cpu_rms_norm_fwd{kRmsFwd, 1};
const ImplementationList cpu_layer_norm_bwd{kLayerBwd, 1};
const ImplementationList cpu_group_norm_fwd{kGroupFwd, 1};
const ImplementationList cpu_instance_norm_fwd{kGroupFwd, 1};
const ImplementationList cpu_group_norm_bwd{kGroupBwd, 1};

}  // namespace tanul
