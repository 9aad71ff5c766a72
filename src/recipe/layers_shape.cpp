// SPDX-License-Identifier: Apache-2.0
// Layers of a model file that move, join and combine values.
#include <algorithm>

#include "recipe/fields.h"
#include "recipe/layer_kind.h"

namespace tanul::recipe {

namespace {

constexpr int64_t kLastAxis = 4;  // of a sample

std::vector<int> axes_of(const std::vector<int64_t>& numbers) {
  return {numbers.begin(), numbers.end()};
}

// A list of whole numbers that must be there.
std::vector<int64_t> read_list(const LayerContext& l, const char* key, int64_t low,
                               int64_t high = kMostSize) {
  const auto list = l.options.table().required_integers(key, low, high);
  l.options.append(key, list_toml(list));
  return list;
}

size_t spatial_axes(const LayerContext& l) {
  return static_cast<size_t>(std::clamp(l.builder.shape(l.x()).rank() - 1, 1, 3));
}

Var make_flatten(const LayerContext& l) {
  if (!l.options.table().has("axis")) return l.builder.flatten(l.x(), l.name);
  const auto axis = static_cast<int>(l.options.integer("axis", 0, 0, kLastAxis));
  return l.builder.flatten(l.x(), axis, l.name);
}

Var make_reshape(const LayerContext& l) {
  const auto shape = l.options.table().required_integers("shape", -1, kMostSize);
  const Var y = l.builder.reshape(l.x(), shape, l.name);
  const Shape made = l.builder.shape(y);
  l.options.append("shape", list_toml({made.begin(), made.end()}));
  return y;
}

Var make_transpose(const LayerContext& l) {
  return l.builder.transpose(l.x(), axes_of(read_list(l, "perm", 0, kLastAxis)), l.name);
}

Var make_slice(const LayerContext& l) {
  SliceOptions o;
  const Shape shape = l.builder.shape(l.x());
  o.axis = static_cast<int>(l.options.integer("axis", 0, 0, kLastAxis));
  o.begin = l.options.integer("begin", 0, 0);
  o.end = l.options.integer("end", o.axis < shape.rank() ? shape[o.axis] : 1, 1);
  o.name = l.name;
  return l.builder.slice(l.x(), o);
}

Var make_crop(const LayerContext& l) {
  CropOptions o;
  o.begin = read_list(l, "begin", 0);
  o.size = read_list(l, "size", 1);
  o.name = l.name;
  return l.builder.crop(l.x(), o);
}

Var make_pad(const LayerContext& l) {
  PadOptions o;
  const TableReader& table = l.options.table();
  if (table.has("pad")) {
    o.pad = table.padding("pad", spatial_axes(l), nullptr);
    l.options.append("pad", list_toml(o.pad));
  }
  const std::vector<std::string> modes{"constant", "reflect", "replicate"};
  const std::string mode = l.options.choice("mode", modes);
  o.mode = static_cast<PadWith>(std::find(modes.begin(), modes.end(), mode) - modes.begin());
  o.value = l.options.number("value", 0, kAny);
  if (table.has("channels")) {
    const auto channels = read_list(l, "channels", 0);
    if (channels.size() != 2) {
      fail_at(table.source(), table.where("channels"),
              "{}: channels must be [before, after], got {} numbers", table.what(),
              channels.size());
    }
    o.channels_before = channels[0];
    o.channels_after = channels[1];
  }
  o.name = l.name;
  return l.builder.pad(l.x(), o);
}

Var make_upsample(const LayerContext& l) {
  UpsampleOptions o;
  const TableReader& table = l.options.table();
  if (table.has("size")) {
    o.size = table.required_extents("size", spatial_axes(l), 1);
    l.options.append("size", list_toml(o.size));
  }
  if (const TomlNode* given = table.find("scale"); given != nullptr) {
    const Range range{0, static_cast<double>(kMostSize), true};
    if (given->is_number()) {
      o.scale = {l.options.number("scale", 1, range)};
    } else {
      o.scale = table.numbers("scale", range);
      std::string text;
      for (double scale : o.scale) text += fmt::format("{}{}", text.empty() ? "" : ", ", scale);
      l.options.append("scale", "[" + text + "]");
    }
  }
  const std::vector<std::string> modes{"nearest", "nearest_exact", "linear", "cubic"};
  const std::string mode = l.options.choice("mode", modes);
  o.mode = static_cast<UpsampleMode>(std::find(modes.begin(), modes.end(), mode) - modes.begin());
  o.align_corners = l.options.boolean("align_corners", false);
  o.name = l.name;
  return l.builder.upsample(l.x(), o);
}

template <Var (ModelBuilder::*kMethod)(Var, int64_t, const std::string&)>
Var make_pixels(const LayerContext& l) {
  return (l.builder.*kMethod)(l.x(), l.options.required_integer("factor"), l.name);
}

Var make_channel_shuffle(const LayerContext& l) {
  return l.builder.channel_shuffle(l.x(), l.options.required_integer("groups"), l.name);
}

template <Var (ModelBuilder::*kMethod)(Var, Var, const std::string&)>
Var make_arithmetic(const LayerContext& l) {
  return (l.builder.*kMethod)(l.inputs[0], l.inputs[1], l.name);
}

Var make_scale_shift(const LayerContext& l) {
  ScaleShiftOptions o;
  o.scale = l.options.boolean("scale", o.scale);
  o.shift = l.options.boolean("shift", o.shift);
  o.weight_init = l.options.init("init");
  o.bias_init = l.options.init("bias_init");
  o.name = l.name;
  return l.builder.scale_shift(l.x(), o);
}

template <Var (ModelBuilder::*kMethod)(Var, const std::vector<int>&, bool, const std::string&)>
Var make_reduction(const LayerContext& l) {
  const std::vector<int> axes = axes_of(read_list(l, "axes", 0, kLastAxis));
  return (l.builder.*kMethod)(l.x(), axes, l.options.boolean("keep", false), l.name);
}

Var make_concat(const LayerContext& l) {
  const auto axis = static_cast<int>(l.options.integer("axis", 0, 0, 3));
  return l.builder.concat(l.inputs, axis, l.name);
}

template <Var (ModelBuilder::*kMethod)(Var, Var, const std::string&)>
LayerKind arithmetic(const char* name) {
  return {name, name, {}, make_arithmetic<kMethod>, {2, 2}};
}

}  // namespace

std::vector<LayerKind> shape_layers() {
  using B = ModelBuilder;
  return {
      {"flatten", "flatten", {"axis"}, make_flatten},
      {"reshape", "reshape", {"shape"}, make_reshape},
      {"transpose", "transpose", {"perm"}, make_transpose},
      {"slice", "slice", {"axis", "begin", "end"}, make_slice},
      {"crop", "crop", {"begin", "size"}, make_crop},
      {"pad", "pad", {"pad", "mode", "value", "channels"}, make_pad},
      {"upsample", "upsample", {"size", "scale", "mode", "align_corners"}, make_upsample},
      {"pixel_shuffle", "pixel_shuffle", {"factor"}, make_pixels<&B::pixel_shuffle>},
      {"pixel_unshuffle", "pixel_unshuffle", {"factor"}, make_pixels<&B::pixel_unshuffle>},
      {"channel_shuffle", "channel_shuffle", {"groups"}, make_channel_shuffle},
      arithmetic<&B::add>("add"),
      arithmetic<&B::subtract>("subtract"),
      arithmetic<&B::multiply>("multiply"),
      arithmetic<&B::divide>("divide"),
      arithmetic<&B::maximum>("maximum"),
      arithmetic<&B::minimum>("minimum"),
      {"scale_shift", "scale_shift", {"scale", "shift", "init", "bias_init"}, make_scale_shift},
      {"reduce_sum", "reduce_sum", {"axes", "keep"}, make_reduction<&B::reduce_sum>},
      {"reduce_mean", "reduce_mean", {"axes", "keep"}, make_reduction<&B::reduce_mean>},
      {"concat", "concat", {"axis"}, make_concat, {2, 64}},
  };
}

}  // namespace tanul::recipe
