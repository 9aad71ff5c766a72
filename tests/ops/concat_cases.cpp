// SPDX-License-Identifier: Apache-2.0
#include "kernels/concat/concat.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

Params along(int axis) {
  ConcatParams p{};
  p.axis = axis;
  return Params::of(p);
}

OpCase make(const std::string& why, int axis, const std::vector<Shape>& shapes) {
  OpCase op{"concat " + why, OpKind::concat_fwd, along(axis), {}, {}, {}, 1, true};
  for (size_t i = 0; i < shapes.size(); ++i) {
    op.in.push_back({shapes[i], {}});
    op.differentiable.push_back(static_cast<int>(i));
  }
  return op;
}

}  // namespace

std::vector<OpCase> concat_cases() {
  std::vector<OpCase> cases = {
      make("of one input: a copy", 1, {{2, 3, 4, 4}}),
      make("of two along channels", 1, {{2, 3, 4, 5}, {2, 6, 4, 5}}),
      make("of four along channels: Inception", 1,
           {{3, 4, 5, 5}, {3, 8, 5, 5}, {3, 2, 5, 5}, {3, 1, 5, 5}}),
      make("along the batch", 0, {{2, 3, 4}, {5, 3, 4}}),
      make("along the last axis: pieces of one element", 3, {{2, 3, 4, 1}, {2, 3, 4, 2}}),
      make("of vectors", 0, {{3}, {1}, {7}}),
      make("of features", 1, {{9, 10}, {9, 3}}),
      make("of rank 6", 2, {{2, 1, 3, 2, 1, 2}, {2, 1, 2, 2, 1, 2}}),
      make("of the most inputs", 1, std::vector<Shape>(kMaxConcatInputs, Shape{2, 1, 3})),
      make("of planes beyond a tile", 1, {{3, 5, 60, 61}, {3, 4, 60, 61}}),
      make("of many short rows: several tiles", 1, {{7001, 2}, {7001, 3}}),
  };
  // Only the middle part has a gradient: the others are left out of the backward step.
  cases.push_back(make("with one gradient wanted", 1, {{2, 3, 4}, {2, 2, 4}, {2, 1, 4}}));
  cases.back().differentiable = {1};
  return cases;
}

std::vector<RejectCase> concat_rejections() {
  const OpKind fwd = OpKind::concat_fwd;
  ConcatParams parts{};
  parts.axis = 1;
  parts.count = 2;
  parts.extents[0] = 3;
  parts.extents[1] = 1;
  return {
      {"concat \"layer\": axis 4 does not exist, inputs [2, 3, 4, 5] have axes 0 to 3",
       fwd,
       along(4),
       {{{2, 3, 4, 5}, {}}, {{2, 3, 4, 5}, {}}}},
      {"concat \"layer\": axis -1 does not exist, inputs [2, 3] have axes 0 to 1",
       fwd,
       along(-1),
       {{{2, 3}, {}}}},
      {"concat \"layer\": inputs have the same extents but along axis 1, input 0 is [2, 3, 4, 5], "
       "input 1 is [2, 3, 4, 6]",
       fwd,
       along(1),
       {{{2, 3, 4, 5}, {}}, {{2, 3, 4, 6}, {}}}},
      {"concat \"layer\": inputs have the same extents but along axis 0, input 0 is [2, 3], input "
       "2 is "
       "[2, 3, 1]",
       fwd,
       along(0),
       {{{2, 3}, {}}, {{1, 3}, {}}, {{2, 3, 1}, {}}}},
      {"concat \"layer\": inputs are f32, input 1 is i32",
       fwd,
       along(1),
       {{{2, 3}, {}}, {{2, 3}, {}, DType::i32}}},
      {"concat \"layer\": 1 to 14 inputs can be joined, got 15", fwd, along(1),
       std::vector<In>(15, In{{2, 3}, {}})},
      {"concat \"layer\": inputs have 1 to 6 axes, got []", fwd, along(0), {{Shape{}, {}}}},
      {"concat_bwd \"layer\": the parts have 4 together along axis 1, dy [2, 5] has 5",
       OpKind::concat_bwd,
       Params::of(parts),
       {{{2, 5}, {}}}},
  };
}

namespace {

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

}  // namespace

std::vector<Rule> concat_rules() {
  return {{OpKind::concat_fwd, concat_fwd, nullptr, always},
          {OpKind::concat_bwd, concat_bwd, nullptr, always}};
}

}  // namespace tanul::test
