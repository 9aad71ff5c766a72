// SPDX-License-Identifier: Apache-2.0
#include "support/reference.h"

#include <cmath>
#include <limits>

<<<<<<< HEAD
#include "core/philox.h"
#include "kernels/concat/concat.h"
#include "kernels/dropout/dropout.h"
#include "kernels/layout/reshape.h"
=======
#include "kernels/conv2d/conv2d.h"
#include "kernels/linear/linear.h"
#include "kernels/pool/pool.h"
#include "kernels/softmax_xent/softmax_xent.h"
>>>>>>> 279cbdc (Activations from definitions; softmax; pad, slice, transpose, upsample)
#include "ops/cases.h"

namespace tanul::test {

double activate(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::none: return x;
    case ActivationKind::relu: return x < 0 ? 0 : x;
    case ActivationKind::sigmoid: return 1 / (1 + std::exp(-x));
    case ActivationKind::tanh: return std::tanh(x);
  }
  return std::numeric_limits<double>::quiet_NaN();
}

namespace {

// --- input_load -------------------------------------------------------------------------------

Tensors input_load(const Params&, const Tensors& in, const RefContext&) {
  const RefTensor& samples = in[0];
  RefTensor x(samples.shape);
  const int64_t channels = samples.shape.rank() == 2 ? 1 : samples.shape[1];
  const int64_t plane = samples.shape.elems_from(samples.shape.rank() == 2 ? 1 : 2);
  for (int64_t i = 0; i < x.elems(); ++i) {
    const int64_t c = i / plane % channels;
    const double value = samples.dtype == DType::u8 ? samples[i] / 255 : samples[i];
    x[i] = (value - in[1][c]) / in[2][c];
  }
  return {x};
}

<<<<<<< HEAD
// --- activation, concat, dropout ----------------------------------------------------------------

template <ActivationKind kKind>
Tensors activation_fwd(const Params&, const Tensors& in, const RefContext&) {
  RefTensor y(in[0].shape);
  for (int64_t i = 0; i < y.elems(); ++i) y[i] = activate(kKind, in[0][i]);
  return {y};
}

template <ActivationKind kKind>
Tensors activation_bwd(const Params&, const Tensors& in, const RefContext&) {
  RefTensor dx(in[0].shape);
  for (int64_t i = 0; i < dx.elems(); ++i) {
    const double dy = in[0][i], y = in[1][i];
    switch (kKind) {
      case ActivationKind::none: dx[i] = dy; break;
      case ActivationKind::relu: dx[i] = y > 0 ? dy : 0; break;
      case ActivationKind::sigmoid: dx[i] = dy * y * (1 - y); break;
      case ActivationKind::tanh: dx[i] = dy * (1 - y * y); break;
=======
// --- conv2d -----------------------------------------------------------------------------------

// Calls body(index of x, index of w, index of y) for every product of the convolution.
template <typename Body>
void for_each_product(const Conv2dParams& p, const Shape& x, const Shape& w, const Shape& y,
                      Body&& body) {
  const int64_t group_filters = w[0] / p.groups;
  for (int64_t n = 0; n < y[0]; ++n) {
    for (int64_t k = 0; k < y[1]; ++k) {
      const int64_t first_channel = k / group_filters * w[1];
      for (int64_t row = 0; row < y[2]; ++row) {
        for (int64_t column = 0; column < y[3]; ++column) {
          const int64_t yi = ((n * y[1] + k) * y[2] + row) * y[3] + column;
          for (int64_t c = 0; c < w[1]; ++c) {
            for (int64_t r = 0; r < w[2]; ++r) {
              const int64_t h = row * p.stride_h - p.pad_top + r * p.dilation_h;
              if (h < 0 || h >= x[2]) continue;
              for (int64_t s = 0; s < w[3]; ++s) {
                const int64_t at = column * p.stride_w - p.pad_left + s * p.dilation_w;
                if (at < 0 || at >= x[3]) continue;
                body(((n * x[1] + first_channel + c) * x[2] + h) * x[3] + at,
                     ((k * w[1] + c) * w[2] + r) * w[3] + s, yi);
              }
            }
          }
        }
      }
    }
  }
}

int64_t floor_extent(int64_t in, int64_t pads, int64_t dilation, int64_t kernel, int64_t stride) {
  return (in + pads - dilation * (kernel - 1) - 1) / stride + 1;
}

Tensors conv2d_fwd(const Params& params, const Tensors& in, const RefContext&) {
  const Conv2dParams& p = params.as<Conv2dParams>();
  const RefTensor& x = in[0];
  const RefTensor& w = in[1];
  RefTensor y(
      {x.shape[0], w.shape[0],
       floor_extent(x.shape[2], p.pad_top + p.pad_bottom, p.dilation_h, w.shape[2], p.stride_h),
       floor_extent(x.shape[3], p.pad_left + p.pad_right, p.dilation_w, w.shape[3], p.stride_w)});
  for_each_product(p, x.shape, w.shape, y.shape,
                   [&](int64_t xi, int64_t wi, int64_t yi) { y[yi] += x[xi] * w[wi]; });
  const int64_t plane = y.shape[2] * y.shape[3];
  for (int64_t i = 0; i < y.elems(); ++i) {
    const double b = is_present(in, 2) ? in[2][i / plane % y.shape[1]] : 0;
    y[i] = activate(p.activation, y[i] + b);
  }
  return {y};
}

Tensors conv2d_bwd_data(const Params& params, const Tensors& in, const RefContext&) {
  const Conv2dParams& p = params.as<Conv2dParams>();
  const RefTensor& dy = in[0];
  const RefTensor& w = in[1];
  RefTensor dx({dy.shape[0], w.shape[1] * p.groups, p.in_h, p.in_w});
  for_each_product(p, dx.shape, w.shape, dy.shape,
                   [&](int64_t xi, int64_t wi, int64_t yi) { dx[xi] += dy[yi] * w[wi]; });
  return {dx};
}

Tensors conv2d_bwd_weights(const Params& params, const Tensors& in, const RefContext&) {
  const Conv2dParams& p = params.as<Conv2dParams>();
  const RefTensor& x = in[0];
  const RefTensor& dy = in[1];
  RefTensor dw({dy.shape[1], x.shape[1] / p.groups, p.kernel_h, p.kernel_w});
  for_each_product(p, x.shape, dw.shape, dy.shape,
                   [&](int64_t xi, int64_t wi, int64_t yi) { dw[wi] += x[xi] * dy[yi]; });
  if (p.has_bias == 0) return {dw, RefTensor::absent()};
  RefTensor db({dy.shape[1]});
  const int64_t plane = dy.shape[2] * dy.shape[3];
  for (int64_t i = 0; i < dy.elems(); ++i) db[i / plane % dy.shape[1]] += dy[i];
  return {dw, db};
}

// --- linear -----------------------------------------------------------------------------------

Tensors linear_fwd(const Params& params, const Tensors& in, const RefContext&) {
  const RefTensor& x = in[0];
  const RefTensor& w = in[1];
  const int64_t N = x.shape[0], C = x.shape[1], K = w.shape[0];
  RefTensor y({N, K});
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t k = 0; k < K; ++k) {
      double sum = 0;
      for (int64_t c = 0; c < C; ++c) sum += x[n * C + c] * w[k * C + c];
      if (is_present(in, 2)) sum += in[2][k];
      y[n * K + k] = activate(params.as<LinearParams>().activation, sum);
    }
  }
  return {y};
}

Tensors linear_bwd_data(const Params&, const Tensors& in, const RefContext&) {
  const RefTensor& dy = in[0];
  const RefTensor& w = in[1];
  const int64_t N = dy.shape[0], K = dy.shape[1], C = w.shape[1];
  RefTensor dx({N, C});
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t k = 0; k < K; ++k) {
      for (int64_t c = 0; c < C; ++c) dx[n * C + c] += dy[n * K + k] * w[k * C + c];
>>>>>>> 279cbdc (Activations from definitions; softmax; pad, slice, transpose, upsample)
    }
  }
  return {dx};
}

<<<<<<< HEAD
// Calls body(part, index in the part, index in the whole) for all elements.
template <typename Body>
void for_each_joined(const ConcatParams& p, const Shape& whole, Body&& body) {
  const int64_t inner = whole.elems_from(p.axis + 1);
  const int64_t extent = whole[p.axis];
  for (int64_t i = 0; i < whole.elems(); ++i) {
    const int64_t outer = i / (extent * inner);
    int64_t at = i / inner % extent;
    int part = 0;
    while (at >= p.extents[part]) at -= p.extents[part++];
    body(part, (outer * p.extents[part] + at) * inner + i % inner, i);
  }
}

Tensors concat_fwd(const Params& params, const Tensors& in, const RefContext&) {
  ConcatParams p = params.as<ConcatParams>();
  Shape shape = in[0].shape;
  shape[p.axis] = 0;
  for (size_t i = 0; i < in.size(); ++i) {
    p.extents[i] = in[i].shape[p.axis];
    shape[p.axis] += p.extents[i];
  }
  RefTensor y(shape);
  for_each_joined(p, shape, [&](int part, int64_t from, int64_t to) {
    y[to] = in[static_cast<size_t>(part)][from];
  });
  return {y};
}

Tensors concat_bwd(const Params& params, const Tensors& in, const RefContext&) {
  const ConcatParams& p = params.as<ConcatParams>();
  Tensors dx;
  for (int i = 0; i < p.count; ++i) {
    Shape shape = in[0].shape;
    shape[p.axis] = p.extents[i];
    dx.emplace_back(shape);
  }
  for_each_joined(p, in[0].shape, [&](int part, int64_t to, int64_t from) {
    dx[static_cast<size_t>(part)][to] = in[0][from];
  });
  for (int i = 0; i < p.count; ++i) {
    if ((p.wanted >> i & 1) == 0) dx[static_cast<size_t>(i)] = RefTensor::absent();
  }
  return dx;
}

Tensors dropout(const Params& params, const Tensors& in, const RefContext& context) {
  const DropoutParams& p = params.as<DropoutParams>();
  const Philox philox{context.seed, p.stream, static_cast<uint32_t>(context.step)};
  RefTensor y(in[0].shape);
  for (int64_t i = 0; i < y.elems(); ++i) {
    const bool is_dropped = philox.uniform24(static_cast<uint64_t>(i)) < p.p;
    y[i] = is_dropped ? 0 : in[0][i] / (1 - static_cast<double>(p.p));
  }
  return {y};
}

// --- views ------------------------------------------------------------------------------------

Tensors reshape(const Params& params, const Tensors& in, const RefContext&) {
  const ReshapeParams& p = params.as<ReshapeParams>();
  RefTensor y = in[0];
  if (p.flatten != 0) {
    y.shape = Shape{in[0].shape[0], in[0].shape.elems() / in[0].shape[0]};
  } else {
    y.shape = Shape(std::vector<int64_t>(p.extents, p.extents + p.rank));
  }
  return {y};
}

=======
Tensors linear_bwd_weights(const Params& params, const Tensors& in, const RefContext&) {
  const RefTensor& x = in[0];
  const RefTensor& dy = in[1];
  const int64_t N = dy.shape[0], K = dy.shape[1], C = x.shape[1];
  RefTensor dw({K, C}), db({K});
  for (int64_t n = 0; n < N; ++n) {
    for (int64_t k = 0; k < K; ++k) {
      db[k] += dy[n * K + k];
      for (int64_t c = 0; c < C; ++c) dw[k * C + c] += dy[n * K + k] * x[n * C + c];
    }
  }
  if (params.as<LinearParams>().has_bias == 0) return {dw, RefTensor::absent()};
  return {dw, db};
}

// --- pool -------------------------------------------------------------------------------------

// Windows along one axis: how many, with the rule for ceil_mode.
int64_t windows(int64_t in, int64_t before, int64_t after, int64_t kernel, int64_t stride,
                bool ceil_mode) {
  const int64_t room = in + before + after - kernel;
  int64_t count = (ceil_mode ? room + stride - 1 : room) / stride + 1;
  if (ceil_mode && (count - 1) * stride >= in + before) --count;
  return count;
}

struct PoolShape {
  Shape y;
  explicit PoolShape(const Pool2dParams& p, const Shape& x)
      : y{x[0], x[1],
          windows(x[2], p.pad_top, p.pad_bottom, p.kernel_h, p.stride_h, p.ceil_mode != 0),
          windows(x[3], p.pad_left, p.pad_right, p.kernel_w, p.stride_w, p.ceil_mode != 0)} {}
};

// Calls body(index of y, plane's first index of x, position in the plane) for all elements of all
// windows that lie inside the input, and after(index of y, divisor) behind each window.
template <typename Body, typename After>
void for_each_window(const Pool2dParams& p, const Shape& x, const Shape& y, Body&& body,
                     After&& after) {
  for (int64_t plane = 0; plane < x[0] * x[1]; ++plane) {
    for (int64_t row = 0; row < y[2]; ++row) {
      for (int64_t column = 0; column < y[3]; ++column) {
        const int64_t yi = (plane * y[2] + row) * y[3] + column;
        int64_t inside = 0, padded = 0;
        for (int64_t r = 0; r < p.kernel_h; ++r) {
          for (int64_t s = 0; s < p.kernel_w; ++s) {
            const int64_t h = row * p.stride_h - p.pad_top + r;
            const int64_t w = column * p.stride_w - p.pad_left + s;
            if (h < x[2] + p.pad_bottom && w < x[3] + p.pad_right) ++padded;
            if (h < 0 || h >= x[2] || w < 0 || w >= x[3]) continue;
            ++inside;
            body(yi, plane * x[2] * x[3], h * x[3] + w);
          }
        }
        after(yi, p.count_include_pad != 0 ? padded : inside);
      }
    }
  }
}

Tensors max_pool2d_fwd(const Params& params, const Tensors& in, const RefContext&) {
  const Pool2dParams& p = params.as<Pool2dParams>();
  const RefTensor& x = in[0];
  const Shape shape = PoolShape(p, x.shape).y;
  RefTensor y(shape, DType::f32, -kInf), argmax(shape, DType::i32, -1);
  for_each_window(
      p, x.shape, shape,
      [&](int64_t yi, int64_t plane, int64_t at) {
        const double value = x[plane + at];
        if (std::isnan(y[yi])) return;
        if (argmax[yi] < 0 || std::isnan(value) || value > y[yi]) {
          y[yi] = value;
          argmax[yi] = static_cast<double>(at);
        }
      },
      [](int64_t, int64_t) {});
  return {y, argmax};
}

Tensors max_pool2d_bwd(const Params& params, const Tensors& in, const RefContext&) {
  const Pool2dParams& p = params.as<Pool2dParams>();
  const RefTensor& dy = in[0];
  RefTensor dx({dy.shape[0], dy.shape[1], p.in_h, p.in_w});
  const int64_t out_plane = dy.shape[2] * dy.shape[3];
  for (int64_t i = 0; i < dy.elems(); ++i) {
    dx[i / out_plane * p.in_h * p.in_w + static_cast<int64_t>(in[1][i])] += dy[i];
  }
  return {dx};
}

Tensors avg_pool2d_fwd(const Params& params, const Tensors& in, const RefContext&) {
  const Pool2dParams& p = params.as<Pool2dParams>();
  const RefTensor& x = in[0];
  RefTensor y(PoolShape(p, x.shape).y);
  for_each_window(
      p, x.shape, y.shape, [&](int64_t yi, int64_t plane, int64_t at) { y[yi] += x[plane + at]; },
      [&](int64_t yi, int64_t divisor) { y[yi] /= static_cast<double>(divisor); });
  return {y};
}

Tensors avg_pool2d_bwd(const Params& params, const Tensors& in, const RefContext&) {
  const Pool2dParams& p = params.as<Pool2dParams>();
  const RefTensor& dy = in[0];
  RefTensor dx({dy.shape[0], dy.shape[1], p.in_h, p.in_w});
  std::vector<int64_t> window;
  for_each_window(
      p, dx.shape, dy.shape,
      [&](int64_t, int64_t plane, int64_t at) { window.push_back(plane + at); },
      [&](int64_t yi, int64_t divisor) {
        for (int64_t at : window) dx[at] += dy[yi] / static_cast<double>(divisor);
        window.clear();
      });
  return {dx};
}

// --- losses -----------------------------------------------------------------------------------

bool is_ignored(const SoftmaxXentParams& p, double target) {
  return p.has_ignore_index != 0 && target == p.ignore_index;
}

// log softmax of row n.
std::vector<double> log_softmax(const RefTensor& z, int64_t n) {
  const int64_t C = z.shape[1];
  double max = -kInf, sum = 0;
  for (int64_t c = 0; c < C; ++c) max = std::fmax(max, z[n * C + c]);
  for (int64_t c = 0; c < C; ++c) sum += std::exp(z[n * C + c] - max);
  std::vector<double> log_p;
  for (int64_t c = 0; c < C; ++c) log_p.push_back(z[n * C + c] - max - std::log(sum));
  return log_p;
}

// q[c] = v[c] ((1 - s) [c = t] + s/C)
std::vector<double> wanted_share(const SoftmaxXentParams& p, const Tensors& in, int64_t target) {
  const int64_t C = in[0].shape[1];
  const double s = static_cast<double>(p.label_smoothing);
  std::vector<double> q;
  for (int64_t c = 0; c < C; ++c) {
    const double v = is_present(in, 2) ? in[2][c] : 1;
    q.push_back(v * ((c == target ? 1 - s : 0) + s / static_cast<double>(C)));
  }
  return q;
}

Tensors softmax_xent_fwd(const Params& params, const Tensors& in, const RefContext&) {
  const SoftmaxXentParams& p = params.as<SoftmaxXentParams>();
  const RefTensor& z = in[0];
  const int64_t N = z.shape[0], C = z.shape[1];
  double sum = 0, divisor = 0, correct = 0, counted = 0;
  for (int64_t n = 0; n < N; ++n) {
    if (is_ignored(p, in[1][n])) continue;
    ++counted;
    const int64_t t = static_cast<int64_t>(in[1][n]);
    if (t < 0 || t >= C) {
      sum = kNan;
      continue;
    }
    const std::vector<double> log_p = log_softmax(z, n);
    const std::vector<double> q = wanted_share(p, in, t);
    int64_t best = 0;
    for (int64_t c = 0; c < C; ++c) {
      sum -= q[static_cast<size_t>(c)] * log_p[static_cast<size_t>(c)];
      if (z[n * C + c] > z[n * C + best]) best = c;
    }
    divisor += is_present(in, 2) ? in[2][t] : 1;
    correct += best == t ? 1 : 0;
  }
  RefTensor loss({1}), stats({4});
  loss[0] = sum / divisor;
  stats.v = {sum, divisor, correct, counted};
  return {loss, stats};
}

Tensors softmax_xent_bwd(const Params& params, const Tensors& in, const RefContext&) {
  const SoftmaxXentParams& p = params.as<SoftmaxXentParams>();
  const RefTensor& z = in[0];
  const int64_t N = z.shape[0], C = z.shape[1];
  RefTensor dz(z.shape);
  for (int64_t n = 0; n < N; ++n) {
    if (is_ignored(p, in[1][n])) continue;
    const int64_t t = static_cast<int64_t>(in[1][n]);
    const std::vector<double> log_p = log_softmax(z, n);
    const std::vector<double> q = wanted_share(p, in, t);
    double q_sum = 0;
    for (double share : q) q_sum += share;
    for (int64_t c = 0; c < C; ++c) {
      const size_t at = static_cast<size_t>(c);
      dz[n * C + c] =
          t < 0 || t >= C ? kNan : in[3][0] / in[4][1] * (q_sum * std::exp(log_p[at]) - q[at]);
    }
  }
  return {dz};
}

// Targets as values of the shape of x.
RefTensor mse_target(const Tensors& in) {
  if (in[1].dtype != DType::i32) return in[1];
  const int64_t C = in[0].shape[1];
  RefTensor target(in[0].shape);
  for (int64_t n = 0; n < in[0].shape[0]; ++n) {
    const bool is_valid = in[1][n] >= 0 && in[1][n] < static_cast<double>(C);
    for (int64_t c = 0; c < C; ++c) {
      target[n * C + c] = is_valid ? (in[1][n] == static_cast<double>(c) ? 1 : 0) : kNan;
    }
  }
  return target;
}

Tensors mse_fwd(const Params&, const Tensors& in, const RefContext&) {
  const RefTensor& x = in[0];
  const RefTensor target = mse_target(in);
  double sum = 0, correct = 0;
  for (int64_t i = 0; i < x.elems(); ++i) sum += (x[i] - target[i]) * (x[i] - target[i]);
  if (in[1].dtype == DType::i32) {
    for (int64_t n = 0; n < x.shape[0]; ++n) {
      int64_t best = 0;
      for (int64_t c = 0; c < x.shape[1]; ++c) {
        if (x[n * x.shape[1] + c] > x[n * x.shape[1] + best]) best = c;
      }
      correct += static_cast<double>(best) == in[1][n] ? 1 : 0;
    }
  }
  const double elems = static_cast<double>(x.elems());
  RefTensor loss({1}), stats({4});
  loss[0] = sum / elems;
  stats.v = {sum, elems, correct, static_cast<double>(x.shape[0])};
  return {loss, stats};
}

Tensors mse_bwd(const Params&, const Tensors& in, const RefContext&) {
  const RefTensor target = mse_target(in);
  RefTensor dx(in[0].shape);
  for (int64_t i = 0; i < dx.elems(); ++i) {
    dx[i] = in[2][0] * 2 * (in[0][i] - target[i]) / static_cast<double>(dx.elems());
  }
  return {dx};
}

// --- optimizers -------------------------------------------------------------------------------

>>>>>>> 279cbdc (Activations from definitions; softmax; pad, slice, transpose, upsample)
using Reference = Tensors (*)(const Params&, const Tensors&, const RefContext&);

Reference find(OpKind kind) {
  switch (kind) {
    case OpKind::input_load: return input_load;
<<<<<<< HEAD
    case OpKind::relu_fwd: return activation_fwd<ActivationKind::relu>;
    case OpKind::relu_bwd: return activation_bwd<ActivationKind::relu>;
    case OpKind::sigmoid_fwd: return activation_fwd<ActivationKind::sigmoid>;
    case OpKind::sigmoid_bwd: return activation_bwd<ActivationKind::sigmoid>;
    case OpKind::tanh_fwd: return activation_fwd<ActivationKind::tanh>;
    case OpKind::tanh_bwd: return activation_bwd<ActivationKind::tanh>;
    case OpKind::concat_fwd: return concat_fwd;
    case OpKind::concat_bwd: return concat_bwd;
    case OpKind::dropout_fwd: return dropout;
    case OpKind::dropout_bwd: return dropout;
    case OpKind::reshape: return reshape;
=======
    case OpKind::conv2d_fwd: return conv2d_fwd;
    case OpKind::conv2d_bwd_data: return conv2d_bwd_data;
    case OpKind::conv2d_bwd_weights: return conv2d_bwd_weights;
    case OpKind::linear_fwd: return linear_fwd;
    case OpKind::linear_bwd_data: return linear_bwd_data;
    case OpKind::linear_bwd_weights: return linear_bwd_weights;
    case OpKind::max_pool2d_fwd: return max_pool2d_fwd;
    case OpKind::max_pool2d_bwd: return max_pool2d_bwd;
    case OpKind::avg_pool2d_fwd: return avg_pool2d_fwd;
    case OpKind::avg_pool2d_bwd: return avg_pool2d_bwd;
    case OpKind::softmax_xent_fwd: return softmax_xent_fwd;
    case OpKind::softmax_xent_bwd: return softmax_xent_bwd;
    case OpKind::mse_fwd: return mse_fwd;
    case OpKind::mse_bwd: return mse_bwd;
>>>>>>> 279cbdc (Activations from definitions; softmax; pad, slice, transpose, upsample)
    default: {
      const Rule* rule = find_rule(kind);
      return rule == nullptr ? nullptr : rule->reference;
    }
  }
}

}  // namespace

const Rule* find_rule(OpKind kind) {
  static const std::vector<Rule> all = [] {
    std::vector<Rule> rules;
    for (const Family& family : families()) {
      for (const Rule& rule : family.rules()) rules.push_back(rule);
    }
    return rules;
  }();
  for (const Rule& rule : all) {
    if (rule.kind == kind) return &rule;
  }
  return nullptr;
}

bool has_reference(OpKind kind) { return find(kind) != nullptr; }

std::vector<RefTensor> reference(OpKind kind, const Params& params,
                                 const std::vector<RefTensor>& in, const RefContext& context) {
  return find(kind)(params, in, context);
}

}  // namespace tanul::test
