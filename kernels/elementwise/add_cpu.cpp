// SPDX-License-Identifier: Apache-2.0
// add on the CPU: y = a + b. Meets the memory roof, 12 bytes an element. Deterministic.
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/op.h"

namespace tanul {

namespace {

int launch_add_fwd(Stream* stream, const StepArgs& args) {
  const float* a = args.in[0].as<float>();
  const float* b = args.in[1].as<float>();
  float* y = args.out[0].as<float>();
  cpu::parallel_ranges(stream, args.out[0].elems(), [&](int64_t begin, int64_t end) {
    cpu::add(a + begin, b + begin, y + begin, end - begin);
  });
  return 0;
}

const Implementation kForward[] = {{"simd", supports_all, no_workspace, launch_add_fwd}};

}  // namespace

const ImplementationList cpu_add_fwd = {kForward, 1};

}  // namespace tanul
