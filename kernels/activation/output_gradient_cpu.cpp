// SPDX-License-Identifier: Apache-2.0
// The gradients that layers with a fused activation take, from the output y: see activation.h. Plain
// loops that compilers make vectors of; memory bound, 12 bytes an element. Each element rounds alike
// wherever it stands.
#include "kernels/activation/activation.h"
#include "kernels/cpu/parallel.h"
#include "kernels/op.h"

namespace tanul {

namespace {

struct SigmoidSlope {
  static float of(float y) { return y * (1 - y); }
};
struct TanhSlope {
  static float of(float y) { return 1 - y * y; }
};

template <class Slope>
int launch(Stream* stream, const StepArgs& args) {
  const float* dy = args.in[0].as<float>();
  const float* y = args.in[1].as<float>();
  float* dx = args.out[0].as<float>();
  cpu::parallel_ranges(stream, args.out[0].elems(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) dx[i] = dy[i] * Slope::of(y[i]);
  });
  return 0;
}

constexpr Implementation kSigmoid[] = {
    {"elementwise", supports_all, no_workspace, launch<SigmoidSlope>}};
constexpr Implementation kTanh[] = {{"elementwise", supports_all, no_workspace, launch<TanhSlope>}};

}  // namespace

const ImplementationList cpu_sigmoid_bwd_output{kSigmoid, 1};
const ImplementationList cpu_tanh_bwd_output{kTanh, 1};

}  // namespace tanul
