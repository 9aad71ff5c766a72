// SPDX-License-Identifier: Apache-2.0
#include "support/reference.h"

#include <cmath>
#include <limits>

#include "core/philox.h"
#include "kernels/concat/concat.h"
#include "kernels/dropout/dropout.h"
#include "kernels/layout/reshape.h"
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
    }
  }
  return {dx};
}

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

using Reference = Tensors (*)(const Params&, const Tensors&, const RefContext&);

Reference find(OpKind kind) {
  switch (kind) {
    case OpKind::input_load: return input_load;
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
