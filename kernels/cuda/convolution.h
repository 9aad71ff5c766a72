// SPDX-License-Identifier: Apache-2.0
// Convolutions over two or three axes as implicit GEMM: the products of gemm.h, whose operands find in
// x or dy what im2col would have copied. conv2d.h has the formulas. With F = K/G filters and C/G
// channels of a group, `taps` = R S (or T R S), and positions counted over images and outputs:
//
//   fwd          [F, N P Q] = w [F, C/G taps] times the windows of x, for each group
//   bwd_data     [C/G, N H W] = w^T [C/G, F taps] times the windows of dy, for each group and phase
//   bwd_weights  [F, C/G taps + 1] = dy [F, N P Q] times the windows of x; the column behind the last
//                is multiplied with ones: db
//
// A phase of bwd_data is what the stride makes of it: inputs h with the same (h + pad) mod stride meet
// the same taps, those with r dilation = h + pad modulo the stride, and no others. Within a phase the
// inputs are to dy what outputs are to x with a stride of 1, so that one Window serves both; phases
// without a tap write zeros. Signals are images of height 1.
//
// 2 N K P Q C/G taps flops each; no other memory than x, w, y and, for splits, partial results.
// Index arithmetic: a division (multiplication and shift) for each axis and 4 elements of the windows.
#pragma once

#include <numeric>
#include <type_traits>

#include "kernels/conv2d/conv2d.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/cuda/divide.h"
#include "kernels/cuda/fused_activation.h"
#include "kernels/cuda/gemm.h"

namespace tanul::cuda::conv {

using gemm::Walk;

// ---- the numbers of a convolution --------------------------------------------------------------

// One spatial axis, as conv2d.h names its numbers.
struct Axis {
  int64_t in, out;  // extents of x and y
  int64_t kernel, stride, pad, dilation;
};

// kAxes is 2 or 3; the axes of a volume are depth, height, width.
template <int kAxes>
struct Shape {
  int64_t N, C, K, groups;
  ActivationKind activation;
  Axis axes[kAxes];

  int64_t channels() const { return C / groups; }  // of a group
  int64_t filters() const { return K / groups; }
  int64_t in_elems() const { return product(&Axis::in); }    // H W
  int64_t out_elems() const { return product(&Axis::out); }  // P Q
  int64_t taps() const { return product(&Axis::kernel); }

 private:
  int64_t product(int64_t Axis::*member) const {
    int64_t n = 1;
    for (const Axis& axis : axes) n *= axis.*member;
    return n;
  }
};

// The one place that reads extents from operands: x [N, C, (D,) H, W], y [N, K, (Z,) P, Q]; signals have
// no H and no P.
inline Shape<2> shape_of(const Conv2dParams& p, const Operand& x, const Operand& y) {
  const bool is_signal = x.rank == 3;
  return {
      x.dims[0],
      x.dims[1],
      y.dims[1],
      p.groups,
      p.activation,
      {{is_signal ? 1 : x.dims[2], is_signal ? 1 : y.dims[2], p.kernel_h, p.stride_h, p.pad_top,
        p.dilation_h},
       {x.dims[x.rank - 1], y.dims[y.rank - 1], p.kernel_w, p.stride_w, p.pad_left, p.dilation_w}}};
}
inline Shape<3> shape_of(const Conv3dParams& p, const Operand& x, const Operand& y) {
  const Conv2dParams& q = p.plane;
  return {x.dims[0],
          x.dims[1],
          y.dims[1],
          q.groups,
          q.activation,
          {{x.dims[2], y.dims[2], p.kernel_d, p.stride_d, p.pad_front, p.dilation_d},
           {x.dims[3], y.dims[3], q.kernel_h, q.stride_h, q.pad_top, q.dilation_h},
           {x.dims[4], y.dims[4], q.kernel_w, q.stride_w, q.pad_left, q.dilation_w}}};
}

template <int kAxes>
using ParamsOf = std::conditional_t<kAxes == 2, Conv2dParams, Conv3dParams>;

// ---- windows -----------------------------------------------------------------------------------

// Where positions and taps of one axis meet: at  position stride + offset + tap dilation,  which holds
// a value if it is at least 0 and below the extent.
struct WindowAxis {
  int32_t extent, stride, offset, dilation;
};

// Windows over planes [images, all_channels, extents] of which a group sees `channels` in a row. A
// position counts as (image, position by axis), a tap as (channel, tap by axis).
template <int kAxes, typename Index>
struct Window {
  WindowAxis axes[kAxes];
  Divider positions[kAxes], taps[kAxes];
  Index all_positions, all_taps;  // of all images, of all channels of a group
  int64_t channels, all_channels, plane;

  struct Place {
    Index at[kAxes];
  };

  // Takes position j apart; returns its image.
  __device__ Index place_position(Index j, Place& place) const {
#pragma unroll
    for (int i = kAxes - 1; i >= 0; --i) place.at[i] = split_off(positions[i], j);
    return j;
  }
  // Takes tap d apart; returns its channel.
  __device__ Index place_tap(Index d, Place& place) const {
#pragma unroll
    for (int i = kAxes - 1; i >= 0; --i) place.at[i] = split_off(taps[i], d);
    return d;
  }
  // Goes to the next place, in the order of counting; true where all axes have come round to 0.
  __device__ static bool advance(const Divider (&extents)[kAxes], Place& place) {
#pragma unroll
    for (int i = kAxes - 1; i >= 0; --i) {
      if (++place.at[i] < static_cast<Index>(extents[i].divisor)) return false;
      place.at[i] = 0;
    }
    return true;
  }
  // The offset within a plane of where position and tap meet, -1 outside. `start`: what one of them
  // brings by itself, see position_start and tap_start.
  __device__ Index meet_tap(const Place& start, const Place& tap) const {
    Place at;
#pragma unroll
    for (int i = 0; i < kAxes; ++i) at.at[i] = start.at[i] + tap.at[i] * axes[i].dilation;
    return offset(at);
  }
  __device__ Index meet_position(const Place& start, const Place& position) const {
    Place at;
#pragma unroll
    for (int i = 0; i < kAxes; ++i) at.at[i] = start.at[i] + position.at[i] * axes[i].stride;
    return offset(at);
  }
  // The parts of the formula above that do not depend on the tap, or on the position.
  __device__ Place position_start(const Place& position) const {
    Place start;
#pragma unroll
    for (int i = 0; i < kAxes; ++i) {
      start.at[i] = position.at[i] * axes[i].stride + axes[i].offset;
    }
    return start;
  }
  __device__ Place tap_start(const Place& tap) const {
    Place start;
#pragma unroll
    for (int i = 0; i < kAxes; ++i) start.at[i] = tap.at[i] * axes[i].dilation + axes[i].offset;
    return start;
  }

 private:
  __device__ Index offset(const Place& place) const {
    using Unsigned = std::make_unsigned_t<Index>;  // what is outside may wrap round
    Unsigned offset = 0;
    bool is_inside = true;
#pragma unroll
    for (int i = 0; i < kAxes; ++i) {
      const auto at = static_cast<Unsigned>(place.at[i]);
      const auto extent = static_cast<Unsigned>(axes[i].extent);
      is_inside = is_inside && at < extent;  // below 0: very large
      offset = offset * extent + at;
    }
    return is_inside ? static_cast<Index>(offset) : Index{-1};
  }
};

// The windows of a forward convolution over x.
template <int kAxes, typename Index>
Window<kAxes, Index> forward_window(const Shape<kAxes>& shape) {
  Window<kAxes, Index> window{};
  for (int i = 0; i < kAxes; ++i) {
    const Axis& axis = shape.axes[i];
    window.axes[i] = {static_cast<int32_t>(axis.in), static_cast<int32_t>(axis.stride),
                      static_cast<int32_t>(-axis.pad), static_cast<int32_t>(axis.dilation)};
    window.positions[i] = Divider(axis.out);
    window.taps[i] = Divider(axis.kernel);
  }
  window.all_positions = static_cast<Index>(shape.N * shape.out_elems());
  window.all_taps = static_cast<Index>(shape.channels() * shape.taps());
  window.channels = shape.channels();
  window.all_channels = shape.C;
  window.plane = shape.in_elems();
  return window;
}

// One axis of a phase of bwd_data: the inputs first_in + i stride, and the taps
// first_tap + t tap_step, which are all that they meet.
struct PhaseAxis {
  int64_t first_in, inputs;
  int64_t first_tap, tap_step, taps;
  int64_t offset, dilation;  // input i and tap t meet at output i + offset - t dilation

  PhaseAxis(const Axis& axis, int64_t phase) {
    first_in = phase;
    inputs = ceil_div(axis.in - phase, axis.stride);
    const int64_t common = std::gcd(axis.stride, axis.dilation);
    tap_step = axis.stride / common;
    dilation = axis.dilation / common;
    first_tap = 0;
    while (first_tap < tap_step && first_tap < axis.kernel &&
           (phase + axis.pad - first_tap * axis.dilation) % axis.stride != 0) {
      ++first_tap;
    }
    const bool has_taps = first_tap < tap_step && first_tap < axis.kernel;
    taps = has_taps ? ceil_div(axis.kernel - first_tap, tap_step) : 0;
    offset = has_taps ? (phase + axis.pad - first_tap * axis.dilation) / axis.stride : 0;
  }
};

// Phases are those of the axes, combined: one for each of the first inputs up to the stride.
template <int kAxes>
int64_t phase_count(const Shape<kAxes>& shape) {
  int64_t n = 1;
  for (const Axis& axis : shape.axes) n *= std::min(axis.stride, axis.in);
  return n;
}

// A phase: its windows over dy, and where its inputs and taps stand in dx and w.
template <int kAxes, typename Index>
struct Phase {
  Window<kAxes, Index> window;
  int32_t first_in[kAxes], first_tap[kAxes], tap_step[kAxes];
};

template <int kAxes, typename Index>
Phase<kAxes, Index> make_phase(const Shape<kAxes>& shape, int64_t number) {
  Phase<kAxes, Index> phase{};
  Window<kAxes, Index>& window = phase.window;
  int64_t positions = shape.N, taps = shape.filters();
  for (int i = kAxes - 1; i >= 0; --i) {
    const Axis& axis = shape.axes[i];
    const int64_t phases = std::min(axis.stride, axis.in);
    const PhaseAxis part(axis, number % phases);
    number /= phases;
    window.axes[i] = {static_cast<int32_t>(axis.out), 1, static_cast<int32_t>(part.offset),
                      static_cast<int32_t>(-part.dilation)};
    // No division happens where there is nothing to divide.
    window.positions[i] = Divider(std::max<int64_t>(1, part.inputs));
    window.taps[i] = Divider(std::max<int64_t>(1, part.taps));
    phase.first_in[i] = static_cast<int32_t>(part.first_in);
    phase.first_tap[i] = static_cast<int32_t>(part.first_tap);
    phase.tap_step[i] = static_cast<int32_t>(part.tap_step);
    positions *= part.inputs;
    taps *= part.taps;
  }
  window.all_positions = static_cast<Index>(positions);
  window.all_taps = static_cast<Index>(taps);
  window.channels = shape.filters();
  window.all_channels = shape.K;
  window.plane = shape.out_elems();
  return phase;
}

// ---- operands ----------------------------------------------------------------------------------

// Windows, a position a row and a tap for each step of depth: lanes read neighbouring positions.
template <int kAxes, typename Index>
struct PositionRows {
  static constexpr Walk kWalk = Walk::row_lanes;
  using WindowType = Window<kAxes, Index>;
  struct Cursor {
    const float* image;  // the group's first channel; null outside
    typename WindowType::Place start;
  };

  const WindowType& window;
  const float* data;  // the group's first channel in image 0

  __device__ Cursor start(Index row) const {
    Cursor at{nullptr, {}};
    if (row >= window.all_positions) return at;
    typename WindowType::Place position;
    const int64_t image = window.place_position(row, position);
    at.image = data + image * window.all_channels * window.plane;
    at.start = window.position_start(position);
    return at;
  }
  __device__ void load(const Cursor& at, Index d, float (&v)[4]) const {
    typename WindowType::Place tap;
    Index channel = window.place_tap(d, tap);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const Index offset = window.meet_tap(at.start, tap);
      const bool is_inside = at.image != nullptr && d + i < window.all_taps && offset >= 0;
      v[i] = is_inside ? at.image[channel * static_cast<Index>(window.plane) + offset] : 0.0f;
      if (WindowType::advance(window.taps, tap)) ++channel;
    }
  }
};

// Windows, a tap a row and a position for each step of depth; and a row of ones at `ones`.
template <int kAxes, typename Index>
struct TapRows {
  static constexpr Walk kWalk = Walk::depth;
  using WindowType = Window<kAxes, Index>;
  struct Cursor {
    const float* channel;  // in image 0; null outside
    typename WindowType::Place start;
    bool is_ones;
  };

  const WindowType& window;
  const float* data;  // the group's first channel in image 0
  Index ones;         // -1: none

  __device__ Cursor start(Index row) const {
    Cursor at{nullptr, {}, row == ones};
    if (row >= window.all_taps) return at;
    typename WindowType::Place tap;
    at.channel = data + window.place_tap(row, tap) * window.plane;
    at.start = window.tap_start(tap);
    return at;
  }
  __device__ void load(const Cursor& at, Index d, float (&v)[4]) const {
    typename WindowType::Place position;
    int64_t image = window.place_position(d, position);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const Index offset = window.meet_position(at.start, position);
      const bool is_inside = d + i < window.all_positions;
      v[i] = is_inside && at.is_ones ? 1.0f : 0.0f;
      if (is_inside && at.channel != nullptr && offset >= 0) {
        v[i] = at.channel[image * window.all_channels * window.plane + offset];
      }
      if (WindowType::advance(window.positions, position)) ++image;
    }
  }
};

// w [F, C/G, taps] of a group, a channel a row and (filter, tap of a phase) for each step of depth.
template <int kAxes, typename Index>
struct ChannelRows {
  static constexpr Walk kWalk = Walk::depth;
  struct Cursor {
    const float* row;  // null outside
  };

  const Phase<kAxes, Index>& phase;
  const float* data;                   // of the group
  Index channels, taps, filter_elems;  // C/G, R S, C/G R S
  const int32_t* kernel;               // [kAxes]

  __device__ Cursor start(Index row) const {
    return {row < channels ? data + static_cast<int64_t>(row) * taps : nullptr};
  }
  __device__ void load(const Cursor& at, Index d, float (&v)[4]) const {
    typename Window<kAxes, Index>::Place tap;
    Index filter = phase.window.place_tap(d, tap);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      Index offset = 0;
#pragma unroll
      for (int axis = 0; axis < kAxes; ++axis) {
        offset =
            offset * kernel[axis] + phase.first_tap[axis] + tap.at[axis] * phase.tap_step[axis];
      }
      const bool is_inside = at.row != nullptr && d + i < phase.window.all_taps;
      v[i] = is_inside ? at.row[static_cast<int64_t>(filter) * filter_elems + offset] : 0.0f;
      if (Window<kAxes, Index>::advance(phase.window.taps, tap)) ++filter;
    }
  }
};

// dy [N, K, P Q] of a group, a filter a row and a position for each step of depth.
template <typename Index>
struct FilterRows {
  static constexpr Walk kWalk = Walk::depth;
  struct Cursor {
    const float* row;  // in image 0; null outside
  };

  const float* data;  // the group's first filter in image 0
  Index filters, depth;
  Divider plane;         // P Q
  int64_t image_stride;  // K P Q
  bool is_vectorized;

  __device__ Cursor start(Index row) const {
    return {row < filters ? data + row * plane.divisor : nullptr};
  }
  __device__ void load(const Cursor& at, Index d, float (&v)[4]) const {
    const bool is_inside = at.row != nullptr && d < depth;
    Index image = d;
    const Index position = split_off(plane, image);
    const float* from = at.row + image * image_stride + position;
    if (is_vectorized && is_inside) {
      const float4 four = load4(from, 0);
      v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
      return;
    }
    const Index rest = static_cast<Index>(plane.divisor) - position;  // of this plane
    if (rest >= 4) {
#pragma unroll
      for (int i = 0; i < 4; ++i) v[i] = is_inside && d + i < depth ? from[i] : 0.0f;
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      Index of = d + i;
      const Index within = split_off(plane, of);
      v[i] = is_inside && d + i < depth ? at.row[of * image_stride + within] : 0.0f;
    }
  }
};

// ---- results -----------------------------------------------------------------------------------

// Planes [N, all_rows, plane] of a group, a plane a row, positions the columns; activation and bias on
// the way.
template <typename Index>
struct PlanesOut {
  float* data;        // the group's first plane in image 0
  const float* bias;  // of the group, may be null
  Index rows, columns;
  Divider plane;
  int64_t image_stride;
  ActivationKind activation;
  bool is_vectorized;

  __device__ float* at(Index row, Index column) const {
    Index image = column;
    const Index position = split_off(plane, image);
    return data + image * image_stride + row * plane.divisor + position;
  }
  __device__ void store_one(Index row, Index column, float sum) const {
    if (row >= rows) return;
    *at(row, column) = activate(activation, sum + (bias == nullptr ? 0.0f : bias[row]));
  }
  __device__ void store(Index row, Index column, float4 v) const {
    if (row >= rows) return;
    const float shift = bias == nullptr ? 0.0f : bias[row];
    const float values[4] = {activate(activation, v.x + shift), activate(activation, v.y + shift),
                             activate(activation, v.z + shift), activate(activation, v.w + shift)};
    if (is_vectorized && column < columns) {
      store4(at(row, column), 0, make_float4(values[0], values[1], values[2], values[3]));
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (column + i < columns) *at(row, column + i) = values[i];
    }
  }
};

// dx [N, C, H, W] of a group, a channel a row, the inputs of a phase the columns.
template <int kAxes, typename Index>
struct PhaseOut {
  float* data;  // the group's first channel in image 0
  const Phase<kAxes, Index>& phase;
  const WindowAxis* inputs;  // extents and strides of x
  Index rows;
  int64_t plane, image_stride;

  __device__ void store(Index row, Index column, float4 v) const {
    if (row >= rows) return;
    const float values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (column + i >= phase.window.all_positions) return;
      typename Window<kAxes, Index>::Place position;
      const int64_t image = phase.window.place_position(column + i, position);
      Index offset = 0;
#pragma unroll
      for (int axis = 0; axis < kAxes; ++axis) {
        offset = offset * inputs[axis].extent + phase.first_in[axis] +
                 position.at[axis] * inputs[axis].stride;
      }
      data[image * image_stride + row * plane + offset] = values[i];
    }
  }
};

// ---- the three products ------------------------------------------------------------------------

template <int kAxes, typename Index_>
struct ForwardProblem {
  using Index = Index_;
  Window<kAxes, Index> window;
  const float *x, *w, *bias;
  float* y;
  Index filters, all_filters;
  Divider plane;  // P Q
  ActivationKind activation;
  bool has_weight_vectors, has_plane_vectors;

  __device__ Index columns(int) const { return window.all_positions; }
  __device__ Index depth(int) const { return window.all_taps; }
  __device__ auto a(int group) const {
    return gemm::RowMajor<Index>{w + int64_t{group} * filters * window.all_taps, filters,
                                 window.all_taps, has_weight_vectors};
  }
  __device__ auto b(int group) const {
    return PositionRows<kAxes, Index>{window, x + group * window.channels * window.plane};
  }
  __host__ __device__ auto out(int group) const {
    const int64_t first = int64_t{group} * filters;
    return PlanesOut<Index>{y + first * plane.divisor,
                            bias == nullptr ? nullptr : bias + first,
                            filters,
                            window.all_positions,
                            plane,
                            all_filters * plane.divisor,
                            activation,
                            has_plane_vectors};
  }
};

// Phases of one launch: as many as fit what a kernel may get by value.
constexpr int kPhases = 8;

template <int kAxes, typename Index_>
struct BackwardDataProblem {
  using Index = Index_;
  Phase<kAxes, Index> phases[kPhases];
  int32_t phase_count;
  const float *dy, *w;
  float* dx;
  Index channels, taps;
  int64_t all_channels, plane;
  int32_t kernel[kAxes];
  WindowAxis inputs[kAxes];

  __device__ Index columns(int batch) const {
    return phases[batch % phase_count].window.all_positions;
  }
  __device__ Index depth(int batch) const { return phases[batch % phase_count].window.all_taps; }
  __device__ auto a(int batch) const {
    const Phase<kAxes, Index>& phase = phases[batch % phase_count];
    const int64_t group = batch / phase_count;
    const Index filter_elems = channels * taps;
    return ChannelRows<kAxes, Index>{phase,        w + group * phase.window.channels * filter_elems,
                                     channels,     taps,
                                     filter_elems, kernel};
  }
  __device__ auto b(int batch) const {
    const Window<kAxes, Index>& window = phases[batch % phase_count].window;
    return PositionRows<kAxes, Index>{window,
                                      dy + batch / phase_count * window.channels * window.plane};
  }
  __device__ auto out(int batch) const {
    return PhaseOut<kAxes, Index>{dx + int64_t{batch / phase_count} * channels * plane,
                                  phases[batch % phase_count],
                                  inputs,
                                  channels,
                                  plane,
                                  all_channels * plane};
  }
};

template <int kAxes, typename Index_>
struct BackwardWeightsProblem {
  using Index = Index_;
  Window<kAxes, Index> window;
  const float *x, *dy;
  float *dw, *db;  // db may be null
  Index filters;
  int64_t all_filters;
  Divider plane;  // P Q
  bool has_plane_vectors, has_weight_vectors;

  __device__ Index columns(int) const { return window.all_taps + (db == nullptr ? 0 : 1); }
  __device__ Index depth(int) const { return window.all_positions; }
  __device__ auto a(int group) const {
    return FilterRows<Index>{dy + int64_t{group} * filters * plane.divisor,
                             filters,
                             window.all_positions,
                             plane,
                             all_filters * plane.divisor,
                             has_plane_vectors};
  }
  __device__ auto b(int group) const {
    return TapRows<kAxes, Index>{window, x + group * window.channels * window.plane,
                                 db == nullptr ? Index{-1} : window.all_taps};
  }
  __device__ auto out(int group) const {
    const int64_t first = int64_t{group} * filters;
    return gemm::MatrixOut<Index>{dw + first * window.all_taps,
                                  db == nullptr ? nullptr : db + first, filters, window.all_taps,
                                  has_weight_vectors};
  }
};

// ---- steps -------------------------------------------------------------------------------------

// The extents of the products of a step.
struct Extents {
  int64_t rows, columns, depth, batches;
};

template <int kAxes_>
struct Forward {
  static constexpr int kAxes = kAxes_;
  static Shape<kAxes> shape(const StepArgs& args) {
    return shape_of(args.params_as<ParamsOf<kAxes>>(), args.in[0], args.out[0]);
  }
  static Extents extents(const Shape<kAxes>& s) {
    return {s.filters(), s.N * s.out_elems(), s.channels() * s.taps(), s.groups};
  }
  template <typename Index>
  static ForwardProblem<kAxes, Index> make_problem(const StepArgs& args) {
    const Shape<kAxes> s = shape(args);
    ForwardProblem<kAxes, Index> problem{};
    problem.window = forward_window<kAxes, Index>(s);
    problem.x = args.in[0].as<float>();
    problem.w = args.in[1].as<float>();
    const bool has_bias = args.in_count > 2 && args.in[2].present();
    problem.bias = has_bias ? args.in[2].as<float>() : nullptr;
    problem.y = args.out[0].as<float>();
    problem.filters = static_cast<Index>(s.filters());
    problem.all_filters = static_cast<Index>(s.K);
    problem.plane = Divider(s.out_elems());
    problem.activation = s.activation;
    problem.has_weight_vectors = gemm::has_vectors(problem.w, s.channels() * s.taps());
    problem.has_plane_vectors = gemm::has_vectors(problem.y, s.out_elems());
    return problem;
  }
  template <class Tile, typename Index>
  static int launch(Stream* stream, const StepArgs& args) {
    return gemm::launch_gemm<Tile>(stream, make_problem<Index>(args), schedule<Tile>(shape(args)),
                                   args.workspace);
  }
  template <class Tile>
  static gemm::Schedule schedule(const Shape<kAxes>& s) {
    const Extents e = extents(s);
    return gemm::make_schedule<Tile>(e.rows, e.columns, e.depth, e.batches);
  }
};

template <int kAxes_>
struct BackwardData {
  static constexpr int kAxes = kAxes_;
  static Shape<kAxes> shape(const StepArgs& args) {
    return shape_of(args.params_as<ParamsOf<kAxes>>(), args.out[0], args.in[0]);
  }
  // Of the widest and the deepest phase.
  static Extents extents(const Shape<kAxes>& s) {
    Extents e{s.channels(), s.N, s.filters(),
              s.groups * std::min<int64_t>(kPhases, phase_count(s))};
    for (const Axis& axis : s.axes) {
      const int64_t step = axis.stride / std::gcd(axis.stride, axis.dilation);
      e.columns *= ceil_div(axis.in, axis.stride);
      e.depth *= ceil_div(axis.kernel, step);
    }
    return e;
  }
  template <class Tile, typename Index>
  static int launch(Stream* stream, const StepArgs& args) {
    const Shape<kAxes> s = shape(args);
    BackwardDataProblem<kAxes, Index> problem{};
    problem.dy = args.in[0].as<float>();
    problem.w = args.in[1].as<float>();
    problem.dx = args.out[0].as<float>();
    problem.channels = static_cast<Index>(s.channels());
    problem.taps = static_cast<Index>(s.taps());
    problem.all_channels = s.C;
    problem.plane = s.in_elems();
    for (int i = 0; i < kAxes; ++i) {
      problem.kernel[i] = static_cast<int32_t>(s.axes[i].kernel);
      problem.inputs[i] = {static_cast<int32_t>(s.axes[i].in),
                           static_cast<int32_t>(s.axes[i].stride), 0, 0};
    }
    return for_phases<Tile>(stream, args, s, problem);
  }
  template <class Tile>
  static gemm::Schedule schedule(const Shape<kAxes>& s) {
    const Extents e = extents(s);
    return gemm::make_schedule<Tile>(e.rows, e.columns, e.depth, e.batches);
  }

 private:
  // kPhases of them a launch; the last launch may have fewer, in batches of the same kind.
  template <class Tile, typename Index>
  static int for_phases(Stream* stream, const StepArgs& args, const Shape<kAxes>& s,
                        BackwardDataProblem<kAxes, Index>& problem) {
    gemm::Schedule schedule = BackwardData::schedule<Tile>(s);
    const int64_t all = phase_count(s);
    for (int64_t first = 0; first < all; first += kPhases) {
      problem.phase_count = static_cast<int32_t>(std::min<int64_t>(kPhases, all - first));
      for (int i = 0; i < problem.phase_count; ++i) {
        problem.phases[i] = make_phase<kAxes, Index>(s, first + i);
      }
      schedule.batches = static_cast<uint32_t>(s.groups * problem.phase_count);
      const int error = gemm::launch_gemm<Tile>(stream, problem, schedule, args.workspace);
      if (error != 0) return error;
    }
    return 0;
  }
};

template <int kAxes_>
struct BackwardWeights {
  static constexpr int kAxes = kAxes_;
  static Shape<kAxes> shape(const StepArgs& args) {
    return shape_of(args.params_as<ParamsOf<kAxes>>(), args.in[0], args.in[1]);
  }
  // With the column of db, whether it is wanted or not.
  static Extents extents(const Shape<kAxes>& s) {
    return {s.filters(), s.channels() * s.taps() + 1, s.N * s.out_elems(), s.groups};
  }
  template <typename Index>
  static BackwardWeightsProblem<kAxes, Index> make_problem(const StepArgs& args) {
    const Shape<kAxes> s = shape(args);
    BackwardWeightsProblem<kAxes, Index> problem{};
    problem.window = forward_window<kAxes, Index>(s);
    problem.x = args.in[0].as<float>();
    problem.dy = args.in[1].as<float>();
    problem.dw = args.out[0].as<float>();
    problem.db = args.out[1].present() ? args.out[1].as<float>() : nullptr;
    problem.filters = static_cast<Index>(s.filters());
    problem.all_filters = s.K;
    problem.plane = Divider(s.out_elems());
    problem.has_plane_vectors = gemm::has_vectors(problem.dy, s.out_elems());
    problem.has_weight_vectors = gemm::has_vectors(problem.dw, s.channels() * s.taps());
    return problem;
  }
  template <class Tile, typename Index>
  static int launch(Stream* stream, const StepArgs& args) {
    return gemm::launch_gemm<Tile>(stream, make_problem<Index>(args), schedule<Tile>(shape(args)),
                                   args.workspace);
  }
  template <class Tile>
  static gemm::Schedule schedule(const Shape<kAxes>& s) {
    const Extents e = extents(s);
    return gemm::make_schedule<Tile>(e.rows, e.columns, e.depth, e.batches);
  }
};

// ---- implementations ---------------------------------------------------------------------------

template <class Step, class Tile, typename Index>
int launch_implicit_gemm(Stream* stream, const StepArgs& args) {
  return Step::template launch<Tile, Index>(stream, args);
}
template <class Step, class Tile>
int64_t workspace_implicit_gemm(const StepArgs& args, int) {
  return Step::template schedule<Tile>(Step::shape(args)).partial_bytes();
}

template <class Step>
const char* supports_32_bit(const StepArgs& args) {
  const auto s = Step::shape(args);
  const Extents e = Step::extents(s);
  if (const char* reason =
          gemm::why_not_32_bit({e.rows, e.columns, e.depth, s.K, s.channels() * s.taps(),
                                s.channels() * s.in_elems(), s.filters() * s.out_elems()})) {
    return reason;
  }
  for (const Axis& axis : s.axes) {
    const int64_t reach = axis.out * axis.stride + axis.kernel * axis.dilation + axis.pad;
    if (const char* reason = gemm::why_not_32_bit({reach, axis.in + axis.stride})) return reason;
  }
  return nullptr;
}
// Tiles of 128 x 128 and of 32 rows refuse what they would mostly pad; Tile64x64 takes everything.
template <class Step, class Tile, typename Index>
const char* supports_implicit_gemm(const StepArgs& args) {
  if (sizeof(Index) == sizeof(int64_t)) return nullptr;
  if (const char* reason = supports_32_bit<Step>(args)) return reason;
  const Extents e = Step::extents(Step::shape(args));
  if (Tile::kRows == 128) {
    return gemm::why_not_large_tiles(e.rows, e.columns, e.depth, e.batches);
  }
  return Tile::kRows == 32 && e.rows > 32 ? "more than 32 rows fill larger tiles" : nullptr;
}

template <class Step, class Tile, typename Index>
constexpr Implementation implicit_gemm(const char* name) {
  return {name, supports_implicit_gemm<Step, Tile, Index>, workspace_implicit_gemm<Step, Tile>,
          launch_implicit_gemm<Step, Tile, Index>};
}

}  // namespace tanul::cuda::conv
