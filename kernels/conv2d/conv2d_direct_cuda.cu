// SPDX-License-Identifier: Apache-2.0
// Convolution of few channels to few filters on CUDA, "direct": the first layer of LeNet and its kin,
// whose products would fill a part of a GEMM's tile only.
//
//   y[n,k,p,q] = act( b[k] + sum over c, r, s of x[n,c,h,w] w[k,c,r,s] )
//
// A thread computes kFilters filters at kPositions positions, a block apart, and holds their sums in
// registers: for each tap it reads kPositions elements of x, neighbours of what the lanes beside it
// read, and kFilters weights, which all threads of a block read from the same words of shared memory.
// 2 N K P Q C R S flops; x is read K / kFilters times, mostly from the first-level cache.
// Numerics: fused multiply-adds in the order c, r, s, float. Deterministic.
#include "kernels/conv2d/conv2d_cuda.h"
#include "kernels/cuda/convolution.h"

namespace tanul::conv2d_fwd_direct {

namespace {

constexpr int kFilters = 8, kPositions = 4;
constexpr int kThreads = 128;
constexpr int64_t kMostChannels = 4, kMostFilters = 32, kMostTaps = 512;

using Window = cuda::conv::Window<2, int32_t>;
using Out = cuda::conv::PlanesOut<int32_t>;

struct Problem {
  Window window;
  const float *x, *w;
  Out y;
};

// What a thread keeps of one of its positions.
struct Position {
  const float* image;
  int32_t h, w;  // of tap (0, 0) in x
};

// blockIdx.x: positions, blockIdx.y: filters.
__global__ void __launch_bounds__(kThreads, 4)
    conv2d_fwd_direct_kernel(const __grid_constant__ Problem problem) {
  const Window& window = problem.window;
  TANUL_SHARED(float, weights, kMostTaps* kFilters);  // [taps, kFilters]
  const int32_t first_filter = static_cast<int32_t>(blockIdx.y) * kFilters;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < window.all_taps * kFilters;
       i += kThreads) {
    const int32_t filter = first_filter + i % kFilters;
    weights[i] = filter < problem.y.rows
                     ? problem.w[int64_t{filter} * window.all_taps + i / kFilters]
                     : 0.0f;
  }
  const int32_t first =
      static_cast<int32_t>(blockIdx.x) * kThreads * kPositions + static_cast<int32_t>(threadIdx.x);
  Position at[kPositions];
#pragma unroll
  for (int i = 0; i < kPositions; ++i) {
    // Threads beyond the last position compute it too, and do not store.
    const int32_t j = first + i * kThreads;
    Window::Place place;
    const int64_t image =
        window.place_position(j < window.all_positions ? j : window.all_positions - 1, place);
    const Window::Place start = window.position_start(place);
    at[i] = {problem.x + image * window.channels * window.plane, start.at[0], start.at[1]};
  }
  __syncthreads();
  float sums[kPositions][kFilters] = {};
  const auto H = window.axes[0].extent, W = window.axes[1].extent;
  const auto R = static_cast<int32_t>(window.taps[0].divisor);
  const auto S = static_cast<int32_t>(window.taps[1].divisor);
  const auto channels = static_cast<int32_t>(window.channels);
  int32_t tap = 0;
  for (int32_t c = 0; c < channels; ++c) {
    for (int32_t r = 0; r < R; ++r) {
      const float* rows[kPositions];  // null outside of the plane
#pragma unroll
      for (int i = 0; i < kPositions; ++i) {
        const int32_t h = at[i].h + r * window.axes[0].dilation;
        const bool is_inside = static_cast<uint32_t>(h) < static_cast<uint32_t>(H);
        rows[i] = is_inside ? at[i].image + c * window.plane + h * W : nullptr;
      }
      for (int32_t s = 0; s < S; ++s, ++tap) {
        float w[kFilters];
#pragma unroll
        for (int f = 0; f < kFilters; f += 4) {
          const float4 four = cuda::load4(weights, tap * kFilters + f);
          w[f] = four.x, w[f + 1] = four.y, w[f + 2] = four.z, w[f + 3] = four.w;
        }
#pragma unroll
        for (int i = 0; i < kPositions; ++i) {
          const int32_t column = at[i].w + s * window.axes[1].dilation;
          const bool is_inside = static_cast<uint32_t>(column) < static_cast<uint32_t>(W);
          const float x = is_inside && rows[i] != nullptr ? rows[i][column] : 0.0f;
#pragma unroll
          for (int f = 0; f < kFilters; ++f) sums[i][f] = fmaf(x, w[f], sums[i][f]);
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kPositions; ++i) {
    const int32_t j = first + i * kThreads;
    if (j >= window.all_positions) return;
#pragma unroll
    for (int f = 0; f < kFilters; ++f) problem.y.store_one(first_filter + f, j, sums[i][f]);
  }
}

}  // namespace

const char* supports(const StepArgs& args) {
  const auto shape = cuda::conv::Forward<2>::shape(args);
  if (shape.groups != 1) return "there are groups";
  if (shape.C > kMostChannels) return "more than 4 channels";
  if (shape.K > kMostFilters) return "more than 32 filters: they fill a tile of a GEMM";
  if (shape.C * shape.taps() > kMostTaps) return "the weights of 8 filters exceed 16 KiB";
  return cuda::conv::supports_32_bit<cuda::conv::Forward<2>>(args);
}

int launch(Stream* stream, const StepArgs& args) {
  const auto problem = cuda::conv::Forward<2>::make_problem<int32_t>(args);
  const int64_t blocks = cuda::ceil_div(problem.window.all_positions, kThreads * kPositions);
  return cuda::launch(
      stream, conv2d_fwd_direct_kernel,
      cuda::Dim3{static_cast<uint32_t>(blocks),
                 static_cast<uint32_t>(cuda::ceil_div(problem.filters, kFilters)), 1},
      kThreads, Problem{problem.window, problem.x, problem.w, problem.out(0)});
}

}  // namespace tanul::conv2d_fwd_direct
