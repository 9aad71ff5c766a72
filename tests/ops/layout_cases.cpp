// SPDX-License-Identifier: Apache-2.0
#include "kernels/layout/reshape.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

Params to_shape(const std::vector<int64_t>& extents) {
  ReshapeParams p{};
  p.rank = static_cast<int32_t>(extents.size());
  for (size_t i = 0; i < extents.size() && i < 6; ++i) p.extents[i] = extents[i];
  return Params::of(p);
}

Params flatten() {
  ReshapeParams p{};
  p.flatten = 1;
  return Params::of(p);
}

OpCase make(const std::string& why, const Shape& x, const Params& params) {
  return {"reshape " + why, OpKind::reshape, params, {{x, {}}}, {0}, {}, 1, true};
}

}  // namespace

std::vector<OpCase> layout_cases() {
  return {
      make("flatten images", {3, 2, 4, 5}, flatten()),
      make("flatten a batch of numbers", {7}, flatten()),
      make("flatten what is flat", {3, 8}, flatten()),
      make("to another rank", {2, 12}, to_shape({2, 3, 2, 2})),
      make("to a vector", {2, 3, 4}, to_shape({24})),
      make("to a scalar and back", {1, 1}, to_shape({})),
      make("that keeps the samples", {3, 4, 2}, to_shape({0, 2, 2, 2})),
      make("to rank 6", {2, 6}, to_shape({1, 2, 3, 1, 2, 1})),
  };
}

std::vector<RejectCase> layout_rejections() {
  const std::vector<In> x{{{2, 12}, {}}};
  const OpKind kind = OpKind::reshape;
  return {
      {"reshape \"layer\": x [2, 12] has 24 elements but the new shape [5, 5] has 25", kind,
       to_shape({5, 5}), x},
      {"reshape \"layer\": extents of the new shape are at least 1, got -1", kind,
       to_shape({2, -1}), x},
      {"reshape \"layer\": extents of the new shape are at least 1, got 0", kind,
       to_shape({2, 12, 0}), x},
      {"reshape \"layer\": the new shape has 7 axes, possible are 0 to 6", kind,
       to_shape({2, 12, 1, 1, 1, 1, 1}), x},
      {"reshape \"layer\": x is a scalar, it has no axis of samples to keep",
       kind,
       flatten(),
       {{Shape{}, {}}}},
      {"reshape \"layer\": x [1, 1, 1, 1, 1, 1, 2] has 7 axes, at most 6 are possible",
       kind,
       flatten(),
       {{{1, 1, 1, 1, 1, 1, 2}, {}}}},
  };
}

namespace {

Tensors reshape(const Params& params, const Tensors& in, const RefContext&) {
  const ReshapeParams& p = params.as<ReshapeParams>();
  RefTensor y = in[0];
  if (p.flatten != 0) {
    y.shape = Shape{in[0].shape[0], in[0].shape.elems() / in[0].shape[0]};
  } else {
    std::vector<int64_t> extents(p.extents, p.extents + p.rank);
    for (size_t i = 0; i < extents.size(); ++i) {
      if (extents[i] == 0) extents[i] = in[0].shape[static_cast<int>(i)];
    }
    y.shape = Shape(extents);
  }
  return {y};
}

}  // namespace

std::vector<Rule> layout_rules() { return {{OpKind::reshape, reshape}}; }

}  // namespace tanul::test
