// SPDX-License-Identifier: Apache-2.0
// All activations on CUDA: two element-wise kernels (kernels/cuda/elementwise.h), filled with the formulas
// of the headers in this folder.
//
// A float is loaded, made a double where the definition asks for it, computed, rounded and stored.
// Forward moves 8 bytes an element, backward 12: the memory roof, but for exp of doubles on GPUs that have
// few units for them. Deterministic, in place or not.
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/activation/definition.h"
#include "kernels/activation/scalar.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/ops.h"

namespace tanul {

namespace {

#include "kernels/activation/all.h"

// What a float is computed as.
template <bool kIsDouble>
using V = cuda::Scalar<std::conditional_t<kIsDouble, double, float>>;

template <class A>
struct Forward {
  ActivationParams params;

  __device__ float operator()(float x) const {
    constexpr bool kIsDouble = A::kDef.is_double_forward;
    const V<kIsDouble> y = A::forward(V<kIsDouble>(x), params.values);
    return kIsDouble && x != x ? x : static_cast<float>(y.v);
  }
};

template <class A>
struct Backward {
  ActivationParams params;

  __device__ float operator()(float dy, float saved) const {
    constexpr bool kIsDouble = A::kDef.is_double_backward;
    const V<kIsDouble> dx = A::backward(V<kIsDouble>(dy), V<kIsDouble>(saved), params.values);
    return kIsDouble && saved != saved ? saved : static_cast<float>(dx.v);
  }
};

template <class A>
int launch_fwd(Stream* stream, const StepArgs& args) {
  return cuda::launch_map(stream, Forward<A>{args.params_as<ActivationParams>()},
                          args.out[0].elems(), args.out[0].as<float>(),
                          args.in[0].as<const float>());
}

template <class A>
int launch_bwd(Stream* stream, const StepArgs& args) {
  return cuda::launch_map(stream, Backward<A>{args.params_as<ActivationParams>()},
                          args.out[0].elems(), args.out[0].as<float>(),
                          args.in[0].as<const float>(), args.in[1].as<const float>());
}

template <class A>
constexpr Implementation kFwd[] = {{"elementwise", supports_all, no_workspace, launch_fwd<A>}};
template <class A>
constexpr Implementation kBwd[] = {{"elementwise", supports_all, no_workspace, launch_bwd<A>}};

// The gradients that layers with a fused activation take, from the output y: see activation.h.
struct SigmoidSlope {
  __device__ float operator()(float dy, float y) const { return dy * (y * (1 - y)); }
};
struct TanhSlope {
  __device__ float operator()(float dy, float y) const { return dy * (1 - y * y); }
};

template <class Slope>
int launch_from_output(Stream* stream, const StepArgs& args) {
  return cuda::launch_map(stream, Slope(), args.out[0].elems(), args.out[0].as<float>(),
                          args.in[0].as<const float>(), args.in[1].as<const float>());
}

constexpr Implementation kSigmoid[] = {
    {"elementwise", supports_all, no_workspace, launch_from_output<SigmoidSlope>}};
constexpr Implementation kTanh[] = {
    {"elementwise", supports_all, no_workspace, launch_from_output<TanhSlope>}};

}  // namespace

#define TANUL_STEP(name)
#define TANUL_VIEW(name)
#define TANUL_ACTIVATION(name, Type)                         \
  const ImplementationList cuda_##name##_fwd{kFwd<Type>, 1}; \
  const ImplementationList cuda_##name##_bwd{kBwd<Type>, 1};
#include "kernels/ops.def"
#undef TANUL_STEP
#undef TANUL_VIEW

const ImplementationList cuda_sigmoid_bwd_output{kSigmoid, 1};
const ImplementationList cuda_tanh_bwd_output{kTanh, 1};

}  // namespace tanul
