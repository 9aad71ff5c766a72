// SPDX-License-Identifier: Apache-2.0
#include "recipe/layers.h"

#include "core/format.h"
#include "recipe/settings.h"

namespace tanul::recipe {

namespace {

// Everything a layer function needs.
struct Layer {
  ModelBuilder& builder;
  const TableReader& reader;
  const std::string& name;
  const std::vector<Var>& inputs;

  Var x() const { return inputs[0]; }
  Init init(const char* key) const {
    const TomlNode* node = reader.find(key);
    return node == nullptr
               ? Init{}
               : read_init(reader.source(), *node, fmt::format("{}: {}", reader.what(), key));
  }
};

MadeLayer make_conv2d(const Layer& l) {
  Conv2dOptions o;
  o.out = l.reader.required_integer("out", 1, kMostSize);
  o.kernel = l.reader.required_extent("kernel", 1);
  o.stride = l.reader.extent("stride", o.stride, 1);
  o.pad = l.reader.padding("pad");
  o.dilation = l.reader.extent("dilation", o.dilation, 1);
  o.groups = l.reader.integer("groups", o.groups, 1, kMostSize);
  o.bias = l.reader.boolean("bias", o.bias);
  o.weight_init = l.init("init");
  o.bias_init = l.init("bias_init");
  o.name = l.name;
  return {
      l.builder.conv2d(l.x(), o),
      fmt::format("{{ out = {}, kernel = {}, stride = {}, pad = {}, dilation = {}, groups = {}, "
                  "bias = {}, init = {}, bias_init = {} }}",
                  o.out, pair_toml(o.kernel), pair_toml(o.stride), padding_toml(o.pad),
                  pair_toml(o.dilation), o.groups, bool_toml(o.bias), init_toml(o.weight_init),
                  init_toml(o.bias_init))};
}

MadeLayer make_linear(const Layer& l) {
  LinearOptions o;
  o.out = l.reader.required_integer("out", 1, kMostSize);
  o.bias = l.reader.boolean("bias", o.bias);
  o.weight_init = l.init("init");
  o.bias_init = l.init("bias_init");
  o.name = l.name;
  return {l.builder.linear(l.x(), o),
          fmt::format("{{ out = {}, bias = {}, init = {}, bias_init = {} }}", o.out,
                      bool_toml(o.bias), init_toml(o.weight_init), init_toml(o.bias_init))};
}

MadeLayer make_pool(const Layer& l, bool is_average) {
  Pool2dOptions o;
  o.kernel = l.reader.required_extent("kernel", 1);
  o.stride = l.reader.extent("stride", o.kernel, 1);
  o.pad = l.reader.padding("pad");
  o.ceil_mode = l.reader.boolean("ceil_mode", o.ceil_mode);
  if (is_average) o.count_include_pad = l.reader.boolean("count_include_pad", o.count_include_pad);
  o.name = l.name;
  std::string text =
      fmt::format("{{ kernel = {}, stride = {}, pad = {}, ceil_mode = {}", pair_toml(o.kernel),
                  pair_toml(*o.stride), padding_toml(o.pad), bool_toml(o.ceil_mode));
  if (is_average) text += ", count_include_pad = " + bool_toml(o.count_include_pad);
  return {is_average ? l.builder.avg_pool2d(l.x(), o) : l.builder.max_pool2d(l.x(), o),
          text + " }"};
}

MadeLayer make_concat(const Layer& l) {
  const auto axis = static_cast<int>(l.reader.integer("axis", 0, 0, 3));
  return {l.builder.concat(l.inputs, axis, l.name), fmt::format("{{ axis = {} }}", axis)};
}

MadeLayer make_dropout(const Layer& l) {
  DropoutOptions o;
  o.p = l.reader.number("p", o.p, Range{0, 1, false, true});
  o.name = l.name;
  return {l.builder.dropout(l.x(), o), fmt::format("{{ p = {} }}", o.p)};
}

}  // namespace

std::string name_stem(const std::string& kind) {
  if (kind == "conv2d") return "conv";
  if (kind == "max_pool2d" || kind == "avg_pool2d" || kind == "global_avg_pool2d") return "pool";
  return kind;
}

InputCount input_count(const std::string& kind) {
  if (kind == "add") return {2, 2};
  if (kind == "concat") return {2, 64};
  return {};
}

MadeLayer make_layer(ModelBuilder& builder, const Source& source, const std::string& kind,
                     const TomlNode* options, const Where& where, const std::string& name,
                     const std::vector<Var>& inputs) {
  TomlNode none;  // so that a missing key has a place even where only the layer's name stands
  none.where = where;
  const TableReader reader(source, options == nullptr ? &none : options,
                           fmt::format("{} \"{}\"", kind, name), keys_of(kind));
  const Layer layer{builder, reader, name, inputs};
  if (kind == "conv2d") return make_conv2d(layer);
  if (kind == "linear") return make_linear(layer);
  if (kind == "max_pool2d") return make_pool(layer, false);
  if (kind == "avg_pool2d") return make_pool(layer, true);
  if (kind == "global_avg_pool2d") return {builder.global_avg_pool2d(layer.x(), name), "{}"};
  if (kind == "relu") return {builder.relu(layer.x(), name), "{}"};
  if (kind == "sigmoid") return {builder.sigmoid(layer.x(), name), "{}"};
  if (kind == "tanh") return {builder.tanh(layer.x(), name), "{}"};
  if (kind == "flatten") return {builder.flatten(layer.x(), name), "{}"};
  if (kind == "add") return {builder.add(inputs[0], inputs[1], name), "{}"};
  if (kind == "concat") return make_concat(layer);
  if (kind == "dropout") return make_dropout(layer);
  fail(Code::internal, "the layer kind \"{}\" cannot be made", kind);
}

std::string make_loss(ModelBuilder& builder, const Source& source, const TomlNode& node, Var x) {
  const Choice choice = read_choice(source, node, "loss", loss_kinds());
  const TableReader r(source, choice.options, "loss " + choice.kind, keys_of(choice.kind));
  std::string text;
  const auto make = [&](const auto& call) {
    try {
      call();
    } catch (const Error& e) {
      throw Error(e.code(), source.place(choice.where) + ": " + e.what());
    }
  };
  if (choice.kind == "mean_squared_error") {
    make([&] { builder.mean_squared_error(x); });
    return "{ mean_squared_error = {} }";
  }
  SoftmaxCrossEntropyOptions o;
  o.label_smoothing = r.number("label_smoothing", 0, Range{0, 1});
  for (double weight : r.numbers("class_weights", Range{0, std::numeric_limits<float>::max()})) {
    o.class_weights.push_back(static_cast<float>(weight));
    text += fmt::format("{}{}", text.empty() ? "" : ", ", o.class_weights.back());
  }
  std::string ignore;
  if (r.has("ignore_index")) {
    o.ignore_index = static_cast<int32_t>(r.required_integer(
        "ignore_index", std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()));
    ignore = fmt::format(", ignore_index = {}", *o.ignore_index);
  }
  make([&] { builder.softmax_cross_entropy(x, o); });
  return fmt::format(
      "{{ softmax_cross_entropy = {{ label_smoothing = {}, class_weights = [{}]{} }} }}",
      o.label_smoothing, text, ignore);
}

}  // namespace tanul::recipe
