// SPDX-License-Identifier: Apache-2.0
#include "kernels/layout/pad.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

Params pads(PadMode mode, const std::vector<int32_t>& begin, const std::vector<int32_t>& end,
            float value = 0) {
  PadParams p{};
  p.mode = mode;
  p.value = value;
  p.rank = static_cast<int32_t>(begin.size());
  for (size_t i = 0; i < begin.size(); ++i) {
    p.begin[i] = begin[i];
    p.end[i] = end[i];
  }
  return Params::of(p);
}

OpCase make(const std::string& why, const Shape& x, const Params& params) {
  return {"pad " + why, OpKind::pad_fwd, params, {{x, {}}}, {0}, {}, 1, true};
}

// Which element is at place `at` of an axis of n elements: walks there from the nearest end, one step at a
// time. A mirrored walk turns round at both ends, a replicated one stays there. -1: there is none.
int64_t element_at(PadMode mode, int64_t at, int64_t n) {
  if (at >= 0 && at < n) return at;
  if (mode == PadMode::constant) return -1;
  int64_t element = at < 0 ? 0 : n - 1, direction = at < 0 ? -1 : 1;
  for (int64_t steps = at < 0 ? -at : at - n + 1; steps > 0; --steps) {
    const bool is_at_end = element + direction < 0 || element + direction >= n;
    if (is_at_end && mode == PadMode::replicate) break;
    if (is_at_end) direction = -direction;
    element += direction;
  }
  return element;
}

Shape padded_shape(const PadParams& p, const Shape& x) {
  Shape y = x;
  for (int i = 0; i < x.rank(); ++i) y[i] += p.begin[i] + p.end[i];
  return y;
}

// Where element i of y comes from in x; -1: it is the constant.
int64_t source_of(const PadParams& p, const Shape& x, const Shape& y, int64_t i) {
  int64_t from = 0, step = 1;
  for (int axis = x.rank() - 1; axis >= 0; --axis) {
    const int64_t at = element_at(p.mode, i % y[axis] - p.begin[axis], x[axis]);
    if (at < 0) return -1;
    from += at * step;
    step *= x[axis];
    i /= y[axis];
  }
  return from;
}

Tensors fwd(const Params& params, const Tensors& in, const RefContext&) {
  const PadParams& p = params.as<PadParams>();
  RefTensor y(padded_shape(p, in[0].shape));
  for (int64_t i = 0; i < y.elems(); ++i) {
    const int64_t from = source_of(p, in[0].shape, y.shape, i);
    y[i] = from < 0 ? static_cast<double>(p.value) : in[0][from];
  }
  return {y};
}

Tensors bwd(const Params& params, const Tensors& in, const RefContext&) {
  const PadParams& p = params.as<PadParams>();
  RefTensor dx(Shape(std::vector<int64_t>(p.in_dims, p.in_dims + p.rank)));
  for (int64_t i = 0; i < in[0].elems(); ++i) {
    dx[source_of(p, dx.shape, in[0].shape, i)] += in[0][i];
  }
  return {dx};
}

// A plain sum over the places of an element, of which there are as many as ones arrive.
Bounds bounds_bwd(const BoundArgs& args) {
  const RefTensor T = bwd(args.params, absolute(args.in), args.context)[0];
  RefTensor ones = args.in[0];
  for (double& value : ones.v) value = 1;
  const RefTensor n = bwd(args.params, {ones}, args.context)[0];
  Bounds bounds(1);
  for (int64_t i = 0; i < T.elems(); ++i) {
    bounds[0].push_back(n[i] == 1 ? 0 : (2 + n[i]) * kU * T[i] + kSmallest);
  }
  return bounds;
}

}  // namespace

std::vector<OpCase> pad_cases() {
  std::vector<OpCase> cases;
  for (const auto& [name, mode] :
       {std::pair("constant", PadMode::constant), std::pair("reflect", PadMode::reflect),
        std::pair("replicate", PadMode::replicate)}) {
    const auto add = [&, m = mode, prefix = std::string(name)](
                         const std::string& why, const Shape& x, const std::vector<int32_t>& begin,
                         const std::vector<int32_t>& end) {
      cases.push_back(make(prefix + " " + why, x, pads(m, begin, end, 1.5f)));
    };
    add("with nothing: a copy", {2, 3, 4}, {0, 0, 0}, {0, 0, 0});
    add("of signals", {2, 3, 5}, {0, 0, 2}, {0, 0, 3});
    add("of images, each side otherwise", {2, 3, 5, 4}, {0, 0, 3, 1}, {0, 0, 0, 2});
    add("of volumes", {2, 2, 3, 4, 3}, {0, 0, 0, 2, 1}, {0, 0, 2, 1, 0});
    add("of rows alone: columns stay whole", {2, 3, 5, 4}, {0, 0, 2, 0}, {0, 0, 1, 0});
    add("of as much as can be mirrored", {1, 2, 4, 3}, {0, 0, 3, 2}, {0, 0, 3, 2});
    add("of channels and samples", {3, 4, 5}, {1, 2, 0}, {2, 1, 0});
    add("of rank 6, every other axis", {2, 3, 2, 3, 2, 3}, {0, 1, 0, 2, 0, 1}, {1, 0, 1, 0, 1, 2});
    add("of a vector", {7}, {4}, {6});
    add("of images beyond a tile", {2, 3, 90, 80}, {0, 0, 1, 2}, {0, 0, 3, 1});
    add("of many short rows: several tiles", {5000, 4}, {0, 1}, {0, 1});
  }
  // Zero channels round what a shortcut passes on: whole planes, more than a tile.
  cases.push_back(make("with zero channels: a shortcut without weights", {2, 8, 5, 5},
                       pads(PadMode::constant, {0, 4, 0, 0}, {0, 4, 0, 0})));
  cases.push_back(make("with zero channels beyond a tile", {2, 3, 100, 100},
                       pads(PadMode::constant, {0, 2, 0, 0}, {0, 1, 0, 0})));
  cases.push_back(make("replicate of one element, far", {2, 1, 1},
                       pads(PadMode::replicate, {0, 0, 9}, {0, 0, 12})));
  return cases;
}

std::vector<RejectCase> pad_rejections() {
  const std::vector<In> x{{{2, 12}, {}}};
  const OpKind kind = OpKind::pad_fwd;
  return {
      {"pad \"layer\": x must be f32, got u8",
       kind,
       pads(PadMode::constant, {0, 0}, {0, 0}),
       {{{2, 3}, {}, DType::u8}}},
      {"pad \"layer\": 1 to 6 axes, all with a padding; x is [2, 12], 1 are given", kind,
       pads(PadMode::constant, {1}, {1}), x},
      {"pad \"layer\": paddings are at least 0, got -1 and 2 along axis 1; crop makes smaller",
       kind, pads(PadMode::constant, {0, -1}, {0, 2}), x},
      {"pad \"layer\": what is mirrored must exist: along axis 0 of x [2, 12] at most 1 can be "
       "added, got 0 and 2",
       kind, pads(PadMode::reflect, {0, 0}, {2, 0}), x},
  };
}

std::vector<Rule> pad_rules() {
  return {
      {OpKind::pad_fwd, fwd},
      {OpKind::pad_bwd, bwd, bounds_bwd, always},
  };
}

}  // namespace tanul::test
