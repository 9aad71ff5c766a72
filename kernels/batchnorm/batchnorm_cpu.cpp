// SPDX-License-Identifier: Apache-2.0
// Batch normalisation on the CPU. x [N, C, inner] is cut into tiles of about 64 KB: some samples of
// some channels, or a part of a large plane. Each tile leaves two sums per channel; they are added in
// the order of the tiles, which depends on the shape only. The element-wise pass walks x from front
// to back.
// Meets the memory roof: forward reads x twice and writes y (12 bytes an element), backward reads x and
// dy twice and writes dx (20 bytes).
// Numerics: sums in double (norm_simd.h); mean and var are rounded to float once, and everything behind
// them is computed from the rounded numbers, so that the backward pass sees what the forward pass saw.
#include <algorithm>
#include <cmath>

#include "kernels/batchnorm/batchnorm.h"
#include "kernels/cpu/norm_simd.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tiling.h"
#include "kernels/op.h"

namespace tanul {

namespace {

constexpr int64_t kTileElems = 16384;
constexpr int64_t kMostColumns = 256;     // channels of a tile where a channel has one element
constexpr int64_t kChannelsPerTask = 64;  // of what is done per channel

// x as [N, C, inner], and its tiles: blocks of samples times channels times pieces of a plane.
struct Tiling {
  int64_t N, C, inner;
  cpu::Blocks samples, channels, pieces;

  explicit Tiling(const Operand& x)
      : N(x.dims[0]), C(x.dims[1]), inner(x.elems() / (x.dims[0] * x.dims[1])) {
    pieces = cpu::blocks_about(inner, cpu::ceil_div(inner, 2 * kTileElems), 16);
    const int64_t most = inner == 1 ? kMostColumns : cpu::kMostBlockChannels;
    channels = cpu::blocks_of_size(C, std::min(most, kTileElems / pieces.size));
    samples = cpu::blocks_of_size(N, kTileElems / (channels.size * pieces.size));
  }
  int64_t count() const { return N * inner; }  // elements of a channel
  // Sums are kept for [samples.count * pieces.count, C].
  int64_t parts() const { return samples.count * pieces.count; }
  int64_t tiles() const { return parts() * channels.count; }
  int64_t elems_of_part(int64_t part) const {
    return samples.length(part / pieces.count) * pieces.length(part % pieces.count);
  }

  // Calls body(block, first element, first channel, part) for one tile.
  template <typename Body>
  void run(int64_t tile, const Body& body) const {
    const int64_t channel_block = tile % channels.count;
    const int64_t part = tile / channels.count;
    const int64_t sample_block = part / pieces.count;
    const int64_t piece = part % pieces.count;
    const cpu::ChannelBlock block{samples.length(sample_block), channels.length(channel_block),
                                  pieces.length(piece), C * inner, inner};
    const int64_t channel = channels.begin(channel_block);
    body(block, (samples.begin(sample_block) * C + channel) * inner + pieces.begin(piece), channel,
         part);
  }
};

// Workspace: sums [parts, C], then floats scale, shift, offset, slope [C].
struct Workspace {
  cpu::Sums* sums;
  float *scale, *shift, *offset, *slope;

  Workspace(void* memory, int64_t parts, int64_t C) {
    sums = static_cast<cpu::Sums*>(memory);
    scale = reinterpret_cast<float*>(sums + parts * C);
    shift = scale + C;
    offset = shift + C;
    slope = offset + C;
  }
  static int64_t bytes(int64_t parts, int64_t C) {
    return parts * C * static_cast<int64_t>(sizeof(cpu::Sums)) +
           4 * C * static_cast<int64_t>(sizeof(float));
  }
};

int64_t workspace_fwd(const StepArgs& args, int) {
  const Tiling t(args.in[0]);
  return Workspace::bytes(t.parts(), t.C);
}
int64_t workspace_bwd(const StepArgs& args, int) {
  const Tiling t(args.in[1]);
  return Workspace::bytes(t.parts(), t.C);
}
int64_t workspace_eval_fwd(const StepArgs& args, int) {
  return Workspace::bytes(0, args.in[0].dims[1]);
}

double at_or(const Operand& operand, int64_t c, double otherwise) {
  return operand.present() ? static_cast<double>(operand.as<float>()[c]) : otherwise;
}

// gamma / sqrt(var + eps), scale in double; the float of it is what all passes multiply with.
struct Scale {
  double inv_std, scale;
  Scale(const StepArgs& args, const Operand& gamma, float var, int64_t c) {
    const double eps = args.params_as<BatchNormParams>().eps;
    inv_std = 1 / std::sqrt(static_cast<double>(var) + eps);
    scale = inv_std * at_or(gamma, c, 1);
  }
};

bool has_relu(const StepArgs& args) {
  return args.params_as<BatchNormParams>().activation == ActivationKind::relu;
}

// Fills scale and shift of the channels [begin, end).
void fill_affine(const StepArgs& args, const Operand& gamma, const Operand& beta, const float* var,
                 int64_t begin, int64_t end, const Workspace& w) {
  for (int64_t c = begin; c < end; ++c) {
    w.scale[c] = static_cast<float>(Scale(args, gamma, var[c], c).scale);
    w.shift[c] = static_cast<float>(at_or(beta, c, 0));
  }
}

// Calls body(begin, end) for groups of channels.
template <typename Body>
void parallel_channels(Stream* stream, int64_t C, const Body& body) {
  const cpu::Blocks blocks = cpu::blocks_of_size(C, kChannelsPerTask);
  cpu::parallel_for(stream, blocks.count, [&](int64_t block, int) {
    body(blocks.begin(block), blocks.begin(block) + blocks.length(block));
  });
}

int launch_batchnorm_fwd_tiles(Stream* stream, const StepArgs& args) {
  const Tiling t(args.in[0]);
  const Workspace w(args.workspace, t.parts(), t.C);
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  // Where nobody reads them, the statistics lie in what the backward pass would use.
  float* mean = args.out[1].present() ? args.out[1].as<float>() : w.offset;
  float* var = args.out[2].present() ? args.out[2].as<float>() : w.slope;
  cpu::parallel_for(stream, t.tiles(), [&](int64_t tile, int) {
    t.run(tile, [&](const cpu::ChannelBlock& block, int64_t first, int64_t channel, int64_t part) {
      cpu::channel_moments(block, x + first, w.sums + part * t.C + channel);
    });
  });
  parallel_channels(stream, t.C, [&](int64_t begin, int64_t end) {
    const auto count = static_cast<double>(t.count());
    for (int64_t c = begin; c < end; ++c) {
      double sum = 0;
      for (int64_t part = 0; part < t.parts(); ++part) {
        sum += static_cast<double>(t.elems_of_part(part)) * w.sums[part * t.C + c].a;
      }
      const double center = sum / count;
      double squares = 0;
      for (int64_t part = 0; part < t.parts(); ++part) {
        const cpu::Sums& moments = w.sums[part * t.C + c];
        const double distance = moments.a - center;
        squares += moments.b + static_cast<double>(t.elems_of_part(part)) * distance * distance;
      }
      mean[c] = static_cast<float>(center);
      var[c] = static_cast<float>(squares / count);
    }
    fill_affine(args, args.in[1], args.in[2], var, begin, end, w);
  });
  const cpu::ChannelAffine affine{mean, w.scale, w.shift, has_relu(args)};
  cpu::parallel_ranges(stream, args.in[0].elems(), [&](int64_t begin, int64_t end) {
    cpu::channel_normalize(begin, end, t.C, t.inner, x, affine, y);
  });
  return 0;
}

int launch_batchnorm_eval_fwd_elementwise(Stream* stream, const StepArgs& args) {
  const Operand& x = args.in[0];
  const int64_t C = x.dims[1];
  const Workspace w(args.workspace, 0, C);
  fill_affine(args, args.in[1], args.in[2], args.in[4].as<float>(), 0, C, w);
  const cpu::ChannelAffine affine{args.in[3].as<float>(), w.scale, w.shift, has_relu(args)};
  const int64_t inner = x.elems() / (x.dims[0] * C);
  cpu::parallel_ranges(stream, x.elems(), [&](int64_t begin, int64_t end) {
    cpu::channel_normalize(begin, end, C, inner, x.as<float>(), affine, args.out[0].as<float>());
  });
  return 0;
}

// kStatistics: mean and var depend on x.
template <bool kStatistics>
int launch_batchnorm_bwd_tiles(Stream* stream, const StepArgs& args) {
  const Tiling t(args.in[1]);
  const Workspace w(args.workspace, t.parts(), t.C);
  const float* dy = args.in[0].as<float>();
  const float* x = args.in[1].as<float>();
  const float* mean = args.in[4].as<float>();
  const float* var = args.in[5].as<float>();
  float* dx = args.out[0].present() ? args.out[0].as<float>() : nullptr;
  float* dgamma = args.out[1].present() ? args.out[1].as<float>() : nullptr;
  float* dbeta = args.out[2].present() ? args.out[2].as<float>() : nullptr;
  const cpu::ChannelAffine affine{mean, w.scale, w.shift, has_relu(args)};
  fill_affine(args, args.in[2], args.in[3], var, 0, t.C, w);
  if (kStatistics || dgamma != nullptr || dbeta != nullptr) {
    cpu::parallel_for(stream, t.tiles(), [&](int64_t tile, int) {
      t.run(tile,
            [&](const cpu::ChannelBlock& block, int64_t first, int64_t channel, int64_t part) {
              const cpu::ChannelAffine own{mean + channel, w.scale + channel, w.shift + channel,
                                           affine.has_relu};
              cpu::channel_gradient_sums(block, dy + first, x + first, own,
                                         w.sums + part * t.C + channel);
            });
    });
    parallel_channels(stream, t.C, [&](int64_t begin, int64_t end) {
      const auto count = static_cast<double>(t.count());
      for (int64_t c = begin; c < end; ++c) {
        cpu::Sums sums{0, 0};  // g, g (x - mean)
        for (int64_t part = 0; part < t.parts(); ++part) {
          sums.a += w.sums[part * t.C + c].a;
          sums.b += w.sums[part * t.C + c].b;
        }
        const Scale s(args, args.in[2], var[c], c);
        if (dgamma != nullptr) dgamma[c] = static_cast<float>(sums.b * s.inv_std);
        if (dbeta != nullptr) dbeta[c] = static_cast<float>(sums.a);
        w.offset[c] = static_cast<float>(s.scale * sums.a / count);
        w.slope[c] = static_cast<float>(s.scale * s.inv_std * s.inv_std * sums.b / count);
      }
    });
  }
  if (dx == nullptr) return 0;
  cpu::parallel_ranges(stream, args.in[1].elems(), [&](int64_t begin, int64_t end) {
    cpu::channel_input_gradient(begin, end, t.C, t.inner, dy, x, affine,
                                kStatistics ? w.offset : nullptr, kStatistics ? w.slope : nullptr,
                                dx);
  });
  return 0;
}

int launch_batchnorm_stats_update(Stream*, const StepArgs& args) {
  const auto& p = args.params_as<BatchNormStatsParams>();
  const double unbiased = static_cast<double>(p.count) / static_cast<double>(p.count - 1);
  const auto update = [&](const Operand& running, const Operand& fresh, const Operand& out,
                          double factor) {
    for (int64_t c = 0; c < running.dims[0]; ++c) {
      const auto old = static_cast<double>(running.as<float>()[c]);
      const double now = factor * static_cast<double>(fresh.as<float>()[c]);
      out.as<float>()[c] = static_cast<float>((1 - p.momentum) * old + p.momentum * now);
    }
  };
  update(args.in[0], args.in[1], args.out[0], 1);
  update(args.in[2], args.in[3], args.out[1], unbiased);
  return 0;
}

constexpr Implementation kFwd[] = {
    {"tiles", supports_all, workspace_fwd, launch_batchnorm_fwd_tiles}};
constexpr Implementation kBwd[] = {
    {"tiles", supports_all, workspace_bwd, launch_batchnorm_bwd_tiles<true>}};
constexpr Implementation kEvalFwd[] = {
    {"elementwise", supports_all, workspace_eval_fwd, launch_batchnorm_eval_fwd_elementwise}};
constexpr Implementation kEvalBwd[] = {
    {"tiles", supports_all, workspace_bwd, launch_batchnorm_bwd_tiles<false>}};
constexpr Implementation kStatsUpdate[] = {
    {"loop", supports_all, no_workspace, launch_batchnorm_stats_update}};

}  // namespace

const ImplementationList cpu_batchnorm_fwd{kFwd, 1};
const ImplementationList cpu_batchnorm_bwd{kBwd, 1};
const ImplementationList cpu_batchnorm_eval_fwd{kEvalFwd, 1};
const ImplementationList cpu_batchnorm_eval_bwd{kEvalBwd, 1};
const ImplementationList cpu_batchnorm_stats_update{kStatsUpdate, 1};

}  // namespace tanul
