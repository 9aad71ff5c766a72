// SPDX-License-Identifier: Apache-2.0
// Dropout on CUDA, forward and backward alike:  y[i] = kept(i) ? x[i] / (1 - p) : 0
//   kept(i) = uniform24(Philox(seed, stream, step) word i) >= p
// A thread makes a Philox block, that is four elements; of whole channels, a number for its part of a
// plane. Seed and step lie in device memory, so that a replayed graph draws new masks. Memory roof, 8 bytes
// an element; 26 integer operations an element.
// Numerics: one rounding of the factor, one of the product. The comparison with p is exact.
#include <cmath>

#include "core/philox.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/planes.h"
#include "kernels/dropout/dropout.h"

namespace tanul {

namespace {

using namespace cuda;

struct Mask {
  const StepBlock* block;
  uint32_t stream;
  uint32_t dropped_below;
  float scale;

  explicit Mask(const StepArgs& args) : block(args.block) {
    const DropoutParams& params = args.params_as<DropoutParams>();
    const double p = static_cast<double>(params.p);
    stream = params.stream;
    // uniform24 < p with uniform24 = k 2^-24 is k < ceil(p 2^24).
    dropped_below = static_cast<uint32_t>(std::ceil(p * 0x1p24));
    scale = static_cast<float>(1.0 / (1.0 - p));
  }
  __device__ Philox philox() const {
    return {block->seed, stream, static_cast<uint32_t>(block->step)};
  }
  __device__ float apply(uint32_t word, float x) const {
    return (word >> 8) < dropped_below ? 0.0f : x * scale;
  }
};

// `quads`: how many whole groups of four may be moved at once.
__global__ void dropout_kernel(Mask mask, int64_t n, int64_t quads, const float* x, float* y) {
  const Philox philox = mask.philox();
  for (int64_t i = grid_thread(); i < ceil_div(n, 4); i += grid_threads()) {
    const PhiloxBlock words = philox.block(static_cast<uint64_t>(i));
    if (i < quads) {
      const float4 v = load4(x, 4 * i);
      store4(y, 4 * i,
             make_float4(mask.apply(words[0], v.x), mask.apply(words[1], v.y),
                         mask.apply(words[2], v.z), mask.apply(words[3], v.w)));
    } else {
      for (int k = 0; k < 4 && 4 * i + k < n; ++k) {
        y[4 * i + k] = mask.apply(words[static_cast<size_t>(k)], x[4 * i + k]);
      }
    }
  }
}

// One number decides for a whole plane of x [N, C, …].
__global__ void dropout_channels_kernel(Mask mask, Planes planes, const float* x, float* y) {
  const int64_t plane = planes.plane();
  if (plane >= planes.count) return;
  const uint32_t word = mask.philox().word(static_cast<uint64_t>(plane));
  for (int64_t i = planes.begin(); i < planes.end(); i += planes.step()) {
    y[plane * planes.inner + i] = mask.apply(word, x[plane * planes.inner + i]);
  }
}

int launch_dropout_philox(Stream* stream, const StepArgs& args) {
  const Operand& shape = args.out[0];
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  const int64_t n = shape.elems();
  if (args.params_as<DropoutParams>().is_spatial != 0) {
    const int64_t channels = shape.dims[0] * shape.dims[1];
    const Planes planes(channels, n / channels);
    return launch(stream, dropout_channels_kernel, planes.grid(), kBlockThreads, Mask(args), planes,
                  x, y);
  }
  const int64_t quads = is_aligned16(x) && is_aligned16(y) ? n / 4 : 0;
  return launch(stream, dropout_kernel, blocks_for(ceil_div(n, 4)), kBlockThreads, Mask(args), n,
                quads, x, y);
}

constexpr Implementation kPhilox[] = {
    {"philox", supports_all, no_workspace, launch_dropout_philox}};

}  // namespace

const ImplementationList cuda_dropout_fwd{kPhilox, 1};
const ImplementationList cuda_dropout_bwd{kPhilox, 1};

}  // namespace tanul
