// SPDX-License-Identifier: Apache-2.0
// Local response normalisation on the CPU. A tile is a run of positions of one sample with all its
// channels: windows run across the channels, positions know nothing of each other. The squares of a
// window are added anew for each channel: a sliding sum would save additions and collect the errors of
// its subtractions.
// Forward reads x size times from the cache, once from memory; backward needs t^-beta and the shares of
// all channels at once, in a scratch of the worker's own.
// Numerics: float; all terms of t are positive. beta 0.75, 0.5 and 1 by roots, any other in double by
// pow, about 20 ns an element.
#include <algorithm>

#include "kernels/cpu/norm_simd.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tiling.h"
#include "kernels/lrn/lrn.h"
#include "kernels/op.h"

namespace tanul {

namespace {

constexpr int64_t kTileElems = 16384;

struct Lrn {
  int64_t N, C, inner;
  cpu::Blocks positions;
  cpu::LrnWindow window;

  Lrn(const StepArgs& args, const Operand& x)
      : N(x.dims[0]), C(x.dims[1]), inner(x.elems() / (x.dims[0] * x.dims[1])) {
    const auto& p = args.params_as<LrnParams>();
    positions = cpu::blocks_of_size(inner, std::clamp<int64_t>(kTileElems / C / 16 * 16, 16, 1024));
    const double alpha = p.alpha_divided_by_size != 0 ? p.alpha / p.size : p.alpha;
    window = {C,
              inner,
              p.size / 2,
              (p.size - 1) / 2,
              static_cast<float>(alpha),
              static_cast<float>(p.k),
              p.beta};
  }
  int64_t tiles() const { return N * positions.count; }
  int64_t first(int64_t tile) const {  // element
    return tile / positions.count * C * inner + positions.begin(tile % positions.count);
  }
  int64_t length(int64_t tile) const { return positions.length(tile % positions.count); }
  int64_t scratch_floats() const { return 2 * C * positions.size; }  // of a worker
};

int launch_lrn_fwd_positions(Stream* stream, const StepArgs& args) {
  const Lrn lrn(args, args.in[0]);
  cpu::parallel_for(stream, lrn.tiles(), [&](int64_t tile, int) {
    const int64_t first = lrn.first(tile);
    cpu::lrn_fwd(lrn.window, args.in[0].as<float>() + first, lrn.length(tile),
                 args.out[0].as<float>() + first);
  });
  return 0;
}

int64_t workspace_bwd(const StepArgs& args, int threads) {
  return threads * Lrn(args, args.in[1]).scratch_floats() * static_cast<int64_t>(sizeof(float));
}

int launch_lrn_bwd_positions(Stream* stream, const StepArgs& args) {
  const Lrn lrn(args, args.in[1]);
  cpu::parallel_for(stream, lrn.tiles(), [&](int64_t tile, int worker) {
    const int64_t first = lrn.first(tile);
    float* scratch = static_cast<float*>(args.workspace) + worker * lrn.scratch_floats();
    cpu::lrn_bwd(lrn.window, args.in[0].as<float>() + first, args.in[1].as<float>() + first,
                 lrn.length(tile), scratch, args.out[0].as<float>() + first);
  });
  return 0;
}

constexpr Implementation kFwd[] = {
    {"positions", supports_all, no_workspace, launch_lrn_fwd_positions}};
constexpr Implementation kBwd[] = {
    {"positions", supports_all, workspace_bwd, launch_lrn_bwd_positions}};

}  // namespace

const ImplementationList cpu_lrn_fwd{kFwd, 1};
const ImplementationList cpu_lrn_bwd{kBwd, 1};

}  // namespace tanul
