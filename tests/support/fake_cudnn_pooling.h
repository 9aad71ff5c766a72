// SPDX-License-Identifier: Apache-2.0
// Pooling as the fake of cuDNN computes it: from the attributes of its descriptors, in double.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "kernels/cuda/cudnn_api.h"

namespace tanul::test {

struct FakePooling {
  bool is_backward;
  int mode, padding_mode, nan;
  std::vector<int64_t> x, y;  // extents
  std::vector<int64_t> window, stride, pad, pad_end;

  size_t axes() const { return window.size(); }

  // Why the numbers do not belong together; empty: they do.
  std::string misfit() const {
    if (axes() < 2 || x.size() != axes() + 2 || y.size() != axes() + 2 || stride.size() != axes() ||
        pad.size() != axes() || pad_end.size() != axes()) {
      return "tensors and windows of different ranks";
    }
    if (x[0] != y[0] || x[1] != y[1]) return "tensors that do not fit together";
    for (size_t i = 0; i < axes(); ++i) {
      const int64_t room = x[i + 2] + pad[i] + pad_end[i] - window[i];
      if (y[i + 2] != room / stride[i] + 1) return "y has not the extents that the windows give it";
    }
    return {};
  }

  // Of y, or of dx in the backward direction; `value` reads an element of x, or of dy.
  template <typename Value>
  std::vector<double> compute(const Value& value) const {
    const int64_t channels = x[0] * x[1];
    const std::vector<int64_t>& extents = is_backward ? x : y;
    std::vector<double> result(static_cast<size_t>(channels * volume(extents)));
    for (int64_t channel = 0; channel < channels; ++channel) {
      for (int64_t i = 0; i < volume(y); ++i) {
        const int64_t at = channel * volume(y) + i;
        if (is_backward) {
          const double share = value(at) / divisor(i);
          for_taps(i, [&](int64_t tap) {
            if (tap >= 0) result[static_cast<size_t>(channel * volume(x) + tap)] += share;
          });
        } else {
          result[static_cast<size_t>(at)] =
              pool(i, [&](int64_t tap) { return value(channel * volume(x) + tap); });
        }
      }
    }
    return result;
  }

 private:
  static int64_t volume(const std::vector<int64_t>& extents) {
    int64_t n = 1;
    for (size_t i = 2; i < extents.size(); ++i) n *= extents[i];
    return n;
  }

  // The place in the input of each tap of window i, -1 in the padding.
  template <typename Body>
  void for_taps(int64_t i, const Body& body) const {
    std::array<int64_t, 3> first{};
    for (size_t axis = axes(); axis-- > 0; i /= y[axis + 2]) {
      first[axis] = i % y[axis + 2] * stride[axis] - pad[axis];
    }
    int64_t taps = 1;
    for (const int64_t extent : window) taps *= extent;
    for (int64_t tap = 0; tap < taps; ++tap) {
      int64_t rest = tap, offset = 0, scale = 1;
      bool is_inside = true;
      for (size_t axis = axes(); axis-- > 0;) {
        const int64_t at = first[axis] + rest % window[axis];
        rest /= window[axis];
        is_inside = is_inside && at >= 0 && at < x[axis + 2];
        offset += at * scale;
        scale *= x[axis + 2];
      }
      body(is_inside ? offset : -1);
    }
  }

  double divisor(int64_t i) const {
    double n = 0;
    const bool counts_padding = mode == cuda::cudnn::kResampleAverageWithPadding;
    for_taps(i, [&](int64_t tap) { n += tap >= 0 || counts_padding ? 1 : 0; });
    return n;
  }

  template <typename Value>
  double pool(int64_t i, const Value& value) const {
    const double infinity = std::numeric_limits<double>::infinity();
    const bool pads_with_zero = padding_mode == cuda::cudnn::kPadWithZero;
    const double outside = pads_with_zero ? 0 : -infinity;
    if (mode != cuda::cudnn::kResampleMaximum) {
      double sum = 0;
      for_taps(i, [&](int64_t tap) { sum += tap >= 0 ? value(tap) : outside; });
      return sum / divisor(i);
    }
    double largest = -infinity;
    bool has_nan = false;
    for_taps(i, [&](int64_t tap) {
      const double v = tap >= 0 ? value(tap) : outside;
      has_nan = has_nan || std::isnan(v);
      largest = std::max(largest, std::isnan(v) ? -infinity : v);
    });
    return has_nan && nan == cuda::cudnn::kPropagateNan ? std::nan("") : largest;
  }
};

}  // namespace tanul::test
