// SPDX-License-Identifier: Apache-2.0
// Maximum and average pooling on CUDA. Formulas and operands are in pool.h.
//
//   windows  forward: a thread takes one window; its neighbours take the windows beside it, so that a
//            warp reads neighbouring columns of x and writes neighbouring elements of y
//   planes   average over whole planes: a team (a warp, or a block for large planes) sums up one channel
//   gather   backward: a thread takes one element of dx and adds up what the windows that hold it give.
//            No atomics; where windows do not overlap each element of dy is read once
//   cudnn    cuDNN, where it was found (kernels/cuda/pooling_cudnn.h)
//
// Memory bound: x and y once (overlapping windows meet in the cache), dy, argmax and dx once.
// Numerics: sums in float in row order of the window, or of the windows; planes: in double. Deterministic.
#include <algorithm>
#include <type_traits>

#include "kernels/cuda/divide.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/planes.h"
#include "kernels/cuda/pooling_cudnn.h"
#include "kernels/cuda/reduce.h"
#include "kernels/pool/pool.h"

namespace tanul {

namespace {

using namespace cuda;

// The taps of a window along one axis, those inside the input: begin, begin + step, … below end.
template <typename I>
struct Range {
  I begin, end, step;
};

// Depth, height, width.
template <typename I>
struct Place {
  I at[3];
};

// A channel: the extents of depth, height, width, and how positions in it are taken apart. I: int32_t
// where all of it stays below 2^31, which halves the arithmetic, else int64_t.
template <typename I>
struct Volume {
  int64_t channels;
  I in[3], out[3];
  I in_elems, out_elems;
  Divider in_height, in_width, out_height, out_width;

  Volume(const Operand& x, const Operand& y)
      : channels(x.dims[0] * x.dims[1]), in_elems(1), out_elems(1) {
    for (int axis = 0; axis < 3; ++axis) {
      const int at = axis + x.rank - 3;
      in[axis] = static_cast<I>(at < 2 ? 1 : x.dims[at]);
      out[axis] = static_cast<I>(at < 2 ? 1 : y.dims[at]);
      in_elems *= in[axis];
      out_elems *= out[axis];
    }
    in_height = Divider(in[1]);
    in_width = Divider(in[2]);
    out_height = Divider(out[1]);
    out_width = Divider(out[2]);
  }
  __device__ I position(I d, I h, I w) const { return (d * in[1] + h) * in[2] + w; }
  __device__ I out_row(I z, I p) const { return (z * out[1] + p) * out[2]; }
  __device__ Place<I> in_place(I i) const { return place(i, in_height, in_width); }
  __device__ Place<I> out_place(I i) const { return place(i, out_height, out_width); }

 private:
  __device__ static Place<I> place(I i, const Divider& height, const Divider& width) {
    const auto row = width.split(i);
    const auto slice = height.split(row.quotient);
    return {{slice.quotient, slice.rest, row.rest}};
  }
};

constexpr int64_t kMostInt32 = 0x7fffffff;

// Windows of one size, a stride apart.
template <typename I>
struct SlidingWindows : Volume<I> {
  using Index = I;
  using Volume<I>::in;
  using Volume<I>::out;
  PoolParams params;
  Divider by_stride[3];

  SlidingWindows(const Operand& x, const Operand& y, const StepArgs& args)
      : Volume<I>(x, y), params(args.params_as<PoolParams>()) {
    for (int axis = 0; axis < 3; ++axis) by_stride[axis] = Divider(params.stride[axis]);
  }
  // Of an axis: does everything below stay in 32 bits? Windows end at most a span and a stride behind
  // the padded input.
  static bool fits(const StepArgs& args, int axis, int64_t in, int64_t) {
    const auto& p = args.params_as<PoolParams>();
    const int64_t span = int64_t{p.dilation[axis]} * p.kernel[axis];
    return in + p.pad_begin[axis] + p.pad_end[axis] + 2 * span + p.stride[axis] < kMostInt32;
  }

  __device__ I start(int axis, I i) const {
    return i * params.stride[axis] - params.pad_begin[axis];
  }
  __device__ Range<I> range(int axis, I i) const {
    const I step = params.dilation[axis];
    const I begin = start(axis, i);
    const I end = std::min<I>(in[axis], begin + step * (params.kernel[axis] - 1) + 1);
    if (begin >= 0) return {begin, end, step};
    return {step == 1 ? 0 : begin + (step - 1 - begin) / step * step, end, step};
  }
  // The factor of an axis in what the average is divided by.
  __device__ I counted(int axis, I i) const {
    const Range<I> taps = range(axis, i);
    if (params.count_include_pad == 0) return taps.end - taps.begin;
    const I end = in[axis] + params.pad_end[axis];
    return std::min<I>(start(axis, i) + params.kernel[axis], end) - start(axis, i);
  }
  // The windows whose span holds position `at`; with dilation not all of them have a tap there.
  __device__ Range<I> holders(int axis, I at) const {
    const I padded = at + params.pad_begin[axis];
    const I before = padded - I{params.dilation[axis]} * (params.kernel[axis] - 1);
    const I round_up = params.stride[axis] - 1;
    return {before <= 0 ? 0 : by_stride[axis].quotient(static_cast<I>(before + round_up)),
            std::min<I>(out[axis], by_stride[axis].quotient(padded) + 1), 1};
  }
};

// Windows that divide each axis as evenly as can be.
template <typename I>
struct AdaptiveWindows : Volume<I> {
  using Index = I;
  using Volume<I>::in;
  using Volume<I>::out;
  Divider by_in[3], by_out[3];

  AdaptiveWindows(const Operand& x, const Operand& y, const StepArgs&) : Volume<I>(x, y) {
    for (int axis = 0; axis < 3; ++axis) {
      by_in[axis] = Divider(in[axis]);
      by_out[axis] = Divider(out[axis]);
    }
  }
  static bool fits(const StepArgs&, int, int64_t in_extent, int64_t out_extent) {
    return (in_extent + 1) * (out_extent + 1) < kMostInt32;
  }

  __device__ Range<I> range(int axis, I i) const {
    return {by_out[axis].quotient(i * in[axis]),
            by_out[axis].quotient(static_cast<I>((i + 1) * in[axis] + out[axis] - 1)), 1};
  }
  __device__ I counted(int axis, I i) const {
    const Range<I> taps = range(axis, i);
    return taps.end - taps.begin;
  }
  // at < ceil((i + 1) in / out) and floor(i in / out) <= at, solved for i
  __device__ Range<I> holders(int axis, I at) const {
    return {by_in[axis].quotient(at * out[axis]),
            by_in[axis].quotient(static_cast<I>((at + 1) * out[axis] + in[axis] - 1)), 1};
  }
};

// Calls body with the windows that x and y ask for, in 32 bits where that is enough.
template <template <typename> typename Windows, typename Body>
int with_windows(const Operand& x, const Operand& y, const StepArgs& args, const Body& body) {
  const Volume<int64_t> shape(x, y);
  bool fits = shape.in_elems < kMostInt32 && shape.out_elems < kMostInt32;
  for (int axis = 0; axis < 3; ++axis) {
    fits = fits && Windows<int32_t>::fits(args, axis, shape.in[axis], shape.out[axis]);
  }
  return fits ? body(Windows<int32_t>(x, y, args)) : body(Windows<int64_t>(x, y, args));
}

// ---- maximum ----------------------------------------------------------------------------------

template <typename Windows>
__global__ void max_pool_fwd_windows_kernel(Windows shape, Planes planes, const float* x, float* y,
                                            int32_t* argmax) {
  using I = typename Windows::Index;
  const int64_t plane = planes.plane();
  if (plane >= planes.count) return;
  const float* channel = x + plane * shape.in_elems;
  const I end = static_cast<I>(planes.end()), step = static_cast<I>(planes.step());
  for (I i = static_cast<I>(planes.begin()); i < end; i += step) {
    const Place<I> window = shape.out_place(i);
    const Range<I> d = shape.range(0, window.at[0]);
    const Range<I> h = shape.range(1, window.at[1]);
    const Range<I> w = shape.range(2, window.at[2]);
    I best_at = shape.position(d.begin, h.begin, w.begin);
    float best = channel[best_at];
    for (I di = d.begin; di < d.end; di += d.step) {
      for (I hi = h.begin; hi < h.end; hi += h.step) {
        const I row = shape.position(di, hi, 0);
        for (I wi = w.begin; wi < w.end; wi += w.step) {
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

template <template <typename> typename Windows>
int launch_max_fwd(Stream* stream, const StepArgs& args) {
  return with_windows<Windows>(args.in[0], args.out[0], args, [&](const auto& shape) {
    const Planes planes(shape.channels, shape.out_elems);
    return launch(stream, max_pool_fwd_windows_kernel<std::decay_t<decltype(shape)>>, planes.grid(),
                  kBlockThreads, shape, planes, args.in[0].as<float>(), args.out[0].as<float>(),
                  args.out[1].present() ? args.out[1].as<int32_t>() : nullptr);
  });
}

template <typename Windows>
__global__ void max_pool_bwd_gather_kernel(Windows shape, Planes planes, const float* dy,
                                           const int32_t* argmax, float* dx) {
  using I = typename Windows::Index;
  const int64_t plane = planes.plane();
  if (plane >= planes.count) return;
  const int64_t channel = plane * shape.out_elems;
  const I end = static_cast<I>(planes.end()), step = static_cast<I>(planes.step());
  for (I i = static_cast<I>(planes.begin()); i < end; i += step) {
    const Place<I> place = shape.in_place(i);
    const Range<I> d = shape.holders(0, place.at[0]);
    const Range<I> h = shape.holders(1, place.at[1]);
    const Range<I> w = shape.holders(2, place.at[2]);
    float sum = 0;
    for (I z = d.begin; z < d.end; ++z) {
      for (I p = h.begin; p < h.end; ++p) {
        const int64_t row = channel + shape.out_row(z, p);
        for (I q = w.begin; q < w.end; ++q) {
          if (argmax[row + q] == i) sum += dy[row + q];
        }
      }
    }
    dx[plane * planes.inner + i] = sum;
  }
}

template <template <typename> typename Windows>
int launch_max_bwd_of(Stream* stream, const StepArgs& args) {
  return with_windows<Windows>(args.out[0], args.in[0], args, [&](const auto& shape) {
    const Planes planes(shape.channels, shape.in_elems);
    return launch(stream, max_pool_bwd_gather_kernel<std::decay_t<decltype(shape)>>, planes.grid(),
                  kBlockThreads, shape, planes, args.in[0].as<float>(), args.in[1].as<int32_t>(),
                  args.out[0].as<float>());
  });
}

// Adaptive pooling leaves the window's size at 0.
int launch_max_bwd(Stream* stream, const StepArgs& args) {
  return args.params_as<PoolParams>().kernel[2] == 0
             ? launch_max_bwd_of<AdaptiveWindows>(stream, args)
             : launch_max_bwd_of<SlidingWindows>(stream, args);
}

// ---- average ----------------------------------------------------------------------------------

template <typename Windows>
__device__ float divisor(const Windows& shape, typename Windows::Index z, typename Windows::Index p,
                         typename Windows::Index q) {
  return static_cast<float>(shape.counted(0, z) * shape.counted(1, p) * shape.counted(2, q));
}

template <typename Windows>
__global__ void avg_pool_fwd_windows_kernel(Windows shape, Planes planes, const float* x,
                                            float* y) {
  using I = typename Windows::Index;
  const int64_t plane = planes.plane();
  if (plane >= planes.count) return;
  const float* channel = x + plane * shape.in_elems;
  const I end = static_cast<I>(planes.end()), step = static_cast<I>(planes.step());
  for (I i = static_cast<I>(planes.begin()); i < end; i += step) {
    const Place<I> window = shape.out_place(i);
    const Range<I> d = shape.range(0, window.at[0]);
    const Range<I> h = shape.range(1, window.at[1]);
    const Range<I> w = shape.range(2, window.at[2]);
    float sum = 0;
    for (I di = d.begin; di < d.end; ++di) {
      for (I hi = h.begin; hi < h.end; ++hi) {
        const I row = shape.position(di, hi, 0);
        for (I wi = w.begin; wi < w.end; ++wi) sum += channel[row + wi];
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

template <template <typename> typename Windows>
int launch_avg_fwd_windows(Stream* stream, const StepArgs& args) {
  return with_windows<Windows>(args.in[0], args.out[0], args, [&](const auto& shape) {
    const Planes planes(shape.channels, shape.out_elems);
    return launch(stream, avg_pool_fwd_windows_kernel<std::decay_t<decltype(shape)>>, planes.grid(),
                  kBlockThreads, shape, planes, args.in[0].as<float>(), args.out[0].as<float>());
  });
}

int launch_avg_fwd_planes(Stream* stream, const StepArgs& args) {
  const Volume<int64_t> shape(args.in[0], args.out[0]);
  return with_row_team(shape.in_elems, [&](auto team) {
    using Team = decltype(team);
    return launch(stream, avg_pool_fwd_planes_kernel<Team>, grid_for_rows<Team>(shape.channels),
                  kBlockThreads, args.in[0].as<float>(), shape.channels, shape.in_elems,
                  args.out[0].as<float>());
  });
}

template <typename Windows>
__global__ void avg_pool_bwd_gather_kernel(Windows shape, Planes planes, const float* dy,
                                           float* dx) {
  using I = typename Windows::Index;
  const int64_t plane = planes.plane();
  if (plane >= planes.count) return;
  const int64_t channel = plane * shape.out_elems;
  const I end = static_cast<I>(planes.end()), step = static_cast<I>(planes.step());
  for (I i = static_cast<I>(planes.begin()); i < end; i += step) {
    const Place<I> place = shape.in_place(i);
    const Range<I> d = shape.holders(0, place.at[0]);
    const Range<I> h = shape.holders(1, place.at[1]);
    const Range<I> w = shape.holders(2, place.at[2]);
    float sum = 0;
    for (I z = d.begin; z < d.end; ++z) {
      for (I p = h.begin; p < h.end; ++p) {
        const int64_t row = channel + shape.out_row(z, p);
        for (I q = w.begin; q < w.end; ++q) sum += dy[row + q] / divisor(shape, z, p, q);
      }
    }
    dx[plane * planes.inner + i] = sum;
  }
}

template <template <typename> typename Windows>
int launch_avg_bwd(Stream* stream, const StepArgs& args) {
  return with_windows<Windows>(args.out[0], args.in[0], args, [&](const auto& shape) {
    const Planes planes(shape.channels, shape.in_elems);
    return launch(stream, avg_pool_bwd_gather_kernel<std::decay_t<decltype(shape)>>, planes.grid(),
                  kBlockThreads, shape, planes, args.in[0].as<float>(), args.out[0].as<float>());
  });
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
    {"windows", supports_all, no_workspace, launch_max_fwd<SlidingWindows>},
    pool_cudnn::cudnn<PoolingKind::max_forward, PoolParams>()};
constexpr Implementation kMaxBackward[] = {{"gather", supports_all, no_workspace, launch_max_bwd}};
constexpr Implementation kAverageForward[] = {
    {"planes", supports_planes, no_workspace, launch_avg_fwd_planes},
    {"windows", supports_all, no_workspace, launch_avg_fwd_windows<SlidingWindows>},
    pool_cudnn::cudnn<PoolingKind::average_forward, PoolParams>()};
constexpr Implementation kAverageBackward[] = {
    {"gather", supports_all, no_workspace, launch_avg_bwd<SlidingWindows>},
    pool_cudnn::cudnn<PoolingKind::average_backward, PoolParams>()};
constexpr Implementation kAdaptiveMaxForward[] = {
    {"windows", supports_all, no_workspace, launch_max_fwd<AdaptiveWindows>},
    pool_cudnn::cudnn<PoolingKind::max_forward, AdaptivePoolParams>()};
constexpr Implementation kAdaptiveAverageForward[] = {
    {"planes", supports_adaptive_planes, no_workspace, launch_avg_fwd_planes},
    {"windows", supports_all, no_workspace, launch_avg_fwd_windows<AdaptiveWindows>},
    pool_cudnn::cudnn<PoolingKind::average_forward, AdaptivePoolParams>()};
constexpr Implementation kAdaptiveAverageBackward[] = {
    {"gather", supports_all, no_workspace, launch_avg_bwd<AdaptiveWindows>},
    pool_cudnn::cudnn<PoolingKind::average_backward, AdaptivePoolParams>()};

}  // namespace

const ImplementationList cuda_max_pool_fwd{kMaxForward, 2};
const ImplementationList cuda_max_pool_bwd{kMaxBackward, 1};
const ImplementationList cuda_avg_pool_fwd{kAverageForward, 3};
const ImplementationList cuda_avg_pool_bwd{kAverageBackward, 2};
const ImplementationList cuda_adaptive_max_pool_fwd{kAdaptiveMaxForward, 2};
const ImplementationList cuda_adaptive_avg_pool_fwd{kAdaptiveAverageForward, 3};
const ImplementationList cuda_adaptive_avg_pool_bwd{kAdaptiveAverageBackward, 2};

}  // namespace tanul
