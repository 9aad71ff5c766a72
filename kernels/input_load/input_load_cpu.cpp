// SPDX-License-Identifier: Apache-2.0
// input_load on the CPU: x = v scale[c] + shift[c], with scale = 1 / (255 deviation) for u8,
// 1 / deviation for f32, and shift = -mean / deviation, both rounded once from double.
// A tile is some whole planes (one channel of one image); a plane is one vector loop.
// Bytes: 1 or 4 read and 4 written an element. Numerics: error at most 3 u (|v scale| + |shift|).
#include <algorithm>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/input_load/input_load.h"
#include "kernels/op.h"

namespace tanul {

namespace {

int launch_input_load_affine(Stream* stream, const StepArgs& args) {
  const Operand& samples = args.in[0];  // [N, C, ...] or [N, F]
  const float* mean = args.in[1].as<float>();
  const float* deviation = args.in[2].as<float>();
  float* y = args.out[0].as<float>();
  const int64_t channels = samples.rank == 2 ? 1 : samples.dims[1];
  const int64_t planes = samples.dims[0] * channels;
  const int64_t elems = samples.elems();
  if (elems == 0) return 0;
  const int64_t plane = elems / planes;
  const bool is_u8 = samples.dtype == static_cast<int32_t>(DType::u8);
  const int64_t tile_planes = cpu::ceil_div(cpu::kElementwiseTile, plane);

  cpu::parallel_for(stream, cpu::ceil_div(planes, tile_planes), [&](int64_t tile, int) {
    const int64_t end = std::min((tile + 1) * tile_planes, planes);
    for (int64_t at = tile * tile_planes; at < end; ++at) {
      const int64_t c = at % channels;
      const double inv_deviation = 1.0 / static_cast<double>(deviation[c]);
      const float scale = static_cast<float>(is_u8 ? inv_deviation / 255.0 : inv_deviation);
      const float shift = static_cast<float>(-static_cast<double>(mean[c]) * inv_deviation);
      float* to = y + at * plane;
      if (is_u8) {
        cpu::affine_u8(samples.as<uint8_t>() + at * plane, to, plane, scale, shift);
      } else {
        const float* from = samples.as<float>() + at * plane;
        for (int64_t i = 0; i < plane; ++i) to[i] = from[i] * scale + shift;
      }
    }
  });
  return 0;
}

constexpr Implementation kImplementations[] = {
    {"affine", supports_all, no_workspace, launch_input_load_affine}};

}  // namespace

const ImplementationList cpu_input_load{kImplementations, 1};

}  // namespace tanul
