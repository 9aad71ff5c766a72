// SPDX-License-Identifier: Apache-2.0
// Normalisation layers of a model file.
#include "recipe/layer_kind.h"

namespace tanul::recipe {

namespace {

constexpr Range kAboveZero{0, 1e30, true, false};

// eps, affine and the initialisers, which all but the local response normalisation have.
template <typename Options>
void read_common(const LayerContext& l, Options& o) {
  o.eps = l.options.number("eps", o.eps, kAboveZero);
  o.affine = l.options.boolean("affine", o.affine);
  o.weight_init = l.options.init("init");
  o.name = l.name;
}

Var make_batch_norm(const LayerContext& l) {
  BatchNormOptions o;
  o.momentum = l.options.number("momentum", o.momentum, Range{0, 1});
  o.frozen = l.options.boolean("frozen", o.frozen);
  read_common(l, o);
  o.bias_init = l.options.init("bias_init");
  return l.builder.batch_norm(l.x(), o);
}

LayerNormOptions read_layer_norm(const LayerContext& l) {
  LayerNormOptions o;
  o.axes = static_cast<int>(l.options.integer("axes", o.axes, 0, 4));
  read_common(l, o);
  return o;
}

Var make_layer_norm(const LayerContext& l) {
  LayerNormOptions o = read_layer_norm(l);
  o.bias_init = l.options.init("bias_init");
  return l.builder.layer_norm(l.x(), o);
}
Var make_rms_norm(const LayerContext& l) { return l.builder.rms_norm(l.x(), read_layer_norm(l)); }

Var make_group_norm(const LayerContext& l) {
  GroupNormOptions o;
  o.groups = l.options.required_integer("groups");
  read_common(l, o);
  o.bias_init = l.options.init("bias_init");
  return l.builder.group_norm(l.x(), o);
}

Var make_instance_norm(const LayerContext& l) {
  InstanceNormOptions o;
  read_common(l, o);
  o.bias_init = l.options.init("bias_init");
  return l.builder.instance_norm(l.x(), o);
}

Var make_local_response_norm(const LayerContext& l) {
  LocalResponseNormOptions o;
  o.size = l.options.integer("size", o.size, 1);
  o.alpha = l.options.number("alpha", o.alpha, Range{0, 1e30});
  o.beta = l.options.number("beta", o.beta, Range{-1e3, 1e3});
  o.k = l.options.number("k", o.k, kAboveZero);
  o.alpha_divided_by_size = l.options.boolean("alpha_divided_by_size", o.alpha_divided_by_size);
  o.name = l.name;
  return l.builder.local_response_norm(l.x(), o);
}

}  // namespace

std::vector<LayerKind> norm_layers() {
  return {
      {"batch_norm",
       "bn",
       {"momentum", "frozen", "eps", "affine", "init", "bias_init"},
       make_batch_norm},
      {"layer_norm", "ln", {"axes", "eps", "affine", "init", "bias_init"}, make_layer_norm},
      {"rms_norm", "rms", {"axes", "eps", "affine", "init"}, make_rms_norm},
      {"group_norm", "gn", {"groups", "eps", "affine", "init", "bias_init"}, make_group_norm},
      {"instance_norm", "in", {"eps", "affine", "init", "bias_init"}, make_instance_norm},
      {"local_response_norm",
       "lrn",
       {"size", "alpha", "beta", "k", "alpha_divided_by_size"},
       make_local_response_norm},
  };
}

}  // namespace tanul::recipe
