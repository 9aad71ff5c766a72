// SPDX-License-Identifier: Apache-2.0
// Maximum and average pooling on the CPU. "planes": a row of windows at a time, columns first
// (kernels/cpu/pool_planes.h), for planes and signals whose windows are a stride of 1 or 2 apart along a row.
// "direct": one loop over the windows.
//
//   y[n,c,z,p,q] from x[n,c,d,h,w], d in window z of the depth, h and w likewise, inside the input
//
// A tile is a run of whole channels (n, c), whose number depends on their size only; one worker
// computes it. In "direct", windows of a row that lie inside the input's width go through the vector primitives
// (stride 1 or 2, no dilation of rows and columns), a slice of the depth at a time; the others one by
// one. Meets the memory roof. Deterministic: in the backward steps each element of dx gets its sums in
// row order of the windows.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/pool_planes.h"
#include "kernels/cpu/simd.h"
#include "kernels/op.h"
#include "kernels/pool/pool.h"

namespace tanul {

namespace {

using cpu::ceil_div;

// The taps of a window along one axis, those inside the input: begin, begin + step, … below end.
struct Range {
  int64_t begin, end, step;
};

// The extents of a channel by axis: depth, height, width.
struct Volume {
  int64_t channels;
  int64_t in[3], out[3];

  Volume(const Operand& x, const Operand& y) : channels(x.dims[0] * x.dims[1]) {
    for (int axis = 0; axis < 3; ++axis) {
      const int at = axis + x.rank - 3;
      in[axis] = at < 2 ? 1 : x.dims[at];
      out[axis] = at < 2 ? 1 : y.dims[at];
    }
  }
  int64_t H() const { return in[1]; }
  int64_t W() const { return in[2]; }
  int64_t Z() const { return out[0]; }
  int64_t P() const { return out[1]; }
  int64_t Q() const { return out[2]; }
  int64_t DHW() const { return in[0] * in[1] * in[2]; }
  int64_t ZPQ() const { return out[0] * out[1] * out[2]; }
};

// Windows of one size, a stride apart.
struct SlidingWindows : Volume {
  PoolParams params;

  SlidingWindows(const Operand& x, const Operand& y, const StepArgs& args)
      : Volume(x, y), params(args.params_as<PoolParams>()) {}

  int64_t start(int axis, int64_t i) const {
    return i * params.stride[axis] - params.pad_begin[axis];
  }
  Range range(int axis, int64_t i) const {
    const int64_t step = params.dilation[axis];
    const int64_t begin = start(axis, i);
    const int64_t end = std::min(in[axis], begin + step * (params.kernel[axis] - 1) + 1);
    return {begin < 0 ? begin + ceil_div(-begin, step) * step : begin, end, step};
  }
  // The factor of an axis in what the average is divided by.
  int64_t counted(int axis, int64_t i) const {
    if (params.count_include_pad == 0) return range(axis, i).end - range(axis, i).begin;
    const int64_t end = in[axis] + params.pad_end[axis];
    return std::min(start(axis, i) + params.kernel[axis], end) - start(axis, i);
  }
  // Can the vector primitives compute rows of windows?
  bool has_rows() const {
    return params.stride[2] <= 2 && params.dilation[1] == 1 && params.dilation[2] == 1;
  }
  // Windows [first, last) of a row that lie inside the width.
  int64_t first_inside() const {
    return std::min(Q(), ceil_div(params.pad_begin[2], params.stride[2]));
  }
  int64_t last_inside() const {
    const int64_t room = W() + params.pad_begin[2] - params.kernel[2];
    return room < 0 ? first_inside()
                    : std::max(first_inside(), std::min(Q(), room / params.stride[2] + 1));
  }
  // `count` windows of rows h in one slice of the depth; `at` is the upper left element of the first.
  cpu::PoolRow row(const float* x, int64_t at, const Range& h, int64_t count) const {
    return {x + at,           W(),  static_cast<int32_t>(h.end - h.begin), params.kernel[2],
            params.stride[2], count};
  }
  int64_t stride_w() const { return params.stride[2]; }
};

// Windows that divide each axis as evenly as can be.
struct AdaptiveWindows : Volume {
  AdaptiveWindows(const Operand& x, const Operand& y, const StepArgs&) : Volume(x, y) {}

  Range range(int axis, int64_t i) const {
    return {i * in[axis] / out[axis], ceil_div((i + 1) * in[axis], out[axis]), 1};
  }
  int64_t counted(int axis, int64_t i) const { return range(axis, i).end - range(axis, i).begin; }
  bool has_rows() const { return false; }
  int64_t first_inside() const { return Q(); }
  int64_t last_inside() const { return Q(); }
  cpu::PoolRow row(const float*, int64_t, const Range&, int64_t) const { return {}; }
  int64_t stride_w() const { return 1; }
};

// Calls body(channel) for every channel, in tiles of about kElementwiseTile elements.
template <typename Body>
void for_channels(Stream* stream, const Volume& shape, const Body& body) {
  const int64_t elems = std::max(shape.DHW(), shape.ZPQ());
  const int64_t per_tile = std::max<int64_t>(1, cpu::kElementwiseTile / elems);
  cpu::parallel_for(stream, ceil_div(shape.channels, per_tile), [&](int64_t tile, int) {
    const int64_t end = std::min(shape.channels, (tile + 1) * per_tile);
    for (int64_t channel = tile * per_tile; channel < end; ++channel) body(channel);
  });
}

// Calls one(q) for the windows of row (z, p) that are computed alone, and row(first, count, w) for those
// between them that the vector primitives take; w is the first column of these.
template <typename Windows, typename One, typename Row>
void for_windows(const Windows& shape, const One& one, const Row& row) {
  const int64_t Q = shape.Q();
  const int64_t first = shape.has_rows() ? shape.first_inside() : Q;
  const int64_t last = shape.has_rows() ? shape.last_inside() : Q;
  for (int64_t q = 0; q < first; ++q) one(q);
  if (first < last) row(first, last - first, shape.range(2, first).begin);
  for (int64_t q = std::max(first, last); q < Q; ++q) one(q);
}

// Calls body(i, n, at) for pieces of at most kPiece of `count` windows: windows [i, i + n), of which the
// first begins at `at` in x.
constexpr int64_t kPiece = 64;
template <typename Windows, typename Body>
void for_pieces(const Windows& shape, int64_t count, int64_t at, const Body& body) {
  for (int64_t i = 0; i < count; i += kPiece) {
    body(i, std::min(kPiece, count - i), at + i * shape.stride_w());
  }
}

// ---- maximum ----------------------------------------------------------------------------------

void max_window(const Volume& shape, const float* x, const Range& d, const Range& h, const Range& w,
                float* y, int32_t* argmax) {
  int64_t best_at = (d.begin * shape.H() + h.begin) * shape.W() + w.begin;
  float best = x[best_at];
  for (int64_t i = d.begin; i < d.end; i += d.step) {
    for (int64_t j = h.begin; j < h.end; j += h.step) {
      const int64_t row = (i * shape.H() + j) * shape.W();
      for (int64_t k = w.begin; k < w.end; k += w.step) {
        const float v = x[row + k];
        if (!(v <= best) && best == best) {  // greater, or the first NaN
          best = v;
          best_at = row + k;
        }
      }
    }
  }
  *y = best;
  if (argmax != nullptr) *argmax = static_cast<int32_t>(best_at);
}

// y and argmax [count]: the maxima of windows in one slice of the depth, taken against what the slices
// before it gave.
template <typename Windows>
void max_slice(const Windows& shape, const float* x, int64_t at, const Range& h, int64_t count,
               float* y, int32_t* argmax) {
  for_pieces(shape, count, at, [&](int64_t i, int64_t n, int64_t from) {
    float value[kPiece];
    int32_t position[kPiece];
    cpu::max_pool_row(shape.row(x, from, h, n), static_cast<int32_t>(from), value,
                      argmax == nullptr ? nullptr : position);
    // greater, or the first NaN; without branches, so that the loops become vectors
    float* best = y + i;
    if (argmax != nullptr) {
      int32_t* best_at = argmax + i;
      for (int64_t j = 0; j < n; ++j) {
        const bool is_taken = !(value[j] <= best[j]) & (best[j] == best[j]);
        best_at[j] = is_taken ? position[j] : best_at[j];
      }
    }
    for (int64_t j = 0; j < n; ++j) {
      const bool is_taken = !(value[j] <= best[j]) & (best[j] == best[j]);
      best[j] = is_taken ? value[j] : best[j];
    }
  });
}

// One channel: x [D, H, W], y and argmax [Z, P, Q].
template <typename Windows>
void max_pool_channel(const Windows& shape, const float* x, float* y, int32_t* argmax) {
  for (int64_t z = 0; z < shape.Z(); ++z) {
    const Range d = shape.range(0, z);
    for (int64_t p = 0; p < shape.P(); ++p) {
      const Range h = shape.range(1, p);
      for_windows(
          shape,
          [&](int64_t q) {
            max_window(shape, x, d, h, shape.range(2, q), y + q,
                       argmax == nullptr ? nullptr : argmax + q);
          },
          [&](int64_t first, int64_t count, int64_t w) {
            int32_t* positions = argmax == nullptr ? nullptr : argmax + first;
            int64_t at = (d.begin * shape.H() + h.begin) * shape.W() + w;
            cpu::max_pool_row(shape.row(x, at, h, count), static_cast<int32_t>(at), y + first,
                              positions);
            for (int64_t i = d.begin + d.step; i < d.end; i += d.step) {
              at += d.step * shape.H() * shape.W();
              max_slice(shape, x, at, h, count, y + first, positions);
            }
          });
      y += shape.Q();
      if (argmax != nullptr) argmax += shape.Q();
    }
  }
}

template <typename Windows>
int launch_max_fwd(Stream* stream, const StepArgs& args) {
  const Windows shape(args.in[0], args.out[0], args);
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  int32_t* argmax = args.out[1].present() ? args.out[1].as<int32_t>() : nullptr;
  for_channels(stream, shape, [&](int64_t channel) {
    const int64_t at = channel * shape.ZPQ();
    max_pool_channel(shape, x + channel * shape.DHW(), y + at,
                     argmax == nullptr ? nullptr : argmax + at);
  });
  return 0;
}

int launch_max_bwd(Stream* stream, const StepArgs& args) {
  const Volume shape(args.out[0], args.in[0]);
  const float* dy = args.in[0].as<float>();
  const int32_t* argmax = args.in[1].as<int32_t>();
  float* dx = args.out[0].as<float>();
  const int64_t windows = shape.ZPQ();
  for_channels(stream, shape, [&](int64_t channel) {
    float* to = dx + channel * shape.DHW();
    std::memset(to, 0, static_cast<size_t>(shape.DHW()) * sizeof(float));
    const float* from = dy + channel * windows;
    const int32_t* at = argmax + channel * windows;
    for (int64_t i = 0; i < windows; ++i) to[at[i]] += from[i];
  });
  return 0;
}

// ---- average ----------------------------------------------------------------------------------

float window_sum(const Volume& shape, const float* x, const Range& d, const Range& h,
                 const Range& w) {
  float total = 0;
  for (int64_t i = d.begin; i < d.end; ++i) {
    for (int64_t j = h.begin; j < h.end; ++j) {
      const float* row = x + (i * shape.H() + j) * shape.W();
      for (int64_t k = w.begin; k < w.end; ++k) total += row[k];
    }
  }
  return total;
}

// y [count] += the sums of windows in one slice of the depth.
template <typename Windows>
void add_slice(const Windows& shape, const float* x, int64_t at, const Range& h, int64_t count,
               float* y) {
  for_pieces(shape, count, at, [&](int64_t i, int64_t n, int64_t from) {
    float sums[kPiece];
    cpu::average_pool_row(shape.row(x, from, h, n), 1.0f, sums);
    for (int64_t j = 0; j < n; ++j) y[i + j] += sums[j];
  });
}

template <typename Windows>
void average_channel(const Windows& shape, const float* x, float* y) {
  for (int64_t z = 0; z < shape.Z(); ++z) {
    const Range d = shape.range(0, z);
    for (int64_t p = 0; p < shape.P(); ++p) {
      const Range h = shape.range(1, p);
      const int64_t counted = shape.counted(0, z) * shape.counted(1, p);
      const auto divisor = [&](int64_t q) {
        return static_cast<float>(counted * shape.counted(2, q));
      };
      for_windows(
          shape,
          [&](int64_t q) { y[q] = window_sum(shape, x, d, h, shape.range(2, q)) / divisor(q); },
          [&](int64_t first, int64_t count, int64_t w) {
            int64_t at = (d.begin * shape.H() + h.begin) * shape.W() + w;
            const bool is_one = d.end - d.begin == 1;
            cpu::average_pool_row(shape.row(x, at, h, count), is_one ? divisor(first) : 1.0f,
                                  y + first);
            if (is_one) return;
            for (int64_t i = d.begin + 1; i < d.end; ++i) {
              at += shape.H() * shape.W();
              add_slice(shape, x, at, h, count, y + first);
            }
            for (int64_t q = first; q < first + count; ++q) y[q] /= divisor(first);
          });
      y += shape.Q();
    }
  }
}

template <typename Windows>
int launch_average_fwd(Stream* stream, const StepArgs& args) {
  const Windows shape(args.in[0], args.out[0], args);
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  bool is_whole = shape.ZPQ() == 1;
  int64_t divisor = 1;
  for (int axis = 0; axis < 3; ++axis) {
    const Range range = shape.range(axis, 0);
    is_whole = is_whole && range.begin == 0 && range.end == shape.in[axis];
    divisor *= shape.counted(axis, 0);
  }
  for_channels(stream, shape, [&](int64_t channel) {
    const float* from = x + channel * shape.DHW();
    if (is_whole) {
      y[channel] = cpu::sum(from, shape.DHW()) / static_cast<float>(divisor);
    } else {
      average_channel(shape, from, y + channel * shape.ZPQ());
    }
  });
  return 0;
}

template <typename Windows>
int launch_average_bwd(Stream* stream, const StepArgs& args) {
  const Windows shape(args.out[0], args.in[0], args);
  const float* dy = args.in[0].as<float>();
  float* dx = args.out[0].as<float>();
  for_channels(stream, shape, [&](int64_t channel) {
    float* to = dx + channel * shape.DHW();
    std::memset(to, 0, static_cast<size_t>(shape.DHW()) * sizeof(float));
    const float* from = dy + channel * shape.ZPQ();
    for (int64_t z = 0; z < shape.Z(); ++z) {
      const Range d = shape.range(0, z);
      for (int64_t p = 0; p < shape.P(); ++p) {
        const Range h = shape.range(1, p);
        const int64_t counted = shape.counted(0, z) * shape.counted(1, p);
        for (int64_t q = 0; q < shape.Q(); ++q) {
          const Range w = shape.range(2, q);
          const float share = *from++ / static_cast<float>(counted * shape.counted(2, q));
          for (int64_t i = d.begin; i < d.end; ++i) {
            for (int64_t j = h.begin; j < h.end; ++j) {
              float* row = to + (i * shape.H() + j) * shape.W();
              for (int64_t k = w.begin; k < w.end; ++k) row[k] += share;
            }
          }
        }
      }
    }
  });
  return 0;
}

// ---- planes -----------------------------------------------------------------------------------

cpu::PoolPlane plane_of(const SlidingWindows& shape) {
  const PoolParams& params = shape.params;
  return {shape.H(),           shape.W(),          shape.P(),        shape.Q(),
          params.kernel[1],    params.kernel[2],   params.stride[1], params.stride[2],
          params.pad_begin[1], params.pad_begin[2]};
}

const char* refuse_planes(const SlidingWindows& shape) {
  if (shape.in[0] != 1 || shape.out[0] != 1) return "a volume";
  if (shape.params.dilation[1] != 1 || shape.params.dilation[2] != 1) return "a dilated window";
  return cpu::pool_plane_refusal(plane_of(shape));
}
// Long rows are whole vectors for "direct", which compares fewer positions (Zen 4: 56 windows of 3x3 take
// 1.7 ms there and 1.9 ms here, 16 take 4.4 ms there and 2.5 ms here).
const char* supports_max_planes(const StepArgs& args) {
  const SlidingWindows shape(args.in[0], args.out[0], args);
  if (shape.Q() > 32) return "more than 32 windows in a row";
  return refuse_planes(shape);
}
const char* supports_planes_bwd(const StepArgs& args) {
  return refuse_planes(SlidingWindows(args.out[0], args.in[0], args));
}

int launch_max_fwd_planes(Stream* stream, const StepArgs& args) {
  const SlidingWindows shape(args.in[0], args.out[0], args);
  const cpu::PoolPlane plane = plane_of(shape);
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  int32_t* argmax = args.out[1].present() ? args.out[1].as<int32_t>() : nullptr;
  for_channels(stream, shape, [&](int64_t channel) {
    const int64_t at = channel * shape.ZPQ();
    cpu::max_pool_plane(plane, x + channel * shape.DHW(), y + at,
                        argmax == nullptr ? nullptr : argmax + at);
  });
  return 0;
}

// What the elements of each window count as: counts [P, Q].
int64_t counts_bytes(const SlidingWindows& shape) {
  return shape.P() * shape.Q() * static_cast<int64_t>(sizeof(float));
}
const float* make_counts(const SlidingWindows& shape, void* workspace) {
  float* counts = static_cast<float*>(workspace);
  for (int64_t p = 0; p < shape.P(); ++p) {
    const int64_t rows = shape.counted(0, 0) * shape.counted(1, p);
    for (int64_t q = 0; q < shape.Q(); ++q) {
      counts[p * shape.Q() + q] = static_cast<float>(rows * shape.counted(2, q));
    }
  }
  return counts;
}
int64_t workspace_planes_fwd(const StepArgs& args, int) {
  return counts_bytes(SlidingWindows(args.in[0], args.out[0], args));
}
int64_t workspace_planes_bwd(const StepArgs& args, int) {
  return counts_bytes(SlidingWindows(args.out[0], args.in[0], args));
}

int launch_average_fwd_planes(Stream* stream, const StepArgs& args) {
  const SlidingWindows shape(args.in[0], args.out[0], args);
  const cpu::PoolPlane plane = plane_of(shape);
  const float* counts = make_counts(shape, args.workspace);
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  for_channels(stream, shape, [&](int64_t channel) {
    cpu::average_pool_plane(plane, x + channel * shape.DHW(), counts, y + channel * shape.ZPQ());
  });
  return 0;
}

int launch_average_bwd_planes(Stream* stream, const StepArgs& args) {
  const SlidingWindows shape(args.out[0], args.in[0], args);
  const cpu::PoolPlane plane = plane_of(shape);
  const float* counts = make_counts(shape, args.workspace);
  const float* dy = args.in[0].as<float>();
  float* dx = args.out[0].as<float>();
  for_channels(stream, shape, [&](int64_t channel) {
    cpu::average_pool_plane_bwd(plane, dy + channel * shape.ZPQ(), counts,
                                dx + channel * shape.DHW());
  });
  return 0;
}

// One window of the whole plane is a single sum: "direct".
const char* supports_average_planes(const StepArgs& args) {
  const SlidingWindows shape(args.in[0], args.out[0], args);
  if (shape.ZPQ() == 1) return "a single window";
  return refuse_planes(shape);
}

const Implementation kMaxForward[] = {
    {"planes", supports_max_planes, no_workspace, launch_max_fwd_planes},
    {"direct", supports_all, no_workspace, launch_max_fwd<SlidingWindows>}};
const Implementation kMaxBackward[] = {{"direct", supports_all, no_workspace, launch_max_bwd}};
const Implementation kAverageForward[] = {
    {"planes", supports_average_planes, workspace_planes_fwd, launch_average_fwd_planes},
    {"direct", supports_all, no_workspace, launch_average_fwd<SlidingWindows>}};
const Implementation kAverageBackward[] = {
    {"planes", supports_planes_bwd, workspace_planes_bwd, launch_average_bwd_planes},
    {"direct", supports_all, no_workspace, launch_average_bwd<SlidingWindows>}};
const Implementation kAdaptiveMaxForward[] = {
    {"direct", supports_all, no_workspace, launch_max_fwd<AdaptiveWindows>}};
const Implementation kAdaptiveAverageForward[] = {
    {"direct", supports_all, no_workspace, launch_average_fwd<AdaptiveWindows>}};
const Implementation kAdaptiveAverageBackward[] = {
    {"direct", supports_all, no_workspace, launch_average_bwd<AdaptiveWindows>}};

}  // namespace

const ImplementationList cpu_max_pool_fwd = {kMaxForward, 2};
const ImplementationList cpu_max_pool_bwd = {kMaxBackward, 1};
const ImplementationList cpu_avg_pool_fwd = {kAverageForward, 2};
const ImplementationList cpu_avg_pool_bwd = {kAverageBackward, 2};
const ImplementationList cpu_adaptive_max_pool_fwd = {kAdaptiveMaxForward, 1};
const ImplementationList cpu_adaptive_avg_pool_fwd = {kAdaptiveAverageForward, 1};
const ImplementationList cpu_adaptive_avg_pool_bwd = {kAdaptiveAverageBackward, 1};

}  // namespace tanul
