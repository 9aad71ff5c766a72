// SPDX-License-Identifier: Apache-2.0
// Division by a number that the host knows: a product and a shift in place of about 20 (32 bit) or 100
// (64 bit) instructions. For dividends and divisors below 2^31; others are divided.
// Source: T. Granlund, P. Montgomery, "Division by invariant integers using multiplication", 1994,
// figure 4.1 with N = 32.
#pragma once

#include "kernels/cuda/kernel.h"

namespace tanul::cuda {

struct Divider {
  int64_t divisor = 1;
  uint32_t factor = 1;
  uint32_t shift = 0;

  Divider() = default;
  explicit Divider(int64_t d) : divisor(d) {
    if (d < 1 || d > kMost) return;
    while ((int64_t{1} << shift) < d) ++shift;
    const uint64_t scaled =
        (uint64_t{1} << 32) * ((uint64_t{1} << shift) - static_cast<uint64_t>(d));
    factor = static_cast<uint32_t>(scaled / static_cast<uint64_t>(d) + 1);
  }

  // floor(n / divisor), n >= 0
  __device__ int64_t quotient(int64_t n) const {
    if (n > kMost || divisor > kMost) return n / divisor;
    return quotient(static_cast<int32_t>(n));
  }
  // Where the divisor, too, is below 2^31.
  __device__ int32_t quotient(int32_t n) const {
    const auto small = static_cast<uint32_t>(n);
    const auto high = static_cast<uint32_t>(static_cast<uint64_t>(small) * factor >> 32);
    return static_cast<int32_t>((high + small) >> shift);
  }

  template <typename Index>
  struct Split {
    Index quotient, rest;
  };
  template <typename Index>
  __device__ Split<Index> split(Index n) const {
    const Index q = quotient(n);
    return {q, n - q * static_cast<Index>(divisor)};
  }

 private:
  static constexpr int64_t kMost = 0x7fffffff;
};

// Takes the last digit off n: returns n modulo the divisor and leaves the quotient.
template <typename Index>
__device__ inline Index split_off(const Divider& divider, Index& n) {
  const auto parts = divider.split(n);
  n = parts.quotient;
  return parts.rest;
}

}  // namespace tanul::cuda
