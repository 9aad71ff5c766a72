// SPDX-License-Identifier: Apache-2.0
// Cosine embedding loss on the CPU. A tile is some pairs; tiles are then added in order.
// Memory bound: 8 bytes read an element forward, 16 moved backward.
// Numerics: everything is double and rounded once, in an order that depends on the shape only.
#include <algorithm>
#include <cmath>

#include "kernels/cosine_embedding/cosine_embedding.h"
#include "kernels/cpu/parallel.h"
#include "kernels/loss/loss_cpu.h"
#include "kernels/op.h"

namespace tanul {

namespace {

using namespace cpu;

constexpr int64_t kTileElems = 8192;
constexpr double kEps = 1e-12;  // of the squared lengths

struct Pairs {
  int64_t N, D;
  const float* a;       // [N, D]
  const float* target;  // [N]
  const float* b;       // [N, D]
  double margin;

  explicit Pairs(const StepArgs& args)
      : N(args.in[0].dims[0]),
        D(args.in[0].dims[1]),
        a(args.in[0].as<float>()),
        target(args.in[1].as<float>()),
        b(args.in[2].as<float>()),
        margin(static_cast<double>(args.params_as<CosineEmbeddingParams>().margin)) {}
  int64_t tile_pairs() const { return ceil_div(kTileElems, D); }
  int64_t tiles() const { return ceil_div(N, tile_pairs()); }
  template <typename Body>
  void for_each(int64_t tile, Body&& body) const {
    const int64_t end = std::min((tile + 1) * tile_pairs(), N);
    for (int64_t n = tile * tile_pairs(); n < end; ++n) body(n);
  }
};

struct Angle {
  double aa, bb;  // squared lengths
  double cos;
};

Angle angle(const Pairs& pairs, int64_t n) {
  const float* a = pairs.a + n * pairs.D;
  const float* b = pairs.b + n * pairs.D;
  double aa = kEps, bb = kEps, ab = 0;
  for (int64_t d = 0; d < pairs.D; ++d) {
    const double x = static_cast<double>(a[d]), y = static_cast<double>(b[d]);
    aa += x * x;
    bb += y * y;
    ab += x * y;
  }
  return {aa, bb, ab / (std::sqrt(aa) * std::sqrt(bb))};
}

double pair_loss(const Pairs& pairs, int64_t n) {
  const double cos = angle(pairs, n).cos;
  if (pairs.target[n] == 1) return 1 - cos;
  if (pairs.target[n] == -1) return cos < pairs.margin ? 0 : cos - pairs.margin;
  return kNan;
}

int64_t workspace_fwd(const StepArgs& args, int) {
  return Pairs(args).tiles() * static_cast<int64_t>(sizeof(LossSums));
}

int launch_cosine_embedding_fwd_pairs(Stream* stream, const StepArgs& args) {
  const Pairs pairs(args);
  LossSums* parts = static_cast<LossSums*>(args.workspace);  // [tiles]
  float* single = single_losses(args);
  parallel_for(stream, pairs.tiles(), [&](int64_t tile, int) {
    LossSums part;
    pairs.for_each(tile, [&](int64_t n) {
      const double value = pair_loss(pairs, n);
      if (single != nullptr) single[n] = static_cast<float>(value);
      part.add({value, 1, 0, 1});
    });
    parts[tile] = part;
  });
  write_loss(args, add_in_order(parts, pairs.tiles()));
  return 0;
}

// `to` gets scale · dcos/d(self), of a pair {self, other}.
void turn(const float* self, const float* other, int64_t D, double self_square, const Angle& at,
          double scale, float* to) {
  const double across = scale / (std::sqrt(at.aa) * std::sqrt(at.bb));
  const double along = scale * at.cos / self_square;
  for (int64_t d = 0; d < D; ++d) {
    to[d] = static_cast<float>(across * static_cast<double>(other[d]) -
                               along * static_cast<double>(self[d]));
  }
}

int launch_cosine_embedding_bwd_pairs(Stream* stream, const StepArgs& args) {
  const Pairs pairs(args);
  const LossScale dloss(args, 3, static_cast<double>(pairs.N));
  float* da = args.out[0].present() ? args.out[0].as<float>() : nullptr;
  float* db = args.out[1].present() ? args.out[1].as<float>() : nullptr;
  parallel_for(stream, pairs.tiles(), [&](int64_t tile, int) {
    pairs.for_each(tile, [&](int64_t n) {
      const Angle at = angle(pairs, n);
      const float t = pairs.target[n];
      double scale = kNan;
      if (t == 1) scale = -dloss.at(n);
      if (t == -1) scale = at.cos <= pairs.margin ? 0 : dloss.at(n);
      const float* a = pairs.a + n * pairs.D;
      const float* b = pairs.b + n * pairs.D;
      if (da != nullptr) turn(a, b, pairs.D, at.aa, at, scale, da + n * pairs.D);
      if (db != nullptr) turn(b, a, pairs.D, at.bb, at, scale, db + n * pairs.D);
    });
  });
  return 0;
}

constexpr Implementation kFwd[] = {
    {"pairs", supports_all, workspace_fwd, launch_cosine_embedding_fwd_pairs}};
constexpr Implementation kBwd[] = {
    {"pairs", supports_all, no_workspace, launch_cosine_embedding_bwd_pairs}};

}  // namespace

const ImplementationList cpu_cosine_embedding_fwd{kFwd, 1};
const ImplementationList cpu_cosine_embedding_bwd{kBwd, 1};

}  // namespace tanul
