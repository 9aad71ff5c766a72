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

#include "kernels/cuda/convolution_shape.h"
#include "kernels/cuda/fused_activation.h"
#include "kernels/cuda/gemm.h"

namespace tanul::cuda::conv {

using gemm::Walk;

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
  template <int kSteps>
  __device__ void load(const Cursor& at, Index d, float (&v)[kSteps]) const {
    typename WindowType::Place tap;
    Index channel = window.place_tap(d, tap);
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
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

// The number of a phase's tap among all taps of the kernel.
template <int kAxes, typename Index>
__device__ inline Index tap_number(const Phase<kAxes, Index>& phase, const int32_t* kernel,
                                   const typename Window<kAxes, Index>::Place& tap) {
  Index number = 0;
#pragma unroll
  for (int axis = 0; axis < kAxes; ++axis) {
    number = number * kernel[axis] + phase.first_tap[axis] + tap.at[axis] * phase.tap_step[axis];
  }
  return number;
}

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
      const Index offset = tap_number(phase, kernel, tap);
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

  __device__ const Phase<kAxes, Index>& phase(int batch) const {
    return phases[batch % phase_count];
  }
  __device__ Index columns(int batch) const { return phase(batch).window.all_positions; }
  __device__ Index depth(int batch) const { return phase(batch).window.all_taps; }
  __device__ auto a(int batch) const {
    const int64_t group = batch / phase_count;
    const Index filter_elems = channels * taps;
    return ChannelRows<kAxes, Index>{
        phase(batch), w + group * phase(batch).window.channels * filter_elems,
        channels,     taps,
        filter_elems, kernel};
  }
  __device__ auto b(int batch) const {
    const Window<kAxes, Index>& window = phase(batch).window;
    return PositionRows<kAxes, Index>{window,
                                      dy + batch / phase_count * window.channels * window.plane};
  }
  __device__ auto out(int batch) const {
    return PhaseOut<kAxes, Index>{dx + int64_t{batch / phase_count} * channels * plane,
                                  phase(batch),
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

// The extents of the products of a step: of the widest and the deepest one.
struct Extents {
  int64_t rows, columns, depth, batches;
};

// Each step has
//   shape(args), extents(shape);
//   for_problems<Index>(args, body): calls body(problem, batches) for each launch, and hands on what it
//   returns, 0 or an error.

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
  template <typename Index, typename Body>
  static int for_problems(const StepArgs& args, const Body& body) {
    return body(make_problem<Index>(args), shape(args).groups);
  }
};

template <int kAxes_>
struct BackwardData {
  static constexpr int kAxes = kAxes_;
  static Shape<kAxes> shape(const StepArgs& args) {
    return shape_of(args.params_as<ParamsOf<kAxes>>(), args.out[0], args.in[0]);
  }
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
  // kPhases of them a launch; the last launch may have fewer, in batches of the same kind.
  template <typename Index, typename Body>
  static int for_problems(const StepArgs& args, const Body& body) {
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
    const int64_t all = phase_count(s);
    for (int64_t first = 0; first < all; first += kPhases) {
      problem.phase_count = static_cast<int32_t>(std::min<int64_t>(kPhases, all - first));
      for (int i = 0; i < problem.phase_count; ++i) {
        problem.phases[i] = make_phase<kAxes, Index>(s, first + i);
      }
      if (const int error = body(problem, s.groups * problem.phase_count)) return error;
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
  template <typename Index, typename Body>
  static int for_problems(const StepArgs& args, const Body& body) {
    return body(make_problem<Index>(args), shape(args).groups);
  }
};

// ---- implementations ---------------------------------------------------------------------------

template <class Tile>
gemm::Schedule schedule_of(const Extents& e) {
  return gemm::make_schedule<Tile>(e.rows, e.columns, e.depth, e.batches);
}

// The launches of a step, all by the schedule of its extents.
template <class Step, class Tile, class Part, typename Index,
          gemm::Splits kSplits = gemm::Splits::in_order>
int launch_products(Stream* stream, const StepArgs& args, void* workspace) {
  gemm::Schedule schedule = schedule_of<Tile>(Step::extents(Step::shape(args)));
  return Step::template for_problems<Index>(args, [&](const auto& problem, int64_t batches) {
    schedule.batches = static_cast<uint32_t>(batches);
    return gemm::launch_gemm<Tile, Part, kSplits>(stream, problem, schedule, workspace);
  });
}

template <class Step, class Tile, typename Index>
int launch_implicit_gemm(Stream* stream, const StepArgs& args) {
  return launch_products<Step, Tile, gemm::Fragment<Tile>, Index>(stream, args, args.workspace);
}
template <class Step, class Tile>
int64_t workspace_implicit_gemm(const StepArgs& args, int) {
  return schedule_of<Tile>(Step::extents(Step::shape(args))).partial_bytes();
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

// The same for a weight gradient, whose splits add to the result.
template <class Step, class Tile>
const char* supports_implicit_gemm_atomic(const StepArgs& args) {
  const char* reason = supports_implicit_gemm<Step, Tile, int32_t>(args);
  return reason != nullptr
             ? reason
             : gemm::why_not_as_they_end(schedule_of<Tile>(Step::extents(Step::shape(args))));
}
template <class Step, class Tile>
int launch_implicit_gemm_atomic(Stream* stream, const StepArgs& args) {
  return launch_products<Step, Tile, gemm::Fragment<Tile>, int32_t, gemm::Splits::as_they_end>(
      stream, args, nullptr);
}
template <class Step, class Tile>
constexpr Implementation implicit_gemm_atomic(const char* name) {
  Implementation made{name, supports_implicit_gemm_atomic<Step, Tile>, no_workspace,
                      launch_implicit_gemm_atomic<Step, Tile>};
  made.is_deterministic = false;
  return made;
}

}  // namespace tanul::cuda::conv
