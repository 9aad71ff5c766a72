// SPDX-License-Identifier: Apache-2.0
// Activations and dropout of a model file.
#include "kernels/activation/definition.h"
#include "recipe/layer_kind.h"

namespace tanul::recipe {

namespace {

// Every activation of ops.def is a kind, its parameters are its keys. The one function for all asks for
// its name.
Var make_activation(const LayerContext& l) {
  const ActivationInfo& info = *find_activation(l.kind.c_str());
  std::vector<double> params;
  for (int i = 0; i < info.param_count(); ++i) {
    const ActivationParam& p = info.def->params[i];
    params.push_back(l.options.number(p.name, p.otherwise, Range{p.low, p.high, p.is_open}));
  }
  return l.builder.activation(l.x(), info.name, params, l.name);
}

Var make_prelu(const LayerContext& l) {
  PreluOptions o;
  o.per_channel = l.options.boolean("per_channel", o.per_channel);
  o.init = l.options.init("init");
  o.name = l.name;
  return l.builder.prelu(l.x(), o);
}

Var make_softmax(const LayerContext& l) {
  const auto axis = static_cast<int>(l.options.integer("axis", 0, 0, 3));
  return l.kind == "softmax" ? l.builder.softmax(l.x(), axis, l.name)
                             : l.builder.log_softmax(l.x(), axis, l.name);
}

Var make_dropout(const LayerContext& l) {
  DropoutOptions o;
  o.p = l.options.number("p", o.p, Range{0, 1, false, true});
  o.spatial = l.options.boolean("spatial", o.spatial);
  o.name = l.name;
  return l.builder.dropout(l.x(), o);
}

}  // namespace

std::vector<LayerKind> activation_layers() {
  std::vector<LayerKind> kinds;
  for (int i = 0; i < kActivations; ++i) {
    const ActivationInfo& info = activations()[i];
    Keys keys;
    for (int k = 0; k < info.param_count(); ++k) keys.push_back(info.def->params[k].name);
    kinds.push_back({info.name, info.name, keys, make_activation});
  }
  kinds.push_back({"prelu", "prelu", {"per_channel", "init"}, make_prelu});
  kinds.push_back({"softmax", "softmax", {"axis"}, make_softmax});
  kinds.push_back({"log_softmax", "log_softmax", {"axis"}, make_softmax});
  kinds.push_back({"dropout", "dropout", {"p", "spatial"}, make_dropout});
  return kinds;
}

}  // namespace tanul::recipe
