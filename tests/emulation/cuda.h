// SPDX-License-Identifier: Apache-2.0
// The part of CUDA C++ that kernels/*/*_cuda.cu are written in, for the host's compiler: see
// kernels/cuda/kernel.h, which includes this file, and grid.h for the rules that are checked.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "emulation/grid.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

#define threadIdx (::tanul::cuda::emulation::current.thread)
#define blockIdx (::tanul::cuda::emulation::current.block)
#define blockDim (::tanul::cuda::emulation::current.block_dim)
#define gridDim (::tanul::cuda::emulation::current.grid_dim)

// `T name[count]` in shared memory, each access checked.
#define TANUL_SHARED(T, name, count)                                    \
  static ::tanul::cuda::emulation::SharedArray<T, (count)> name{#name}; \
  name.enter()

namespace tanul::cuda::emulation {

// An element of a shared array: reads and writes are checked when they happen.
template <typename T>
class SharedElement {
 public:
  SharedElement(T* value, SharedWord* word, const char* array, int64_t index)
      : value_(value), word_(word), array_(array), index_(index) {}
  SharedElement(const SharedElement&) = default;

  operator T() const { return read(); }  // NOLINT: meant to convert
  T read() const {
    check_read(*word_, array_, index_);
    return *value_;
  }
  void write(T value, bool is_atomic = false) const {
    check_write(*word_, array_, index_, is_atomic);
    *value_ = value;
  }
  const SharedElement& operator=(T value) const { return write(value), *this; }
  // NOLINTNEXTLINE: assigns what the other holds
  const SharedElement& operator=(const SharedElement& other) const {
    return write(other.read()), *this;
  }
  const SharedElement& operator+=(T value) const { return *this = static_cast<T>(read() + value); }
  const SharedElement& operator-=(T value) const { return *this = static_cast<T>(read() - value); }
  const SharedElement& operator*=(T value) const { return *this = static_cast<T>(read() * value); }

  // What atomic functions take in place of a pointer.
  struct Address {
    SharedElement element;
  };
  Address operator&() const { return {*this}; }  // NOLINT: the address itself is nobody's business
  // Reads for an atomic change, which atomic changes of others do not race with.
  T read_atomically() const {
    check_atomic_read(*word_, array_, index_);
    return *value_;
  }

 private:
  T* value_;
  SharedWord* word_;
  const char* array_;
  int64_t index_;
};

template <typename T, int64_t kCount>
class SharedArray {
 public:
  constexpr explicit SharedArray(const char* name) : name_(name) {}
  SharedArray(const SharedArray&) = delete;

  void enter() {
    if (block_ == current.first_epoch) return;
    block_ = current.first_epoch;
    enter_shared(name_, kCount * static_cast<int64_t>(sizeof(T)));
  }
  SharedElement<T> operator[](int64_t i) {
    if (i < 0 || i >= kCount) fault_index(name_, i, kCount);
    return {&values_[i], &words_[i], name_, i};
  }
  const char* name() const { return name_; }

 private:
  const char* name_;
  uint64_t block_ = 0;
  T values_[kCount] = {};
  SharedWord words_[kCount] = {};
};

// What a lane hands to the others of its warp.
template <typename T>
struct Exchange {
  T value;
  uint32_t source;  // the lane it reads from
  T result;
};

template <typename T>
T shuffle(const char* function, uint32_t mask, T value, uint32_t source, const Place& place) {
  static_assert(std::is_arithmetic_v<T>);
  Exchange<T> own{value, source, value};
  const bool names_itself = (mask >> current.id % kWarpLanes & 1) != 0;
  if (names_itself && (source >= kWarpLanes || (mask >> source & 1) == 0)) {
    fault("reads lane %u in %s, which the mask %08x leaves out", source, function, mask);
  }
  warp_wide(
      function, mask, &own,
      [](void* const* lanes, uint32_t) {
        for (uint32_t i = 0; i < kWarpLanes; ++i) {
          if (lanes[i] == nullptr) continue;
          auto& lane = *static_cast<Exchange<T>*>(lanes[i]);
          lane.result = static_cast<Exchange<T>*>(lanes[lane.source])->value;
        }
      },
      false, place);
  return own.result;
}

inline uint32_t vote(const char* function, uint32_t mask, bool predicate, const Place& place) {
  Exchange<uint32_t> own{predicate ? 1u : 0u, 0, 0};
  warp_wide(
      function, mask, &own,
      [](void* const* lanes, uint32_t) {
        uint32_t bits = 0;
        for (uint32_t i = 0; i < kWarpLanes; ++i) {
          if (lanes[i] != nullptr) bits |= static_cast<Exchange<uint32_t>*>(lanes[i])->value << i;
        }
        for (uint32_t i = 0; i < kWarpLanes; ++i) {
          if (lanes[i] != nullptr) static_cast<Exchange<uint32_t>*>(lanes[i])->result = bits;
        }
      },
      false, place);
  return own.result;
}

// Of how many threads of the block the predicate holds.
inline int count_in_block(const char* function, bool predicate, const Place& place) {
  int own = predicate ? 1 : 0;
  block_wide(
      function, &own,
      [](void* const* threads, int count) {
        int sum = 0;
        for (int i = 0; i < count; ++i) sum += *static_cast<int*>(threads[i]);
        for (int i = 0; i < count; ++i) *static_cast<int*>(threads[i]) = sum;
      },
      place);
  return own;
}

inline uint32_t own_lane() { return current.id % kWarpLanes; }

template <typename T, typename Change>
T atomically(T* address, Change change) {
  const T old = *address;
  *address = change(old);
  return old;
}
template <typename E, typename Change>
auto atomically(const E& address, Change change) -> decltype(address.element.read()) {
  const auto old = address.element.read_atomically();
  address.element.write(change(old), true);
  return old;
}

// Calls invoke's kernel for the thread that runs.
template <typename... P, size_t... I>
void invoke_with(const void* kernel, void* const* args, std::index_sequence<I...>) {
  (*reinterpret_cast<void (*)(P...)>(const_cast<void*>(kernel)))(*static_cast<P*>(args[I])...);
}
template <typename... P>
void invoke(const void* kernel, void* const* args) {
  invoke_with<P...>(kernel, args, std::index_sequence_for<P...>());
}

inline void check_aligned(const void* address, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0) {
    fault("touches %zu bytes at %p, which is not aligned to them", bytes, address);
  }
}

}  // namespace tanul::cuda::emulation

// ---- the language's functions, in the global namespace as CUDA has them

#define TANUL_PLACE \
  const ::tanul::cuda::emulation::Place& place = ::tanul::cuda::emulation::Place::current()

inline void __syncthreads(TANUL_PLACE) {
  tanul::cuda::emulation::block_wide("__syncthreads", nullptr, nullptr, place);
}
inline int __syncthreads_count(int predicate, TANUL_PLACE) {
  return tanul::cuda::emulation::count_in_block("__syncthreads_count", predicate != 0, place);
}
inline int __syncthreads_or(int predicate, TANUL_PLACE) {
  return tanul::cuda::emulation::count_in_block("__syncthreads_or", predicate != 0, place) > 0;
}
inline int __syncthreads_and(int predicate, TANUL_PLACE) {
  return tanul::cuda::emulation::count_in_block("__syncthreads_and", predicate == 0, place) == 0;
}
inline void __syncwarp(uint32_t mask = 0xffffffffu, TANUL_PLACE) {
  tanul::cuda::emulation::warp_wide("__syncwarp", mask, nullptr, nullptr, true, place);
}

// Lanes are cut into groups of `width`; who would read past the end of its group reads itself.
template <typename T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32, TANUL_PLACE) {
  const uint32_t group = tanul::cuda::emulation::own_lane() & ~static_cast<uint32_t>(width - 1);
  const uint32_t lane = group + (static_cast<uint32_t>(source) & static_cast<uint32_t>(width - 1));
  return tanul::cuda::emulation::shuffle("__shfl_sync", mask, value, lane, place);
}
template <typename T>
T __shfl_down_sync(uint32_t mask, T value, uint32_t delta, int width = 32, TANUL_PLACE) {
  const uint32_t own = tanul::cuda::emulation::own_lane();
  const uint32_t in_group = (own & static_cast<uint32_t>(width - 1)) + delta;
  const uint32_t lane = in_group < static_cast<uint32_t>(width) ? own + delta : own;
  return tanul::cuda::emulation::shuffle("__shfl_down_sync", mask, value, lane, place);
}
template <typename T>
T __shfl_up_sync(uint32_t mask, T value, uint32_t delta, int width = 32, TANUL_PLACE) {
  const uint32_t own = tanul::cuda::emulation::own_lane();
  const uint32_t lane = (own & static_cast<uint32_t>(width - 1)) >= delta ? own - delta : own;
  return tanul::cuda::emulation::shuffle("__shfl_up_sync", mask, value, lane, place);
}
template <typename T>
T __shfl_xor_sync(uint32_t mask, T value, uint32_t bits, int width = 32, TANUL_PLACE) {
  const uint32_t own = tanul::cuda::emulation::own_lane();
  const uint32_t other = own ^ bits;
  const bool is_near =
      (other & ~static_cast<uint32_t>(width - 1)) <= (own & ~static_cast<uint32_t>(width - 1));
  return tanul::cuda::emulation::shuffle("__shfl_xor_sync", mask, value, is_near ? other : own,
                                         place);
}
inline uint32_t __ballot_sync(uint32_t mask, int predicate, TANUL_PLACE) {
  return tanul::cuda::emulation::vote("__ballot_sync", mask, predicate != 0, place);
}
inline int __any_sync(uint32_t mask, int predicate, TANUL_PLACE) {
  return tanul::cuda::emulation::vote("__any_sync", mask, predicate != 0, place) != 0;
}
inline int __all_sync(uint32_t mask, int predicate, TANUL_PLACE) {
  return tanul::cuda::emulation::vote("__all_sync", mask, predicate != 0, place) == mask;
}
#undef TANUL_PLACE

inline void __threadfence() {}
inline void __threadfence_block() {}

template <typename T>
T __ldg(const T* p) {
  return *p;
}

inline int __popc(uint32_t bits) { return std::popcount(bits); }
inline int __popcll(uint64_t bits) { return std::popcount(bits); }
inline int __ffs(int bits) {
  return bits == 0 ? 0 : std::countr_zero(static_cast<uint32_t>(bits)) + 1;
}
inline int __clz(int bits) { return std::countl_zero(static_cast<uint32_t>(bits)); }
inline uint32_t __umulhi(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(uint64_t{a} * b >> 32);
}

// Rounded to nearest, never fused with what stands around them.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float rsqrtf(float x) { return static_cast<float>(1 / std::sqrt(static_cast<double>(x))); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }

inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline uint32_t __float_as_uint(float x) { return std::bit_cast<uint32_t>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(uint32_t x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }

// As CUDA's: of NaN and a number, the number.
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }
#define TANUL_MIN_MAX(T)                           \
  inline T min(T a, T b) { return b < a ? b : a; } \
  inline T max(T a, T b) { return a < b ? b : a; }
TANUL_MIN_MAX(int)
TANUL_MIN_MAX(unsigned)
TANUL_MIN_MAX(long)
TANUL_MIN_MAX(unsigned long)
TANUL_MIN_MAX(long long)
TANUL_MIN_MAX(unsigned long long)
#undef TANUL_MIN_MAX

#define TANUL_VECTOR2(Name, T, bytes) \
  struct alignas(bytes) Name {        \
    T x, y;                           \
  };                                  \
  inline Name make_##Name(T x, T y) { return {x, y}; }
#define TANUL_VECTOR4(Name, T, bytes) \
  struct alignas(bytes) Name {        \
    T x, y, z, w;                     \
  };                                  \
  inline Name make_##Name(T x, T y, T z, T w) { return {x, y, z, w}; }
TANUL_VECTOR2(float2, float, 8)
TANUL_VECTOR2(int2, int, 8)
TANUL_VECTOR2(uint2, unsigned, 8)
TANUL_VECTOR2(double2, double, 16)
TANUL_VECTOR4(float4, float, 16)
TANUL_VECTOR4(int4, int, 16)
TANUL_VECTOR4(uint4, unsigned, 16)
TANUL_VECTOR4(uchar4, unsigned char, 4)
#undef TANUL_VECTOR2
#undef TANUL_VECTOR4

// Atomic functions, of global memory or of `&shared[i]`. Sums of floats depend on the order of turns (see
// grid.h), so that an implementation which is not deterministic shows it.
template <typename A, typename T>
auto atomicAdd(A address, T value) {
  return tanul::cuda::emulation::atomically(
      address, [&](auto old) { return static_cast<decltype(old)>(old + value); });
}
template <typename A, typename T>
auto atomicMax(A address, T value) {
  return tanul::cuda::emulation::atomically(address, [&](auto old) {
    static_assert(std::is_integral_v<decltype(old)>);
    return static_cast<decltype(old)>(old < value ? value : old);
  });
}
template <typename A, typename T>
auto atomicMin(A address, T value) {
  return tanul::cuda::emulation::atomically(address, [&](auto old) {
    static_assert(std::is_integral_v<decltype(old)>);
    return static_cast<decltype(old)>(value < old ? value : old);
  });
}
template <typename A, typename T>
auto atomicExch(A address, T value) {
  return tanul::cuda::emulation::atomically(
      address, [&](auto old) { return static_cast<decltype(old)>(value); });
}
template <typename A, typename T, typename U>
auto atomicCAS(A address, T expected, U value) {
  return tanul::cuda::emulation::atomically(
      address, [&](auto old) { return old == expected ? static_cast<decltype(old)>(value) : old; });
}

namespace tanul::cuda {

// Neighbours of a shared array; `i` is a multiple of their number. See kernels/cuda/vector.h.
template <typename T, int64_t kCount>
void check_vector(const char* function, const emulation::SharedArray<T, kCount>& array, int64_t i,
                  int elems) {
  if (i % elems == 0) return;
  emulation::fault("%s of %s[%lld]", function, array.name(), static_cast<long long>(i));
}
template <typename T, int64_t kCount>
auto load4(emulation::SharedArray<T, kCount>& array, int64_t i) {
  check_vector("load4", array, i, 4);
  using Vector = std::conditional_t<std::is_same_v<T, float>, float4, uint4>;
  return Vector{array[i], array[i + 1], array[i + 2], array[i + 3]};
}
template <typename T, int64_t kCount, typename Vector>
void store4(emulation::SharedArray<T, kCount>& array, int64_t i, Vector v) {
  check_vector("store4", array, i, 4);
  array[i] = v.x;
  array[i + 1] = v.y;
  array[i + 2] = v.z;
  array[i + 3] = v.w;
}
template <int64_t kCount>
void store2(emulation::SharedArray<uint32_t, kCount>& array, int64_t i, uint2 v) {
  check_vector("store2", array, i, 2);
  array[i] = v.x;
  array[i + 1] = v.y;
}

}  // namespace tanul::cuda
