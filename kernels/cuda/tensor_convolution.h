// SPDX-License-Identifier: Apache-2.0
// The products of convolution.h on tensor cores (tensor_gemm.h): "mma_tf32", "mma_bf16", "mma_fp16".
//
// fwd and bwd_data sum over the channels of a tap before they go on to the next tap, as images with the
// channels innermost would have it: then a run of steps is one place in a plane, channel after channel, and
// the index arithmetic of a window is done once for kRunWords words instead of once a step. In memory
// images stay [N, C, H, W]: the lanes of a warp read neighbours of a row, and the tile in shared memory has
// the channels innermost. The weights are brought into this order, and rounded, by a kernel in front:
//
//   packed [groups, rows, taps, inner]    rows = F, inner = C/G (fwd); rows = C/G, inner = F (bwd_data);
//                                         inner is filled up with zeros to whole runs
//
// bwd_weights sums over positions; there the columns are (tap, channel), so that 4 channels share the index
// arithmetic of a position. Where a quarter and more would be zeros (few channels), the order of
// convolution.h is kept.
//
// Numerics and determinism: see tensor_gemm.h; bias and activation are fp32.
#pragma once

#include "kernels/cuda/convolution.h"
#include "kernels/cuda/convolution_mma.h"
#include "kernels/cuda/tensor_gemm.h"

namespace tanul::cuda::conv {

// Steps of a run: what a thread loads of a row in one round.
constexpr int kRunWords = 8;
template <class Format>
constexpr int64_t kRun = kRunWords* Format::kSteps;

// ---- packed weights ----------------------------------------------------------------------------

// Where the weight of (group, row, tap, inner) lies in w [K, C/G, taps].
struct WeightStrides {
  int64_t group, row, inner;  // 1 from tap to tap
};
struct PackedShape {
  int64_t elems;  // of all groups, in words
  Divider words, taps, rows;
  int64_t inner;  // without zeros
  WeightStrides strides;
};

// A thread makes a word.
template <class Format>
__global__ void pack_weights_kernel(const float* w, uint32_t* packed,
                                    const __grid_constant__ PackedShape shape) {
  for (int64_t i = grid_thread(); i < shape.elems; i += grid_threads()) {
    int64_t group = i;
    const int64_t inner = split_off(shape.words, group) * Format::kSteps;
    const int64_t tap = split_off(shape.taps, group);
    const int64_t row = split_off(shape.rows, group);
    const float* from = w + group * shape.strides.group + row * shape.strides.row + tap;
    float steps[Format::kSteps];
#pragma unroll
    for (int j = 0; j < Format::kSteps; ++j) {
      steps[j] = inner + j < shape.inner ? from[(inner + j) * shape.strides.inner] : 0.0f;
    }
    packed[i] = Format::word(steps);
  }
}

// ---- operands ----------------------------------------------------------------------------------

// Windows, a position a row and (tap, channel) for each step of depth.
template <int kAxes, class Format>
struct ChannelRuns {
  static constexpr Walk kWalk = Walk::row_lanes;
  using WindowType = Window<kAxes, int32_t>;
  using Rows = PositionRows<kAxes, int32_t>;
  using Cursor = typename Rows::Cursor;

  const WindowType& window;
  const float* data;      // the group's first channel in image 0
  const Divider& padded;  // channels of a tap, with zeros

  __device__ Cursor start(int32_t row) const { return Rows{window, data}.start(row); }
  template <int kSteps>
  __device__ void load(const Cursor& at, int32_t d, float (&v)[kSteps]) const {
    static_assert(kRun<Format> % kSteps == 0);
    const int32_t channel = split_off(padded, d);
    typename WindowType::Place tap;
    const int32_t beyond = window.place_tap(d, tap);  // above 0 behind the last tap
    const int32_t offset = window.meet_tap(at.start, tap);
    const bool is_inside = at.image != nullptr && beyond == 0 && offset >= 0;
    const int32_t channels = is_inside ? static_cast<int32_t>(window.channels) - channel : 0;
    const auto plane = static_cast<int32_t>(window.plane);
    const float* from = channels > 0 ? at.image + (channel * plane + offset) : nullptr;
    if (channels >= kSteps) {
#pragma unroll
      for (int i = 0; i < kSteps; ++i) v[i] = from[i * plane];
      return;
    }
#pragma unroll
    for (int i = 0; i < kSteps; ++i) v[i] = i < channels ? from[i * plane] : 0.0f;
  }
};

// Packed weights of a group, a row for each filter.
template <class Format>
struct PackedFilters {
  static constexpr Walk kWalk = Walk::words;
  struct Cursor {
    const uint32_t* row;  // null outside
  };

  const uint32_t* data;
  int32_t rows, depth;

  __device__ Cursor start(int32_t row) const {
    return {row < rows ? data + int64_t{row} * depth / Format::kSteps : nullptr};
  }
  __device__ const uint32_t* find(const Cursor& at, int32_t d) const {
    return at.row != nullptr && d < depth ? at.row + d / Format::kSteps : nullptr;
  }
};

// The same with a row for each channel, of which a phase sees some taps.
template <int kAxes, class Format>
struct PackedChannels {
  static constexpr Walk kWalk = Walk::words;
  using Cursor = typename PackedFilters<Format>::Cursor;

  const Phase<kAxes, int32_t>& phase;
  const int32_t* kernel;  // [kAxes]
  const Divider& padded;
  const uint32_t* data;
  int32_t rows, taps, depth;  // all taps, steps of the phase

  __device__ Cursor start(int32_t row) const {
    const int64_t words = taps * padded.divisor / Format::kSteps;
    return {row < rows ? data + row * words : nullptr};
  }
  __device__ const uint32_t* find(const Cursor& at, int32_t d) const {
    if (at.row == nullptr || d >= depth) return nullptr;
    const int32_t inner = split_off(padded, d);
    typename Window<kAxes, int32_t>::Place tap;
    phase.window.place_tap(d, tap);
    const int32_t number = tap_number(phase, kernel, tap);
    return at.row + (number * static_cast<int32_t>(padded.divisor) + inner) / Format::kSteps;
  }
};

// Windows, (tap, channel) a row and a position for each step of depth; and a row of ones behind the last
// tap.
template <int kAxes>
struct ChannelTaps {
  static constexpr Walk kWalk = Walk::blocks;
  using WindowType = Window<kAxes, int32_t>;
  struct Cursor {          // of 4 rows
    const float* channel;  // in image 0
    typename WindowType::Place start;
    int32_t channels;  // that there are, up to 4; 0 outside
    bool is_ones;
  };

  const WindowType& window;
  const float* data;      // the group's first channel in image 0
  const Divider& padded;  // channels of a tap, with zeros

  __device__ Cursor start(int32_t row) const {
    typename WindowType::Place tap;
    const int32_t channel = split_off(padded, row);
    const int32_t beyond = window.place_tap(row, tap);
    if (beyond > 0) return {nullptr, {}, 0, beyond == 1 && channel == 0 && is_first(tap)};
    const int32_t channels = static_cast<int32_t>(window.channels) - channel;
    return {data + channel * window.plane, window.tap_start(tap), channels < 4 ? channels : 4,
            false};
  }
  template <int kSteps>
  __device__ void load(const Cursor& at, int32_t d, float (&v)[4][kSteps]) const {
    typename WindowType::Place position;
    const int64_t stride = window.all_channels * window.plane;
    int64_t image = window.place_position(d, position) * stride;
    const auto plane = static_cast<int32_t>(window.plane);
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const int32_t offset = window.meet_position(at.start, position);
      const bool is_position = d + i < window.all_positions;
      const int32_t channels = is_position && offset >= 0 ? at.channels : 0;
      const float* from = channels > 0 ? at.channel + (image + offset) : nullptr;
#pragma unroll
      for (int j = 0; j < 4; ++j) v[j][i] = j < channels ? from[j * plane] : 0.0f;
      if (at.is_ones && is_position) v[0][i] = 1.0f;
      if (WindowType::advance(window.positions, position)) image += stride;
    }
  }

 private:
  __device__ static bool is_first(const typename WindowType::Place& tap) {
    bool is_zero = true;
#pragma unroll
    for (int axis = 0; axis < kAxes; ++axis) is_zero = is_zero && tap.at[axis] == 0;
    return is_zero;
  }
};

// dw [F, C/G, taps] of a group, a filter a row, (tap, channel) the columns; the column behind is db.
template <class How = gemm::Put>
struct TapsOut {
  float *dw, *db;  // of the group; db may be null
  int32_t filters, channels, taps;
  const Divider& padded;

  __device__ auto adding() const {
    return TapsOut<gemm::Add>{dw, db, filters, channels, taps, padded};
  }
  __device__ void store(int32_t row, int32_t column, float4 v) const {
    if (row >= filters) return;
    int32_t tap = column;
    const int32_t channel = split_off(padded, tap);
    if (tap >= taps) {
      if (tap == taps && channel == 0 && db != nullptr) How::one(db + row, v.x);
      return;
    }
    const float values[4] = {v.x, v.y, v.z, v.w};
    float* to = dw + (int64_t{row} * channels + channel) * taps + tap;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (channel + i < channels) How::one(to + int64_t{i} * taps, values[i]);
    }
  }
};

// ---- products ----------------------------------------------------------------------------------

template <int kAxes, class Format>
struct PackedForwardProblem {
  using Index = int32_t;
  ForwardProblem<kAxes, int32_t> plain;
  const uint32_t* packed;
  Divider padded;
  int32_t deep;

  __device__ int32_t columns(int group) const { return plain.columns(group); }
  __device__ int32_t depth(int) const { return deep; }
  __device__ auto a(int group) const {
    const int64_t words = int64_t{plain.filters} * deep / Format::kSteps;
    return PackedFilters<Format>{packed + group * words, plain.filters, deep};
  }
  __device__ auto b(int group) const {
    return ChannelRuns<kAxes, Format>{plain.window, plain.b(group).data, padded};
  }
  __device__ auto out(int group) const { return plain.out(group); }
};

template <int kAxes, class Format>
struct PackedBackwardDataProblem {
  using Index = int32_t;
  BackwardDataProblem<kAxes, int32_t> plain;
  const uint32_t* packed;
  Divider padded;

  __device__ int32_t columns(int batch) const { return plain.columns(batch); }
  __device__ int32_t depth(int batch) const {
    const auto filters = static_cast<int32_t>(plain.phase(batch).window.channels);
    return plain.depth(batch) / filters * static_cast<int32_t>(padded.divisor);
  }
  __device__ auto a(int batch) const {
    const int64_t words = int64_t{plain.channels} * plain.taps * padded.divisor / Format::kSteps;
    return PackedChannels<kAxes, Format>{
        plain.phase(batch), plain.kernel, padded,      packed + batch / plain.phase_count * words,
        plain.channels,     plain.taps,   depth(batch)};
  }
  __device__ auto b(int batch) const {
    return ChannelRuns<kAxes, Format>{plain.phase(batch).window, plain.b(batch).data, padded};
  }
  __device__ auto out(int batch) const { return plain.out(batch); }
};

template <int kAxes>
struct TapsProblem {
  using Index = int32_t;
  BackwardWeightsProblem<kAxes, int32_t> plain;
  Divider padded;
  int32_t taps;

  __device__ int32_t columns(int) const {
    return taps * static_cast<int32_t>(padded.divisor) + (plain.db == nullptr ? 0 : 1);
  }
  __device__ int32_t depth(int group) const { return plain.depth(group); }
  __device__ auto a(int group) const { return plain.a(group); }
  __device__ auto b(int group) const {
    return ChannelTaps<kAxes>{plain.window, plain.b(group).data, padded};
  }
  __device__ auto out(int group) const {
    const auto to = plain.out(group);
    return TapsOut<>{to.data, to.last, plain.filters, static_cast<int32_t>(plain.window.channels),
                     taps,    padded};
  }
};

// ---- steps -------------------------------------------------------------------------------------

// A step of convolution.h with packed weights in the workspace.
template <class Step, class Format>
struct Packed {
  static constexpr int kAxes = Step::kAxes;
  static constexpr bool kIsForward = std::is_same_v<Step, Forward<kAxes>>;

  static Shape<kAxes> shape(const StepArgs& args) { return Step::shape(args); }
  static int64_t rows(const Shape<kAxes>& s) { return kIsForward ? s.filters() : s.channels(); }
  static int64_t inner(const Shape<kAxes>& s) { return kIsForward ? s.channels() : s.filters(); }
  static int64_t padded(const Shape<kAxes>& s) {
    return ceil_div(inner(s), kRun<Format>) * kRun<Format>;
  }
  static Extents extents(const Shape<kAxes>& s) {
    Extents e = Step::extents(s);
    e.depth = e.depth / inner(s) * padded(s);
    return e;
  }
  static int64_t words(const Shape<kAxes>& s) {
    return s.groups * rows(s) * s.taps() * padded(s) / Format::kSteps;
  }
  static int64_t bytes(const Shape<kAxes>& s) { return ceil_div(words(s) * 4, 64) * 64; }
  // At most a quarter of the products are with zeros.
  static bool pays(const Shape<kAxes>& s) {
    return inner(s) * 4 >= padded(s) * 3 && gemm::why_not_32_bit({words(s) * 2}) == nullptr;
  }

  static int pack(Stream* stream, const StepArgs& args) {
    const Shape<kAxes> s = shape(args);
    const int64_t taps = s.taps(), filter = s.channels() * taps;
    const PackedShape to{
        words(s),
        Divider(padded(s) / Format::kSteps),
        Divider(taps),
        Divider(rows(s)),
        inner(s),
        {s.filters() * filter, kIsForward ? filter : taps, kIsForward ? taps : filter}};
    return cuda::launch(stream, pack_weights_kernel<Format>, blocks_for(to.elems), kBlockThreads,
                        args.in[1].as<float>(), static_cast<uint32_t*>(args.workspace), to);
  }
  template <typename Index, typename Body>
  static int for_problems(const StepArgs& args, const Body& body) {
    const Shape<kAxes> s = shape(args);
    const auto* packed = static_cast<const uint32_t*>(args.workspace);
    const Divider run(padded(s));
    return Step::template for_problems<Index>(args, [&](const auto& plain, int64_t batches) {
      if constexpr (kIsForward) {
        const auto deep = static_cast<int32_t>(extents(s).depth);
        return body(PackedForwardProblem<kAxes, Format>{plain, packed, run, deep}, batches);
      } else {
        return body(PackedBackwardDataProblem<kAxes, Format>{plain, packed, run}, batches);
      }
    });
  }
};

// BackwardWeights with its columns ordered by taps.
template <int kAxes_>
struct ByTaps {
  static constexpr int kAxes = kAxes_;
  using Step = BackwardWeights<kAxes>;

  static Shape<kAxes> shape(const StepArgs& args) { return Step::shape(args); }
  static int64_t padded(const Shape<kAxes>& s) { return ceil_div(s.channels(), 4) * 4; }
  // With the column of db, whether it is wanted or not.
  static Extents extents(const Shape<kAxes>& s) {
    Extents e = Step::extents(s);
    e.columns = s.taps() * padded(s) + 1;
    return e;
  }
  static bool pays(const Shape<kAxes>& s) {
    return s.channels() * 4 >= padded(s) * 3 &&
           gemm::why_not_32_bit({extents(s).columns}) == nullptr;
  }
  static int64_t bytes(const Shape<kAxes>&) { return 0; }
  static int pack(Stream*, const StepArgs&) { return 0; }
  template <typename Index, typename Body>
  static int for_problems(const StepArgs& args, const Body& body) {
    const Shape<kAxes> s = shape(args);
    const TapsProblem<kAxes> problem{Step::template make_problem<Index>(args), Divider(padded(s)),
                                     static_cast<int32_t>(s.taps())};
    return body(problem, s.groups);
  }
};

// ---- implementations ---------------------------------------------------------------------------

// How a step is computed on tensor cores where that pays, in place of the order of convolution.h.
template <class Step, class Format>
struct InRuns : Packed<Step, Format> {};
template <int kAxes, class Format>
struct InRuns<BackwardWeights<kAxes>, Format> : ByTaps<kAxes> {};

// Calls body(way, tile) with one of both and its tile.
template <class Step, class Format, typename Body>
auto with_way(const StepArgs& args, const Body& body) {
  using Way = InRuns<Step, Format>;
  const auto s = Step::shape(args);
  if (!Way::pays(s)) return body(Step(), gemm::TensorTile64x64<Format>());
  const Extents e = Way::extents(s);
  return gemm::with_tensor_tile<Format>(e.rows, e.columns, e.depth, e.batches,
                                        [&](auto tile) { return body(Way(), tile); });
}

template <class Step, class Format, gemm::Splits kSplits>
int launch_mma(Stream* stream, const StepArgs& args) {
  return with_way<Step, Format>(args, [&](auto way, auto tile) {
    using Way = decltype(way);
    using Tile = decltype(tile);
    char* partials = static_cast<char*>(args.workspace);
    if constexpr (std::is_same_v<Way, InRuns<Step, Format>>) {
      if (const int error = Way::pack(stream, args)) return error;
      partials += Way::bytes(Way::shape(args));
    }
    return launch_products<Way, Tile, gemm::TensorFragment<Tile, Format>, int32_t, kSplits>(
        stream, args, partials);
  });
}
template <class Step, class Format>
int64_t workspace_mma(const StepArgs& args, int) {
  return with_way<Step, Format>(args, [&](auto way, auto tile) {
    using Way = decltype(way);
    const auto s = Way::shape(args);
    const int64_t partials = schedule_of<decltype(tile)>(Way::extents(s)).partial_bytes();
    if constexpr (std::is_same_v<Way, InRuns<Step, Format>>) return Way::bytes(s) + partials;
    return partials;
  });
}
template <class Step, class Format>
const char* why_not_mma_as_they_end(const StepArgs& args) {
  return with_way<Step, Format>(args, [&](auto way, auto tile) {
    using Way = decltype(way);
    return gemm::why_not_as_they_end(schedule_of<decltype(tile)>(Way::extents(Way::shape(args))));
  });
}

// What convolution_mma.h declares, for one step.
#define TANUL_MMA_LAUNCH(Step, Format, splits) \
  template int launch_mma<Step, Format, gemm::Splits::splits>(Stream*, const StepArgs&);
#define TANUL_MMA_KERNELS_IN(Step, Format)                            \
  template int64_t workspace_mma<Step, Format>(const StepArgs&, int); \
  TANUL_MMA_LAUNCH(Step, Format, in_order)
#define TANUL_MMA_ATOMIC_KERNELS_IN(Step, Format)                              \
  template const char* why_not_mma_as_they_end<Step, Format>(const StepArgs&); \
  TANUL_MMA_LAUNCH(Step, Format, as_they_end)
#define TANUL_MMA_KERNELS(Step)    \
  TANUL_MMA_KERNELS_IN(Step, Tf32) \
  TANUL_MMA_KERNELS_IN(Step, Bf16) \
  TANUL_MMA_KERNELS_IN(Step, Fp16)
#define TANUL_MMA_ATOMIC_KERNELS(Step)    \
  TANUL_MMA_ATOMIC_KERNELS_IN(Step, Tf32) \
  TANUL_MMA_ATOMIC_KERNELS_IN(Step, Bf16) \
  TANUL_MMA_ATOMIC_KERNELS_IN(Step, Fp16)

}  // namespace tanul::cuda::conv
