// SPDX-License-Identifier: Apache-2.0
// The reference maths: naive double-precision loops for every step kind of ops.def, written from the
// formulas in the op headers and never from the kernels. Output shapes are worked out here a second
// time, so that they also check `infer`.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/graph.h"

namespace tanul::test {

// A tensor of doubles that stands for one of `dtype`; integers are exact.
struct RefTensor {
  Shape shape;
  DType dtype = DType::f32;
  std::vector<double> v;
  bool present = true;

  RefTensor() = default;
  explicit RefTensor(const Shape& s, DType type = DType::f32, double value = 0)
      : shape(s), dtype(type), v(static_cast<size_t>(s.elems()), value) {}
  static RefTensor absent() {
    RefTensor t;
    t.present = false;
    return t;
  }
  int64_t elems() const { return static_cast<int64_t>(v.size()); }
  double& operator[](int64_t i) { return v[static_cast<size_t>(i)]; }
  double operator[](int64_t i) const { return v[static_cast<size_t>(i)]; }
};

// What a StepBlock says.
struct RefContext {
  uint64_t seed = 1;
  uint64_t step = 0;
  float lr = 0.1f;
  int64_t first = 0;
  uint32_t epoch = 0;
};

bool has_reference(OpKind kind);

// All outputs of the step, optional ones included; those that an operand or parameter switches off
// (db without bias, v of SGD without velocity) are absent.
std::vector<RefTensor> reference(OpKind kind, const Params& params,
                                 const std::vector<RefTensor>& in, const RefContext& context);

}  // namespace tanul::test
