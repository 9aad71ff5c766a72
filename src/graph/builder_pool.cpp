// SPDX-License-Identifier: Apache-2.0
// ModelBuilder: pooling.
#include "graph/builder.h"
#include "kernels/pool/pool.h"

namespace tanul {

using namespace build;

namespace {

Var add_pool(Model::Impl& model, OpKind kind, const char* op, Var x, const Pool2dOptions& o,
             bool global) {
  const Value& in = checked_input(model, op, x);
  const std::string layer = take_name(model, o.name, "pool", op);
  const std::string where = quoted(op, layer);
  check_rank(where, in, 4, "{C, H, W}");
  Pool2dParams p{};
  p.global = global;
  std::string text = op;
  if (!global) {
    const Extent2 stride = o.stride.value_or(o.kernel);
    p.kernel_h = checked(where, "kernel", o.kernel.h, 1);
    p.kernel_w = checked(where, "kernel", o.kernel.w, 1);
    p.stride_h = checked(where, "stride", stride.h, 1);
    p.stride_w = checked(where, "stride", stride.w, 1);
    p.pad_top = checked(where, "pad", o.pad.top, 0);
    p.pad_left = checked(where, "pad", o.pad.left, 0);
    p.pad_bottom = checked(where, "pad", o.pad.bottom, 0);
    p.pad_right = checked(where, "pad", o.pad.right, 0);
    p.ceil_mode = o.ceil_mode;
    p.count_include_pad = o.count_include_pad;
    text = window_text(op, p.kernel_h, p.kernel_w, stride, o.pad);
    if (o.ceil_mode) text += " ceil";
  }
  return add_layer(model, kind, layer, {x.id}, Params::of(p), text);
}

}  // namespace

Var ModelBuilder::max_pool2d(Var x, const Pool2dOptions& o) {
  return add_pool(*impl_, OpKind::max_pool2d_fwd, "max_pool2d", x, o, false);
}
Var ModelBuilder::avg_pool2d(Var x, const Pool2dOptions& o) {
  return add_pool(*impl_, OpKind::avg_pool2d_fwd, "avg_pool2d", x, o, false);
}
Var ModelBuilder::global_avg_pool2d(Var x, const std::string& name) {
  Pool2dOptions o;
  o.name = name;
  return add_pool(*impl_, OpKind::avg_pool2d_fwd, "global_avg_pool2d", x, o, true);
}

}  // namespace tanul
