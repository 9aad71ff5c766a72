// SPDX-License-Identifier: Apache-2.0
// Layers of a model file that move, join and combine values.
#include "recipe/layer_kind.h"

namespace tanul::recipe {

namespace {

Var make_flatten(const LayerContext& l) { return l.builder.flatten(l.x(), l.name); }

Var make_add(const LayerContext& l) { return l.builder.add(l.inputs[0], l.inputs[1], l.name); }

Var make_concat(const LayerContext& l) {
  const auto axis = static_cast<int>(l.options.integer("axis", 0, 0, 3));
  return l.builder.concat(l.inputs, axis, l.name);
}

}  // namespace

std::vector<LayerKind> shape_layers() {
  return {
      {"flatten", "flatten", {}, make_flatten},
      {"add", "add", {}, make_add, {2, 2}},
      {"concat", "concat", {"axis"}, make_concat, {2, 64}},
  };
}

}  // namespace tanul::recipe
