// SPDX-License-Identifier: Apache-2.0
#include "support/bounds.h"

#include <cmath>
#include <string_view>

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

namespace {

// How far a rounded operand may be off, relatively and where it is small, and a sum, in units of u.
struct Rounding {
  double relative, absolute, addition;
};
Rounding rounding_to(Precision precision) {
  switch (precision) {
    case Precision::fp32: return {0, 0, 1};
    case Precision::tf32: return {0x1p-11, 0, 2};
    case Precision::bf16: return {0x1p-8, 0, 2};
    case Precision::fp16: return {0x1p-11, 0x1p-25, 2};
  }
  return {};
}

// Of n terms whose rounding adds up to `rounded`.
double bound_of(const Rounding& rounding, double rounded, double T, double n) {
  return rounded + (2 + n) * rounding.addition * kU * (T + rounded) + kSmallest;
}

RefTensor ones(const RefTensor& like) {
  RefTensor t(like.shape);
  for (double& value : t.v) value = 1;
  return t;
}

}  // namespace

std::vector<double> product_bound(Precision precision, const RefTensor& T, double n,
                                  const Tensors& in,
                                  const std::function<RefTensor(const Tensors&)>& product) {
  const Rounding r = rounding_to(precision);
  if (r.relative == 0) return sum_bound(T, n);
  const Tensors a = absolute({in[0], in[1]});
  const RefTensor products = product(a);
  // (|a| + e |a| + s)(|b| + e |b| + s) - |a| |b|, summed
  std::vector<double> bound;
  for (double value : products.v) {
    bound.push_back((2 + r.relative) * r.relative * value + n * r.absolute * r.absolute);
  }
  if (r.absolute > 0) {
    for (const Tensors& one : {Tensors{a[0], ones(a[1])}, Tensors{ones(a[0]), a[1]}}) {
      const RefTensor sums = product(one);
      for (size_t i = 0; i < bound.size(); ++i) {
        bound[i] += (1 + r.relative) * r.absolute * sums.v[i];
      }
    }
  }
  for (size_t i = 0; i < bound.size(); ++i) bound[i] = bound_of(r, bound[i], T.v[i], n);
  return bound;
}

std::vector<double> rounded_result_bound(Precision precision, std::vector<double> bound,
                                         const RefTensor& products) {
  const Rounding r = rounding_to(precision);
  // Of a sum of up to |s| + bound; and u of what that changes, by the addition of the bias.
  for (size_t i = 0; i < bound.size(); ++i) {
    bound[i] += (1 + kU) * (r.relative * (std::abs(products.v[i]) + bound[i]) + r.absolute);
  }
  return bound;
}

std::vector<double> rounded_sum_bound(Precision precision, const RefTensor& T, double n) {
  const Rounding r = rounding_to(precision);
  std::vector<double> bound;
  for (double value : T.v) {
    bound.push_back(bound_of(r, r.relative * value + n * r.absolute, value, n));
  }
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

const ImplementationRule* Rule::find(const char* implementation) const {
  std::string_view name = implementation;
  if (constexpr std::string_view kSuffix = "_atomic"; name.ends_with(kSuffix)) {
    name.remove_suffix(kSuffix.size());  // the same products in another order
  }
  for (const ImplementationRule& own : implementations) {
    if (own.implementation == name) return &own;
  }
  return nullptr;
}

std::vector<std::vector<double>> error_bounds(OpKind kind, const Params& params,
                                              const std::vector<RefTensor>& in,
                                              const std::vector<RefTensor>& want,
                                              const RefContext& context,
                                              const char* implementation) {
  const Rule* rule = find_rule(kind);
  const ImplementationRule* own = rule->find(implementation);
  const auto bounds_of = own != nullptr ? own->bounds : rule->bounds;
  if (bounds_of != nullptr) return bounds_of({params, in, want, context});
  // Moves, maxima and single additions: the correctly rounded result.
  Bounds bounds;
  for (const RefTensor& t : want) bounds.push_back(exact(t));
  return bounds;
}

bool is_exact_on_integers(OpKind kind, const Params& params, const char* implementation) {
  const Rule* rule = find_rule(kind);
  const ImplementationRule* own = rule->find(implementation);
  const auto is_exact = own != nullptr ? own->is_exact_on_integers : rule->is_exact_on_integers;
  return is_exact != nullptr && is_exact(params);
}

}  // namespace tanul::test
