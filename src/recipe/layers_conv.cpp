// SPDX-License-Identifier: Apache-2.0
// Convolution and linear layers of a model file.
#include "graph/window.h"
#include "recipe/layer_kind.h"

namespace tanul::recipe {

namespace {

// A number that divides input and output channels, or "depthwise".
int64_t read_groups(const LayerContext& l, int64_t otherwise) {
  const TomlNode* node = l.options.table().find("groups");
  if (node == nullptr || node->kind != TomlNode::Kind::string || node->text != "depthwise") {
    return l.options.integer("groups", otherwise, 1);
  }
  const int64_t channels = l.builder.shape(l.x())[0];
  l.options.append("groups", fmt::format("{}", channels));
  return channels;
}

template <typename Options>
void read_weights(const LayerContext& l, Options& o) {
  o.bias = l.options.boolean("bias", o.bias);
  o.weight_init = l.options.init("init");
  o.bias_init = l.options.init("bias_init");
  o.share = l.options.optional_text("share");
  o.name = l.name;
}

template <typename Options, Var (ModelBuilder::*kMethod)(Var, const Options&)>
Var make_conv(const LayerContext& l) {
  using Extent = decltype(Options::kernel);
  using Padding = decltype(Options::pad);
  Options o;
  o.out = l.options.required_integer("out");
  o.kernel = l.options.required_extent<Extent>("kernel");
  o.stride = l.options.extent("stride", o.stride, 1);
  o.dilation = l.options.extent("dilation", o.dilation, 1);
  o.pad = l.options.padding<Padding>("pad", [&](const Padding& pad) {
    return build::resolved(pad, l.builder.shape(l.x()), o.kernel, o.stride, o.dilation);
  });
  o.groups = read_groups(l, o.groups);
  read_weights(l, o);
  return (l.builder.*kMethod)(l.x(), o);
}

template <typename Options, Var (ModelBuilder::*kMethod)(Var, const Options&)>
Var make_conv_transpose(const LayerContext& l) {
  Options o;
  o.out = l.options.required_integer("out");
  o.kernel = l.options.required_extent<decltype(o.kernel)>("kernel");
  o.stride = l.options.extent("stride", o.stride, 1);
  o.dilation = l.options.extent("dilation", o.dilation, 1);
  o.pad = l.options.padding<decltype(o.pad)>("pad");
  o.output_padding = l.options.extent("output_padding", o.output_padding, 0);
  o.groups = read_groups(l, o.groups);
  read_weights(l, o);
  return (l.builder.*kMethod)(l.x(), o);
}

Var make_linear(const LayerContext& l) {
  LinearOptions o;
  o.out = l.options.required_integer("out");
  read_weights(l, o);
  return l.builder.linear(l.x(), o);
}

}  // namespace

std::vector<LayerKind> conv_layers() {
  const Keys conv{"out",    "kernel", "stride", "pad",       "dilation",
                  "groups", "bias",   "init",   "bias_init", "share"};
  Keys transposed = conv;
  transposed.insert(transposed.begin() + 4, "output_padding");
  return {
      {"conv2d", "conv", conv, make_conv<Conv2dOptions, &ModelBuilder::conv2d>},
      {"conv1d", "conv", conv, make_conv<Conv1dOptions, &ModelBuilder::conv1d>},
      {"conv3d", "conv", conv, make_conv<Conv3dOptions, &ModelBuilder::conv3d>},
      {"conv_transpose1d", "conv_transpose", transposed,
       make_conv_transpose<ConvTranspose1dOptions, &ModelBuilder::conv_transpose1d>},
      {"conv_transpose2d", "conv_transpose", transposed,
       make_conv_transpose<ConvTranspose2dOptions, &ModelBuilder::conv_transpose2d>},
      {"conv_transpose3d", "conv_transpose", transposed,
       make_conv_transpose<ConvTranspose3dOptions, &ModelBuilder::conv_transpose3d>},
      {"linear", "linear", {"out", "bias", "init", "bias_init", "share"}, make_linear},
  };
}

}  // namespace tanul::recipe
