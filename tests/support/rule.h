// SPDX-License-Identifier: Apache-2.0
// What the tests know of one step kind, written from its formula and never from its kernels. Each
// tests/ops/<family>_cases.cpp hands out the rules of its steps.
#pragma once

#include <cmath>
#include <functional>
#include <vector>

#include "kernels/activation/activation.h"
#include "kernels/backend_abi.h"
#include "support/reference.h"

namespace tanul::test {

using Tensors = std::vector<RefTensor>;
using Bounds = std::vector<std::vector<double>>;

// What a bound may be derived from: the operands, and what the reference made of them.
struct BoundArgs {
  const Params& params;
  const Tensors& in;
  const Tensors& want;
  const RefContext& context;
};

// An implementation that does not sum the terms of the formula but others (Winograd's convolution)
// has bounds of its own.
struct ImplementationRule {
  const char* implementation;
  Bounds (*bounds)(const BoundArgs& args);
  bool (*is_exact_on_integers)(const Params& params) = nullptr;
};

struct Rule {
  OpKind kind;
  // Naive loops in double. All outputs, optional ones included; what a parameter or a left out operand
  // switches off is absent.
  Tensors (*reference)(const Params& params, const Tensors& in, const RefContext& context);
  // How far a correct float implementation may be off, for each element of each output; 0 asks for the
  // correctly rounded result. Null: everything is exact (moves, maxima, single additions).
  Bounds (*bounds)(const BoundArgs& args) = nullptr;
  // Is the step exact on small whole numbers (all sums and products whole and below 2^24)? Null: no.
  bool (*is_exact_on_integers)(const Params& params) = nullptr;
  std::vector<ImplementationRule> implementations = {};

  // Null where the implementation follows the rule of the step.
  const ImplementationRule* find(const char* implementation) const;
};

constexpr double kU = 0x1p-24;          // half the distance of 1 and the next float
constexpr double kSmallest = 0x1p-126;  // smallest normal float: what underflow may lose
// "A few units in the last place": 4 ulp; an ulp is at most 2 u |y|.
constexpr double kTranscendental = 4 * 2 * kU;

inline bool is_present(const Tensors& in, size_t i) { return i < in.size() && in[i].present; }
inline bool always(const Params&) { return true; }

// The operands without their signs: the reference of them is T, the sum of absolute terms.
Tensors absolute(const Tensors& in);
// (2 + n) u T for a plain sum of n terms.
std::vector<double> sum_bound(const RefTensor& T, double n);
// The same where the terms are products of in[0] and in[1], which are rounded to the format of `precision`
// first, and perhaps a bias, which is not: T is of all terms, product(in) the sum of the products. Tensor
// cores truncate where they align terms, so that an addition is off by up to 2 u (M. Fasi, N. Higham,
// M. Mikaitis, S. Pranesh, "Numerical behavior of NVIDIA tensor cores", 2021).
std::vector<double> product_bound(Precision precision, const RefTensor& T, double n,
                                  const Tensors& in,
                                  const std::function<RefTensor(const Tensors&)>& product);
// `bound` of a sum that is then rounded to the format of `precision`, perhaps before a bias is added: `products` are
// the exact sums of products.
std::vector<double> rounded_result_bound(Precision precision, std::vector<double> bound,
                                         const RefTensor& products);
// For sums of n rounded operands.
std::vector<double> rounded_sum_bound(Precision precision, const RefTensor& T, double n);
// units · u · |want|
std::vector<double> relative(const RefTensor& want, double units);
std::vector<double> exact(const RefTensor& want);

// What convolution and linear layers may apply to their sums.
double activate(ActivationKind kind, double x);
// The error `bound` of a sum carried through an activation that gave y, plus the activation's own.
std::vector<double> through(ActivationKind kind, std::vector<double> bound, const RefTensor& y);
// Does it keep whole numbers whole?
inline bool keeps_integers(ActivationKind kind) {
  return kind == ActivationKind::none || kind == ActivationKind::relu;
}

}  // namespace tanul::test
