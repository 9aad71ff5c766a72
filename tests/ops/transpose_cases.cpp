// SPDX-License-Identifier: Apache-2.0
#include "kernels/layout/transpose.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

Params order(const std::vector<int32_t>& perm) {
  TransposeParams p{};
  p.rank = static_cast<int32_t>(perm.size());
  for (size_t i = 0; i < perm.size() && i < 6; ++i) p.perm[i] = perm[i];
  return Params::of(p);
}

OpCase make(const std::string& why, const Shape& x, const std::vector<int32_t>& perm) {
  return {"transpose " + why, OpKind::transpose_fwd, order(perm), {{x, {}}}, {0}, {}, 1, true};
}

Tensors transpose(const Params& params, const Tensors& in, const RefContext&) {
  const TransposeParams& p = params.as<TransposeParams>();
  const Shape& x = in[0].shape;
  Shape shape = x;
  for (int i = 0; i < x.rank(); ++i) shape[i] = x[p.perm[i]];
  RefTensor y(shape);
  for (int64_t i = 0; i < y.elems(); ++i) {
    int64_t rest = i, from = 0;
    for (int axis = x.rank() - 1; axis >= 0; --axis) {
      from += rest % shape[axis] * x.elems_from(p.perm[axis] + 1);
      rest /= shape[axis];
    }
    y[i] = in[0][from];
  }
  return {y};
}

}  // namespace

std::vector<OpCase> transpose_cases() {
  return {
      make("of nothing: a copy", {2, 3, 4}, {0, 1, 2}),
      make("of a matrix", {7, 9}, {1, 0}),
      make("of a vector", {11}, {0}),
      make("to channels last", {2, 5, 3, 4}, {0, 2, 3, 1}),
      make("from channels last", {2, 3, 4, 5}, {0, 3, 1, 2}),
      make("of all axes", {2, 3, 4, 5}, {3, 2, 1, 0}),
      make("of signals", {3, 4, 6}, {0, 2, 1}),
      make("that keeps the last axis: rows", {3, 4, 5, 6}, {0, 2, 1, 3}),
      make("of a pixel shuffle: six axes", {2, 3, 2, 2, 3, 4}, {0, 1, 4, 2, 5, 3}),
      make("with extents of one", {1, 4, 1, 3, 1}, {4, 3, 0, 1, 2}),
      make("of one element", {1, 1, 1}, {2, 0, 1}),
      make("of the batch", {5, 3, 4}, {1, 0, 2}),
      make("of a matrix beyond a tile, no multiple of a vector", {131, 257}, {1, 0}),
      make("of a tall matrix", {20011, 3}, {1, 0}),
      make("of a wide matrix", {3, 20011}, {1, 0}),
      make("of many small planes: several tiles", {700, 5, 7}, {0, 2, 1}),
      make("of long rows: parts of them", {2, 3, 40000}, {1, 0, 2}),
      make("of many short rows: several tiles", {30, 400, 3}, {1, 0, 2}),
  };
}

std::vector<RejectCase> transpose_rejections() {
  const std::vector<In> x{{{2, 3, 4}, {}}};
  const OpKind kind = OpKind::transpose_fwd;
  return {
      {"transpose \"layer\": x must be f32, got i32",
       kind,
       order({1, 0}),
       {{{2, 3}, {}, DType::i32}}},
      {"transpose \"layer\": the new order names each axis of x [2, 3, 4], 1 to 6; 2 are given",
       kind, order({1, 0}), x},
      {"transpose \"layer\": the new order names each axis of x [2, 3, 4] once, but place 2 says 0",
       kind, order({0, 1, 0}), x},
      {"transpose \"layer\": the new order names each axis of x [2, 3, 4] once, but place 1 says 3",
       kind, order({0, 3, 1}), x},
  };
}

std::vector<Rule> transpose_rules() {
  return {{OpKind::transpose_fwd, transpose, nullptr, always}};
}

}  // namespace tanul::test
