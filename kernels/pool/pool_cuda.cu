// SPDX-License-Identifier: Apache-2.0
// Maximum and average pooling on CUDA. Formulas and operands are in pool.h.
//
//   windows  forward: a thread takes one window; its neighbours take the windows beside it, so that a
//            warp reads neighbouring columns of x and writes neighbouring elements of y
//   planes   average over whole planes: a team (a warp, or a block for large planes) sums up one channel
//   gather   backward: a thread takes one element of dx and adds up what the windows that hold it give.
//            No atomics; where windows do not overlap each element of dy is read once
//
// Memory bound: x and y once (overlapping windows meet in the cache), dy, argmax and dx once.
// Numerics: sums in float in row order of the window, or of the windows; planes: in double. Deterministic.
#include <algorithm>

#include "kernels/cuda/divide.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/planes.h"
#include "kernels/cuda/reduce.h"
#include "kernels/pool/pool.h"

namespace tanul {

namespace {

using namespace cuda;

// The taps of a window along one axis, those inside the input: begin, begin + step, … below end.
struct Range {
  int64_t begin, end, step;
};

// A channel: the extents of depth, height, width, and how positions in it are taken apart.
struct Volume {
  int64_t channels;
  int64_t in[3], out[3];
  Divider in_height, in_width, out_height, out_width;

  Volume(const Operand& x, const Operand& y) : channels(x.dims[0] * x.dims[1]) {
    for (int axis = 0; axis < 3; ++axis) {
      const int at = axis + x.rank - 3;
      in[axis] = at < 2 ? 1 : x.dims[at];
      out[axis] = at < 2 ? 1 : y.dims[at];
    }
    in_height = Divider(in[1]);
    in_width = Divider(in[2]);
    out_height = Divider(out[1]);
    out_width = Divider(out[2]);
  }
  int64_t in_elems() const { return in[0] * in[1] * in[2]; }
  int64_t out_elems() const { return out[0] * out[1] * out[2]; }

  __device__ int64_t position(int64_t d, int64_t h, int64_t w) const {
    return (d * in[1] + h) * in[2] + w;
  }
};

struct Place {
  int64_t at[3];  // depth, height, width
};
__device__ inline Place place_of(int64_t i, const Divider& height, const Divider& width) {
  const Divider::Split row = width.split(i);
  const Divider::Split slice = height.split(row.quotient);
  return {{slice.quotient, slice.rest, row.rest}};
}

// Windows of one size, a stride apart.
struct SlidingWindows : Volume {
  PoolParams params;
  Divider by_stride[3];

  SlidingWindows(const Operand& x, const Operand& y, const StepArgs& args)
      : Volume(x, y), params(args.params_as<PoolParams>()) {
    for (int axis = 0; axis < 3; ++axis) by_stride[axis] = Divider(params.stride[axis]);
  }

  __device__ int64_t start(int axis, int64_t i) const {
    return i * params.stride[axis] - params.pad_begin[axis];
  }
  __device__ Range range(int axis, int64_t i) const {
    const int64_t step = params.dilation[axis];
    const int64_t begin = start(axis, i);
    const int64_t end = std::min(in[axis], begin + step * (params.kernel[axis] - 1) + 1);
    if (begin >= 0) return {begin, end, step};
    return {step == 1 ? 0 : begin + (step - 1 - begin) / step * step, end, step};
  }
  // The factor of an axis in what the average is divided by.
  __device__ int64_t counted(int axis, int64_t i) const {
    const Range taps = range(axis, i);
    if (params.count_include_pad == 0) return taps.end - taps.begin;
    const int64_t end = in[axis] + params.pad_end[axis];
    return std::min(start(axis, i) + params.kernel[axis], end) - start(axis, i);
  }
  // The windows whose span holds position `at`; with dilation not all of them have a tap there.
  __device__ Range holders(int axis, int64_t at) const {
    const int64_t padded = at + params.pad_begin[axis];
    const int64_t before = padded - params.dilation[axis] * (params.kernel[axis] - 1);
    const int64_t round_up = params.stride[axis] - 1;
    return {before <= 0 ? 0 : by_stride[axis].quotient(before + round_up),
            std::min(out[axis], by_stride[axis].quotient(padded) + 1), 1};
  }
};

// Windows that divide each axis as evenly as can be.
struct AdaptiveWindows : Volume {
  Divider by_in[3], by_out[3];

  AdaptiveWindows(const Operand& x, const Operand& y, const StepArgs&) : Volume(x, y) {
    for (int axis = 0; axis < 3; ++axis) {
      by_in[axis] = Divider(in[axis]);
      by_out[axis] = Divider(out[axis]);
    }
  }

  __device__ Range range(int axis, int64_t i) const {
    return {by_out[axis].quotient(i * in[axis]),
            by_out[axis].quotient((i + 1) * in[axis] + out[axis] - 1), 1};
  }
  __device__ int64_t counted(int axis, int64_t i) const {
    const Range taps = range(axis, i);
    return taps.end - taps.begin;
  }
  // at < ceil((i + 1) in / out) and floor(i in / out) <= at, solved for i
  __device__ Range holders(int axis, int64_t at) const {
    return {by_in[axis].quotient(at * out[axis]),
            by_in[axis].quotient((at + 1) * out[axis] + in[axis] - 1), 1};
  }
};

// ---- maximum ----------------------------------------------------------------------------------

template <typename Windows>
__global__ void max_pool_fwd_windows_kernel(Windows shape, Planes planes, const float* x, float* y,
                                            int32_t* argmax) {
  const int64_t plane = planes.plane();
  if (plane >= planes.count) return;
  const float* channel = x + plane * shape.in[0] * shape.in[1] * shape.in[2];
  for (int64_t i = planes.begin(); i < planes.end(); i += planes.step()) {
    const Place window = place_of(i, shape.out_height, shape.out_width);
    const Range d = shape.range(0, window.at[0]);
    const Range h = shape.range(1, window.at[1]);
    const Range w = shape.range(2, window.at[2]);
    int64_t best_at = shape.position(d.begin, h.begin, w.begin);
    float best = channel[best_at];
    for (int64_t di = d.begin; di < d.end; di += d.step) {
      for (int64_t hi = h.begin; hi < h.end; hi += h.step) {
        const int64_t row = shape.position(di, hi, 0);
        for (int64_t wi = w.begin; wi < w.end; wi += w.step) {
          const float v = channel[row + wi];
          if (!(v <= best) && best == best) {  // greater, or the first NaN
            best = v;
            best_at = row + wi;
          }
        }
      }
    }
    const int64_t at = plane * planes.inner + i;
    y[at] = best;
    if (argmax != nullptr) argmax[at] = static_cast<int32_t>(best_at);
  }
}

template <typename Windows>
int launch_max_fwd(Stream* stream, const StepArgs& args) {
  const Windows shape(args.in[0], args.out[0], args);
  const Planes planes(shape.channels, shape.out_elems());
  return launch(stream, max_pool_fwd_windows_kernel<Windows>, planes.grid(), kBlockThreads, shape,
                planes, args.in[0].as<float>(), args.out[0].as<float>(),
                args.out[1].present() ? args.out[1].as<int32_t>() : nullptr);
}

template <typename Windows>
__global__ void max_pool_bwd_gather_kernel(Windows shape, Planes planes, const float* dy,
                                           const int32_t* argmax, float* dx) {
  const int64_t plane = planes.plane();
  if (plane >= planes.count) return;
  const int64_t channel = plane * shape.out[0] * shape.out[1] * shape.out[2];
  for (int64_t i = planes.begin(); i < planes.end(); i += planes.step()) {
    const Place place = place_of(i, shape.in_height, shape.in_width);
    const Range d = shape.holders(0, place.at[0]);
    const Range h = shape.holders(1, place.at[1]);
    const Range w = shape.holders(2, place.at[2]);
    float sum = 0;
    for (int64_t z = d.begin; z < d.end; ++z) {
      for (int64_t p = h.begin; p < h.end; ++p) {
        const int64_t row = channel + (z * shape.out[1] + p) * shape.out[2];
        for (int64_t q = w.begin; q < w.end; ++q) {
          if (argmax[row + q] == i) sum += dy[row + q];
        }
      }
    }
    dx[plane * planes.inner + i] = sum;
  }
}

template <typename Windows>
int launch_max_bwd_of(Stream* stream, const StepArgs& args) {
  const Windows shape(args.out[0], args.in[0], args);
  const Planes planes(shape.channels, shape.in_elems());
  return launch(stream, max_pool_bwd_gather_kernel<Windows>, planes.grid(), kBlockThreads, shape,
                planes, args.in[0].as<float>(), args.in[1].as<int32_t>(), args.out[0].as<float>());
}

// Adaptive pooling leaves the window's size at 0.
int launch_max_bwd(Stream* stream, const StepArgs& args) {
  return args.params_as<PoolParams>().kernel[2] == 0
             ? launch_max_bwd_of<AdaptiveWindows>(stream, args)
             : launch_max_bwd_of<SlidingWindows>(stream, args);
}

// ---- average ----------------------------------------------------------------------------------

template <typename Windows>
__device__ float divisor(const Windows& shape, int64_t z, int64_t p, int64_t q) {
  return static_cast<float>(shape.counted(0, z) * shape.counted(1, p) * shape.counted(2, q));
}

template <typename Windows>
__global__ void avg_pool_fwd_windows_kernel(Windows shape, Planes planes, const float* x,
                                            float* y) {
  const int64_t plane = planes.plane();
  if (plane >= planes.count) return;
  const float* channel = x + plane * shape.in[0] * shape.in[1] * shape.in[2];
  for (int64_t i = planes.begin(); i < planes.end(); i += planes.step()) {
    const Place window = place_of(i, shape.out_height, shape.out_width);
    const Range d = shape.range(0, window.at[0]);
    const Range h = shape.range(1, window.at[1]);
    const Range w = shape.range(2, window.at[2]);
    float sum = 0;
    for (int64_t di = d.begin; di < d.end; ++di) {
      for (int64_t hi = h.begin; hi < h.end; ++hi) {
        const int64_t row = shape.position(di, hi, 0);
        for (int64_t wi = w.begin; wi < w.end; ++wi) sum += channel[row + wi];
      }
    }
    y[plane * planes.inner + i] = sum / divisor(shape, window.at[0], window.at[1], window.at[2]);
  }
}

template <typename Team>
__global__ void avg_pool_fwd_planes_kernel(const float* x, int64_t planes, int64_t elems,
                                           float* y) {
  for (int64_t plane = first_row<Team>(); plane < planes; plane += row_step<Team>()) {
    double own = 0;
    for (int64_t i = Team::rank(); i < elems; i += Team::kThreads) own += x[plane * elems + i];
    const double sum = Team::sum(own);
    if (Team::rank() == 0) y[plane] = static_cast<float>(sum / static_cast<double>(elems));
  }
}

template <typename Windows>
int launch_avg_fwd_windows(Stream* stream, const StepArgs& args) {
  const Windows shape(args.in[0], args.out[0], args);
  const Planes planes(shape.channels, shape.out_elems());
  return launch(stream, avg_pool_fwd_windows_kernel<Windows>, planes.grid(), kBlockThreads, shape,
                planes, args.in[0].as<float>(), args.out[0].as<float>());
}

int launch_avg_fwd_planes(Stream* stream, const StepArgs& args) {
  const Volume shape(args.in[0], args.out[0]);
  return with_row_team(shape.in_elems(), [&](auto team) {
    using Team = decltype(team);
    return launch(stream, avg_pool_fwd_planes_kernel<Team>, grid_for_rows<Team>(shape.channels),
                  kBlockThreads, args.in[0].as<float>(), shape.channels, shape.in_elems(),
                  args.out[0].as<float>());
  });
}

template <typename Windows>
__global__ void avg_pool_bwd_gather_kernel(Windows shape, Planes planes, const float* dy,
                                           float* dx) {
  const int64_t plane = planes.plane();
  if (plane >= planes.count) return;
  const int64_t channel = plane * shape.out[0] * shape.out[1] * shape.out[2];
  for (int64_t i = planes.begin(); i < planes.end(); i += planes.step()) {
    const Place place = place_of(i, shape.in_height, shape.in_width);
    const Range d = shape.holders(0, place.at[0]);
    const Range h = shape.holders(1, place.at[1]);
    const Range w = shape.holders(2, place.at[2]);
    float sum = 0;
    for (int64_t z = d.begin; z < d.end; ++z) {
      for (int64_t p = h.begin; p < h.end; ++p) {
        const int64_t row = channel + (z * shape.out[1] + p) * shape.out[2];
        for (int64_t q = w.begin; q < w.end; ++q) sum += dy[row + q] / divisor(shape, z, p, q);
      }
    }
    dx[plane * planes.inner + i] = sum;
  }
}

template <typename Windows>
int launch_avg_bwd(Stream* stream, const StepArgs& args) {
  const Windows shape(args.out[0], args.in[0], args);
  const Planes planes(shape.channels, shape.in_elems());
  return launch(stream, avg_pool_bwd_gather_kernel<Windows>, planes.grid(), kBlockThreads, shape,
                planes, args.in[0].as<float>(), args.out[0].as<float>());
}

// --- implementations ---------------------------------------------------------------------------

constexpr const char* kNotWhole = "a window is not a whole plane";

const char* supports_planes(const StepArgs& args) {
  const auto& p = args.params_as<PoolParams>();
  for (int axis = 0; axis < 3; ++axis) {
    if (p.kernel[axis] != p.in[axis] || p.pad_begin[axis] != 0 || p.pad_end[axis] != 0) {
      return kNotWhole;
    }
  }
  return nullptr;
}

const char* supports_adaptive_planes(const StepArgs& args) {
  const auto& p = args.params_as<AdaptivePoolParams>();
  return p.out[0] * p.out[1] * p.out[2] == 1 ? nullptr : kNotWhole;
}

constexpr Implementation kMaxForward[] = {
    {"windows", supports_all, no_workspace, launch_max_fwd<SlidingWindows>}};
constexpr Implementation kMaxBackward[] = {{"gather", supports_all, no_workspace, launch_max_bwd}};
constexpr Implementation kAverageForward[] = {
    {"planes", supports_planes, no_workspace, launch_avg_fwd_planes},
    {"windows", supports_all, no_workspace, launch_avg_fwd_windows<SlidingWindows>}};
constexpr Implementation kAverageBackward[] = {
    {"gather", supports_all, no_workspace, launch_avg_bwd<SlidingWindows>}};
constexpr Implementation kAdaptiveMaxForward[] = {
    {"windows", supports_all, no_workspace, launch_max_fwd<AdaptiveWindows>}};
constexpr Implementation kAdaptiveAverageForward[] = {
    {"planes", supports_adaptive_planes, no_workspace, launch_avg_fwd_planes},
    {"windows", supports_all, no_workspace, launch_avg_fwd_windows<AdaptiveWindows>}};
constexpr Implementation kAdaptiveAverageBackward[] = {
    {"gather", supports_all, no_workspace, launch_avg_bwd<AdaptiveWindows>}};

}  // namespace

const ImplementationList cuda_max_pool_fwd{kMaxForward, 1};
const ImplementationList cuda_max_pool_bwd{kMaxBackward, 1};
const ImplementationList cuda_avg_pool_fwd{kAverageForward, 2};
const ImplementationList cuda_avg_pool_bwd{kAverageBackward, 1};
const ImplementationList cuda_adaptive_max_pool_fwd{kAdaptiveMaxForward, 1};
const ImplementationList cuda_adaptive_avg_pool_fwd{kAdaptiveAverageForward, 2};
const ImplementationList cuda_adaptive_avg_pool_bwd{kAdaptiveAverageBackward, 1};

}  // namespace tanul
