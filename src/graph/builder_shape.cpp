// SPDX-License-Identifier: Apache-2.0
// ModelBuilder: layers that move, join and combine values. A sample's axis i is axis i + 1 inside, behind
// N. Some layers are several nodes: the shuffles are reshape, transpose, reshape.
#include <algorithm>

#include "graph/builder.h"
#include "kernels/concat/concat.h"
#include "kernels/layout/pad.h"
#include "kernels/layout/reshape.h"
#include "kernels/layout/slice.h"
#include "kernels/layout/transpose.h"
#include "kernels/reduce/reduce.h"
#include "kernels/upsample/upsample.h"

namespace tanul {

using namespace build;

namespace {

constexpr int kMostAxes = kMaxOperandRank - 1;  // of a sample

template <typename T>
std::string text_of(const std::vector<T>& numbers) {
  std::string text;
  for (T n : numbers) text += fmt::format("{}{}", text.empty() ? "" : " ", n);
  return text;
}

// An axis of a sample as one inside.
int inner_axis(const std::string& where, const Shape& shape, int axis) {
  if (axis < 0 || axis >= shape.rank() - 1) {
    fail(Code::invalid_argument, "{}: x {} a sample has no axis {}", where, shape.tail(1).str(),
         axis);
  }
  return axis + 1;
}

int spatial_axes(const std::string& where, const Shape& shape) {
  if (shape.rank() < 3) {
    fail(Code::invalid_argument,
         "{}: x has the shape {} a sample, channels and spatial axes are expected", where,
         shape.tail(1).str());
  }
  return shape.rank() - 2;
}

// One number for all of `axes` axes, or one for each.
template <typename T>
std::vector<T> for_each_axis(const std::string& where, const char* what,
                             const std::vector<T>& given, int axes) {
  if (given.size() == 1) return std::vector<T>(static_cast<size_t>(axes), given.front());
  if (given.size() == static_cast<size_t>(axes)) return given;
  fail(Code::invalid_argument,
       "{}: {} must be one number, or one for each of the {} spatial axes, got {}", where, what,
       axes, given.size());
}

// The samples' axis and these of a sample.
Params to_shape(const std::vector<int64_t>& sample) {
  ReshapeParams p{};
  p.rank = static_cast<int32_t>(sample.size()) + 1;
  std::copy(sample.begin(), sample.end(), p.extents + 1);
  return Params::of(p);
}

// A node of a layer that has another one behind it.
ValueId add_inner(Model::Impl& model, OpKind kind, const std::string& layer, ValueId x,
                  const Params& params) {
  return model.graph.add_node(kind, layer, Phase::forward, {x}, params).front();
}

// x in another order of its axes, between two shapes.
Var add_shuffle(Model::Impl& model, const std::string& layer, Var x,
                const std::vector<int64_t>& taken_apart, const std::vector<int>& order,
                const std::vector<int64_t>& put_together, const std::string& description) {
  TransposeParams p{};
  p.rank = static_cast<int32_t>(order.size()) + 1;
  for (size_t i = 0; i < order.size(); ++i) p.perm[i + 1] = order[i] + 1;
  const ValueId apart = add_inner(model, OpKind::reshape, layer, x.id, to_shape(taken_apart));
  const ValueId moved = add_inner(model, OpKind::transpose_fwd, layer, apart, Params::of(p));
  return add_layer(model, OpKind::reshape, layer, {moved}, to_shape(put_together), description);
}

void check_divides(const std::string& where, const char* what, int64_t extent, int64_t divisor) {
  if (extent % divisor == 0) return;
  fail(Code::invalid_argument, "{}: {} must be a multiple of {}, got {}", where, what, divisor,
       extent);
}

// x with extents of 1 between N and the sample's axes, until it has `rank` axes: broadcasting aligns the
// last ones.
ValueId aligned(Model::Impl& model, const std::string& layer, ValueId x, int rank) {
  const Shape shape = model.graph.value(x).shape;
  if (shape.rank() >= rank) return x;
  std::vector<int64_t> sample(static_cast<size_t>(rank - shape.rank()), 1);
  sample.insert(sample.end(), shape.begin() + 1, shape.end());
  return add_inner(model, OpKind::reshape, layer, x, to_shape(sample));
}

Var add_arithmetic(Model::Impl& model, OpKind kind, const char* op, Var a, Var b,
                   const std::string& name) {
  const int rank_a = checked_input(model, op, a).shape.rank();
  const int rank_b = checked_input(model, op, b).shape.rank();
  const std::string layer = take_name(model, name, op, op);
  const int rank = std::max(rank_a, rank_b);
  const ValueId left = aligned(model, layer, a.id, rank);
  const ValueId right = aligned(model, layer, b.id, rank);
  return add_layer(model, kind, layer, {left, right}, Params{}, op);
}

Var add_reduction(Model::Impl& model, OpKind kind, const char* op, Var x,
                  const std::vector<int>& axes, bool keep, const std::string& name) {
  const Shape shape = checked_input(model, op, x).shape;
  const std::string layer = take_name(model, name, op, op);
  ReduceParams p{};
  p.keep_dims = keep ? 1 : 0;
  std::string description = op;
  for (int axis : axes) {
    p.axes |= 1 << inner_axis(quoted(op, layer), shape, axis);
    description += fmt::format(" {}", axis);
  }
  if (axes.empty()) {
    fail(Code::invalid_argument, "{}: at least one axis must be named", quoted(op, layer));
  }
  return add_layer(model, kind, layer, {x.id}, Params::of(p), description);
}

}  // namespace

Var ModelBuilder::flatten(Var x, const std::string& name) {
  checked_input(*impl_, "flatten", x);
  const std::string layer = take_name(*impl_, name, "flatten", "flatten");
  ReshapeParams p{};
  p.flatten = 1;
  p.rank = 2;
  return add_layer(*impl_, OpKind::reshape, layer, {x.id}, Params::of(p), "flatten");
}

Var ModelBuilder::flatten(Var x, int axis, const std::string& name) {
  const Shape shape = checked_input(*impl_, "flatten", x).shape;
  const std::string layer = take_name(*impl_, name, "flatten", "flatten");
  const int from = inner_axis(quoted("flatten", layer), shape, axis);
  std::vector<int64_t> sample(shape.begin() + 1, shape.begin() + from);
  sample.push_back(shape.elems_from(from));
  return add_layer(*impl_, OpKind::reshape, layer, {x.id}, to_shape(sample),
                   fmt::format("flatten from {}", axis));
}

Var ModelBuilder::reshape(Var x, const std::vector<int64_t>& wanted, const std::string& name) {
  const Shape shape = checked_input(*impl_, "reshape", x).shape;
  const std::string layer = take_name(*impl_, name, "reshape", "reshape");
  const std::string where = quoted("reshape", layer);
  if (wanted.size() > kMostAxes) {
    fail(Code::invalid_argument, "{}: a sample has at most {} axes, got {}", where, kMostAxes,
         wanted.size());
  }
  const int64_t elems = shape.elems_from(1);
  std::vector<int64_t> sample = wanted;
  int64_t* open = nullptr;
  int64_t known = 1;
  for (int64_t& extent : sample) {
    if (extent == -1) {
      if (open != nullptr) {
        fail(Code::invalid_argument, "{}: only one extent may be -1, what is left over", where);
      }
      open = &extent;
      continue;
    }
    checked(where, "an extent", extent, 1);
    if (__builtin_mul_overflow(known, extent, &known)) known = -1;
    if (known < 0 || known > elems) break;
  }
  const bool fits = known > 0 && known <= elems && elems % known == 0;
  if (!fits || (open == nullptr && known != elems)) {
    fail(Code::invalid_argument, "{}: x {} a sample has {} elements, which do not make {}", where,
         shape.tail(1).str(), elems, text_of(wanted));
  }
  if (open != nullptr) *open = elems / known;
  return add_layer(*impl_, OpKind::reshape, layer, {x.id}, to_shape(sample),
                   "reshape " + text_of(sample));
}

Var ModelBuilder::slice(Var x, const SliceOptions& o) {
  const Shape shape = checked_input(*impl_, "slice", x).shape;
  const std::string layer = take_name(*impl_, o.name, "slice", "slice");
  const std::string where = quoted("slice", layer);
  const int axis = inner_axis(where, shape, o.axis);
  const int64_t end = o.end.value_or(shape[axis]);
  if (o.begin < 0 || end <= o.begin || end > shape[axis]) {
    fail(Code::invalid_argument,
         "{}: 0 <= begin < end <= {} is needed along axis {} of x {} a sample, got {} and {}",
         where, shape[axis], o.axis, shape.tail(1).str(), o.begin, end);
  }
  SliceParams p{};
  p.rank = shape.rank();
  p.begin[axis] = checked(where, "begin", o.begin, 0);
  p.size[axis] = checked(where, "end - begin", end - o.begin, 1);
  return add_layer(*impl_, OpKind::slice_fwd, layer, {x.id}, Params::of(p),
                   fmt::format("slice {} to {} of axis {}", o.begin, end, o.axis));
}

Var ModelBuilder::crop(Var x, const CropOptions& o) {
  const Shape shape = checked_input(*impl_, "crop", x).shape;
  const std::string layer = take_name(*impl_, o.name, "crop", "crop");
  const std::string where = quoted("crop", layer);
  const auto axes = static_cast<size_t>(spatial_axes(where, shape));
  if (o.begin.size() != axes || o.size.size() != axes) {
    fail(Code::invalid_argument,
         "{}: begin and size need one number for each of the {} spatial axes, got {} and {}", where,
         axes, o.begin.size(), o.size.size());
  }
  SliceParams p{};
  p.rank = shape.rank();
  for (size_t i = 0; i < axes; ++i) {
    p.begin[i + 2] = checked(where, "begin", o.begin[i], 0);
    p.size[i + 2] = checked(where, "size", o.size[i], 1);
    const int64_t extent = shape[static_cast<int>(i) + 2];
    if (o.begin[i] + o.size[i] > extent) {
      fail(Code::invalid_argument,
           "{}: spatial axis {} of x {} a sample has {} elements, from {} on there are no {}",
           where, i, shape.tail(1).str(), extent, o.begin[i], o.size[i]);
    }
  }
  return add_layer(*impl_, OpKind::slice_fwd, layer, {x.id}, Params::of(p),
                   "crop " + text_of(o.size));
}

Var ModelBuilder::pad(Var x, const PadOptions& o) {
  const Shape shape = checked_input(*impl_, "pad", x).shape;
  const std::string layer = take_name(*impl_, o.name, "pad", "pad");
  const std::string where = quoted("pad", layer);
  if (shape.rank() < 2) {
    fail(Code::invalid_argument, "{}: x has no channels and no spatial axes", where);
  }
  const auto axes = static_cast<size_t>(shape.rank() - 2);
  const size_t given = o.pad.size();
  if (given > 0 && (axes == 0 || (given > 1 && given != axes && given != 2 * axes))) {
    fail(Code::invalid_argument,
         "{}: pad must be one number, or one for each of the {} spatial axes, or one for each of "
         "their {} sides, got {}",
         where, axes, 2 * axes, given);
  }
  const bool adds_channels = o.channels_before != 0 || o.channels_after != 0;
  if (adds_channels && o.mode != PadWith::constant) {
    fail(Code::invalid_argument, "{}: channels are added by the mode constant alone", where);
  }
  PadParams p{};
  p.mode = static_cast<PadMode>(o.mode);
  p.value = static_cast<float>(o.value);
  p.rank = shape.rank();
  p.begin[1] = checked(where, "channels_before", o.channels_before, 0);
  p.end[1] = checked(where, "channels_after", o.channels_after, 0);
  for (size_t i = 0; given > 0 && i < axes; ++i) {
    p.begin[i + 2] = checked(where, "pad", o.pad[i % given], 0);
    p.end[i + 2] = checked(where, "pad", o.pad[(i + axes) % given], 0);
  }
  std::string description = o.pad.empty() ? "pad" : "pad " + text_of(o.pad);
  if (adds_channels) {
    description += fmt::format(" channels {} {}", o.channels_before, o.channels_after);
  }
  return add_layer(*impl_, OpKind::pad_fwd, layer, {x.id}, Params::of(p), description);
}

Var ModelBuilder::upsample(Var x, const UpsampleOptions& o) {
  const Shape shape = checked_input(*impl_, "upsample", x).shape;
  const std::string layer = take_name(*impl_, o.name, "upsample", "upsample");
  const std::string where = quoted("upsample", layer);
  const int axes = spatial_axes(where, shape);
  if (o.size.empty() == o.scale.empty()) {
    fail(Code::invalid_argument, "{}: either size or scale must be given", where);
  }
  UpsampleParams p{};
  p.mode = static_cast<Resize>(o.mode);
  p.align_corners = o.align_corners ? 1 : 0;
  if (axes > 3) {
    fail(Code::invalid_argument, "{}: at most three spatial axes are possible, x is {} a sample",
         where, shape.tail(1).str());
  }
  if (!o.size.empty()) {
    const auto sizes = for_each_axis(where, "size", o.size, axes);
    for (size_t i = 0; i < sizes.size(); ++i) p.out[i] = checked(where, "size", sizes[i], 1);
  } else {
    const auto scales = for_each_axis(where, "scale", o.scale, axes);
    std::copy(scales.begin(), scales.end(), p.scale);
  }
  constexpr const char* kModes[] = {"nearest", "nearest_exact", "linear", "cubic"};
  return add_layer(*impl_, OpKind::upsample_fwd, layer, {x.id}, Params::of(p),
                   fmt::format("upsample {}", kModes[static_cast<int>(o.mode)]));
}

Var ModelBuilder::transpose(Var x, const std::vector<int>& order, const std::string& name) {
  const Shape shape = checked_input(*impl_, "transpose", x).shape;
  const std::string layer = take_name(*impl_, name, "transpose", "transpose");
  const std::string where = quoted("transpose", layer);
  std::vector<int> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  bool is_order = static_cast<int>(order.size()) == shape.rank() - 1;
  for (size_t i = 0; i < sorted.size(); ++i)
    is_order = is_order && sorted[i] == static_cast<int>(i);
  if (!is_order) {
    fail(Code::invalid_argument,
         "{}: the order must name each axis of x {} a sample once, 0 to {}; got {}", where,
         shape.tail(1).str(), shape.rank() - 2, text_of(order));
  }
  TransposeParams p{};
  p.rank = shape.rank();
  for (size_t i = 0; i < order.size(); ++i) p.perm[i + 1] = order[i] + 1;
  return add_layer(*impl_, OpKind::transpose_fwd, layer, {x.id}, Params::of(p),
                   "transpose " + text_of(order));
}

Var ModelBuilder::pixel_shuffle(Var x, int64_t factor, const std::string& name) {
  const Value& value = checked_input(*impl_, "pixel_shuffle", x);
  const Shape shape = value.shape;
  const std::string layer = take_name(*impl_, name, "pixel_shuffle", "pixel_shuffle");
  const std::string where = quoted("pixel_shuffle", layer);
  check_rank(where, value, 4, "{C, H, W}");
  const int64_t r = checked(where, "factor", factor, 1);
  check_divides(where, "channels", shape[1], r * r);
  const int64_t C = shape[1] / (r * r), H = shape[2], W = shape[3];
  return add_shuffle(*impl_, layer, x, {C, r, r, H, W}, {0, 3, 1, 4, 2}, {C, H * r, W * r},
                     fmt::format("pixel_shuffle {}", r));
}

Var ModelBuilder::pixel_unshuffle(Var x, int64_t factor, const std::string& name) {
  const Value& value = checked_input(*impl_, "pixel_unshuffle", x);
  const Shape shape = value.shape;
  const std::string layer = take_name(*impl_, name, "pixel_unshuffle", "pixel_unshuffle");
  const std::string where = quoted("pixel_unshuffle", layer);
  check_rank(where, value, 4, "{C, H, W}");
  const int64_t r = checked(where, "factor", factor, 1);
  check_divides(where, "the height", shape[2], r);
  check_divides(where, "the width", shape[3], r);
  const int64_t C = shape[1], H = shape[2] / r, W = shape[3] / r;
  return add_shuffle(*impl_, layer, x, {C, H, r, W, r}, {0, 2, 4, 1, 3}, {C * r * r, H, W},
                     fmt::format("pixel_unshuffle {}", r));
}

Var ModelBuilder::channel_shuffle(Var x, int64_t groups, const std::string& name) {
  const Shape shape = checked_input(*impl_, "channel_shuffle", x).shape;
  const std::string layer = take_name(*impl_, name, "channel_shuffle", "channel_shuffle");
  const std::string where = quoted("channel_shuffle", layer);
  if (shape.rank() < 2) fail(Code::invalid_argument, "{}: x has no channels", where);
  const int64_t g = checked(where, "groups", groups, 1);
  check_divides(where, "channels", shape[1], g);
  return add_shuffle(*impl_, layer, x, {g, shape[1] / g, shape.elems_from(2)}, {1, 0, 2},
                     {shape.begin() + 1, shape.end()}, fmt::format("channel_shuffle {}", g));
}

Var ModelBuilder::add(Var a, Var b, const std::string& name) {
  // The gradient of a sum of equal shapes takes no step.
  const bool is_same =
      checked_input(*impl_, "add", a).shape == checked_input(*impl_, "add", b).shape;
  return add_arithmetic(*impl_, is_same ? OpKind::add_fwd : OpKind::add_broadcast_fwd, "add", a, b,
                        name);
}

Var ModelBuilder::subtract(Var a, Var b, const std::string& name) {
  return add_arithmetic(*impl_, OpKind::subtract_fwd, "subtract", a, b, name);
}
Var ModelBuilder::multiply(Var a, Var b, const std::string& name) {
  return add_arithmetic(*impl_, OpKind::multiply_fwd, "multiply", a, b, name);
}
Var ModelBuilder::divide(Var a, Var b, const std::string& name) {
  return add_arithmetic(*impl_, OpKind::divide_fwd, "divide", a, b, name);
}
Var ModelBuilder::maximum(Var a, Var b, const std::string& name) {
  return add_arithmetic(*impl_, OpKind::maximum_fwd, "maximum", a, b, name);
}
Var ModelBuilder::minimum(Var a, Var b, const std::string& name) {
  return add_arithmetic(*impl_, OpKind::minimum_fwd, "minimum", a, b, name);
}

Var ModelBuilder::scale_shift(Var x, const ScaleShiftOptions& o) {
  const Shape shape = checked_input(*impl_, "scale_shift", x).shape;
  const std::string layer = take_name(*impl_, o.name, "scale_shift", "scale_shift");
  const std::string where = quoted("scale_shift", layer);
  if (shape.rank() < 2) fail(Code::invalid_argument, "{}: x has no channels", where);
  if (!o.scale && !o.shift) {
    fail(Code::invalid_argument, "{}: scale, shift or both must be true", where);
  }
  const auto add = [&](const char* part, const Init& init, double value) {
    return add_parameter(*impl_, layer + part, {shape[1]},
                         init.kind == Init::Kind::automatic ? Init::constant(value) : init,
                         Role::norm);
  };
  const ValueId gamma = o.scale ? add(".weight", o.weight_init, 1) : kNoValue;
  const ValueId beta = o.shift ? add(".bias", o.bias_init, 0) : kNoValue;
  return add_layer(*impl_, OpKind::scale_shift_fwd, layer, {x.id, gamma, beta}, Params{},
                   "scale_shift");
}

Var ModelBuilder::reduce_sum(Var x, const std::vector<int>& axes, bool keep,
                             const std::string& name) {
  return add_reduction(*impl_, OpKind::reduce_sum_fwd, "reduce_sum", x, axes, keep, name);
}
Var ModelBuilder::reduce_mean(Var x, const std::vector<int>& axes, bool keep,
                              const std::string& name) {
  return add_reduction(*impl_, OpKind::reduce_mean_fwd, "reduce_mean", x, axes, keep, name);
}

Var ModelBuilder::concat(const std::vector<Var>& xs, int axis, const std::string& name) {
  const std::string layer = take_name(*impl_, name, "concat", "concat");
  std::vector<ValueId> in;
  for (Var x : xs) {
    checked_input(*impl_, "concat", x);
    in.push_back(x.id);
  }
  if (xs.empty() || xs.size() > kMaxConcatInputs) {
    fail(Code::invalid_argument, "{}: 1 to {} inputs are possible, got {}", quoted("concat", layer),
         kMaxConcatInputs, xs.size());
  }
  ConcatParams p{};
  p.axis = checked(quoted("concat", layer), "axis", axis, 0) + 1;  // N is axis 0 inside
  p.count = static_cast<int32_t>(xs.size());
  return add_layer(*impl_, OpKind::concat_fwd, layer, std::move(in), Params::of(p),
                   fmt::format("concat axis {}", axis));
}

}  // namespace tanul
