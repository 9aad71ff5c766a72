// SPDX-License-Identifier: Apache-2.0
// Numbers as narrower formats hold them.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace tanul::test {

// To `bits` bits behind the leading one, ties to even, in the range of a float.
inline float round_to_bits(float x, int bits) {
  if (!std::isfinite(x)) return x;
  const int drop = 23 - bits;
  auto word = std::bit_cast<uint32_t>(x);
  word += (uint32_t{1} << (drop - 1)) - 1 + (word >> drop & 1);
  return std::bit_cast<float>(word >> drop << drop);
}
inline float round_to_tf32(float x) { return round_to_bits(x, 10); }
inline float round_to_bf16(float x) { return round_to_bits(x, 7); }
inline float round_to_fp16(float x) {
  constexpr float kStep = 0x1p-24f;  // of numbers below the smallest normal one, 2^-14
  if (std::abs(x) < 0x1p-14f) return std::nearbyint(x / kStep) * kStep;
  const float rounded = round_to_bits(x, 10);
  return std::abs(rounded) > 65504 ? std::copysign(INFINITY, x) : rounded;
}

}  // namespace tanul::test
