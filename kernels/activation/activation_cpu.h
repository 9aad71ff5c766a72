// SPDX-License-Identifier: Apache-2.0
// The CPU implementation that all activations share: a vector primitive over ranges of the
// elements. Meets the memory roof: forward moves 8 bytes an element, backward 12. Deterministic, in
// place or not.
#pragma once

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/op.h"

namespace tanul::cpu {

template <void (*kForward)(const float* x, float* y, int64_t n)>
int launch_activation_fwd(Stream* stream, const StepArgs& args) {
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  parallel_ranges(stream, args.in[0].elems(),
                  [&](int64_t begin, int64_t end) { kForward(x + begin, y + begin, end - begin); });
  return 0;
}

template <void (*kBackward)(const float* dy, const float* y, float* dx, int64_t n)>
int launch_activation_bwd(Stream* stream, const StepArgs& args) {
  const float* dy = args.in[0].as<float>();
  const float* y = args.in[1].as<float>();
  float* dx = args.out[0].as<float>();
  parallel_ranges(stream, args.in[0].elems(), [&](int64_t begin, int64_t end) {
    kBackward(dy + begin, y + begin, dx + begin, end - begin);
  });
  return 0;
}

}  // namespace tanul::cpu
