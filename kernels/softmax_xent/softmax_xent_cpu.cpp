// SPDX-License-Identifier: Apache-2.0
// Softmax + cross-entropy on the CPU.
//   rows    class indices for z [N, C]: a tile is some whole rows (samples)
//   planes  everything: a tile is some blocks of up to kBlock positions of one sample, whose logits lie
//           side by side; each pass runs over the classes and inside over the positions
// Tiles are added in order. Compute bound: one double exponential an element, forward and backward.
// Numerics: everything inside a row is double, so that the distance of two finite logits never
// overflows and each result is rounded once; sums over rows are double in the order of the samples.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/parallel.h"
#include "kernels/loss/loss_cpu.h"
#include "kernels/op.h"
#include "kernels/softmax_xent/softmax_xent.h"

namespace tanul {

namespace {

using namespace cpu;

constexpr int64_t kTileElems = 2048;
constexpr int64_t kBlock = 64;  // positions of a block

struct Loss {
  Scores shape;
  int64_t C;
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
        C(shape.C),
        z(args.in[0].as<float>()),
        weights(args.in_count > 2 && args.in[2].present() ? args.in[2].as<float>() : nullptr) {
    const bool has_labels = args.in[1].dtype == static_cast<int32_t>(DType::i32);
    labels = has_labels ? args.in[1].as<int32_t>() : nullptr;
    shares = has_labels ? nullptr : args.in[1].as<float>();
    const SoftmaxXentParams& params = args.params_as<SoftmaxXentParams>();
    smoothing = static_cast<double>(params.label_smoothing);
    spread = smoothing / static_cast<double>(C);
    has_ignore = params.loss.has_ignore_index != 0;
    ignore = params.loss.ignore_index;
  }
  bool is_ignored(int64_t p) const { return has_ignore && labels[p] == ignore; }
  bool is_valid(int64_t p) const { return labels[p] >= 0 && labels[p] < C; }
  double weight(int64_t c) const {
    return weights == nullptr ? 1.0 : static_cast<double>(weights[c]);
  }
  double weight_sum() const {
    double sum = 0;
    for (int64_t c = 0; c < C; ++c) sum += weight(c);
    return sum;
  }
  // q[c] of target probabilities; `share` is t[c].
  double wanted(int64_t c, float share) const {
    return weight(c) * ((1 - smoothing) * static_cast<double>(share) + spread);
  }
};

float largest(const float* z, int64_t C, int64_t stride = 1) {
  float max = z[0];
  for (int64_t c = 1; c < C; ++c) max = z[c * stride] > max ? z[c * stride] : max;
  return max;
}

// --- rows --------------------------------------------------------------------------------------

const char* supports_rows(const StepArgs& args) {
  if (args.in[0].rank != 2) return "the logits have positions behind the classes";
  if (args.in[1].dtype != static_cast<int32_t>(DType::i32)) return "the targets are probabilities";
  return nullptr;
}

int64_t tile_rows(int64_t C) { return ceil_div(kTileElems, C); }

// A row of its own; `divisor` is v[t].
LossSums row_loss(const Loss& loss, int64_t n) {
  if (loss.is_ignored(n)) return {0, 0, 0, 0};
  if (!loss.is_valid(n)) return {kNan, 0, 0, 1};
  const float* z = loss.z + n * loss.C;
  const double max = static_cast<double>(largest(z, loss.C));
  double sum = 0;
  double smooth = 0;  // sum_c v[c] (z[c] - max)
  double weights = 0;
  int64_t best = 0;
  for (int64_t c = 0; c < loss.C; ++c) {
    const double distance = static_cast<double>(z[c]) - max;
    sum += std::exp(distance);
    if (loss.smoothing > 0) {
      smooth += loss.weight(c) * distance;
      weights += loss.weight(c);
    }
    if (z[c] > z[best]) best = c;
  }
  const int64_t t = loss.labels[n];
  const double log_sum = std::log(sum);
  double value = 0;
  if (loss.smoothing < 1) {
    const double log_p = static_cast<double>(z[t]) - max - log_sum;
    value -= (1 - loss.smoothing) * loss.weight(t) * log_p;
  }
  if (loss.smoothing > 0) value -= loss.spread * (smooth - weights * log_sum);
  return {value, loss.weight(t), best == t ? 1 : 0, 1};
}

int64_t workspace_fwd_rows(const StepArgs& args, int) {
  const Operand& z = args.in[0];
  return ceil_div(z.dims[0], tile_rows(z.dims[1])) * static_cast<int64_t>(sizeof(LossSums));
}

int launch_softmax_xent_fwd_rows(Stream* stream, const StepArgs& args) {
  const Loss loss(args);
  const int64_t rows = tile_rows(loss.C), tiles = ceil_div(loss.shape.N, rows);
  LossSums* parts = static_cast<LossSums*>(args.workspace);  // [tiles]
  float* single = single_losses(args);
  parallel_for(stream, tiles, [&](int64_t tile, int) {
    LossSums part;
    const int64_t end = std::min((tile + 1) * rows, loss.shape.N);
    for (int64_t n = tile * rows; n < end; ++n) {
      const LossSums row = row_loss(loss, n);
      if (single != nullptr) single[n] = static_cast<float>(row.sum);
      part.add(row);
    }
    parts[tile] = part;
  });
  write_loss(args, add_in_order(parts, tiles));
  return 0;
}

// One row of exponentials for each worker.
int64_t workspace_bwd_rows(const StepArgs& args, int threads) {
  return threads * args.in[0].dims[1] * static_cast<int64_t>(sizeof(double));
}

// `exps` holds [C]. z may lie over dz: z is read before dz is written.
void row_gradient(const Loss& loss, int64_t n, double scale, double weight_sum, double* exps,
                  float* dz) {
  float* to = dz + n * loss.C;
  if (loss.is_ignored(n)) {
    std::fill(to, to + loss.C, 0.0f);
    return;
  }
  if (!loss.is_valid(n)) {
    std::fill(to, to + loss.C, static_cast<float>(kNan));
    return;
  }
  const float* z = loss.z + n * loss.C;
  const double max = static_cast<double>(largest(z, loss.C));
  double sum = 0;
  for (int64_t c = 0; c < loss.C; ++c) {
    exps[c] = std::exp(static_cast<double>(z[c]) - max);
    sum += exps[c];
  }
  const int64_t t = loss.labels[n];
  const double hit = (1 - loss.smoothing) * loss.weight(t);
  const double q_sum = hit + loss.spread * weight_sum;
  for (int64_t c = 0; c < loss.C; ++c) {
    const double q = loss.spread * loss.weight(c) + (c == t ? hit : 0.0);
    to[c] = static_cast<float>(scale * (q_sum * (exps[c] / sum) - q));
  }
}

int launch_softmax_xent_bwd_rows(Stream* stream, const StepArgs& args) {
  const Loss loss(args);
  const int64_t rows = tile_rows(loss.C);
  double* workspace = static_cast<double*>(args.workspace);  // [threads, C]
  const LossScale scale(args, 3, static_cast<double>(args.in[4].as<float>()[1]));
  float* dz = args.out[0].as<float>();
  const double weight_sum = loss.weight_sum();
  parallel_for(stream, ceil_div(loss.shape.N, rows), [&](int64_t tile, int worker) {
    const int64_t end = std::min((tile + 1) * rows, loss.shape.N);
    for (int64_t n = tile * rows; n < end; ++n) {
      row_gradient(loss, n, scale.at(n), weight_sum, workspace + worker * loss.C, dz);
    }
  });
  return 0;
}

// --- planes ------------------------------------------------------------------------------------

struct Blocks {
  int64_t C, S;
  int64_t block;  // positions of one
  int64_t per_sample, count;
  int64_t tile_blocks, tiles;

  explicit Blocks(const Scores& shape)
      : C(shape.C),
        S(shape.S),
        block(std::min(S, kBlock)),
        per_sample(ceil_div(S, block)),
        count(shape.N * per_sample),
        tile_blocks(ceil_div(kTileElems, C * block)),
        tiles(ceil_div(count, tile_blocks)) {}
  // Calls body(n, first position in the sample, how many) for the blocks of a tile, in order.
  template <typename Body>
  void for_each(int64_t tile, Body&& body) const {
    const int64_t end = std::min((tile + 1) * tile_blocks, count);
    for (int64_t b = tile * tile_blocks; b < end; ++b) {
      const int64_t s = b % per_sample * block;
      body(b / per_sample, s, std::min(block, S - s));
    }
  }
};

// The losses of positions [p, p + count), whose logits of class c start at z + c S.
LossSums block_loss(const Loss& loss, int64_t first, int64_t p, int64_t count, float* single) {
  const int64_t S = loss.shape.S;
  const float* z = loss.z + first;
  float max[kBlock];
  int64_t best[kBlock];
  double sum[kBlock], value[kBlock], smooth[kBlock];  // smooth: sum_c v[c] (z[c] - max)
  for (int64_t i = 0; i < count; ++i) {
    max[i] = z[i];
    best[i] = 0;
    sum[i] = value[i] = smooth[i] = 0;
  }
  for (int64_t c = 1; c < loss.C; ++c) {
    for (int64_t i = 0; i < count; ++i) {
      if (!(z[c * S + i] > max[i])) continue;
      max[i] = z[c * S + i];
      best[i] = c;
    }
  }
  const bool is_smoothed = loss.smoothing > 0 && loss.labels != nullptr;
  for (int64_t c = 0; c < loss.C; ++c) {
    for (int64_t i = 0; i < count; ++i) {
      const double distance = static_cast<double>(z[c * S + i]) - static_cast<double>(max[i]);
      sum[i] += std::exp(distance);
      if (is_smoothed) smooth[i] += loss.weight(c) * distance;
    }
  }
  for (int64_t i = 0; i < count; ++i) sum[i] = std::log(sum[i]);
  LossSums out;
  if (loss.labels == nullptr) {
    const float* shares = loss.shares + first;
    for (int64_t c = 0; c < loss.C; ++c) {
      for (int64_t i = 0; i < count; ++i) {
        const double q = loss.wanted(c, shares[c * S + i]);
        const double log_p =
            static_cast<double>(z[c * S + i]) - static_cast<double>(max[i]) - sum[i];
        if (q != 0) value[i] -= q * log_p;
      }
    }
    for (int64_t i = 0; i < count; ++i) {
      out.correct += arg_max(shares + i, loss.C, S) == best[i] ? 1 : 0;
    }
    out.counted = count;
    out.divisor = static_cast<double>(count);
  } else {
    const double weight_sum = loss.smoothing > 0 ? loss.weight_sum() : 0;
    for (int64_t i = 0; i < count; ++i) {
      if (loss.is_ignored(p + i)) continue;
      ++out.counted;
      if (!loss.is_valid(p + i)) {
        value[i] = kNan;
        continue;
      }
      const int64_t t = loss.labels[p + i];
      if (loss.smoothing < 1) {
        const double log_p =
            static_cast<double>(z[t * S + i]) - static_cast<double>(max[i]) - sum[i];
        value[i] -= (1 - loss.smoothing) * loss.weight(t) * log_p;
      }
      if (is_smoothed) value[i] -= loss.spread * (smooth[i] - weight_sum * sum[i]);
      out.divisor += loss.weight(t);
      out.correct += best[i] == t ? 1 : 0;
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    if (single != nullptr) single[p + i] = static_cast<float>(value[i]);
    out.sum += value[i];
  }
  return out;
}

int64_t workspace_fwd_planes(const StepArgs& args, int) {
  return Blocks(Scores(args.in[0])).tiles * static_cast<int64_t>(sizeof(LossSums));
}

int launch_softmax_xent_fwd_planes(Stream* stream, const StepArgs& args) {
  const Loss loss(args);
  const Blocks blocks(loss.shape);
  LossSums* parts = static_cast<LossSums*>(args.workspace);  // [tiles]
  float* single = single_losses(args);
  parallel_for(stream, blocks.tiles, [&](int64_t tile, int) {
    LossSums part;
    blocks.for_each(tile, [&](int64_t n, int64_t s, int64_t count) {
      part.add(
          block_loss(loss, n * loss.C * loss.shape.S + s, n * loss.shape.S + s, count, single));
    });
    parts[tile] = part;
  });
  write_loss(args, add_in_order(parts, blocks.tiles));
  return 0;
}

// One block of exponentials for each worker.
int64_t workspace_bwd_planes(const StepArgs& args, int threads) {
  const Blocks blocks(Scores(args.in[0]));
  return threads * blocks.C * blocks.block * static_cast<int64_t>(sizeof(double));
}

// `exps` holds [C, count]. z may lie over dz: z is read before dz is written.
void block_gradient(const Loss& loss, int64_t first, int64_t p, int64_t count,
                    const LossScale& scale, double weight_sum, double* exps, float* dz) {
  const int64_t S = loss.shape.S;
  const float* z = loss.z + first;
  float* to = dz + first;
  double max[kBlock], sum[kBlock], q_sum[kBlock], hit[kBlock], factor[kBlock];
  for (int64_t i = 0; i < count; ++i) {
    max[i] = static_cast<double>(largest(z + i, loss.C, S));
    sum[i] = q_sum[i] = hit[i] = 0;
    factor[i] = scale.at(p + i);
  }
  for (int64_t c = 0; c < loss.C; ++c) {
    for (int64_t i = 0; i < count; ++i) {
      const double e = std::exp(static_cast<double>(z[c * S + i]) - max[i]);
      exps[c * count + i] = e;
      sum[i] += e;
      if (loss.labels == nullptr) q_sum[i] += loss.wanted(c, loss.shares[first + c * S + i]);
    }
  }
  for (int64_t i = 0; i < count && loss.labels != nullptr; ++i) {
    if (loss.is_ignored(p + i)) continue;
    hit[i] = loss.is_valid(p + i) ? (1 - loss.smoothing) * loss.weight(loss.labels[p + i]) : kNan;
    q_sum[i] = hit[i] + loss.spread * weight_sum;
  }
  for (int64_t c = 0; c < loss.C; ++c) {
    for (int64_t i = 0; i < count; ++i) {
      double q = 0;
      if (loss.labels == nullptr) {
        q = loss.wanted(c, loss.shares[first + c * S + i]);
      } else {
        q = loss.spread * loss.weight(c) + (c == loss.labels[p + i] ? hit[i] : 0.0);
      }
      const bool is_zero = loss.labels != nullptr && loss.is_ignored(p + i);
      const double slope = q_sum[i] * (exps[c * count + i] / sum[i]) - q;
      to[c * S + i] = is_zero ? 0.0f : static_cast<float>(factor[i] * slope);
    }
  }
}

int launch_softmax_xent_bwd_planes(Stream* stream, const StepArgs& args) {
  const Loss loss(args);
  const Blocks blocks(loss.shape);
  double* workspace = static_cast<double*>(args.workspace);  // [threads, C, block]
  const LossScale scale(args, 3, static_cast<double>(args.in[4].as<float>()[1]));
  float* dz = args.out[0].as<float>();
  const double weight_sum = loss.weight_sum();
  parallel_for(stream, blocks.tiles, [&](int64_t tile, int worker) {
    double* exps = workspace + worker * loss.C * blocks.block;
    blocks.for_each(tile, [&](int64_t n, int64_t s, int64_t count) {
      block_gradient(loss, n * loss.C * loss.shape.S + s, n * loss.shape.S + s, count, scale,
                     weight_sum, exps, dz);
    });
  });
  return 0;
}

constexpr Implementation kFwd[] = {
    {"rows", supports_rows, workspace_fwd_rows, launch_softmax_xent_fwd_rows},
    {"planes", supports_all, workspace_fwd_planes, launch_softmax_xent_fwd_planes}};
constexpr Implementation kBwd[] = {
    {"rows", supports_rows, workspace_bwd_rows, launch_softmax_xent_bwd_rows},
    {"planes", supports_all, workspace_bwd_planes, launch_softmax_xent_bwd_planes}};

}  // namespace

const ImplementationList cpu_softmax_xent_fwd{kFwd, 2};
const ImplementationList cpu_softmax_xent_bwd{kBwd, 2};

}  // namespace tanul
