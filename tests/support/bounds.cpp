// SPDX-License-Identifier: Apache-2.0
#include "support/bounds.h"

#include <algorithm>
#include <cmath>

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

std::vector<double> through(ActivationKind kind, std::vector<double> bound, const RefTensor& y) {
  if (kind == ActivationKind::none || kind == ActivationKind::relu) return bound;
  const double slope = kind == ActivationKind::sigmoid ? 0.25 : 1;
  for (size_t i = 0; i < bound.size(); ++i) {
    bound[i] = slope * bound[i] + kTranscendental * std::abs(y.v[i]);
  }
  return bound;
}

namespace {

<<<<<<< HEAD
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
=======
double largest(const RefTensor& z, int64_t n) {
  double max = 0;
  for (int64_t c = 0; c < z.shape[1]; ++c) max = std::max(max, std::abs(z[n * z.shape[1] + c]));
  return max;
}

// Cross-entropy: log p rounds at the size of the logits and of log C; the sum of C exponentials has a
// relative error of C u; sums of q over classes and of losses over samples add theirs.
Bounds softmax_xent_fwd(const Tensors& in, const Tensors& want) {
  const RefTensor& z = in[0];
  const double N = as_double(z.shape[0]), C = as_double(z.shape[1]);
  double max_weight = 1;
  if (in.size() > 2 && in[2].present) {
    for (double v : in[2].v) max_weight = std::max(max_weight, v);
  }
  double sum_error = 0;
  for (int64_t n = 0; n < z.shape[0]; ++n) {
    sum_error += max_weight * kU * (4 * largest(z, n) + 2 * C + 8);
  }
  sum_error += (2 + N) * kU * std::abs(want[1][0]);
  const double divisor = want[1][1];
  Bounds bounds{{sum_error / divisor + (4 + N) * kU * std::abs(want[0][0])},
                {sum_error, (2 + N) * kU * divisor, 0, 0}};
  return bounds;
}

// dz = scale (q_sum p - q): p has a relative error of C u (the sum) plus the absolute error u |z - max|
// of the exponent, which beyond 104 has underflowed anyway.
Bounds softmax_xent_bwd(const Params& params, const Tensors& in, const RefContext& context) {
  const RefTensor& z = in[0];
  const double C = as_double(z.shape[1]);
  const double scale = std::abs(in[3][0] / in[4][1]);
  double max_weight = 1;
  if (in[2].present) {
    max_weight = 0;
    for (double v : in[2].v) max_weight = std::max(max_weight, v);
  }
  const RefTensor dz = reference(OpKind::softmax_xent_bwd, params, in, context)[0];
  std::vector<double> bound;
  for (int64_t n = 0; n < z.shape[0]; ++n) {
    const double* row = z.v.data() + n * z.shape[1];
    const double max = *std::max_element(row, row + z.shape[1]);
    double sum = 0;
    for (int64_t c = 0; c < z.shape[1]; ++c) sum += std::exp(row[c] - max);
    for (int64_t c = 0; c < z.shape[1]; ++c) {
      const double distance = std::min(max - row[c], 104.0);
      const double p = std::exp(row[c] - max) / sum;
      bound.push_back(scale * max_weight * kU * p * (C + 8 + distance) +
                      4 * kU * std::abs(dz[n * z.shape[1] + c]) + (1 + scale) * kSmallest);
    }
>>>>>>> 279cbdc (Activations from definitions; softmax; pad, slice, transpose, upsample)
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
<<<<<<< HEAD
    case OpKind::sigmoid_fwd:
    case OpKind::tanh_fwd: return {relative(want[0], kTranscendental / kU)};
    case OpKind::sigmoid_bwd: return sigmoid_bwd(in);
    case OpKind::tanh_bwd: return tanh_bwd(in);
    case OpKind::dropout_fwd:
    case OpKind::dropout_bwd: return {relative(want[0], 3)};  // the factor, the product
=======
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
    case OpKind::softmax_xent_fwd: return softmax_xent_fwd(in, want);
    case OpKind::softmax_xent_bwd: return softmax_xent_bwd(params, in, context);
    case OpKind::mse_fwd: {  // n squares of rounded differences
      const double n = static_cast<double>(in[0].elems());
      return {relative(want[0], n + 4), {(n + 4) * kU * want[1][0], kU * want[1][1], 0, 0}};
    }
    case OpKind::mse_bwd: return {relative(want[0], 4)};
>>>>>>> 279cbdc (Activations from definitions; softmax; pad, slice, transpose, upsample)
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
  switch (kind) {
<<<<<<< HEAD
    case OpKind::relu_fwd:
    case OpKind::relu_bwd:
    case OpKind::concat_fwd:
    case OpKind::concat_bwd: return true;
=======
    case OpKind::conv2d_fwd: return keeps_integers(params.as<Conv2dParams>().activation);
    case OpKind::linear_fwd: return keeps_integers(params.as<LinearParams>().activation);
    case OpKind::conv2d_bwd_data:
    case OpKind::conv2d_bwd_weights:
    case OpKind::linear_bwd_data:
    case OpKind::linear_bwd_weights:
    case OpKind::max_pool2d_fwd:
    case OpKind::max_pool2d_bwd: return true;
    case OpKind::avg_pool2d_fwd:
    case OpKind::avg_pool2d_bwd: {
      // Every divisor is the same power of two: no window is cut.
      const Pool2dParams& p = params.as<Pool2dParams>();
      const int window = p.kernel_h * p.kernel_w;
      const bool is_padded = (p.pad_top | p.pad_left | p.pad_bottom | p.pad_right) != 0;
      return (window & (window - 1)) == 0 && p.ceil_mode == 0 &&
             (!is_padded || p.count_include_pad != 0);
    }
>>>>>>> 279cbdc (Activations from definitions; softmax; pad, slice, transpose, upsample)
    default: {
      const Rule* rule = find_rule(kind);
      return rule != nullptr && rule->is_exact_on_integers != nullptr &&
             rule->is_exact_on_integers(params);
    }
  }
}

}  // namespace tanul::test
