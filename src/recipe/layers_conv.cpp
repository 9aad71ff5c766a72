// SPDX-License-Identifier: Apache-2.0
// Convolution and linear layers of a model file.
#include "recipe/layer_kind.h"

namespace tanul::recipe {

namespace {

Var make_conv2d(const LayerContext& l) {
  Conv2dOptions o;
  o.out = l.options.required_integer("out");
  o.kernel = l.options.required_extent("kernel");
  o.stride = l.options.extent("stride", o.stride, 1);
  o.pad = l.options.padding("pad");
  o.dilation = l.options.extent("dilation", o.dilation, 1);
  o.groups = l.options.integer("groups", o.groups, 1);
  o.bias = l.options.boolean("bias", o.bias);
  o.weight_init = l.options.init("init");
  o.bias_init = l.options.init("bias_init");
  o.name = l.name;
  return l.builder.conv2d(l.x(), o);
}

Var make_linear(const LayerContext& l) {
  LinearOptions o;
  o.out = l.options.required_integer("out");
  o.bias = l.options.boolean("bias", o.bias);
  o.weight_init = l.options.init("init");
  o.bias_init = l.options.init("bias_init");
  o.name = l.name;
  return l.builder.linear(l.x(), o);
}

}  // namespace

std::vector<LayerKind> conv_layers() {
  return {
      {"conv2d",
       "conv",
       {"out", "kernel", "stride", "pad", "dilation", "groups", "bias", "init", "bias_init"},
       make_conv2d},
      {"linear", "linear", {"out", "bias", "init", "bias_init"}, make_linear},
  };
}

}  // namespace tanul::recipe
