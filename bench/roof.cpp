// SPDX-License-Identifier: Apache-2.0
#include <cblas.h>
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "bench/peak.h"
#include "bench/report.h"
#include "bench/step_timer.h"

extern "C" void openblas_set_num_threads(int threads);

namespace tanul::bench {

namespace {

using Clock = std::chrono::steady_clock;

// Seconds of the fastest of a few runs of task(thread) on all threads at once.
template <typename Task>
double best_of(int repeats, int threads, Task&& task) {
  double best = 1e30;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    std::vector<std::thread> workers;
    const Clock::time_point start = Clock::now();
    for (int t = 0; t < threads; ++t) workers.emplace_back([&, t] { task(t); });
    for (std::thread& worker : workers) worker.join();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

// Floating point operations a second of OpenBLAS, one matrix product of n x n a thread.
double measure_gemm(int threads) {
  constexpr int n = 768;
  constexpr size_t kElems = size_t{n} * n;
  std::vector<std::vector<float>> a, b, c;
  for (int t = 0; t < threads; ++t) {
    a.emplace_back(kElems, 0.5f);
    b.emplace_back(kElems, 0.25f);
    c.emplace_back(kElems, 0.0f);
  }
  openblas_set_num_threads(1);
  const double seconds = best_of(5, threads, [&](int t) {
    const auto i = static_cast<size_t>(t);
    for (int round = 0; round < 3; ++round) {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1.0f, a[i].data(), n,
                  b[i].data(), n, 0.0f, c[i].data(), n);
    }
  });
  return 3 * 2.0 * n * n * n * threads / seconds;
}

}  // namespace

double measure_copy(int threads) {
  constexpr size_t kBytes = size_t{96} << 20;  // of each array
  std::vector<std::vector<char>> from(static_cast<size_t>(threads)), to(from.size());
  for (size_t t = 0; t < from.size(); ++t) {
    from[t].assign(kBytes / from.size(), 1);
    to[t].assign(kBytes / from.size(), 2);
  }
  const double seconds = best_of(6, threads, [&](int t) {
    const auto i = static_cast<size_t>(t);
    for (int round = 0; round < 3; ++round)
      std::memcpy(to[i].data(), from[i].data(), from[i].size());
  });
  return 3 * 2 * static_cast<double>(kBytes / from.size() * from.size()) / seconds;
}

nlohmann::ordered_json measure_roof(int threads) {
  if (threads <= 0) threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  nlohmann::ordered_json result;
  result["threads"] = threads;
  result["fma_gflop_per_s"] = rounded(measure_fma_peak(threads) / 1e9, 2);
  result["gemm_gflop_per_s"] = rounded(measure_gemm(threads) / 1e9, 2);
  result["copy_gb_per_s"] = rounded(measure_copy(threads) / 1e9, 2);
  return result;
}

void print_roof(const nlohmann::ordered_json& r) {
  fmt::print(
      "ceilings, {} threads: {:.1f} GFLOP/s of multiply-adds, {:.1f} GFLOP/s of OpenBLAS sgemm, "
      "{:.1f} GB/s of copies (read and written)\n",
      r["threads"].get<int>(), r["fma_gflop_per_s"].get<double>(),
      r["gemm_gflop_per_s"].get<double>(), r["copy_gb_per_s"].get<double>());
}

}  // namespace tanul::bench
