// SPDX-License-Identifier: Apache-2.0
// All activations on the CPU: two loops, filled with the formulas of the headers in this folder. This
// file is compiled once for each instruction set (Highway's foreach_target); at run time the best that
// the machine has is taken.
//
// One vector of floats is loaded, made doubles where the definition asks for it, computed, rounded and
// stored. Every element goes through the same operations whatever its place; the last, partial vector
// lies in a buffer. Forward moves 8 bytes an element, backward 12: those of floats meet the memory
// roof, those of doubles are bound by exp at about 1 ns an element. Deterministic, in place or not.
#include <cstring>
#include <type_traits>

#include "kernels/activation/definition.h"
#include "kernels/backend_abi.h"
#include "kernels/cpu/parallel.h"

// SSSE3 and the finer AVX-512 variants would only add build time.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activation/activation_cpu.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h

#include "kernels/activation/vector-inl.h"

// What the vector code of one activation looks like from outside. p: the parameters.
#ifndef TANUL_ACTIVATION_CODE
#define TANUL_ACTIVATION_CODE
namespace tanul::cpu {
struct ActivationCode {
  void (*forward)(const float* x, float* y, int64_t n, const double* p);
  void (*backward)(const float* dy, const float* saved, float* dx, int64_t n, const double* p);
};
}  // namespace tanul::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace tanul::cpu::HWY_NAMESPACE {
namespace {

#include "kernels/activation/all.h"

// Floats, and what they are computed as.
struct Floats {
  using D = hn::ScalableTag<float>;
  using V = Pack<D>;
  static HWY_INLINE V widen(hn::Vec<D> v) { return v; }
  static HWY_INLINE hn::Vec<D> round(V v) { return v.v; }
};
struct Doubles {
  using Wide = hn::ScalableTag<double>;
  using D = hn::Rebind<float, Wide>;
  using V = Pack<Wide>;
  static HWY_INLINE V widen(hn::Vec<D> v) { return hn::PromoteTo(Wide(), v); }
  static HWY_INLINE hn::Vec<D> round(V v) { return hn::DemoteTo(D(), v.v); }
};
template <bool kIsDouble>
using Kind = std::conditional_t<kIsDouble, Doubles, Floats>;

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const float* x, int64_t count) {
  if (count >= static_cast<int64_t>(hn::Lanes(d))) return hn::LoadU(d, x);
  HWY_ALIGN float buffer[hn::MaxLanes(D())] = {};
  std::memcpy(buffer, x, static_cast<size_t>(count) * sizeof(float));
  return hn::Load(d, buffer);
}
template <class D>
HWY_INLINE void store(hn::Vec<D> v, D d, float* y, int64_t count) {
  if (count >= static_cast<int64_t>(hn::Lanes(d))) return hn::StoreU(v, d, y);
  HWY_ALIGN float buffer[hn::MaxLanes(D())];
  hn::Store(v, d, buffer);
  std::memcpy(y, buffer, static_cast<size_t>(count) * sizeof(float));
}

template <class A>
HWY_FLATTEN void forward(const float* x, float* y, int64_t n, const double* p) {
  using K = Kind<A::kDef.is_double_forward>;
  const typename K::D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < n; i += lanes) {
    const auto v = load(d, x + i, n - i);
    auto result = K::round(A::forward(K::widen(v), p));
    if constexpr (A::kDef.is_double_forward) {
      result = hn::IfThenElse(hn::IsNaN(v), v, result);
    }
    store(result, d, y + i, n - i);
  }
}

template <class A>
HWY_FLATTEN void backward(const float* dy, const float* saved, float* dx, int64_t n,
                          const double* p) {
  using K = Kind<A::kDef.is_double_backward>;
  const typename K::D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < n; i += lanes) {
    const auto v = load(d, saved + i, n - i);
    auto result = K::round(A::backward(K::widen(load(d, dy + i, n - i)), K::widen(v), p));
    if constexpr (A::kDef.is_double_backward) {
      result = hn::IfThenElse(hn::IsNaN(v), v, result);
    }
    store(result, d, dx + i, n - i);
  }
}

const ActivationCode kCode[] = {
#define TANUL_STEP(name)
#define TANUL_VIEW(name)
#define TANUL_ACTIVATION(name, Type) {forward<Type>, backward<Type>},
#include "kernels/ops.def"
#undef TANUL_STEP
#undef TANUL_VIEW
};

const ActivationCode* Code() { return kCode; }

}  // namespace
}  // namespace tanul::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tanul {

namespace cpu {
namespace {
HWY_EXPORT(Code);
const ActivationCode* activation_code() { return HWY_DYNAMIC_DISPATCH(Code)(); }
}  // namespace
}  // namespace cpu

namespace {

// Places in the table.
enum Index : int {
#define TANUL_STEP(name)
#define TANUL_VIEW(name)
#define TANUL_ACTIVATION(name, Type) k##Type,
#include "kernels/ops.def"
#undef TANUL_STEP
#undef TANUL_VIEW
};

template <int kIndex>
int launch_fwd(Stream* stream, const StepArgs& args) {
  const auto forward = cpu::activation_code()[kIndex].forward;
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  const double* p = args.params_as<ActivationParams>().values;
  cpu::parallel_ranges(stream, args.out[0].elems(), [&](int64_t begin, int64_t end) {
    forward(x + begin, y + begin, end - begin, p);
  });
  return 0;
}

template <int kIndex>
int launch_bwd(Stream* stream, const StepArgs& args) {
  const auto backward = cpu::activation_code()[kIndex].backward;
  const float* dy = args.in[0].as<float>();
  const float* saved = args.in[1].as<float>();
  float* dx = args.out[0].as<float>();
  const double* p = args.params_as<ActivationParams>().values;
  cpu::parallel_ranges(stream, args.out[0].elems(), [&](int64_t begin, int64_t end) {
    backward(dy + begin, saved + begin, dx + begin, end - begin, p);
  });
  return 0;
}

template <int kIndex>
constexpr Implementation kFwd[] = {{"simd", supports_all, no_workspace, launch_fwd<kIndex>}};
template <int kIndex>
constexpr Implementation kBwd[] = {{"simd", supports_all, no_workspace, launch_bwd<kIndex>}};

}  // namespace

#define TANUL_STEP(name)
#define TANUL_VIEW(name)
#define TANUL_ACTIVATION(name, Type)                           \
  extern const ImplementationList cpu_##name##_fwd;            \
  extern const ImplementationList cpu_##name##_bwd;            \
  const ImplementationList cpu_##name##_fwd{kFwd<k##Type>, 1}; \
  const ImplementationList cpu_##name##_bwd{kBwd<k##Type>, 1};
#include "kernels/ops.def"
#undef TANUL_STEP
#undef TANUL_VIEW

}  // namespace tanul
#endif  // HWY_ONCE
