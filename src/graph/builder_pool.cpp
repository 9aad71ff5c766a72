// SPDX-License-Identifier: Apache-2.0
// ModelBuilder: pooling.
#include <algorithm>

#include "graph/builder.h"
#include "graph/window.h"
#include "kernels/pool/pool.h"

namespace tanul {

using namespace build;

namespace {

template <typename Options>
Var add_pool(Model::Impl& model, OpKind kind, const char* op, Var x, const Options& o) {
  const Shape in = checked_input(model, op, x).shape;
  const std::string layer = take_name(model, o.name, "pool", op);
  const std::string where = quoted(op, layer);
  Window window = make_window(o.kernel, o.stride.value_or(o.kernel), o.pad, o.dilation);
  check_spatial(where, in, window.axes);
  check_window(where, window);
  resolve_same(window, in.tail(1));
  PoolParams p{};
  for (size_t axis = 0; axis < 3; ++axis) {
    p.kernel[axis] = static_cast<int32_t>(window.kernel[axis]);
    p.stride[axis] = static_cast<int32_t>(window.stride[axis]);
    p.pad_begin[axis] = static_cast<int32_t>(window.begin[axis]);
    p.pad_end[axis] = static_cast<int32_t>(window.end[axis]);
    p.dilation[axis] = static_cast<int32_t>(window.dilation[axis]);
  }
  p.ceil_mode = o.ceil_mode;
  p.count_include_pad = o.count_include_pad;
  std::string text = window_text(op, window);
  if (o.ceil_mode) text += " ceil";
  return add_layer(model, kind, layer, {x.id}, Params::of(p), text);
}

Var add_global_pool(Model::Impl& model, OpKind kind, const char* op, Var x,
                    const std::string& name) {
  checked_input(model, op, x);
  const std::string layer = take_name(model, name, "pool", op);
  PoolParams p{};
  p.global = 1;
  return add_layer(model, kind, layer, {x.id}, Params::of(p), op);
}

Var add_adaptive_pool(Model::Impl& model, OpKind kind, const char* op, Var x,
                      const AdaptivePoolOptions& o) {
  const Shape in = checked_input(model, op, x).shape;
  const std::string layer = take_name(model, o.name, "pool", op);
  const std::string where = quoted(op, layer);
  const int axes = in.rank() - 2;
  if (axes < 1 || axes > 3) {
    fail(Code::invalid_argument,
         "{}: x has the shape {} a sample, {{C, L}}, {{C, H, W}} or {{C, D, H, W}} is expected",
         where, in.tail(1).str());
  }
  if (o.out.size() != 1 && static_cast<int>(o.out.size()) != axes) {
    fail(Code::invalid_argument,
         "{}: out must be one extent, or one for each of the {} axes, got {}", where, axes,
         o.out.size());
  }
  AdaptivePoolParams p{};
  std::string text = std::string(op) + " ";
  for (int i = 0; i < axes; ++i) {
    const int64_t extent = o.out[o.out.size() == 1 ? 0 : static_cast<size_t>(i)];
    p.out[3 - axes + i] = checked(where, "out", extent, 1);
    text += (i == 0 ? "" : "x") + std::to_string(extent);
  }
  return add_layer(model, kind, layer, {x.id}, Params::of(p), text);
}

}  // namespace

Var ModelBuilder::max_pool1d(Var x, const Pool1dOptions& o) {
  return add_pool(*impl_, OpKind::max_pool_fwd, "max_pool1d", x, o);
}
Var ModelBuilder::max_pool2d(Var x, const Pool2dOptions& o) {
  return add_pool(*impl_, OpKind::max_pool_fwd, "max_pool2d", x, o);
}
Var ModelBuilder::max_pool3d(Var x, const Pool3dOptions& o) {
  return add_pool(*impl_, OpKind::max_pool_fwd, "max_pool3d", x, o);
}
Var ModelBuilder::avg_pool1d(Var x, const Pool1dOptions& o) {
  return add_pool(*impl_, OpKind::avg_pool_fwd, "avg_pool1d", x, o);
}
Var ModelBuilder::avg_pool2d(Var x, const Pool2dOptions& o) {
  return add_pool(*impl_, OpKind::avg_pool_fwd, "avg_pool2d", x, o);
}
Var ModelBuilder::avg_pool3d(Var x, const Pool3dOptions& o) {
  return add_pool(*impl_, OpKind::avg_pool_fwd, "avg_pool3d", x, o);
}
Var ModelBuilder::global_avg_pool(Var x, const std::string& name) {
  return add_global_pool(*impl_, OpKind::avg_pool_fwd, "global_avg_pool", x, name);
}
Var ModelBuilder::global_max_pool(Var x, const std::string& name) {
  return add_global_pool(*impl_, OpKind::max_pool_fwd, "global_max_pool", x, name);
}
Var ModelBuilder::global_avg_pool2d(Var x, const std::string& name) {
  check_spatial("global_avg_pool2d", checked_input(*impl_, "global_avg_pool2d", x).shape, 2);
  return add_global_pool(*impl_, OpKind::avg_pool_fwd, "global_avg_pool2d", x, name);
}
Var ModelBuilder::adaptive_avg_pool(Var x, const AdaptivePoolOptions& o) {
  return add_adaptive_pool(*impl_, OpKind::adaptive_avg_pool_fwd, "adaptive_avg_pool", x, o);
}
Var ModelBuilder::adaptive_max_pool(Var x, const AdaptivePoolOptions& o) {
  return add_adaptive_pool(*impl_, OpKind::adaptive_max_pool_fwd, "adaptive_max_pool", x, o);
}

}  // namespace tanul
