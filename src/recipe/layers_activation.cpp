// SPDX-License-Identifier: Apache-2.0
// Activations and dropout of a model file.
#include "recipe/layer_kind.h"

namespace tanul::recipe {

namespace {

// A layer without options.
template <Var (ModelBuilder::*kMethod)(Var, const std::string&)>
Var make(const LayerContext& l) {
  return (l.builder.*kMethod)(l.x(), l.name);
}

Var make_dropout(const LayerContext& l) {
  DropoutOptions o;
  o.p = l.options.number("p", o.p, Range{0, 1, false, true});
  o.name = l.name;
  return l.builder.dropout(l.x(), o);
}

}  // namespace

std::vector<LayerKind> activation_layers() {
  return {
      {"relu", "relu", {}, make<&ModelBuilder::relu>},
      {"sigmoid", "sigmoid", {}, make<&ModelBuilder::sigmoid>},
      {"tanh", "tanh", {}, make<&ModelBuilder::tanh>},
      {"dropout", "dropout", {"p"}, make_dropout},
  };
}

}  // namespace tanul::recipe
