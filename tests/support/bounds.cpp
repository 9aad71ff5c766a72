// SPDX-License-Identifier: Apache-2.0
#include "support/bounds.h"

#include <algorithm>
#include <cmath>

#include "kernels/conv2d/conv2d.h"
#include "kernels/linear/linear.h"
#include "kernels/pool/pool.h"
#include "ops/cases.h"

namespace tanul::test {

Tensors absolute(const Tensors& in) {
  Tensors out = in;
  for (RefTensor& t : out) {
    for (double& value : t.v) value = std::abs(value);
  }
  return out;
}

std::vector<double> sum_bound(const RefTensor& T, double n) {
  std::vector<double> bound;
  for (double value : T.v) bound.push_back((2 + n) * kU * value + kSmallest);
  return bound;
}

std::vector<double> relative(const RefTensor& want, double units) {
  std::vector<double> bound;
  for (double value : want.v) bound.push_back(units * kU * std::abs(value) + kSmallest);
  return bound;
}

std::vector<double> exact(const RefTensor& want) {
  return std::vector<double>(static_cast<size_t>(want.elems()), 0.0);
}

namespace {

// The error of a sum carried through an activation of slope at most `slope`, plus its own.
std::vector<double> through(ActivationKind kind, std::vector<double> bound, const RefTensor& y) {
  if (kind == ActivationKind::none || kind == ActivationKind::relu) return bound;
  const double slope = kind == ActivationKind::sigmoid ? 0.25 : 1;
  for (size_t i = 0; i < bound.size(); ++i) {
    bound[i] = slope * bound[i] + kTranscendental * std::abs(y.v[i]);
  }
  return bound;
}

double as_double(int64_t n) { return static_cast<double>(n); }

Bounds conv2d(OpKind kind, const Params& params, const Tensors& in, const Tensors& want,
              const RefContext& context) {
  Conv2dParams p = params.as<Conv2dParams>();
  const ActivationKind activation = p.activation;
  p.activation = ActivationKind::none;
  const Tensors T = reference(kind, Params::of(p), absolute(in), context);
  if (kind == OpKind::conv2d_fwd) {
    const double n = as_double(in[1].shape.elems_from(1)) + 1;  // and the bias
    return {through(activation, sum_bound(T[0], n), want[0])};
  }
  if (kind == OpKind::conv2d_bwd_data) {
    const Shape& w = in[1].shape;
    return {sum_bound(T[0], as_double(w[0] / p.groups * w[2] * w[3]))};
  }
  const Shape& dy = in[1].shape;
  const double n = as_double(dy[0] * dy[2] * dy[3]);
  return {sum_bound(T[0], n), sum_bound(T[1], n)};
}

Bounds linear(OpKind kind, const Params& params, const Tensors& in, const Tensors& want,
              const RefContext& context) {
  LinearParams p = params.as<LinearParams>();
  const ActivationKind activation = p.activation;
  p.activation = ActivationKind::none;
  const Tensors T = reference(kind, Params::of(p), absolute(in), context);
  if (kind == OpKind::linear_fwd) {
    return {through(activation, sum_bound(T[0], as_double(in[0].shape[1]) + 1), want[0])};
  }
  if (kind == OpKind::linear_bwd_data) return {sum_bound(T[0], as_double(in[0].shape[1]))};
  const double n = as_double(in[0].shape[0]);
  return {sum_bound(T[0], n), sum_bound(T[1], n)};
}

Bounds pool(OpKind kind, const Params& params, const Tensors& in, const Tensors& want,
            const RefContext& context) {
  const Pool2dParams& p = params.as<Pool2dParams>();
  if (kind == OpKind::max_pool2d_fwd) return {exact(want[0]), exact(want[1])};
  const Tensors T = reference(kind, params, absolute(in), context);
  if (kind == OpKind::avg_pool2d_fwd) return {sum_bound(T[0], p.kernel_h * p.kernel_w)};
  const int overlapping =
      ((p.kernel_h + p.stride_h - 1) / p.stride_h) * ((p.kernel_w + p.stride_w - 1) / p.stride_w);
  return {sum_bound(T[0], overlapping)};
}

Bounds sigmoid_bwd(const Tensors& in) {
  // dy y (1 - y): each of the three operations rounds once.
  std::vector<double> bound;
  for (size_t i = 0; i < in[0].v.size(); ++i) {
    const double y = in[1].v[i];
    bound.push_back(4 * kU * std::abs(in[0].v[i] * y * (1 - y)) + kSmallest);
  }
  return {bound};
}

Bounds tanh_bwd(const Tensors& in) {
  // y^2 rounds at its own size, then the difference and the product round.
  std::vector<double> bound;
  for (size_t i = 0; i < in[0].v.size(); ++i) {
    const double y = in[1].v[i];
    bound.push_back(kU * std::abs(in[0].v[i]) * (y * y + 3 * (1 - y * y)) + kSmallest);
  }
  return {bound};
}

Bounds input_load(const Tensors& in) {
  // v scale + shift: two rounded factors, a product and a sum: 4 u (|v scale| + |shift|).
  const RefTensor& samples = in[0];
  const bool is_flat = samples.shape.rank() == 2;
  const int64_t plane = samples.shape.elems_from(is_flat ? 1 : 2);
  std::vector<double> bound;
  for (int64_t i = 0; i < samples.elems(); ++i) {
    const int64_t c = is_flat ? 0 : i / plane % samples.shape[1];
    const double value = samples.dtype == DType::u8 ? samples[i] / 255 : std::abs(samples[i]);
    bound.push_back(4 * kU * (value + std::abs(in[1][c])) / std::abs(in[2][c]) + kSmallest);
  }
  return {bound};
}

}  // namespace

std::vector<std::vector<double>> error_bounds(OpKind kind, const Params& params,
                                              const std::vector<RefTensor>& in,
                                              const std::vector<RefTensor>& want,
                                              const RefContext& context) {
  switch (kind) {
    case OpKind::input_load: return input_load(in);
    case OpKind::conv2d_fwd:
    case OpKind::conv2d_bwd_data:
    case OpKind::conv2d_bwd_weights: return conv2d(kind, params, in, want, context);
    case OpKind::linear_fwd:
    case OpKind::linear_bwd_data:
    case OpKind::linear_bwd_weights: return linear(kind, params, in, want, context);
    case OpKind::max_pool2d_fwd:
    case OpKind::max_pool2d_bwd:
    case OpKind::avg_pool2d_fwd:
    case OpKind::avg_pool2d_bwd: return pool(kind, params, in, want, context);
    case OpKind::sigmoid_fwd:
    case OpKind::tanh_fwd: return {relative(want[0], kTranscendental / kU)};
    case OpKind::sigmoid_bwd: return sigmoid_bwd(in);
    case OpKind::tanh_bwd: return tanh_bwd(in);
    case OpKind::dropout_fwd:
    case OpKind::dropout_bwd: return {relative(want[0], 3)};  // the factor, the product
    default: {
      const Rule* rule = find_rule(kind);
      if (rule != nullptr && rule->bounds != nullptr) {
        return rule->bounds({params, in, want, context});
      }
      // Moves, maxima and single additions: the correctly rounded result.
      Bounds bounds;
      for (const RefTensor& t : want) bounds.push_back(exact(t));
      return bounds;
    }
  }
}

bool is_exact_on_integers(OpKind kind, const Params& params) {
  const auto keeps_integers = [](ActivationKind activation) {
    return activation == ActivationKind::none || activation == ActivationKind::relu;
  };
  switch (kind) {
    case OpKind::conv2d_fwd: return keeps_integers(params.as<Conv2dParams>().activation);
    case OpKind::linear_fwd: return keeps_integers(params.as<LinearParams>().activation);
    case OpKind::conv2d_bwd_data:
    case OpKind::conv2d_bwd_weights:
    case OpKind::linear_bwd_data:
    case OpKind::linear_bwd_weights:
    case OpKind::max_pool2d_fwd:
    case OpKind::max_pool2d_bwd:
    case OpKind::relu_fwd:
    case OpKind::relu_bwd:
    case OpKind::concat_fwd:
    case OpKind::concat_bwd: return true;
    case OpKind::avg_pool2d_fwd:
    case OpKind::avg_pool2d_bwd: {
      // Every divisor is the same power of two: no window is cut.
      const Pool2dParams& p = params.as<Pool2dParams>();
      const int window = p.kernel_h * p.kernel_w;
      const bool is_padded = (p.pad_top | p.pad_left | p.pad_bottom | p.pad_right) != 0;
      return (window & (window - 1)) == 0 && p.ceil_mode == 0 &&
             (!is_padded || p.count_include_pad != 0);
    }
    default: {
      const Rule* rule = find_rule(kind);
      return rule != nullptr && rule->is_exact_on_integers != nullptr &&
             rule->is_exact_on_integers(params);
    }
  }
}

}  // namespace tanul::test
