// SPDX-License-Identifier: Apache-2.0
// The family ops_shape: layers that move, join and combine values against recorded numbers. What is several
// nodes here (shuffles) is built of them.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <set>

#include "core/format.h"
#include "kernels/concat/concat.h"
#include "kernels/elementwise/arithmetic.h"
#include "kernels/layout/pad.h"
#include "kernels/layout/reshape.h"
#include "kernels/layout/slice.h"
#include "kernels/layout/transpose.h"
#include "kernels/reduce/reduce.h"
#include "kernels/upsample/upsample.h"
#include "support/bounds.h"
#include "support/golden.h"
#include "support/op_program.h"
#include "support/rule.h"

namespace tanul::test::ops_shape_golden {
namespace {

using Extents = std::vector<int64_t>;

// One case on its way into a program: what its op makes of its inputs.
struct Builder {
  const GoldenCase& c;
  OpProgram& program;
  std::vector<std::string> roles;  // inputs in the order of the op
  std::vector<ValueId> in;

  const Shape& x_shape() const { return c.input(roles.front()).shape; }
  ValueId add(OpKind kind, const std::vector<ValueId>& from, const Params& params = {}) const {
    return program.add(kind, from, params)[0];
  }
  ValueId reshape(ValueId x, const Extents& extents) const {
    ReshapeParams p{};
    p.rank = static_cast<int32_t>(extents.size());
    std::copy(extents.begin(), extents.end(), p.extents);
    return add(OpKind::reshape, {x}, Params::of(p));
  }
  ValueId transpose(ValueId x, const Extents& perm) const {
    TransposeParams p{};
    p.rank = static_cast<int32_t>(perm.size());
    for (size_t i = 0; i < perm.size(); ++i) p.perm[i] = static_cast<int32_t>(perm[i]);
    return add(OpKind::transpose_fwd, {x}, Params::of(p));
  }
};

ValueId make_flatten(const Builder& b) {
  const auto axis = b.c.attrs.at("axis").get<int>();
  const Shape& x = b.x_shape();
  Extents extents(x.begin(), x.begin() + axis);
  extents.push_back(x.elems_from(axis));
  return b.reshape(b.in[0], extents);
}

ValueId make_reshape(const Builder& b) {
  Extents extents = b.c.list("shape");
  int64_t known = 1;
  for (int64_t extent : extents) known *= extent == -1 ? 1 : extent;
  for (int64_t& extent : extents) {
    if (extent == -1) extent = b.x_shape().elems() / known;
  }
  return b.reshape(b.in[0], extents);
}

ValueId make_concat(const Builder& b) {
  ConcatParams p{};
  p.axis = b.c.attrs.at("axis");
  p.count = static_cast<int32_t>(b.in.size());
  return b.add(OpKind::concat_fwd, b.in, Params::of(p));
}

ValueId make_slice(const Builder& b) {
  SliceParams p{};
  p.rank = b.x_shape().rank();
  const auto axis = b.c.attrs.at("axis").get<size_t>();
  p.begin[axis] = b.c.attrs.at("begin");
  p.size[axis] = b.c.attrs.at("end").get<int32_t>() - p.begin[axis];
  return b.add(OpKind::slice_fwd, {b.in[0]}, Params::of(p));
}

ValueId make_crop(const Builder& b) {
  SliceParams p{};
  p.rank = b.x_shape().rank();
  const Extents begin = b.c.list("begin"), size = b.c.list("size");
  for (size_t i = 0; i < begin.size(); ++i) {
    p.begin[i + 2] = static_cast<int32_t>(begin[i]);
    p.size[i + 2] = static_cast<int32_t>(size[i]);
  }
  return b.add(OpKind::slice_fwd, {b.in[0]}, Params::of(p));
}

ValueId make_pad(const Builder& b) {
  PadParams p{};
  const std::map<std::string, PadMode> modes{{"constant", PadMode::constant},
                                             {"reflect", PadMode::reflect},
                                             {"replicate", PadMode::replicate}};
  p.mode = modes.at(b.c.attrs.at("mode"));
  p.value = b.c.attrs.value("value", 0.0f);
  p.rank = b.x_shape().rank();
  const Extents pad = b.c.list("pad");
  for (size_t i = 0; i < pad.size() / 2; ++i) {
    p.begin[i + 2] = static_cast<int32_t>(pad[i]);
    p.end[i + 2] = static_cast<int32_t>(pad[i + pad.size() / 2]);
  }
  return b.add(OpKind::pad_fwd, {b.in[0]}, Params::of(p));
}

ValueId make_upsample(const Builder& b) {
  UpsampleParams p{};
  const std::map<std::string, Resize> modes{
      {"nearest", Resize::nearest},  {"nearest-exact", Resize::nearest_exact},
      {"linear", Resize::linear},    {"bilinear", Resize::linear},
      {"trilinear", Resize::linear}, {"bicubic", Resize::cubic}};
  p.mode = modes.at(b.c.attrs.at("mode"));
  p.align_corners = b.c.attrs.value("align_corners", false) ? 1 : 0;
  const bool has_size = b.c.attrs.contains("output_size");
  const auto given = b.c.attrs.at(has_size ? "output_size" : "scale").get<std::vector<double>>();
  for (size_t i = 0; i < given.size(); ++i) {
    if (has_size) {
      p.out[i] = static_cast<int32_t>(given[i]);
    } else {
      p.scale[i] = given[i];
    }
  }
  return b.add(OpKind::upsample_fwd, {b.in[0]}, Params::of(p));
}

template <OpKind kKind>
ValueId make_reduction(const Builder& b) {
  ReduceParams p{};
  for (int64_t axis : b.c.list("axes")) p.axes |= 1 << axis;
  p.keep_dims = b.c.attrs.at("keepdims").get<bool>() ? 1 : 0;
  return b.add(kKind, {b.in[0]}, Params::of(p));
}

ValueId make_transpose(const Builder& b) { return b.transpose(b.in[0], b.c.list("perm")); }

ValueId make_pixel_shuffle(const Builder& b) {
  const auto r = b.c.attrs.at("factor").get<int64_t>();
  const Shape& x = b.x_shape();
  const int64_t N = x[0], C = x[1] / (r * r), H = x[2], W = x[3];
  const ValueId apart = b.reshape(b.in[0], {N, C, r, r, H, W});
  return b.reshape(b.transpose(apart, {0, 1, 4, 2, 5, 3}), {N, C, H * r, W * r});
}

ValueId make_pixel_unshuffle(const Builder& b) {
  const auto r = b.c.attrs.at("factor").get<int64_t>();
  const Shape& x = b.x_shape();
  const int64_t N = x[0], C = x[1], H = x[2] / r, W = x[3] / r;
  const ValueId apart = b.reshape(b.in[0], {N, C, H, r, W, r});
  return b.reshape(b.transpose(apart, {0, 1, 3, 5, 2, 4}), {N, C * r * r, H, W});
}

ValueId make_channel_shuffle(const Builder& b) {
  const auto groups = b.c.attrs.at("groups").get<int64_t>();
  const Shape& x = b.x_shape();
  const ValueId apart = b.reshape(b.in[0], {x[0], groups, x[1] / groups, x.elems_from(2)});
  return b.reshape(b.transpose(apart, {0, 2, 1, 3}), {x.begin(), x.end()});
}

template <OpKind kKind>
ValueId make_plain(const Builder& b) {
  return b.add(kKind, b.in);
}

// The sum of two equal shapes is a step of its own.
ValueId make_add(const Builder& b) {
  const bool is_same = b.c.input("a").shape == b.c.input("b").shape;
  return b.add(is_same ? OpKind::add_fwd : OpKind::add_broadcast_fwd, b.in);
}

struct Known {
  std::vector<std::string> roles;  // of the inputs; empty: x0, x1, … as many as there are
  std::set<std::string> attrs;
  ValueId (*make)(const Builder&);
};

const std::map<std::string, Known>& known_ops() {
  static const std::vector<std::string> x{"x"}, ab{"a", "b"};
  static const std::map<std::string, Known> ops{
      {"flatten", {x, {"axis"}, make_flatten}},
      {"reshape", {x, {"shape"}, make_reshape}},
      {"concat", {{}, {"axis"}, make_concat}},
      {"slice", {x, {"axis", "begin", "end"}, make_slice}},
      {"crop", {x, {"begin", "size"}, make_crop}},
      {"pad", {x, {"mode", "pad", "value"}, make_pad}},
      {"upsample", {x, {"mode", "output_size", "scale", "align_corners"}, make_upsample}},
      {"transpose", {x, {"perm"}, make_transpose}},
      {"pixel_shuffle", {x, {"factor"}, make_pixel_shuffle}},
      {"pixel_unshuffle", {x, {"factor"}, make_pixel_unshuffle}},
      {"channel_shuffle", {x, {"groups"}, make_channel_shuffle}},
      {"add", {ab, {}, make_add}},
      {"sub", {ab, {}, make_plain<OpKind::subtract_fwd>}},
      {"mul", {ab, {}, make_plain<OpKind::multiply_fwd>}},
      {"div", {ab, {}, make_plain<OpKind::divide_fwd>}},
      {"maximum", {ab, {}, make_plain<OpKind::maximum_fwd>}},
      {"minimum", {ab, {}, make_plain<OpKind::minimum_fwd>}},
      {"scale_shift", {{"x", "gamma", "beta"}, {}, make_plain<OpKind::scale_shift_fwd>}},
      {"reduce_sum", {x, {"axes", "keepdims"}, make_reduction<OpKind::reduce_sum_fwd>}},
      {"reduce_mean", {x, {"axes", "keepdims"}, make_reduction<OpKind::reduce_mean_fwd>}},
  };
  return ops;
}

// Each node of a case with its values by the double reference, and the bound of its outputs. A case's value
// is made by one node that computes (others move), so that node's bound is its bound: carried through moves
// by running them on the bounds.
struct Expected {
  std::map<ValueId, RefTensor> value, bound;
};

Expected expected_of(const Graph& graph, const std::map<ValueId, RefTensor>& fed) {
  Expected expected;
  expected.value = fed;
  for (const auto& [id, tensor] : fed) expected.bound[id] = RefTensor(tensor.shape);
  for (const Node& node : graph.nodes) {
    Tensors in, errors;
    bool is_exact = true;
    for (ValueId id : node.in) {
      in.push_back(id == kNoValue ? RefTensor::absent() : expected.value.at(id));
      errors.push_back(id == kNoValue ? RefTensor::absent() : expected.bound.at(id));
      for (double error : errors.back().v) is_exact = is_exact && error == 0;
    }
    const Tensors out = reference(node.kind, node.params, in, {});
    const Bounds bounds = error_bounds(node.kind, node.params, in, out, {});
    const bool is_move = node.kind == OpKind::reshape || node.kind == OpKind::transpose_fwd;
    if (!is_exact && !is_move) throw std::runtime_error("bounds are carried through moves alone");
    const Tensors moved = is_move ? reference(node.kind, node.params, errors, {}) : Tensors{};
    for (size_t i = 0; i < node.out.size(); ++i) {
      if (node.out[i] == kNoValue) continue;
      expected.value[node.out[i]] = out[i];
      RefTensor bound = out[i];
      bound.v = is_move ? moved[i].v : bounds[i];
      expected.bound[node.out[i]] = bound;
    }
  }
  return expected;
}

std::string compare(const RefTensor& got, const RefTensor& want, const RefTensor& bound) {
  if (got.shape != want.shape) return "shape " + got.shape.str() + ", not " + want.shape.str();
  for (int64_t i = 0; i < want.elems(); ++i) {
    // A bound of 0 asks for the recorded double, rounded to float.
    const double rounded = static_cast<double>(static_cast<float>(want[i]));
    if (got[i] == rounded || std::abs(got[i] - want[i]) <= bound[i]) continue;
    return fmt::format("element {} is {:.9g}, recorded is {:.17g}: allowed are {:.3g}", i, got[i],
                       want[i], bound[i]);
  }
  return {};
}

void check(const GoldenCase& c) {
  const auto found = known_ops().find(c.op);
  ASSERT_NE(found, known_ops().end()) << "the test does not know the op " << c.op;
  const Known& known = found->second;
  for (const auto& [attr, value] : c.attrs.items()) {
    EXPECT_EQ(known.attrs.count(attr), 1u) << "the test does not know the attribute " << attr;
  }
  OpProgram program;
  Builder b{c, program, known.roles, {}};
  for (size_t i = 0; known.roles.empty() && i < c.inputs.size(); ++i) {
    b.roles.push_back("x" + std::to_string(i));
  }
  ASSERT_EQ(c.inputs.size(), b.roles.size());
  std::map<ValueId, RefTensor> fed;
  for (const std::string& role : b.roles) {
    b.in.push_back(program.feed(c.input(role), role));
    fed[b.in.back()] = c.input(role);
  }
  const ValueId y = known.make(b);
  ASSERT_EQ(c.grads.size(), b.roles.size());
  const std::vector<ValueId> gradients = program.gradients(y, c.grad_output, b.in);
  // The gradient of dy's own value arrives as an input named dy: the only value that is fed beside these.
  for (const Node& node : program.graph.nodes) {
    for (ValueId id : node.in) {
      if (id != kNoValue && program.graph.value(id).kind == ValueKind::input) {
        fed.emplace(id, c.grad_output);
      }
    }
  }
  for (ValueId id : gradients) {
    if (program.graph.value(id).kind == ValueKind::input) fed.emplace(id, c.grad_output);
  }
  const Expected expected = expected_of(program.graph, fed);
  for (int choice = 0; choice < program.choices(); ++choice) {
    SCOPED_TRACE(program.names(choice));
    const auto got = program.run(choice);
    EXPECT_EQ(compare(got.at(y), c.outputs.at("y"), expected.bound.at(y)), "");
    for (size_t i = 0; i < b.roles.size(); ++i) {
      SCOPED_TRACE("d" + b.roles[i]);
      const ValueId id = gradients[i];
      // a gradient that is dy itself has no node
      const RefTensor& made = got.count(id) != 0 ? got.at(id) : c.grad_output;
      EXPECT_EQ(compare(made, c.grads.at("d" + b.roles[i]), expected.bound.at(id)), "");
    }
  }
}

TEST(Golden, OpsShape) {
  const std::vector<GoldenCase> cases = load_golden("ops_shape");
  ASSERT_GT(cases.size(), 0u);
  for (const GoldenCase& c : cases) {
    SCOPED_TRACE(c.name);
    check(c);
  }
}

}  // namespace
}  // namespace tanul::test::ops_shape_golden
