// SPDX-License-Identifier: Apache-2.0
#include "kernels/layout/slice.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

Params cut(const std::vector<int32_t>& begin, const std::vector<int32_t>& size) {
  SliceParams p{};
  p.rank = static_cast<int32_t>(begin.size());
  for (size_t i = 0; i < begin.size() && i < 6; ++i) {
    p.begin[i] = begin[i];
    p.size[i] = size[i];
  }
  return Params::of(p);
}

OpCase make(const std::string& why, const Shape& x, const std::vector<int32_t>& begin,
            const std::vector<int32_t>& size) {
  return {"slice " + why, OpKind::slice_fwd, cut(begin, size), {{x, {}}}, {0}, {}, 1, true};
}

Tensors slice(const Params& params, const Tensors& in, const RefContext&) {
  const SliceParams& p = params.as<SliceParams>();
  const Shape& x = in[0].shape;
  Shape shape = x;
  for (int i = 0; i < x.rank(); ++i) {
    shape[i] = p.size[i] == 0 ? x[i] - p.begin[i] : p.size[i];
  }
  RefTensor y(shape);
  for (int64_t i = 0; i < y.elems(); ++i) {
    int64_t rest = i, from = 0, step = 1;
    for (int axis = x.rank() - 1; axis >= 0; --axis) {
      from += (rest % shape[axis] + p.begin[axis]) * step;
      rest /= shape[axis];
      step *= x[axis];
    }
    y[i] = in[0][from];
  }
  return {y};
}

}  // namespace

std::vector<OpCase> slice_cases() {
  return {
      make("of everything: a copy", {2, 3, 4, 5}, {0, 0, 0, 0}, {0, 0, 0, 0}),
      make("of channels: rows of whole planes", {2, 8, 4, 5}, {0, 2, 0, 0}, {0, 3, 0, 0}),
      make("of rows and columns: a crop", {2, 3, 7, 9}, {0, 0, 1, 2}, {0, 0, 4, 4}),
      make("of the first samples", {5, 3, 4}, {0, 0, 0}, {2, 3, 4}),
      make("of the last element of the last axis", {3, 4, 6}, {0, 0, 5}, {0, 0, 1}),
      make("from a begin to the end", {3, 10}, {0, 7}, {0, 0}),
      make("of one element of a vector", {17}, {16}, {1}),
      make("of rank 6, every axis cut", {3, 2, 4, 3, 2, 5}, {1, 1, 0, 2, 0, 3}, {2, 1, 3, 1, 1, 2}),
      make("of every other axis", {3, 4, 2, 5, 3}, {0, 1, 0, 2, 0}, {3, 2, 2, 2, 3}),
      make("of planes beyond a tile", {3, 4, 130, 140}, {0, 1, 0, 0}, {0, 2, 0, 0}),
      make("of many short rows: several tiles", {9001, 7}, {0, 2}, {0, 3}),
  };
}

std::vector<RejectCase> slice_rejections() {
  const std::vector<In> x{{{2, 12}, {}}};
  const OpKind kind = OpKind::slice_fwd;
  return {
      {"slice \"layer\": x must be f32, got i32",
       kind,
       cut({0, 0}, {0, 0}),
       {{{2, 3}, {}, DType::i32}}},
      {"slice \"layer\": 1 to 6 axes, all with a begin; x is [2, 12], 1 are given", kind,
       cut({0}, {0}), x},
      {"slice \"layer\": along axis 1 of x [2, 12], 6 elements from 7 on do not exist", kind,
       cut({0, 7}, {0, 6}), x},
      {"slice \"layer\": along axis 0 of x [2, 12], 0 elements from 2 on do not exist", kind,
       cut({2, 0}, {0, 0}), x},
      {"slice \"layer\": along axis 1 of x [2, 12], 3 elements from -1 on do not exist", kind,
       cut({0, -1}, {0, 3}), x},
  };
}

std::vector<Rule> slice_rules() { return {{OpKind::slice_fwd, slice, nullptr, always}}; }

}  // namespace tanul::test
