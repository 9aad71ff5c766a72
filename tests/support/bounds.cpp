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
  switch (kind) {
    case OpKind::relu_fwd:
    case OpKind::relu_bwd:
    case OpKind::concat_fwd:
    case OpKind::concat_bwd: return true;
    default: {
      const Rule* rule = find_rule(kind);
      return rule != nullptr && rule->is_exact_on_integers != nullptr &&
             rule->is_exact_on_integers(params);
    }
  }
}

}  // namespace tanul::test
