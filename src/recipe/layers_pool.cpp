// SPDX-License-Identifier: Apache-2.0
// Pooling layers of a model file.
#include "recipe/layer_kind.h"

namespace tanul::recipe {

namespace {

Pool2dOptions read_pool(const LayerContext& l) {
  Pool2dOptions o;
  o.kernel = l.options.required_extent("kernel");
  o.stride = l.options.extent("stride", o.kernel, 1);
  o.pad = l.options.padding("pad");
  o.ceil_mode = l.options.boolean("ceil_mode", o.ceil_mode);
  o.name = l.name;
  return o;
}

Var make_max_pool2d(const LayerContext& l) { return l.builder.max_pool2d(l.x(), read_pool(l)); }

Var make_avg_pool2d(const LayerContext& l) {
  Pool2dOptions o = read_pool(l);
  o.count_include_pad = l.options.boolean("count_include_pad", o.count_include_pad);
  return l.builder.avg_pool2d(l.x(), o);
}

Var make_global_avg_pool2d(const LayerContext& l) {
  return l.builder.global_avg_pool2d(l.x(), l.name);
}

}  // namespace

std::vector<LayerKind> pool_layers() {
  return {
      {"max_pool2d", "pool", {"kernel", "stride", "pad", "ceil_mode"}, make_max_pool2d},
      {"avg_pool2d",
       "pool",
       {"kernel", "stride", "pad", "ceil_mode", "count_include_pad"},
       make_avg_pool2d},
      {"global_avg_pool2d", "pool", {}, make_global_avg_pool2d},
  };
}

}  // namespace tanul::recipe
