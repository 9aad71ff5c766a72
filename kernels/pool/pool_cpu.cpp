// SPDX-License-Identifier: Apache-2.0
// Maximum and average pooling on the CPU, "direct": one loop over the windows.
//
//   y[n,c,p,q] from x[n,c,h,w], h in [p stride_h - pad_top, + kernel_h), w likewise, inside the
//   input
//
// A tile is a run of whole planes (n, c), whose number depends on their size only; one worker
// computes it. Windows of a row that lie inside the input's width go through the vector primitives
// (stride 1 or 2), the others one at a time. Meets the memory roof. Deterministic: in the backward
// steps each element of dx gets its sums in row order of the windows.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"
#include "kernels/op.h"
#include "kernels/pool/pool.h"

namespace tanul {

namespace {

using cpu::ceil_div;

struct PoolShape {
  int64_t planes, H, W, P, Q;
  Pool2dParams params;

  // [begin, end) of window p or q, clipped to the input.
  int64_t h_begin(int64_t p) const {
    return std::max<int64_t>(0, p * params.stride_h - params.pad_top);
  }
  int64_t h_end(int64_t p) const {
    return std::min(H, p * params.stride_h - params.pad_top + params.kernel_h);
  }
  int64_t w_begin(int64_t q) const {
    return std::max<int64_t>(0, q * params.stride_w - params.pad_left);
  }
  int64_t w_end(int64_t q) const {
    return std::min(W, q * params.stride_w - params.pad_left + params.kernel_w);
  }
  // Windows [first, last) of a row that lie inside the width.
  int64_t first_inside() const { return std::min(Q, ceil_div(params.pad_left, params.stride_w)); }
  int64_t last_inside() const {
    const int64_t room = W + params.pad_left - params.kernel_w;
    return room < 0 ? first_inside()
                    : std::max(first_inside(), std::min(Q, room / params.stride_w + 1));
  }
  // What the average of window (p, q) is divided by.
  float divisor(int64_t p, int64_t q) const {
    if (params.count_include_pad == 0) {
      return static_cast<float>((h_end(p) - h_begin(p)) * (w_end(q) - w_begin(q)));
    }
    const int64_t top = p * params.stride_h;  // in padded coordinates
    const int64_t left = q * params.stride_w;
    const int64_t bottom = std::min(top + params.kernel_h, H + params.pad_top + params.pad_bottom);
    const int64_t right = std::min(left + params.kernel_w, W + params.pad_left + params.pad_right);
    return static_cast<float>((bottom - top) * (right - left));
  }
};

PoolShape pool_shape(const Operand& x, const Operand& y, const StepArgs& args) {
  return {x.dims[0] * x.dims[1],         x.dims[2], x.dims[3], y.dims[2], y.dims[3],
          args.params_as<Pool2dParams>()};
}

// Calls body(plane) for every plane, in tiles of about kElementwiseTile elements.
template <typename Body>
void for_planes(Stream* stream, const PoolShape& shape, const Body& body) {
  const int64_t elems = std::max(shape.H * shape.W, shape.P * shape.Q);
  const int64_t per_tile = std::max<int64_t>(1, cpu::kElementwiseTile / elems);
  cpu::parallel_for(stream, ceil_div(shape.planes, per_tile), [&](int64_t tile, int) {
    const int64_t end = std::min(shape.planes, (tile + 1) * per_tile);
    for (int64_t plane = tile * per_tile; plane < end; ++plane) body(plane);
  });
}

// ---- maximum ----------------------------------------------------------------------------------

void max_window(const PoolShape& shape, const float* x, int64_t p, int64_t q, float* y,
                int32_t* argmax) {
  int64_t best_at = shape.h_begin(p) * shape.W + shape.w_begin(q);
  float best = x[best_at];
  for (int64_t h = shape.h_begin(p); h < shape.h_end(p); ++h) {
    for (int64_t w = shape.w_begin(q); w < shape.w_end(q); ++w) {
      const float v = x[h * shape.W + w];
      if (!(v <= best) && best == best) {  // greater, or the first NaN
        best = v;
        best_at = h * shape.W + w;
      }
    }
  }
  y[q] = best;
  if (argmax != nullptr) argmax[q] = static_cast<int32_t>(best_at);
}

// One plane: x [H, W], y and argmax [P, Q].
void max_pool_plane(const PoolShape& shape, const float* x, float* y, int32_t* argmax) {
  const Pool2dParams& params = shape.params;
  const bool has_rows = params.stride_w <= 2;
  const int64_t first = has_rows ? shape.first_inside() : shape.Q;
  const int64_t last = has_rows ? shape.last_inside() : shape.Q;
  for (int64_t p = 0; p < shape.P; ++p) {
    for (int64_t q = 0; q < first; ++q) max_window(shape, x, p, q, y, argmax);
    if (first < last) {
      const int64_t at = shape.h_begin(p) * shape.W + first * params.stride_w - params.pad_left;
      const int32_t rows = static_cast<int32_t>(shape.h_end(p) - shape.h_begin(p));
      cpu::max_pool_row({x + at, shape.W, rows, params.kernel_w, params.stride_w, last - first},
                        static_cast<int32_t>(at), y + first,
                        argmax == nullptr ? nullptr : argmax + first);
    }
    for (int64_t q = std::max(first, last); q < shape.Q; ++q) {
      max_window(shape, x, p, q, y, argmax);
    }
    y += shape.Q;
    if (argmax != nullptr) argmax += shape.Q;
  }
}

int launch_max_pool2d_fwd(Stream* stream, const StepArgs& args) {
  const PoolShape shape = pool_shape(args.in[0], args.out[0], args);
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  int32_t* argmax = args.out[1].present() ? args.out[1].as<int32_t>() : nullptr;
  for_planes(stream, shape, [&](int64_t plane) {
    const int64_t at = plane * shape.P * shape.Q;
    max_pool_plane(shape, x + plane * shape.H * shape.W, y + at,
                   argmax == nullptr ? nullptr : argmax + at);
  });
  return 0;
}

int launch_max_pool2d_bwd(Stream* stream, const StepArgs& args) {
  const PoolShape shape = pool_shape(args.out[0], args.in[0], args);
  const float* dy = args.in[0].as<float>();
  const int32_t* argmax = args.in[1].as<int32_t>();
  float* dx = args.out[0].as<float>();
  const int64_t windows = shape.P * shape.Q;
  for_planes(stream, shape, [&](int64_t plane) {
    float* to = dx + plane * shape.H * shape.W;
    std::memset(to, 0, static_cast<size_t>(shape.H * shape.W) * sizeof(float));
    const float* from = dy + plane * windows;
    const int32_t* at = argmax + plane * windows;
    for (int64_t i = 0; i < windows; ++i) to[at[i]] += from[i];
  });
  return 0;
}

// ---- average ----------------------------------------------------------------------------------

float average_window(const PoolShape& shape, const float* x, int64_t p, int64_t q) {
  float total = 0;
  for (int64_t h = shape.h_begin(p); h < shape.h_end(p); ++h) {
    for (int64_t w = shape.w_begin(q); w < shape.w_end(q); ++w) total += x[h * shape.W + w];
  }
  return total / shape.divisor(p, q);
}

void average_pool_plane(const PoolShape& shape, const float* x, float* y) {
  const Pool2dParams& params = shape.params;
  const bool has_rows = params.stride_w <= 2;
  const int64_t first = has_rows ? shape.first_inside() : shape.Q;
  const int64_t last = has_rows ? shape.last_inside() : shape.Q;
  for (int64_t p = 0; p < shape.P; ++p) {
    for (int64_t q = 0; q < first; ++q) y[q] = average_window(shape, x, p, q);
    if (first < last) {
      const int64_t at = shape.h_begin(p) * shape.W + first * params.stride_w - params.pad_left;
      const int32_t rows = static_cast<int32_t>(shape.h_end(p) - shape.h_begin(p));
      cpu::average_pool_row({x + at, shape.W, rows, params.kernel_w, params.stride_w, last - first},
                            shape.divisor(p, first), y + first);
    }
    for (int64_t q = std::max(first, last); q < shape.Q; ++q) y[q] = average_window(shape, x, p, q);
    y += shape.Q;
  }
}

int launch_avg_pool2d_fwd(Stream* stream, const StepArgs& args) {
  const PoolShape shape = pool_shape(args.in[0], args.out[0], args);
  const float* x = args.in[0].as<float>();
  float* y = args.out[0].as<float>();
  const int64_t elems = shape.H * shape.W;
  const bool is_whole_plane =
      shape.P == 1 && shape.Q == 1 && shape.h_end(0) == shape.H && shape.w_end(0) == shape.W;
  for_planes(stream, shape, [&](int64_t plane) {
    if (is_whole_plane) {
      y[plane] = cpu::sum(x + plane * elems, elems) / shape.divisor(0, 0);
    } else {
      average_pool_plane(shape, x + plane * elems, y + plane * shape.P * shape.Q);
    }
  });
  return 0;
}

int launch_avg_pool2d_bwd(Stream* stream, const StepArgs& args) {
  const PoolShape shape = pool_shape(args.out[0], args.in[0], args);
  const float* dy = args.in[0].as<float>();
  float* dx = args.out[0].as<float>();
  for_planes(stream, shape, [&](int64_t plane) {
    float* to = dx + plane * shape.H * shape.W;
    std::memset(to, 0, static_cast<size_t>(shape.H * shape.W) * sizeof(float));
    const float* from = dy + plane * shape.P * shape.Q;
    for (int64_t p = 0; p < shape.P; ++p) {
      for (int64_t q = 0; q < shape.Q; ++q) {
        const float share = *from++ / shape.divisor(p, q);
        for (int64_t h = shape.h_begin(p); h < shape.h_end(p); ++h) {
          float* row = to + h * shape.W;
          for (int64_t w = shape.w_begin(q); w < shape.w_end(q); ++w) row[w] += share;
        }
      }
    }
  });
  return 0;
}

const Implementation kMaxForward[] = {
    {"direct", supports_all, no_workspace, launch_max_pool2d_fwd}};
const Implementation kMaxBackward[] = {
    {"direct", supports_all, no_workspace, launch_max_pool2d_bwd}};
const Implementation kAverageForward[] = {
    {"direct", supports_all, no_workspace, launch_avg_pool2d_fwd}};
const Implementation kAverageBackward[] = {
    {"direct", supports_all, no_workspace, launch_avg_pool2d_bwd}};

}  // namespace

const ImplementationList cpu_max_pool2d_fwd = {kMaxForward, 1};
const ImplementationList cpu_max_pool2d_bwd = {kMaxBackward, 1};
const ImplementationList cpu_avg_pool2d_fwd = {kAverageForward, 1};
const ImplementationList cpu_avg_pool2d_bwd = {kAverageBackward, 1};

}  // namespace tanul
