// SPDX-License-Identifier: Apache-2.0
// Cosine embedding loss on CUDA, "pairs": a warp, or a block where vectors are long, takes one pair. Blocks
// are added up in order.
// Memory bound: 8 bytes read an element forward, 16 moved backward (the second reading of a pair comes
// from the cache).
// Numerics: everything is double and rounded once, in an order that depends on the shape only.
// Deterministic.
#include <cmath>

#include "kernels/cosine_embedding/cosine_embedding.h"
#include "kernels/cuda/ops.h"
#include "kernels/loss/loss_cuda.h"

namespace tanul {

namespace {

using namespace cuda;

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
};

struct Angle {
  double aa, bb;  // squared lengths
  double cos;
};

template <typename Team>
__device__ Angle angle(const Pairs& pairs, int64_t n) {
  Pair squares{0, 0};
  double product = 0;
  for (int64_t d = Team::rank(); d < pairs.D; d += Team::kThreads) {
    const double x = static_cast<double>(pairs.a[n * pairs.D + d]);
    const double y = static_cast<double>(pairs.b[n * pairs.D + d]);
    squares = squares + Pair{x * x, y * y};
    product += x * y;
  }
  squares = Team::sum(squares) + Pair{kEps, kEps};
  product = Team::sum(product);
  return {squares.a, squares.b, product / (std::sqrt(squares.a) * std::sqrt(squares.b))};
}

template <typename Team>
__global__ void cosine_embedding_fwd_pairs_kernel(Pairs pairs, LossOut out) {
  LossSums own{0, 0, 0, 0};
  for (int64_t n = first_row<Team>(); n < pairs.N; n += row_step<Team>()) {
    const double cos = angle<Team>(pairs, n).cos;
    if (Team::rank() != 0) continue;
    double value = kNan;
    if (pairs.target[n] == 1) value = 1 - cos;
    if (pairs.target[n] == -1) value = cos < pairs.margin ? 0 : cos - pairs.margin;
    if (out.single != nullptr) out.single[n] = static_cast<float>(value);
    own = own + LossSums{value, 1, 0, 1};
  }
  out.hand_in(own);
}

// da and db may be null.
template <typename Team>
__global__ void cosine_embedding_bwd_pairs_kernel(Pairs pairs, LossScale dloss, float* da,
                                                  float* db) {
  for (int64_t n = first_row<Team>(); n < pairs.N; n += row_step<Team>()) {
    const Angle at = angle<Team>(pairs, n);
    double scale = kNan;
    if (pairs.target[n] == 1) scale = -dloss.at(n);
    if (pairs.target[n] == -1) scale = at.cos <= pairs.margin ? 0 : dloss.at(n);
    const double across = scale / (std::sqrt(at.aa) * std::sqrt(at.bb));
    const double along_a = scale * at.cos / at.aa, along_b = scale * at.cos / at.bb;
    for (int64_t i = n * pairs.D + Team::rank(); i < (n + 1) * pairs.D; i += Team::kThreads) {
      const double x = static_cast<double>(pairs.a[i]), y = static_cast<double>(pairs.b[i]);
      if (da != nullptr) da[i] = static_cast<float>(across * y - along_a * x);
      if (db != nullptr) db[i] = static_cast<float>(across * x - along_b * y);
    }
  }
}

// --- launchers ---------------------------------------------------------------------------------

int64_t pair_blocks(const Pairs& pairs) {
  return with_row_team(pairs.D, [&](auto team) {
    return int64_t{grid_for_rows<decltype(team)>(pairs.N, kMostLossBlocks).x};
  });
}

int64_t workspace_fwd(const StepArgs& args, int) {
  return LossOut::workspace_bytes(pair_blocks(Pairs(args)));
}

int launch_cosine_embedding_fwd_pairs(Stream* stream, const StepArgs& args) {
  const Pairs pairs(args);
  const LossOut out(args, pair_blocks(pairs), {0, 0, 0, 0});
  const int error = with_row_team(pairs.D, [&](auto team) {
    return launch(stream, cosine_embedding_fwd_pairs_kernel<decltype(team)>,
                  {static_cast<uint32_t>(out.blocks), 1, 1}, kBlockThreads, pairs, out);
  });
  return error != 0 ? error : launch_loss_finish(stream, out);
}

int launch_cosine_embedding_bwd_pairs(Stream* stream, const StepArgs& args) {
  const Pairs pairs(args);
  const LossScale dloss(args, 3, nullptr, static_cast<double>(pairs.N));
  return with_row_team(pairs.D, [&](auto team) {
    using Team = decltype(team);
    return launch(stream, cosine_embedding_bwd_pairs_kernel<Team>, grid_for_rows<Team>(pairs.N),
                  kBlockThreads, pairs, dloss, output_or_null(args, 0), output_or_null(args, 1));
  });
}

constexpr Implementation kFwd[] = {
    {"pairs", supports_all, workspace_fwd, launch_cosine_embedding_fwd_pairs}};
constexpr Implementation kBwd[] = {
    {"pairs", supports_all, no_workspace, launch_cosine_embedding_bwd_pairs}};

}  // namespace

const ImplementationList cuda_cosine_embedding_fwd{kFwd, 1};
const ImplementationList cuda_cosine_embedding_bwd{kBwd, 1};

}  // namespace tanul
