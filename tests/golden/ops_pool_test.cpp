// SPDX-License-Identifier: Apache-2.0
// Pooling against recorded numbers: maxima and their positions exactly; averages and gradients within
// (2 + n) u T, for windows of n elements and n overlapping windows, in every implementation.
#include <gtest/gtest.h>

#include <set>

#include "core/format.h"
#include "kernels/pool/pool.h"
#include "support/bounds.h"
#include "support/golden.h"
#include "support/op_program.h"
#include "support/rule.h"
#include "support/step_runner.h"

namespace tanul::test::ops_pool_golden {
namespace {

// A forward step of the engine that an op of the index is.
struct Pooling {
  OpKind kind = OpKind::kCount;
  Params params;
  std::set<std::string> attrs;  // those that it knows
};

void put(int32_t (&to)[3], const std::vector<int64_t>& values, size_t from, size_t axes) {
  for (size_t i = 0; i < axes; ++i) to[3 - axes + i] = static_cast<int32_t>(values.at(from + i));
}

// kCount where the op is unknown.
Pooling pooling_of(const GoldenCase& c) {
  const size_t axes = static_cast<size_t>(c.input("x").shape.rank() - 2);
  PoolParams p{};
  const bool is_max = c.op.find("max_pool") != std::string::npos;
  if (c.op == "global_max_pool" || c.op == "global_avg_pool") {
    p.global = 1;
    return {is_max ? OpKind::max_pool_fwd : OpKind::avg_pool_fwd, Params::of(p), {}};
  }
  if (c.op == "adaptive_max_pool" || c.op == "adaptive_avg_pool") {
    AdaptivePoolParams adaptive{};
    put(adaptive.out, c.list("output_size"), 0, axes);
    return {is_max ? OpKind::adaptive_max_pool_fwd : OpKind::adaptive_avg_pool_fwd,
            Params::of(adaptive),
            {"output_size"}};
  }
  if (c.op != fmt::format("{}_pool{}d", is_max ? "max" : "avg", axes)) return {};
  put(p.kernel, c.list("kernel"), 0, axes);
  put(p.stride, c.list("stride"), 0, axes);
  put(p.pad_begin, c.list("pad"), 0, axes);
  put(p.pad_end, c.list("pad"), axes, axes);
  const std::vector<int64_t> ones(axes, 1);
  put(p.dilation, is_max ? c.list("dilation") : ones, 0, axes);
  p.ceil_mode = c.attrs.at("ceil_mode").get<bool>() ? 1 : 0;
  p.count_include_pad = c.attrs.value("count_include_pad", false) ? 1 : 0;
  return {is_max ? OpKind::max_pool_fwd : OpKind::avg_pool_fwd,
          Params::of(p),
          {"kernel", "stride", "pad", "ceil_mode", is_max ? "dilation" : "count_include_pad"}};
}

void check(const GoldenCase& c) {
  const Pooling pooling = pooling_of(c);
  ASSERT_NE(pooling.kind, OpKind::kCount) << "the test does not know the op " << c.op;
  for (const auto& [attr, value] : c.attrs.items()) {
    EXPECT_EQ(pooling.attrs.count(attr), 1u) << "the test does not know the attribute " << attr;
  }
  OpProgram program;
  const ValueId x = program.feed(c.input("x"), "x");
  const std::vector<ValueId> out = program.add(pooling.kind, {x}, pooling.params);
  const ValueId dx = program.gradients(out[0], c.grad_output, {x})[0];

  const Graph& graph = program.graph;
  const Node& forward = graph.nodes.front();
  const Node& backward = graph.nodes.back();
  RefTensor y = c.outputs.at("y");
  ASSERT_EQ(graph.value(out[0]).shape.str(), y.shape.str());
  ASSERT_EQ(c.grads.size(), 1u);
  RefTensor want_dx = c.grads.at("dx");

  // The double reference, from which the bounds follow, has the same values.
  const Tensors in_double = reference(forward.kind, forward.params, {c.input("x")}, {});
  const Bounds y_bounds = error_bounds(forward.kind, forward.params, {c.input("x")}, in_double, {});
  Tensors backward_in{c.grad_output};
  if (in_double.size() > 1) backward_in.push_back(in_double[1]);
  const Tensors dx_in_double = reference(backward.kind, backward.params, backward_in, {});
  const Bounds dx_bounds =
      error_bounds(backward.kind, backward.params, backward_in, dx_in_double, {});
  const auto in_double_units = [](std::vector<double> bound) {
    for (double& limit : bound) limit = limit * 0x1p-29 + kSmallest;
    return bound;
  };
  EXPECT_EQ(first_error(in_double[0], y, in_double_units(y_bounds[0])), "") << "reference y";
  EXPECT_EQ(first_error(dx_in_double[0], want_dx, in_double_units(dx_bounds[0])), "")
      << "reference dx";

  y.dtype = want_dx.dtype = DType::f32;
  for (int choice = 0; choice < program.choices(); ++choice) {
    SCOPED_TRACE(program.names(choice));
    const auto got = program.run(choice);
    EXPECT_EQ(first_error(got.at(out[0]), y, y_bounds[0]), "") << "y";
    EXPECT_EQ(first_error(got.at(dx), want_dx, dx_bounds[0]), "") << "dx";
    for (const auto& [role, tensor] : c.outputs) {
      if (role == "y") continue;
      ASSERT_EQ(role, "indices");
      ASSERT_EQ(out.size(), 2u) << "indices of an average";
      EXPECT_EQ(got.at(out[1]).v, tensor.v);
    }
  }
}

TEST(Golden, OpsPool) {
  const std::vector<GoldenCase> cases = load_golden("ops_pool");
  ASSERT_GT(cases.size(), 0u);
  for (const GoldenCase& c : cases) {
    SCOPED_TRACE(c.name);
    check(c);
  }
}

}  // namespace
}  // namespace tanul::test::ops_pool_golden
