// SPDX-License-Identifier: Apache-2.0
#include "kernels/reduce/reduce.h"
#include "ops/cases.h"
#include "support/broadcasting.h"

namespace tanul::test {

namespace {

Params over(const std::vector<int>& axes, bool keep_dims) {
  ReduceParams p{};
  for (int axis : axes) p.axes |= 1 << axis;
  p.keep_dims = keep_dims;
  return Params::of(p);
}

// The shape of y with its summed axes.
Shape kept_shape(const ReduceParams& p) {
  Shape shape(std::vector<int64_t>(p.in_dims, p.in_dims + p.in_rank));
  for (int i = 0; i < p.in_rank; ++i) {
    if ((p.axes >> i & 1) != 0) shape[i] = 1;
  }
  return shape;
}

double divisor_of(const ReduceParams& p) {
  return p.is_mean != 0 ? static_cast<double>(p.count()) : 1;
}

Tensors fwd(const Params& params, const Tensors& in, const RefContext&) {
  const ReduceParams& p = params.as<ReduceParams>();
  RefTensor y(kept_shape(p));
  for (int64_t i = 0; i < in[0].elems(); ++i) {
    y[broadcast_index(in[0].shape, y.shape, i)] += in[0][i];
  }
  for (double& value : y.v) value /= divisor_of(p);
  if (p.keep_dims == 0) {
    std::vector<int64_t> extents;
    for (int i = 0; i < p.in_rank; ++i) {
      if ((p.axes >> i & 1) == 0) extents.push_back(in[0].shape[i]);
    }
    y.shape = Shape(extents);
  }
  return {y};
}

Tensors bwd(const Params& params, const Tensors& in, const RefContext&) {
  const ReduceParams& p = params.as<ReduceParams>();
  RefTensor dx(Shape(std::vector<int64_t>(p.in_dims, p.in_dims + p.in_rank)));
  for (int64_t i = 0; i < dx.elems(); ++i) {
    dx[i] = in[0][broadcast_index(dx.shape, kept_shape(p), i)] / divisor_of(p);
  }
  return {dx};
}

Bounds bounds_fwd(const BoundArgs& args) {
  const Tensors T = fwd(args.params, absolute(args.in), args.context);
  return {double_sum_bound(args.want[0], T[0],
                           static_cast<double>(args.params.as<ReduceParams>().count()))};
}

}  // namespace

std::vector<OpCase> reduce_cases() {
  std::vector<OpCase> cases;
  for (const auto& [name, kind] :
       {std::pair("sum", OpKind::reduce_sum_fwd), std::pair("mean", OpKind::reduce_mean_fwd)}) {
    const auto add = [&, op = kind, prefix = std::string(name)](
                         const std::string& why, const Shape& x, const std::vector<int>& axes,
                         bool keep_dims) {
      cases.push_back({prefix + " " + why, op, over(axes, keep_dims), {{x, {}}}, {0}, {}, 1, true});
    };
    add("over channels", {3, 5, 4, 7}, {1}, false);
    add("over planes, kept", {3, 5, 4, 7}, {2, 3}, true);
    add("over all but channels", {3, 5, 4, 7}, {0, 2, 3}, false);
    add("over everything: a scalar", {3, 5, 4}, {0, 1, 2}, false);
    add("over an axis of one", {3, 1, 4}, {1}, false);
    add("over the last axis", {40, 33}, {1}, false);
    add("over the batch", {40, 33}, {0}, true);
    add("of one element", {1}, {0}, true);
    add("of rank 6", {2, 3, 2, 2, 3, 2}, {1, 3, 5}, false);
    add("of one long row: blocks of it", {1, 70001}, {1}, false);
    add("over a long batch: blocks of it", {4000, 17}, {0}, false);
    add("over a few long vectors", {3, 30000}, {0}, false);
  }
  return cases;
}

std::vector<RejectCase> reduce_rejections() {
  const std::vector<In> x{{{2, 3}, {}}};
  return {
      {"reduce_sum \"layer\": at least one axis of x [2, 3] is summed over, each from 0 to 1",
       OpKind::reduce_sum_fwd, over({}, false), x},
      {"reduce_mean \"layer\": at least one axis of x [2, 3] is summed over, each from 0 to 1",
       OpKind::reduce_mean_fwd, over({2}, false), x},
      {"reduce_mean \"layer\": x must be f32, got u8",
       OpKind::reduce_mean_fwd,
       over({1}, false),
       {{{2, 3}, {}, DType::u8}}},
      {"reduce_sum \"layer\": x has at most 6 axes, got [1, 1, 1, 1, 1, 1, 3]",
       OpKind::reduce_sum_fwd,
       over({1}, false),
       {{{1, 1, 1, 1, 1, 1, 3}, {}}}},
  };
}

std::vector<Rule> reduce_rules() {
  return {
      {OpKind::reduce_sum_fwd, fwd, bounds_fwd, always},
      {OpKind::reduce_mean_fwd, fwd, bounds_fwd},
      {OpKind::reduce_bwd, bwd},
  };
}

}  // namespace tanul::test
