// SPDX-License-Identifier: Apache-2.0
// Twelve independent chains of fused multiply-adds keep every FMA unit of today's x86 cores busy
// (latency 4, two units: eight would do), at the widest vectors that the machine runs.
#include "bench/peak.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/peak.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tanul::bench::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Runs `rounds` rounds of twelve multiply-adds; returns the operations done, and a value that
// depends on all of them.
double fma_rounds(long rounds, float* sink) {
  const hn::ScalableTag<float> d;
  const auto a = hn::Set(d, 0.999999f);
  const auto b = hn::Set(d, 1e-7f);
  auto x0 = hn::Set(d, 0.1f), x1 = hn::Set(d, 0.2f), x2 = hn::Set(d, 0.3f), x3 = hn::Set(d, 0.4f);
  auto x4 = hn::Set(d, 0.5f), x5 = hn::Set(d, 0.6f), x6 = hn::Set(d, 0.7f), x7 = hn::Set(d, 0.8f);
  auto x8 = hn::Set(d, 0.9f), x9 = hn::Set(d, 1.0f), xa = hn::Set(d, 1.1f), xb = hn::Set(d, 1.2f);
  for (long i = 0; i < rounds; ++i) {
    x0 = hn::MulAdd(x0, a, b), x1 = hn::MulAdd(x1, a, b), x2 = hn::MulAdd(x2, a, b);
    x3 = hn::MulAdd(x3, a, b), x4 = hn::MulAdd(x4, a, b), x5 = hn::MulAdd(x5, a, b);
    x6 = hn::MulAdd(x6, a, b), x7 = hn::MulAdd(x7, a, b), x8 = hn::MulAdd(x8, a, b);
    x9 = hn::MulAdd(x9, a, b), xa = hn::MulAdd(xa, a, b), xb = hn::MulAdd(xb, a, b);
  }
  const auto sum = hn::Add(hn::Add(hn::Add(x0, x1), hn::Add(x2, x3)),
                           hn::Add(hn::Add(hn::Add(x4, x5), hn::Add(x6, x7)),
                                   hn::Add(hn::Add(x8, x9), hn::Add(xa, xb))));
  *sink = hn::GetLane(hn::SumOfLanes(d, sum));
  return static_cast<double>(rounds) * 12 * 2 * static_cast<double>(hn::Lanes(d));
}

}  // namespace tanul::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tanul::bench {

HWY_EXPORT(fma_rounds);

double measure_fma_peak(int threads) {
  using Clock = std::chrono::steady_clock;
  constexpr long kRounds = 2'000'000;
  double best = 0;
  for (int repeat = 0; repeat < 8; ++repeat) {
    std::vector<double> operations(static_cast<size_t>(threads), 0);
    std::vector<float> sinks(static_cast<size_t>(threads), 0);
    std::vector<std::thread> workers;
    const Clock::time_point start = Clock::now();
    for (size_t t = 0; t < operations.size(); ++t) {
      workers.emplace_back(
          [&, t] { operations[t] = HWY_DYNAMIC_DISPATCH(fma_rounds)(kRounds, &sinks[t]); });
    }
    for (std::thread& worker : workers) worker.join();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    double total = 0;
    for (double count : operations) total += count;
    best = std::max(best, total / seconds);
  }
  return best;
}

}  // namespace tanul::bench
#endif
