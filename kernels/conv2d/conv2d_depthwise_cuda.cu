// SPDX-License-Identifier: Apache-2.0
// Convolution of one channel a group on CUDA, "depthwise": filter k reads channel k / (K/C) alone, so
// there is no sum over channels that a matrix product could share.
//
//   fwd          y[n,k,p,q]  = act( b[k] + sum over r, s of x[n,c,h,w] w[k,r,s] ): a thread each
//   bwd_data     dx[n,c,h,w] = sum over the filters of c and r, s of dy[n,k,p,q] w[k,r,s]: a thread each
//   bwd_weights  dw[k,r,s]   = sum over n, p, q of dy[n,k,p,q] x[n,c,h,w], db[k] = sum of dy: a block each
//
// 2 N K P Q R S flops for 4 N (C H W + K P Q) bytes at least: bound by memory. Neighbouring threads read
// neighbouring elements; what the taps read again comes from the first-level cache, and in bwd_weights
// from the second. Kernels of 3x3 and 5x5 are unrolled.
// Numerics: fused multiply-adds in the order of the formulas, float; in bwd_weights each thread sums
// every 256th element, then the threads are added in a fixed order. Deterministic.
#include "kernels/conv2d/conv2d_cuda.h"
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/reduce.h"

namespace tanul {

namespace {

using cuda::Divider;
using cuda::conv::Axis;
using Shape = cuda::conv::Shape<2>;
using Window = cuda::conv::Window<2, int32_t>;

const char* why_not_depthwise(const Shape& shape) {
  if (shape.channels() != 1) return "a group has more than one channel";
  if (shape.groups == 1) return "one group: all filters read the same channel";
  return cuda::gemm::why_not_32_bit({shape.N * shape.C * shape.in_elems(),
                                     shape.N * shape.K * shape.out_elems(),
                                     shape.K * (shape.taps() + 1)});
}

// Calls body(std::integral_constant<int, side>) with the side of a square kernel that is unrolled, or 0.
template <typename Body>
int with_side(const Shape& shape, const Body& body) {
  const int64_t R = shape.axes[0].kernel, S = shape.axes[1].kernel;
  if (R == 3 && S == 3) return body(std::integral_constant<int, 3>());
  if (R == 5 && S == 5) return body(std::integral_constant<int, 5>());
  return body(std::integral_constant<int, 0>());
}

// R and S, at compile time where kSide is not 0.
template <int kSide>
struct Taps {
  int32_t R, S;
  __device__ explicit Taps(const Window& window)
      : R(kSide != 0 ? kSide : static_cast<int32_t>(window.taps[0].divisor)),
        S(kSide != 0 ? kSide : static_cast<int32_t>(window.taps[1].divisor)) {}
};

struct Forward {
  Window window;  // positions count planes [N, K] in front
  const float *x, *w, *b;
  float* y;
  int32_t elems;
  Divider filters, multiplier;  // K, K/C
  ActivationKind activation;
};

template <int kSide>
__global__ void conv2d_fwd_depthwise_kernel(const __grid_constant__ Forward p) {
  const Taps<kSide> taps(p.window);
  for (int64_t element = cuda::grid_thread(); element < p.elems; element += cuda::grid_threads()) {
    const auto i = static_cast<int32_t>(element);
    Window::Place place;
    int32_t image = p.window.place_position(i, place);
    const int32_t k = split_off(p.filters, image);
    const int32_t c = p.multiplier.quotient(k);
    const float* x = p.x + (image * p.window.all_channels + c) * p.window.plane;
    const float* w = p.w + int64_t{k} * taps.R * taps.S;
    const Window::Place start = p.window.position_start(place);
    float sum = 0.0f;
#pragma unroll
    for (int32_t r = 0; r < taps.R; ++r) {
#pragma unroll
      for (int32_t s = 0; s < taps.S; ++s) {
        const int32_t offset = p.window.meet_tap(start, {{r, s}});
        if (offset >= 0) sum = fmaf(x[offset], w[r * taps.S + s], sum);
      }
    }
    p.y[i] = cuda::activate(p.activation, sum + (p.b == nullptr ? 0.0f : p.b[k]));
  }
}

// The output that meets input h at tap r, or -1.
struct Meeting {
  int32_t out, pad, dilation;
  Divider stride;

  __device__ int32_t at(int32_t h, int32_t r) const {
    int32_t p = h + pad - r * dilation;
    if (p < 0) return -1;
    const int32_t rest = split_off(stride, p);
    return rest == 0 && p < out ? p : -1;
  }
};

struct BackwardData {
  Meeting h, w;
  Divider H, W, channels;
  int32_t R, S;
  const float *dy, *weights;
  float* dx;
  int32_t elems, multiplier;
};

template <int kSide>
__global__ void conv2d_bwd_data_depthwise_kernel(const __grid_constant__ BackwardData p) {
  const int32_t R = kSide != 0 ? kSide : p.R, S = kSide != 0 ? kSide : p.S;
  const int32_t plane = p.h.out * p.w.out;
  for (int64_t element = cuda::grid_thread(); element < p.elems; element += cuda::grid_threads()) {
    const auto i = static_cast<int32_t>(element);
    int32_t image = i;
    const int32_t column = split_off(p.W, image);
    const int32_t row = split_off(p.H, image);
    const int32_t c = split_off(p.channels, image);
    const int64_t filter = int64_t{c} * p.multiplier;
    const float* dy = p.dy + (image * p.channels.divisor * p.multiplier + filter) * plane;
    const float* w = p.weights + filter * R * S;
    float sum = 0.0f;
    for (int32_t m = 0; m < p.multiplier; ++m, dy += plane, w += R * S) {
#pragma unroll
      for (int32_t r = 0; r < R; ++r) {
        const int32_t from_row = p.h.at(row, r);
#pragma unroll
        for (int32_t s = 0; s < S; ++s) {
          const int32_t from_column = p.w.at(column, s);
          if (from_row < 0 || from_column < 0) continue;
          sum = fmaf(dy[from_row * p.w.out + from_column], w[r * S + s], sum);
        }
      }
    }
    p.dx[i] = sum;
  }
}

struct BackwardWeights {
  Window window;
  const float *x, *dy;
  float *dw, *db;
  Divider taps;  // R S, and 1 where db is wanted
  int64_t filters;
  int32_t multiplier;
};

// Block (k, tap); the tap behind the last is db.
__global__ void conv2d_bwd_weights_depthwise_kernel(const __grid_constant__ BackwardWeights p) {
  const Window& window = p.window;
  auto k = static_cast<int32_t>(blockIdx.x);
  const int32_t number = split_off(p.taps, k);
  const int64_t plane = window.positions[0].divisor * window.positions[1].divisor;
  const float* dy = p.dy + k * plane;
  const float* x = p.x + k / p.multiplier * window.plane;
  const bool is_bias = number == window.all_taps;
  Window::Place tap;
  window.place_tap(number, tap);
  const Window::Place start = window.tap_start(tap);
  float sum = 0.0f;
  for (auto j = static_cast<int64_t>(threadIdx.x); j < window.all_positions; j += blockDim.x) {
    Window::Place place;
    const int64_t image = window.place_position(static_cast<int32_t>(j), place);
    const int64_t position = j - image * plane;
    const int32_t offset = window.meet_position(start, place);
    if (!is_bias && offset < 0) continue;
    const float gradient = dy[image * p.filters * plane + position];
    sum = is_bias ? sum + gradient
                  : fmaf(x[image * window.all_channels * window.plane + offset], gradient, sum);
  }
  const float total = cuda::block_sum(sum);
  if (threadIdx.x != 0) return;
  if (is_bias) {
    p.db[k] = total;
  } else {
    p.dw[int64_t{k} * window.all_taps + number] = total;
  }
}

}  // namespace

namespace conv2d_fwd_depthwise {

const char* supports(const StepArgs& args) {
  if (const char* reason = why_not_depthwise(cuda::conv::Forward<2>::shape(args))) return reason;
  return cuda::conv::supports_32_bit<cuda::conv::Forward<2>>(args);
}

int launch(Stream* stream, const StepArgs& args) {
  const Shape shape = cuda::conv::Forward<2>::shape(args);
  const auto problem = cuda::conv::Forward<2>::make_problem<int32_t>(args);
  const int64_t elems = shape.N * shape.K * shape.out_elems();
  const Forward p{problem.window,   problem.x,
                  problem.w,        problem.bias,
                  problem.y,        static_cast<int32_t>(elems),
                  Divider(shape.K), Divider(shape.K / shape.C),
                  shape.activation};
  return with_side(shape, [&](auto side) {
    return cuda::launch(stream, conv2d_fwd_depthwise_kernel<side()>, cuda::blocks_for(elems),
                        cuda::kBlockThreads, p);
  });
}

}  // namespace conv2d_fwd_depthwise

namespace conv2d_bwd_data_depthwise {

const char* supports(const StepArgs& args) {
  if (const char* reason = why_not_depthwise(cuda::conv::BackwardData<2>::shape(args))) {
    return reason;
  }
  return cuda::conv::supports_32_bit<cuda::conv::BackwardData<2>>(args);
}

int launch(Stream* stream, const StepArgs& args) {
  const Shape shape = cuda::conv::BackwardData<2>::shape(args);
  const auto meeting = [](const Axis& axis) {
    return Meeting{static_cast<int32_t>(axis.out), static_cast<int32_t>(axis.pad),
                   static_cast<int32_t>(axis.dilation), Divider(axis.stride)};
  };
  const int64_t elems = shape.N * shape.C * shape.in_elems();
  const BackwardData p{meeting(shape.axes[0]),
                       meeting(shape.axes[1]),
                       Divider(shape.axes[0].in),
                       Divider(shape.axes[1].in),
                       Divider(shape.C),
                       static_cast<int32_t>(shape.axes[0].kernel),
                       static_cast<int32_t>(shape.axes[1].kernel),
                       args.in[0].as<float>(),
                       args.in[1].as<float>(),
                       args.out[0].as<float>(),
                       static_cast<int32_t>(elems),
                       static_cast<int32_t>(shape.K / shape.C)};
  return with_side(shape, [&](auto side) {
    return cuda::launch(stream, conv2d_bwd_data_depthwise_kernel<side()>, cuda::blocks_for(elems),
                        cuda::kBlockThreads, p);
  });
}

}  // namespace conv2d_bwd_data_depthwise

namespace conv2d_bwd_weights_depthwise {

const char* supports(const StepArgs& args) {
  if (const char* reason = why_not_depthwise(cuda::conv::BackwardWeights<2>::shape(args))) {
    return reason;
  }
  return cuda::conv::supports_32_bit<cuda::conv::BackwardWeights<2>>(args);
}

int launch(Stream* stream, const StepArgs& args) {
  const Shape shape = cuda::conv::BackwardWeights<2>::shape(args);
  const auto problem = cuda::conv::BackwardWeights<2>::make_problem<int32_t>(args);
  const int64_t taps = shape.taps() + (problem.db == nullptr ? 0 : 1);
  const BackwardWeights p{
      problem.window, problem.x,     problem.dy, problem.dw,
      problem.db,     Divider(taps), shape.K,    static_cast<int32_t>(shape.K / shape.C)};
  return cuda::launch(stream, conv2d_bwd_weights_depthwise_kernel,
                      cuda::Dim3{static_cast<uint32_t>(shape.K * taps), 1, 1}, cuda::kBlockThreads,
                      p);
}

}  // namespace conv2d_bwd_weights_depthwise

}  // namespace tanul
