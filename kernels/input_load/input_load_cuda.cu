// SPDX-License-Identifier: Apache-2.0
// input_load on CUDA: x = v scale[c] + shift[c], with scale = 1 / (255 deviation) for u8, 1 / deviation for
// f32, and shift = -mean / deviation, both rounded once from double; a fused multiply-add an element. A
// thread takes its part of a plane (one channel of one image).
// Bytes: 1 or 4 read and 4 written an element. Numerics: error at most 3 u (|v scale| + |shift|).
#include "kernels/cuda/divide.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/planes.h"
#include "kernels/input_load/input_load.h"
#include "tanul/tensor.h"

namespace tanul {

namespace {

using namespace cuda;

template <typename T>
__global__ void input_load_kernel(Planes planes, Divider channels, double unit, const T* samples,
                                  const float* mean, const float* deviation, float* y) {
  const int64_t plane = planes.plane();
  if (plane >= planes.count) return;
  const int64_t c = channels.split(plane).rest;
  const double inv_deviation = 1.0 / static_cast<double>(deviation[c]);
  const float scale = static_cast<float>(inv_deviation / unit);
  const float shift = static_cast<float>(-static_cast<double>(mean[c]) * inv_deviation);
  const int64_t first = plane * planes.inner;
  for (int64_t i = planes.begin(); i < planes.end(); i += planes.step()) {
    y[first + i] = fmaf(static_cast<float>(samples[first + i]), scale, shift);
  }
}

template <typename T>
int launch_of(Stream* stream, const StepArgs& args, double unit) {
  const Operand& samples = args.in[0];  // [N, C, ...] or [N, F]
  const int64_t channels = samples.rank == 2 ? 1 : samples.dims[1];
  const int64_t count = samples.dims[0] * channels;
  if (samples.elems() == 0) return 0;
  const Planes planes(count, samples.elems() / count);
  return launch(stream, input_load_kernel<T>, planes.grid(), kBlockThreads, planes,
                Divider(channels), unit, samples.as<T>(), args.in[1].as<float>(),
                args.in[2].as<float>(), args.out[0].as<float>());
}

int launch_input_load_affine(Stream* stream, const StepArgs& args) {
  if (args.in[0].dtype == static_cast<int32_t>(DType::u8)) {
    return launch_of<uint8_t>(stream, args, 255.0);
  }
  return launch_of<float>(stream, args, 1.0);
}

constexpr Implementation kImplementations[] = {
    {"affine", supports_all, no_workspace, launch_input_load_affine}};

}  // namespace

const ImplementationList cuda_input_load{kImplementations, 1};

}  // namespace tanul
