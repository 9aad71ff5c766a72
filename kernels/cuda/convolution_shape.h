// SPDX-License-Identifier: Apache-2.0
// The numbers of a convolution over two or three axes: its axes, the windows through which outputs see
// inputs, and the phases into which the stride cuts the gradient of the inputs. conv2d.h has the formulas.
#pragma once

#include <algorithm>
#include <numeric>
#include <type_traits>

#include "kernels/conv2d/conv2d.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/cuda/divide.h"

namespace tanul::cuda::conv {

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

}  // namespace tanul::cuda::conv
