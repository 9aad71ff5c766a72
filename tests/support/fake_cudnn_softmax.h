// SPDX-License-Identifier: Apache-2.0
// Softmax as the fake of cuDNN computes it: from the numbers of its calls, in double.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/cuda/cudnn_api.h"

namespace tanul::test {

struct FakeSoftmax {
  std::array<int64_t, 4> extents;  // N, C, H, W
  int algorithm, mode;
  float alpha, beta;

  bool is_logarithm() const { return algorithm == cuda::cudnn::kSoftmaxLogarithm; }
  bool is_shifted() const { return is_logarithm() || algorithm == cuda::cudnn::kSoftmaxAccurate; }

  // Calls body(first element, distance, count) for all that share a sum.
  template <typename Body>
  void for_rows(const Body& body) const {
    const auto [n, c, h, w] = extents;
    const bool is_over_channels = mode == cuda::cudnn::kSoftmaxOverChannels;
    const int64_t inner = is_over_channels ? h * w : 1;
    const int64_t count = is_over_channels ? c : c * h * w;
    for (int64_t i = 0; i < n * inner; ++i) {
      body(i / inner * count * inner + i % inner, inner, count);
    }
  }

  void write(float* to, double value) const {
    const double before = beta == 0 ? 0 : static_cast<double>(beta) * static_cast<double>(*to);
    *to = static_cast<float>(static_cast<double>(alpha) * value + before);
  }

  void forward(const float* x, float* y) const {
    for_rows([&](int64_t first, int64_t step, int64_t count) {
      std::vector<double> row;
      for (int64_t i = 0; i < count; ++i) row.push_back(x[first + i * step]);
      const double shift = is_shifted() ? *std::max_element(row.begin(), row.end()) : 0;
      double sum = 0;
      for (const double value : row) sum += std::exp(value - shift);
      for (int64_t i = 0; i < count; ++i) {
        const double shifted = row[static_cast<size_t>(i)] - shift;
        write(y + first + i * step,
              is_logarithm() ? shifted - std::log(sum) : std::exp(shifted) / sum);
      }
    });
  }

  void backward(const float* y, const float* dy, float* dx) const {
    for_rows([&](int64_t first, int64_t step, int64_t count) {
      double sum = 0;
      for (int64_t i = first; i < first + count * step; i += step) {
        sum += static_cast<double>(dy[i]) * (is_logarithm() ? 1 : static_cast<double>(y[i]));
      }
      for (int64_t i = first; i < first + count * step; i += step) {
        const double own = dy[i], kept = y[i];
        write(dx + i, is_logarithm() ? own - std::exp(kept) * sum : kept * (own - sum));
      }
    });
  }
};

}  // namespace tanul::test
