// SPDX-License-Identifier: Apache-2.0
// Pooling, written from the formulas in pool.h: naive loops over volumes, of which images are slices and
// signals lines.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/pool/pool.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

// One window along one axis: its taps inside the input, and how many count in the divisor.
struct Window {
  std::vector<int64_t> taps;
  int64_t counted = 0;
};

// The spatial axes of a pooling: for each the windows, in order.
struct Windows {
  std::vector<std::vector<Window>> axes;
  std::vector<int64_t> in;
};

int64_t axis_of(const Shape& shape, int i) {
  return i + 5 - shape.rank();
}  // of depth, height, width

Windows sliding(const PoolParams& p, const Shape& x) {
  Windows all;
  for (int i = 0; i + 2 < x.rank(); ++i) {
    const int64_t axis = axis_of(x, i), in = x[i + 2];
    const bool is_global = p.global != 0;
    const int64_t kernel = is_global ? in : p.kernel[axis];
    const int64_t stride = is_global ? 1 : p.stride[axis];
    const int64_t before = is_global ? 0 : p.pad_begin[axis];
    const int64_t after = is_global ? 0 : p.pad_end[axis];
    const int64_t dilation = is_global ? 1 : p.dilation[axis];
    const int64_t room = in + before + after - dilation * (kernel - 1) - 1;
    int64_t count = (p.ceil_mode != 0 ? room + stride - 1 : room) / stride + 1;
    if (p.ceil_mode != 0 && (count - 1) * stride >= in + before) --count;
    std::vector<Window> windows;
    for (int64_t o = 0; o < count; ++o) {
      Window window;
      for (int64_t k = 0; k < kernel; ++k) {
        const int64_t at = o * stride - before + k * dilation;
        if (at >= 0 && at < in) window.taps.push_back(at);
        if (p.count_include_pad != 0 && at < in + after) ++window.counted;
      }
      if (p.count_include_pad == 0) window.counted = static_cast<int64_t>(window.taps.size());
      windows.push_back(window);
    }
    all.axes.push_back(windows);
    all.in.push_back(in);
  }
  return all;
}

Windows adaptive(const AdaptivePoolParams& p, const Shape& x) {
  Windows all;
  for (int i = 0; i + 2 < x.rank(); ++i) {
    const int64_t in = x[i + 2], out = p.out[axis_of(x, i)];
    std::vector<Window> windows;
    for (int64_t o = 0; o < out; ++o) {
      Window window;
      // floor(o in / out) <= at < ceil((o + 1) in / out)
      for (int64_t at = 0; at < in; ++at) {
        if (at * out > o * in - out && at * out < (o + 1) * in) window.taps.push_back(at);
      }
      window.counted = static_cast<int64_t>(window.taps.size());
      windows.push_back(window);
    }
    all.axes.push_back(windows);
    all.in.push_back(in);
  }
  return all;
}

Shape out_shape(const Windows& windows, const Shape& x) {
  std::vector<int64_t> y{x[0], x[1]};
  for (const auto& axis : windows.axes) y.push_back(static_cast<int64_t>(axis.size()));
  return Shape(y);
}

// Calls body(index of y, channel's first index of x, position in the channel) for all taps of all windows,
// and after(index of y, divisor) behind each window.
template <typename Body, typename After>
void for_each_window(Windows windows, int64_t channels, Body&& body, After&& after) {
  while (windows.axes.size() < 3) {
    windows.axes.insert(windows.axes.begin(), {Window{{0}, 1}});
    windows.in.insert(windows.in.begin(), 1);
  }
  const int64_t H = windows.in[1], W = windows.in[2], volume = windows.in[0] * H * W;
  int64_t yi = 0;
  for (int64_t channel = 0; channel < channels; ++channel) {
    for (const Window& depth : windows.axes[0]) {
      for (const Window& height : windows.axes[1]) {
        for (const Window& width : windows.axes[2]) {
          for (int64_t d : depth.taps) {
            for (int64_t h : height.taps) {
              for (int64_t w : width.taps) body(yi, channel * volume, (d * H + h) * W + w);
            }
          }
          after(yi++, depth.counted * height.counted * width.counted);
        }
      }
    }
  }
}

Tensors maximum(const Windows& windows, const RefTensor& x) {
  const Shape shape = out_shape(windows, x.shape);
  RefTensor y(shape, DType::f32, -std::numeric_limits<double>::infinity());
  RefTensor argmax(shape, DType::i32, -1);
  for_each_window(
      windows, x.shape[0] * x.shape[1],
      [&](int64_t yi, int64_t channel, int64_t at) {
        const double value = x[channel + at];
        if (std::isnan(y[yi])) return;
        if (argmax[yi] < 0 || std::isnan(value) || value > y[yi]) {
          y[yi] = value;
          argmax[yi] = static_cast<double>(at);
        }
      },
      [](int64_t, int64_t) {});
  return {y, argmax};
}

Tensors average(const Windows& windows, const RefTensor& x) {
  RefTensor y(out_shape(windows, x.shape));
  for_each_window(
      windows, x.shape[0] * x.shape[1],
      [&](int64_t yi, int64_t channel, int64_t at) { y[yi] += x[channel + at]; },
      [&](int64_t yi, int64_t divisor) { y[yi] /= static_cast<double>(divisor); });
  return {y};
}

Tensors average_bwd(const Windows& windows, const RefTensor& dy, RefTensor dx) {
  std::vector<int64_t> window;
  for_each_window(
      windows, dx.shape[0] * dx.shape[1],
      [&](int64_t, int64_t channel, int64_t at) { window.push_back(channel + at); },
      [&](int64_t yi, int64_t divisor) {
        for (int64_t at : window) dx[at] += dy[yi] / static_cast<double>(divisor);
        window.clear();
      });
  return {dx};
}

// The shape that the backward steps restore.
template <typename P>
Shape in_shape(const P& p, const Shape& dy) {
  std::vector<int64_t> dx{dy[0], dy[1]};
  for (int i = 0; i + 2 < dy.rank(); ++i) dx.push_back(p.in[axis_of(dy, i)]);
  return Shape(dx);
}

Windows windows_of(const PoolParams& p, const Shape& x) { return sliding(p, x); }
Windows windows_of(const AdaptivePoolParams& p, const Shape& x) { return adaptive(p, x); }

template <typename P>
Tensors max_fwd(const Params& params, const Tensors& in, const RefContext&) {
  return maximum(windows_of(params.as<P>(), in[0].shape), in[0]);
}

Tensors max_bwd(const Params& params, const Tensors& in, const RefContext&) {
  const RefTensor& dy = in[0];
  RefTensor dx(in_shape(params.as<PoolParams>(), dy.shape));
  const int64_t windows = dy.shape.elems_from(2), volume = dx.shape.elems_from(2);
  for (int64_t i = 0; i < dy.elems(); ++i) {
    dx[i / windows * volume + static_cast<int64_t>(in[1][i])] += dy[i];
  }
  return {dx};
}

template <typename P>
Tensors avg_fwd(const Params& params, const Tensors& in, const RefContext&) {
  return average(windows_of(params.as<P>(), in[0].shape), in[0]);
}

template <typename P>
Tensors avg_bwd(const Params& params, const Tensors& in, const RefContext&) {
  const P& p = params.as<P>();
  const RefTensor dx(in_shape(p, in[0].shape));
  return average_bwd(windows_of(p, dx.shape), in[0], dx);
}

// Taps of the largest window, and windows that hold one element at most.
template <typename P>
double window_terms(const P& p, const Shape& x) {
  double n = 1;
  for (const auto& axis : windows_of(p, x).axes) {
    size_t most = 0;
    for (const Window& window : axis) most = std::max(most, window.taps.size());
    n *= static_cast<double>(most);
  }
  return n;
}
template <typename P>
double overlapping(const P& p, const Shape& x) {
  double n = 1;
  const Windows windows = windows_of(p, x);
  for (size_t axis = 0; axis < windows.axes.size(); ++axis) {
    std::vector<int> holders(static_cast<size_t>(windows.in[axis]), 0);
    for (const Window& window : windows.axes[axis]) {
      for (int64_t at : window.taps) ++holders[static_cast<size_t>(at)];
    }
    n *= *std::max_element(holders.begin(), holders.end());
  }
  return n;
}

// Each window that has its maximum here adds a term; at most all of them.
Bounds bounds_max_bwd(const BoundArgs& a) {
  const Tensors T = max_bwd(a.params, absolute(a.in), a.context);
  RefTensor terms(T[0].shape);
  const int64_t windows = a.in[0].shape.elems_from(2), volume = terms.shape.elems_from(2);
  for (int64_t i = 0; i < a.in[0].elems(); ++i) {
    terms[i / windows * volume + static_cast<int64_t>(a.in[1][i])] += 1;
  }
  std::vector<double> bound;
  for (int64_t i = 0; i < T[0].elems(); ++i) {
    bound.push_back(terms[i] <= 1 ? 0 : (2 + terms[i]) * kU * T[0][i] + kSmallest);
  }
  return {bound};
}
template <typename P>
Bounds bounds_avg_fwd(const BoundArgs& a) {
  const Tensors T = avg_fwd<P>(a.params, absolute(a.in), a.context);
  return {sum_bound(T[0], window_terms(a.params.as<P>(), a.in[0].shape))};
}
template <typename P>
Bounds bounds_avg_bwd(const BoundArgs& a) {
  const Tensors T = avg_bwd<P>(a.params, absolute(a.in), a.context);
  return {sum_bound(T[0], overlapping(a.params.as<P>(), T[0].shape))};
}

// Every divisor is the same power of two: no window is cut.
bool is_average_exact(const Params& params) {
  const PoolParams& p = params.as<PoolParams>();
  const int window = p.kernel[0] * p.kernel[1] * p.kernel[2];
  bool is_padded = false;
  for (int axis = 0; axis < 3; ++axis) {
    is_padded = is_padded || p.pad_begin[axis] != 0 || p.pad_end[axis] != 0;
  }
  return (window & (window - 1)) == 0 && p.ceil_mode == 0 &&
         (!is_padded || p.count_include_pad != 0);
}

}  // namespace

std::vector<Rule> pool_rules() {
  using Sliding = PoolParams;
  using Adaptive = AdaptivePoolParams;
  return {
      {OpKind::max_pool_fwd, max_fwd<Sliding>, nullptr, always},
      {OpKind::max_pool_bwd, max_bwd, bounds_max_bwd, always},
      {OpKind::avg_pool_fwd, avg_fwd<Sliding>, bounds_avg_fwd<Sliding>, is_average_exact},
      {OpKind::avg_pool_bwd, avg_bwd<Sliding>, bounds_avg_bwd<Sliding>, is_average_exact},
      {OpKind::adaptive_max_pool_fwd, max_fwd<Adaptive>, nullptr, always},
      {OpKind::adaptive_avg_pool_fwd, avg_fwd<Adaptive>, bounds_avg_fwd<Adaptive>},
      {OpKind::adaptive_avg_pool_bwd, avg_bwd<Adaptive>, bounds_avg_bwd<Adaptive>},
  };
}

}  // namespace tanul::test
