// SPDX-License-Identifier: Apache-2.0
// mma.sync of a warp on the host, by the tables of the PTX manual ("Matrix Fragments for mma.m16n8k8" and
// "mma.m16n8k16"): which element of a [16, depth], b [depth, 8] and sums [16, 8] each register of a lane is.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "emulation/grid.h"

namespace tanul::cuda::emulation {

// cvt.rna.tf32.f32: 10 bits behind the point, ties away from 0.
inline uint32_t to_tf32(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return std::isfinite(x) ? (bits + 0x1000u) & ~0x1fffu : bits;
}
// cvt.rn.bf16.f32: 7 bits behind the point, ties to even.
inline uint32_t to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return 0x7fffu;
  return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

// cvt.rn.f16.f32: 10 bits behind the point, ties to even; multiples of 2^-24 below 2^-14; infinite from half
// way beyond 65504 on.
inline uint32_t to_fp16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
  if (std::isnan(x)) return 0x7fffu;
  if (std::abs(x) >= 65520.0f) return sign | 0x7c00u;
  if (std::abs(x) < 0x1p-14f) {
    return sign | static_cast<uint32_t>(std::nearbyint(std::abs(x) * 0x1p24f));
  }
  return sign | (size + 0xfffu + (size >> 13 & 1) - (112u << 23)) >> 13;
}
inline float from_fp16(uint32_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 0x1f;
  const uint32_t fraction = half & 0x3ffu;
  if (exponent == 0) {
    const float size = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -size : size;
  }
  const uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

// The registers of a lane.
struct MmaLane {
  uint32_t a[4], b[2];
  float sums[4];
};

// sums += a b, elements taken from the lanes by a_of(lanes, row, k) and b_of(lanes, k, column). Tests of
// tensor cores spend most of their time here, so that no sanitizer looks at the indices, whose bounds are constants.
template <int kDepth, typename A, typename B>
__attribute__((no_sanitize("address", "undefined"))) void mma_of_warp(void* const* lanes,
                                                                      const A& a_of,
                                                                      const B& b_of) {
  using Four = float __attribute__((vector_size(16)));
  float a[16][kDepth];
  Four b[kDepth][2];
  for (int k = 0; k < kDepth; ++k) {
    for (int row = 0; row < 16; ++row) a[row][k] = a_of(lanes, row, k);
    for (int column = 0; column < 8; ++column)
      b[k][column / 4][column % 4] = b_of(lanes, k, column);
  }
  for (int row = 0; row < 16; ++row) {
    // Row `row`, column `column` is register row / 8 * 2 + column % 2 of lane row % 8 * 4 + column / 2.
    const auto sum_of = [&](int column) -> float& {
      auto& owner = *static_cast<MmaLane*>(lanes[row % 8 * 4 + column / 2]);
      return owner.sums[row / 8 * 2 + column % 2];
    };
    Four sums[2];
    for (int column = 0; column < 8; ++column) sums[column / 4][column % 4] = sum_of(column);
    for (int k = 0; k < kDepth; ++k) {
      for (int i = 0; i < 2; ++i) sums[i] += a[row][k] * b[k][i];
    }
    for (int column = 0; column < 8; ++column) sum_of(column) = sums[column / 4][column % 4];
  }
}

inline const MmaLane& mma_lane(void* const* lanes, int i) {
  return *static_cast<const MmaLane*>(lanes[i]);
}

inline void run_mma(const char* name, const uint32_t (&a)[4], const uint32_t (&b)[2],
                    float (&sums)[4], void (*together)(void* const* lanes, uint32_t mask),
                    const Place& place) {
  MmaLane own{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}, {sums[0], sums[1], sums[2], sums[3]}};
  warp_wide(name, 0xffffffffu, &own, together, false, place);
  for (int i = 0; i < 4; ++i) sums[i] = own.sums[i];
}

inline void mma_tf32(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&sums)[4],
                     const Place& place = Place::current()) {
  run_mma(
      "mma.m16n8k8.tf32", a, b, sums,
      [](void* const* lanes, uint32_t) {
        mma_of_warp<8>(
            lanes,
            [](void* const* all, int row, int k) {
              const MmaLane& lane = mma_lane(all, row % 8 * 4 + k % 4);
              return std::bit_cast<float>(lane.a[row / 8 + k / 4 * 2]);
            },
            [](void* const* all, int k, int column) {
              return std::bit_cast<float>(mma_lane(all, column * 4 + k % 4).b[k / 4]);
            });
      },
      place);
}

// Half k % 2 of a register holds the bits of step k: the 16 bits of a bf16 are the upper ones of a float.
inline float bf16_half(uint32_t word, int k) {
  return std::bit_cast<float>(k % 2 == 0 ? word << 16 : word & 0xffff0000u);
}
inline float fp16_half(uint32_t word, int k) {
  return from_fp16(k % 2 == 0 ? word & 0xffffu : word >> 16);
}

template <float kHalf(uint32_t word, int k)>
void mma_of_halves(void* const* lanes, uint32_t) {
  mma_of_warp<16>(
      lanes,
      [](void* const* all, int row, int k) {
        const MmaLane& lane = mma_lane(all, row % 8 * 4 + k % 8 / 2);
        return kHalf(lane.a[row / 8 + k / 8 * 2], k);
      },
      [](void* const* all, int k, int column) {
        return kHalf(mma_lane(all, column * 4 + k % 8 / 2).b[k / 8], k);
      });
}

inline void mma_bf16(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&sums)[4],
                     const Place& place = Place::current()) {
  run_mma("mma.m16n8k16.bf16", a, b, sums, mma_of_halves<bf16_half>, place);
}
inline void mma_fp16(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&sums)[4],
                     const Place& place = Place::current()) {
  run_mma("mma.m16n8k16.f16", a, b, sums, mma_of_halves<fp16_half>, place);
}

}  // namespace tanul::cuda::emulation
