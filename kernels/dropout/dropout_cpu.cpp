// SPDX-License-Identifier: Apache-2.0
// Dropout on the CPU, forward and backward alike:  y[i] = kept(i) ? x[i] / (1 - p) : 0
//   kept(i) = uniform24(Philox(seed, stream, step) word i) >= p
// One tile makes kElementwiseTile elements, kLanes Philox blocks (of four numbers) at a time, so that
// the compiler can make vectors of the lanes. Compute bound: about 26 integer operations an element.
// Numerics: one rounding of the factor, one of the product. The comparison with p is exact.
#include <algorithm>
#include <cmath>

#include "core/philox.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tiling.h"
#include "kernels/dropout/dropout.h"
#include "kernels/op.h"

namespace tanul {

namespace {

constexpr int kLanes = 16;
constexpr int kBatch = 4 * kLanes;

// words[4 lane + w] = word w of block first + lane; philox4x32_10 written lane by lane.
void philox_lanes(const Philox& philox, uint64_t first, uint32_t* words) {
  uint32_t c0[kLanes], c1[kLanes], c2[kLanes], c3[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const uint64_t block = first + static_cast<uint64_t>(lane);
    c0[lane] = static_cast<uint32_t>(block);
    c1[lane] = static_cast<uint32_t>(block >> 32);
    c2[lane] = philox.step;
    c3[lane] = philox.stream;
  }
  uint32_t key0 = static_cast<uint32_t>(philox.seed);
  uint32_t key1 = static_cast<uint32_t>(philox.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const uint64_t product0 = uint64_t{0xD2511F53u} * c0[lane];
      const uint64_t product1 = uint64_t{0xCD9E8D57u} * c2[lane];
      c0[lane] = static_cast<uint32_t>(product1 >> 32) ^ c1[lane] ^ key0;
      c1[lane] = static_cast<uint32_t>(product1);
      c2[lane] = static_cast<uint32_t>(product0 >> 32) ^ c3[lane] ^ key1;
      c3[lane] = static_cast<uint32_t>(product0);
    }
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    words[4 * lane] = c0[lane];
    words[4 * lane + 1] = c1[lane];
    words[4 * lane + 2] = c2[lane];
    words[4 * lane + 3] = c3[lane];
  }
}

// One number decides for a whole plane of x [N, C, …].
void launch_channels(Stream* stream, const Operand& shape, const Philox& philox,
                     uint32_t dropped_below, float scale, const float* x, float* y) {
  const int64_t channels = shape.dims[0] * shape.dims[1];
  const int64_t plane = shape.elems() / channels;
  const cpu::Blocks tiles = cpu::blocks_of_size(
      channels, cpu::ceil_div(cpu::ceil_div(cpu::kElementwiseTile, plane), kBatch) * kBatch);
  cpu::parallel_for(stream, tiles.count, [&](int64_t tile, int) {
    uint32_t words[kBatch];
    const int64_t end = tiles.begin(tile) + tiles.length(tile);
    for (int64_t at = tiles.begin(tile); at < end; at += kBatch) {
      philox_lanes(philox, static_cast<uint64_t>(at) / 4, words);
      const int64_t count = std::min<int64_t>(kBatch, end - at);
      for (int64_t i = 0; i < count; ++i) {
        const float* from = x + (at + i) * plane;
        float* to = y + (at + i) * plane;
        if ((words[i] >> 8) < dropped_below) {
          std::fill(to, to + plane, 0.0f);
        } else {
          for (int64_t k = 0; k < plane; ++k) to[k] = from[k] * scale;
        }
      }
    }
  });
}

int launch_dropout_philox(Stream* stream, const StepArgs& args) {
  const DropoutParams& params = args.params_as<DropoutParams>();
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  const Philox philox{args.block->seed, params.stream, static_cast<uint32_t>(args.block->step)};
  // uniform24 < p with uniform24 = k 2^-24 is k < ceil(p 2^24).
  const uint32_t dropped_below =
      static_cast<uint32_t>(std::ceil(static_cast<double>(params.p) * 0x1p24));
  const float scale = static_cast<float>(1.0 / (1.0 - static_cast<double>(params.p)));

  if (params.is_spatial != 0) {
    launch_channels(stream, args.out[0], philox, dropped_below, scale, x, y);
    return 0;
  }
  static_assert(cpu::kElementwiseTile % kBatch == 0);
  cpu::parallel_ranges(stream, args.out[0].elems(), [&](int64_t begin, int64_t end) {
    uint32_t words[kBatch];
    for (int64_t at = begin; at < end; at += kBatch) {
      philox_lanes(philox, static_cast<uint64_t>(at) / 4, words);
      const int64_t count = std::min<int64_t>(kBatch, end - at);
      for (int64_t i = 0; i < count; ++i) {
        y[at + i] = (words[i] >> 8) < dropped_below ? 0.0f : x[at + i] * scale;
      }
    }
  });
  return 0;
}

constexpr Implementation kPhilox[] = {
    {"philox", supports_all, no_workspace, launch_dropout_philox}};

}  // namespace

const ImplementationList cpu_dropout_fwd{kPhilox, 1};
const ImplementationList cpu_dropout_bwd{kPhilox, 1};

}  // namespace tanul
