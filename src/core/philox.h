// SPDX-License-Identifier: Apache-2.0
// Counter-based random numbers, Philox4x32-10: J. K. Salmon et al., "Parallel random numbers: as
// easy as 1, 2, 3", SC 2011. Every number is a function of (seed, stream, step, index), so nothing
// depends on thread count, device or on what ran before.
//
//   key     = seed (64 bits)
//   counter = index / 4 (64 bits), step (32 bits), stream (32 bits, a hash of the stream's name)
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace tanul {

using PhiloxBlock = std::array<uint32_t, 4>;

constexpr PhiloxBlock philox4x32_10(PhiloxBlock counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {
        static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(product1),
        static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// FNV-1a, 32 bits: the number of a stream name ("shuffle", "conv1.weight", …).
constexpr uint32_t philox_stream(std::string_view name) {
  uint32_t hash = 2166136261u;
  for (char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619u;
  return hash;
}

struct Philox {
  uint64_t seed = 0;
  uint32_t stream = 0;
  uint32_t step = 0;

  constexpr PhiloxBlock block(uint64_t block_index) const {
    return philox4x32_10({static_cast<uint32_t>(block_index),
                          static_cast<uint32_t>(block_index >> 32), step, stream},
                         static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  }
  constexpr uint32_t word(uint64_t index) const { return block(index / 4)[index % 4]; }

  // Uniform in [0, 1) with 24 bits: exact in float on every device.
  float uniform24(uint64_t index) const { return to_uniform24(word(index)); }
  static float to_uniform24(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

  // Uniform in (0, 1) with 53 bits: numbers 2i and 2i+1 come from one block.
  std::array<double, 2> uniform_pair(uint64_t pair) const {
    const PhiloxBlock b = block(pair);
    return {to_uniform53(b[0], b[1]), to_uniform53(b[2], b[3])};
  }
  double uniform(uint64_t index) const { return uniform_pair(index / 2)[index % 2]; }
  static double to_uniform53(uint32_t high, uint32_t low) {
    const uint64_t bits = (uint64_t{high} << 32 | low) >> 11;
    return (static_cast<double>(bits) + 0.5) * 0x1p-53;
  }

  // Standard normal by Box and Muller, in double: numbers 2i and 2i+1 come from one block.
  std::array<double, 2> normal_pair(uint64_t pair) const {
    const auto [u, v] = uniform_pair(pair);
    const double radius = std::sqrt(-2.0 * std::log(u));
    const double angle = 2.0 * 3.14159265358979323846 * v;
    return {radius * std::cos(angle), radius * std::sin(angle)};
  }
  double normal(uint64_t index) const { return normal_pair(index / 2)[index % 2]; }

  // Uniform integer in [0, bound), bound >= 1, by multiplication of 64 random bits.
  uint64_t below(uint64_t index, uint64_t bound) const {
    const PhiloxBlock b = block(index / 2);
    const size_t at = index % 2 * 2;
    const uint64_t bits = uint64_t{b[at]} << 32 | b[at + 1];
    return static_cast<uint64_t>((static_cast<unsigned __int128>(bits) * bound) >> 64);
  }
};

}  // namespace tanul
