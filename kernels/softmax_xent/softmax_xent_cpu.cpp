// SPDX-License-Identifier: Apache-2.0
// Softmax + cross-entropy on the CPU. A tile is some whole rows (samples); forward writes what each
// row adds into the workspace, and the rows are then added in order.
// Compute bound: one double exponential an element, forward and backward.
// Numerics: everything inside a row is double, so that the distance of two finite logits never
// overflows and each result is rounded once; sums over rows are double in the order of the samples.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/parallel.h"
#include "kernels/op.h"
#include "kernels/softmax_xent/softmax_xent.h"

namespace tanul {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kTileElems = 2048;

struct Row {
  double loss;
  double weight;  // v[t], 0 where ignored
  int32_t is_correct;
  int32_t counts;
};

struct Loss {
  int64_t N, C;
  int64_t tile_rows;
  const float* z;         // [N, C]
  const int32_t* target;  // [N]
  const float* weights;   // [C] or null
  double smoothing;
  bool has_ignore;
  int32_t ignore;

  explicit Loss(const StepArgs& args)
      : N(args.in[0].dims[0]),
        C(args.in[0].dims[1]),
        tile_rows(cpu::ceil_div(kTileElems, C)),
        z(args.in[0].as<float>()),
        target(args.in[1].as<int32_t>()),
        weights(args.in_count > 2 && args.in[2].present() ? args.in[2].as<float>() : nullptr) {
    const SoftmaxXentParams& params = args.params_as<SoftmaxXentParams>();
    smoothing = static_cast<double>(params.label_smoothing);
    has_ignore = params.has_ignore_index != 0;
    ignore = params.ignore_index;
  }
  int64_t tiles() const { return cpu::ceil_div(N, tile_rows); }
  bool is_ignored(int64_t n) const { return has_ignore && target[n] == ignore; }
  bool is_valid(int64_t n) const { return target[n] >= 0 && target[n] < C; }
  double weight(int64_t c) const {
    return weights == nullptr ? 1.0 : static_cast<double>(weights[c]);
  }
};

float row_max(const float* z, int64_t C) {
  float max = z[0];
  for (int64_t c = 1; c < C; ++c) max = z[c] > max ? z[c] : max;
  return max;
}

Row row_loss(const Loss& loss, int64_t n) {
  if (loss.is_ignored(n)) return {0, 0, 0, 0};
  if (!loss.is_valid(n)) return {kNan, 0, 0, 1};
  const float* z = loss.z + n * loss.C;
  const double max = static_cast<double>(row_max(z, loss.C));
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
  const int64_t t = loss.target[n];
  const double log_sum = std::log(sum);
  double value = 0;
  if (loss.smoothing < 1) {
    const double log_p = static_cast<double>(z[t]) - max - log_sum;
    value -= (1 - loss.smoothing) * loss.weight(t) * log_p;
  }
  if (loss.smoothing > 0) {
    value -= loss.smoothing / static_cast<double>(loss.C) * (smooth - weights * log_sum);
  }
  return {value, loss.weight(t), best == t ? 1 : 0, 1};
}

int64_t workspace_fwd(const StepArgs& args, int) {
  return args.in[0].dims[0] * static_cast<int64_t>(sizeof(Row));
}

int launch_softmax_xent_fwd_rows(Stream* stream, const StepArgs& args) {
  const Loss loss(args);
  Row* rows = static_cast<Row*>(args.workspace);  // [N]
  cpu::parallel_for(stream, loss.tiles(), [&](int64_t tile, int) {
    const int64_t end = std::min((tile + 1) * loss.tile_rows, loss.N);
    for (int64_t n = tile * loss.tile_rows; n < end; ++n) rows[n] = row_loss(loss, n);
  });
  double sum = 0, divisor = 0;
  int64_t correct = 0, counted = 0;
  for (int64_t n = 0; n < loss.N; ++n) {
    sum += rows[n].loss;
    divisor += rows[n].weight;
    correct += rows[n].is_correct;
    counted += rows[n].counts;
  }
  args.out[0].as<float>()[0] = static_cast<float>(sum / divisor);
  float* stats = args.out[1].as<float>();
  stats[0] = static_cast<float>(sum);
  stats[1] = static_cast<float>(divisor);
  stats[2] = static_cast<float>(correct);
  stats[3] = static_cast<float>(counted);
  return 0;
}

// One row of exponentials for each worker.
int64_t workspace_bwd(const StepArgs& args, int threads) {
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
  const double max = static_cast<double>(row_max(z, loss.C));
  double sum = 0;
  for (int64_t c = 0; c < loss.C; ++c) {
    exps[c] = std::exp(static_cast<double>(z[c]) - max);
    sum += exps[c];
  }
  const int64_t t = loss.target[n];
  const double spread = loss.smoothing / static_cast<double>(loss.C);
  const double hit = (1 - loss.smoothing) * loss.weight(t);
  const double q_sum = hit + spread * weight_sum;
  for (int64_t c = 0; c < loss.C; ++c) {
    const double q = spread * loss.weight(c) + (c == t ? hit : 0.0);
    to[c] = static_cast<float>(scale * (q_sum * (exps[c] / sum) - q));
  }
}

int launch_softmax_xent_bwd_rows(Stream* stream, const StepArgs& args) {
  const Loss loss(args);
  double* workspace = static_cast<double*>(args.workspace);  // [threads, C]
  const double dloss = static_cast<double>(args.in[3].as<float>()[0]);
  const double divisor = static_cast<double>(args.in[4].as<float>()[1]);
  float* dz = args.out[0].as<float>();
  double weight_sum = 0;
  for (int64_t c = 0; c < loss.C; ++c) weight_sum += loss.weight(c);
  cpu::parallel_for(stream, loss.tiles(), [&](int64_t tile, int worker) {
    const int64_t end = std::min((tile + 1) * loss.tile_rows, loss.N);
    for (int64_t n = tile * loss.tile_rows; n < end; ++n) {
      row_gradient(loss, n, dloss / divisor, weight_sum, workspace + worker * loss.C, dz);
    }
  });
  return 0;
}

constexpr Implementation kFwd[] = {
    {"rows", supports_all, workspace_fwd, launch_softmax_xent_fwd_rows}};
constexpr Implementation kBwd[] = {
    {"rows", supports_all, workspace_bwd, launch_softmax_xent_bwd_rows}};

}  // namespace

const ImplementationList cpu_softmax_xent_fwd{kFwd, 1};
const ImplementationList cpu_softmax_xent_bwd{kBwd, 1};

}  // namespace tanul
