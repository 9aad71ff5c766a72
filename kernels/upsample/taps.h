// SPDX-License-Identifier: Apache-2.0
// Which elements of x an output of upsample is made of along one axis, and with which weights: the formulas
// of upsample.h, for the CPU and for CUDA.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/host_device.h"
#include "kernels/upsample/upsample.h"

namespace tanul {

// What one output is made of along one axis.
struct Taps {
  int32_t at[4];
  double weight[4];
};

TANUL_HOST_DEVICE inline int taps_of(Resize mode) {
  return mode == Resize::linear ? 2 : mode == Resize::cubic ? 4 : 1;
}

TANUL_HOST_DEVICE inline void cubic_weights(double t, double* w) {
  constexpr double a = -0.75;
  const auto near = [](double x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
  const auto far = [](double x) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };
  w[0] = far(t + 1);
  w[1] = near(t);
  w[2] = near(1 - t);
  w[3] = far(2 - t);
}

TANUL_HOST_DEVICE inline Taps make_taps(const UpsampleParams& params, int axis, int64_t i) {
  const int64_t in = params.in[axis], out = params.out[axis];
  const double scale = params.scale[axis];
  const double place = static_cast<double>(i);
  // Divided, not multiplied by 1 / scale, which may be rounded down: 49 (1 / 49) lies below 1.
  const auto in_x = [&](double at) {
    return scale > 0 ? at / scale : at * (static_cast<double>(in) / static_cast<double>(out));
  };
  Taps taps{};
  taps.weight[0] = 1;
  const auto inside = [&](int64_t at) {
    return static_cast<int32_t>(std::clamp<int64_t>(at, 0, in - 1));
  };
  if (params.mode == Resize::nearest) {  // whole numbers where there is no scale: no rounding
    taps.at[0] = inside(scale > 0 ? static_cast<int64_t>(in_x(place)) : i * in / out);
    return taps;
  }
  if (params.mode == Resize::nearest_exact) {
    taps.at[0] =
        inside(scale > 0 ? static_cast<int64_t>(in_x(place + 0.5)) : (2 * i + 1) * in / (2 * out));
    return taps;
  }
  double s = in_x(place + 0.5) - 0.5;
  if (params.align_corners != 0) {
    s = out == 1 ? 0 : place * (static_cast<double>(in - 1) / static_cast<double>(out - 1));
  }
  if (params.mode == Resize::linear) {
    s = std::max(s, 0.0);
    const int64_t first = inside(static_cast<int64_t>(s));
    taps.at[0] = static_cast<int32_t>(first);
    taps.at[1] = inside(first + 1);
    taps.weight[1] = std::min(s - static_cast<double>(first), 1.0);
    taps.weight[0] = 1 - taps.weight[1];
    return taps;
  }
  const double floor = std::floor(s);
  for (int k = 0; k < 4; ++k) taps.at[k] = inside(static_cast<int64_t>(floor) - 1 + k);
  cubic_weights(s - floor, taps.weight);
  return taps;
}

}  // namespace tanul
