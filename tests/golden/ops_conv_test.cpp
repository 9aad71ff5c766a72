// SPDX-License-Identifier: Apache-2.0
// Convolution, transposed convolution and the linear layer against recorded numbers: the float kernels of
// every implementation within (2 + n) u T, n terms whose absolute values sum to T, and the double
// reference of the op tests within the same with u = 2^-53.
#include <gtest/gtest.h>

#include <set>

#include "core/format.h"
#include "graph/window.h"
#include "kernels/conv3d/conv3d.h"
#include "kernels/linear/linear.h"
#include "support/golden.h"
#include "support/op_graph.h"
#include "support/op_program.h"
#include "support/rule.h"
#include "support/step_runner.h"

namespace tanul::test::ops_conv_golden {
namespace {

// Whole numbers of an attribute by axis: depth, height, width; `missing` where the op has no such axis.
build::Axes by_axis(const std::vector<int64_t>& values, size_t from, size_t axes, int64_t missing) {
  build::Axes out{missing, missing, missing};
  for (size_t i = 0; i < axes; ++i) out[3 - axes + i] = values.at(from + i);
  return out;
}

build::Window window_of(const GoldenCase& c, size_t axes) {
  build::Window window;
  window.axes = static_cast<int>(axes);
  window.kernel = by_axis(c.list("kernel"), 0, axes, 1);
  window.stride = by_axis(c.list("stride"), 0, axes, 1);
  window.dilation = by_axis(c.list("dilation"), 0, axes, 1);
  window.begin = by_axis(c.list("pad"), 0, axes, 0);
  window.end = by_axis(c.list("pad"), axes, axes, 0);
  return window;
}

// Where the case says how its padding came about, it must come about here as well.
void expect_same_padding(const GoldenCase& c, const build::Window& window) {
  if (!c.attrs.contains("auto_pad")) return;
  const std::string mode = c.attrs["auto_pad"];
  ASSERT_TRUE(mode == "SAME_UPPER" || mode == "SAME_LOWER") << mode;
  build::Window resolved = window;
  resolved.same = mode == "SAME_UPPER" ? Same::upper : Same::lower;
  build::resolve_same(resolved, c.input("x").shape.tail(1));
  EXPECT_EQ(resolved.begin, window.begin);
  EXPECT_EQ(resolved.end, window.end);
}

Params params_of(const GoldenCase& c, const build::Window& w, bool is_transposed) {
  const auto at = [](const build::Axes& axes, size_t i) { return static_cast<int32_t>(axes[i]); };
  build::Axes output_pad{0, 0, 0};
  if (is_transposed) {
    output_pad = by_axis(c.list("output_padding"), 0, static_cast<size_t>(w.axes), 0);
  }
  Conv3dParams p{};
  p.plane.kernel_h = at(w.kernel, 1);
  p.plane.kernel_w = at(w.kernel, 2);
  p.plane.stride_h = at(w.stride, 1);
  p.plane.stride_w = at(w.stride, 2);
  p.plane.pad_top = at(w.begin, 1);
  p.plane.pad_left = at(w.begin, 2);
  p.plane.pad_bottom = at(w.end, 1);
  p.plane.pad_right = at(w.end, 2);
  p.plane.dilation_h = at(w.dilation, 1);
  p.plane.dilation_w = at(w.dilation, 2);
  p.plane.groups = c.attrs.at("groups").get<int32_t>();
  p.plane.is_transposed = is_transposed ? 1 : 0;
  p.plane.output_pad_h = at(output_pad, 1);
  p.plane.output_pad_w = at(output_pad, 2);
  if (w.axes < 3) return Params::of(p.plane);
  p.kernel_d = at(w.kernel, 0);
  p.stride_d = at(w.stride, 0);
  p.pad_front = at(w.begin, 0);
  p.pad_back = at(w.end, 0);
  p.dilation_d = at(w.dilation, 0);
  p.output_pad_d = at(output_pad, 0);
  return Params::of(p);
}

// A case as a graph: what was fed, and the values that have recorded results.
struct CaseProgram {
  OpProgram program;
  std::map<std::string, ValueId> inputs;   // "x", "dy"
  std::map<std::string, ValueId> results;  // "y", "dx"
};

// The forward nodes of the case; kNoValue where the op is unknown.
ValueId add_forward(const GoldenCase& c, OpProgram& program, ValueId x, ValueId w, ValueId b) {
  if (c.op == "linear") {
    return program.add(OpKind::linear_fwd, {x, w, b}, Params::of(LinearParams{}))[0];
  }
  const size_t axes = c.op.size() > 2 ? static_cast<size_t>(c.op[c.op.size() - 2] - '0') : 0;
  if (axes < 1 || axes > 3) return kNoValue;
  const bool is_transposed = c.op.rfind("conv_transpose", 0) == 0;
  if (c.op != fmt::format("{}{}d", is_transposed ? "conv_transpose" : "conv", axes))
    return kNoValue;
  const build::Window window = window_of(c, axes);
  expect_same_padding(c, window);
  const Params params = params_of(c, window, is_transposed);
  if (!is_transposed) {
    return program.add(axes == 3 ? OpKind::conv3d_fwd : OpKind::conv2d_fwd, {x, w, b}, params)[0];
  }
  const ValueId sums =
      program.add(axes == 3 ? OpKind::conv3d_bwd_data : OpKind::conv2d_bwd_data, {x, w}, params)[0];
  return b == kNoValue ? sums : program.add(OpKind::scale_shift_fwd, {sums, kNoValue, b})[0];
}

CaseProgram program_of(const GoldenCase& c) {
  CaseProgram made;
  OpProgram& program = made.program;
  std::vector<ValueId> wrt;
  for (const char* role : {"x", "w", "b"}) {
    wrt.push_back(c.has_input(role) ? program.feed(c.input(role), role) : kNoValue);
    if (wrt.back() != kNoValue) made.inputs[role] = wrt.back();
  }
  const ValueId y = add_forward(c, program, wrt[0], wrt[1], wrt[2]);
  if (y == kNoValue) return made;
  made.results["y"] = y;
  if (wrt.back() == kNoValue) wrt.pop_back();
  const auto dy = static_cast<ValueId>(program.graph.values.size());
  const std::vector<ValueId> gradients = program.gradients(y, c.grad_output, wrt);
  made.inputs["dy"] = dy;
  const char* names[] = {"dx", "dw", "db"};
  for (size_t i = 0; i < wrt.size(); ++i) made.results[names[i]] = gradients[i];
  return made;
}

// The results in double by the reference maths, with every operand changed by `change`.
template <typename Change>
std::map<std::string, RefTensor> evaluate(const GoldenCase& c, const CaseProgram& made,
                                          const Change& change) {
  RefInterpreter interpreter(made.program.graph, {});
  for (const auto& [role, id] : made.inputs) {
    RefTensor tensor = role == "dy" ? c.grad_output : c.input(role);
    for (double& value : tensor.v) value = change(value);
    interpreter.feed(id, tensor);
  }
  std::map<std::string, RefTensor> results;
  for (const auto& [role, id] : made.results) results[role] = interpreter.eval(id);
  return results;
}

void check(const GoldenCase& c) {
  const std::set<std::string> known{"kernel",   "stride",           "pad",
                                    "dilation", "groups",           "bias",
                                    "auto_pad", "exact_in_float32", "output_padding"};
  for (const auto& [attr, value] : c.attrs.items()) {
    EXPECT_EQ(known.count(attr), 1u) << "the test does not know the attribute " << attr;
  }
  EXPECT_EQ(c.attrs.at("bias").get<bool>(), c.has_input("b"));
  const CaseProgram made = program_of(c);
  ASSERT_EQ(made.results.count("y"), 1u) << "the test does not know the op " << c.op;
  std::map<std::string, RefTensor> want = c.grads;
  want["y"] = c.outputs.at("y");
  EXPECT_EQ(c.outputs.size(), 1u);
  ASSERT_EQ(want.size(), made.results.size());
  const bool is_exact = c.attrs.value("exact_in_float32", false);

  // All of it is sums of products: of absolute values they give T, of ones the number of terms.
  const auto T = evaluate(c, made, [](double v) { return std::abs(v); });
  const auto terms = evaluate(c, made, [](double) { return 1.0; });
  const auto in_double = evaluate(c, made, [](double v) { return v; });
  std::map<std::string, std::vector<double>> bounds;
  for (auto& [role, tensor] : want) {
    ASSERT_EQ(made.results.count(role), 1u) << role;
    ASSERT_EQ(tensor.shape.str(), in_double.at(role).shape.str()) << role;
    std::vector<double> bound, bound_in_double;
    for (int64_t i = 0; i < tensor.elems(); ++i) {
      const double terms_T = (2 + terms.at(role)[i]) * T.at(role)[i];
      bound.push_back(is_exact ? 0 : kU * terms_T + kSmallest);
      bound_in_double.push_back(0x1p-53 * terms_T + kSmallest);
    }
    EXPECT_EQ(first_error(in_double.at(role), tensor, bound_in_double), "") << "reference " << role;
    tensor.dtype = DType::f32;
    bounds[role] = bound;
  }
  for (int choice = 0; choice < made.program.choices(); ++choice) {
    SCOPED_TRACE(made.program.names(choice));
    const auto got = made.program.run(choice);
    for (const auto& [role, tensor] : want) {
      EXPECT_EQ(first_error(got.at(made.results.at(role)), tensor, bounds.at(role)), "") << role;
    }
  }
}

TEST(Golden, OpsConv) {
  const std::vector<GoldenCase> cases = load_golden("ops_conv");
  ASSERT_GT(cases.size(), 0u);
  for (const GoldenCase& c : cases) {
    SCOPED_TRACE(c.name);
    check(c);
  }
}

}  // namespace
}  // namespace tanul::test::ops_conv_golden
