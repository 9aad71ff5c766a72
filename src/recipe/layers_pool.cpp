// SPDX-License-Identifier: Apache-2.0
// Pooling layers of a model file.
#include <algorithm>

#include "graph/window.h"
#include "recipe/layer_kind.h"

namespace tanul::recipe {

namespace {

enum class Pool { maximum, average };

template <typename Options, Pool kPool, Var (ModelBuilder::*kMethod)(Var, const Options&)>
Var make_pool(const LayerContext& l) {
  using Extent = decltype(Options::kernel);
  using Padding = decltype(Options::pad);
  Options o;
  o.kernel = l.options.required_extent<Extent>("kernel");
  const Extent stride = l.options.extent("stride", o.kernel, 1);
  o.stride = stride;
  if (kPool == Pool::maximum) o.dilation = l.options.extent("dilation", o.dilation, 1);
  o.pad = l.options.padding<Padding>("pad", [&](const Padding& pad) {
    return build::resolved(pad, l.builder.shape(l.x()), o.kernel, stride, o.dilation);
  });
  o.ceil_mode = l.options.boolean("ceil_mode", o.ceil_mode);
  if (kPool == Pool::average) {
    o.count_include_pad = l.options.boolean("count_include_pad", o.count_include_pad);
  }
  o.name = l.name;
  return (l.builder.*kMethod)(l.x(), o);
}

template <Var (ModelBuilder::*kMethod)(Var, const std::string&)>
Var make_global(const LayerContext& l) {
  return (l.builder.*kMethod)(l.x(), l.name);
}

template <Var (ModelBuilder::*kMethod)(Var, const AdaptivePoolOptions&)>
Var make_adaptive(const LayerContext& l) {
  const int axes = l.builder.shape(l.x()).rank() - 1;
  AdaptivePoolOptions o;
  o.out = l.options.table().required_extents("out", static_cast<size_t>(std::clamp(axes, 1, 3)), 1);
  l.options.append("out", list_toml(o.out));
  o.name = l.name;
  return (l.builder.*kMethod)(l.x(), o);
}

template <typename Options, Var (ModelBuilder::*kMethod)(Var, const Options&)>
LayerKind max_pool(const char* name) {
  return {name,
          "pool",
          {"kernel", "stride", "pad", "dilation", "ceil_mode"},
          make_pool<Options, Pool::maximum, kMethod>};
}
template <typename Options, Var (ModelBuilder::*kMethod)(Var, const Options&)>
LayerKind avg_pool(const char* name) {
  return {name,
          "pool",
          {"kernel", "stride", "pad", "ceil_mode", "count_include_pad"},
          make_pool<Options, Pool::average, kMethod>};
}

}  // namespace

std::vector<LayerKind> pool_layers() {
  return {
      max_pool<Pool1dOptions, &ModelBuilder::max_pool1d>("max_pool1d"),
      max_pool<Pool2dOptions, &ModelBuilder::max_pool2d>("max_pool2d"),
      max_pool<Pool3dOptions, &ModelBuilder::max_pool3d>("max_pool3d"),
      avg_pool<Pool1dOptions, &ModelBuilder::avg_pool1d>("avg_pool1d"),
      avg_pool<Pool2dOptions, &ModelBuilder::avg_pool2d>("avg_pool2d"),
      avg_pool<Pool3dOptions, &ModelBuilder::avg_pool3d>("avg_pool3d"),
      {"global_avg_pool", "pool", {}, make_global<&ModelBuilder::global_avg_pool>},
      {"global_avg_pool2d", "pool", {}, make_global<&ModelBuilder::global_avg_pool2d>},
      {"global_max_pool", "pool", {}, make_global<&ModelBuilder::global_max_pool>},
      {"adaptive_avg_pool", "pool", {"out"}, make_adaptive<&ModelBuilder::adaptive_avg_pool>},
      {"adaptive_max_pool", "pool", {"out"}, make_adaptive<&ModelBuilder::adaptive_max_pool>},
  };
}

}  // namespace tanul::recipe
