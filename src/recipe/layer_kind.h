// SPDX-License-Identifier: Apache-2.0
// The kinds of layers and losses that a model file may hold: for each its keys and a function that
// reads them, calls ModelBuilder, and leaves the resolved options behind. One file a group of kinds
// (layers_conv.cpp, layers_pool.cpp, …); layers.cpp joins them.
#pragma once

#include <string>
#include <vector>

#include "core/format.h"
#include "recipe/reader.h"
#include "recipe/settings.h"
#include "tanul/model.h"

namespace tanul::recipe {

// How many axes an extent or a padding has.
template <typename T>
inline constexpr size_t kAxes = 1;  // int64_t, Padding1
template <>
inline constexpr size_t kAxes<Extent2> = 2;
template <>
inline constexpr size_t kAxes<Padding2> = 2;
template <>
inline constexpr size_t kAxes<Extent3> = 3;
template <>
inline constexpr size_t kAxes<Padding3> = 3;

// Reads options in the order in which they are written out again: each call reads one key and
// appends `key = value`, default or not, to the resolved text.
class OptionReader {
 public:
  explicit OptionReader(const TableReader& reader) : reader_(reader) {}

  int64_t required_integer(const char* key, int64_t low = 1, int64_t high = kMostSize) {
    return note(key, reader_.required_integer(key, low, high));
  }
  int64_t integer(const char* key, int64_t otherwise, int64_t low, int64_t high = kMostSize) {
    return note(key, reader_.integer(key, otherwise, low, high));
  }
  double number(const char* key, double otherwise, const Range& range = {}) {
    return note(key, reader_.number(key, otherwise, range));
  }
  bool boolean(const char* key, bool otherwise) {
    const bool value = reader_.boolean(key, otherwise);
    append(key, bool_toml(value));
    return value;
  }
  // One of `choices`; the first is the default.
  std::string choice(const char* key, const std::vector<std::string>& choices);
  // For one to three axes: E is int64_t, Extent2 or Extent3, P is Padding1 to Padding3.
  template <typename E = Extent2>
  E required_extent(const char* key, int64_t low = 1) {
    const auto list = reader_.required_extents(key, kAxes<E>, low);
    append(key, list.size() == 1 ? fmt::format("{}", list[0]) : list_toml(list));
    if constexpr (kAxes<E> == 1) return list[0];
    if constexpr (kAxes<E> == 2) return {list[0], list[1]};
    if constexpr (kAxes<E> == 3) return {list[0], list[1], list[2]};
  }
  template <typename E>
  E extent(const char* key, const E& otherwise, int64_t low) {
    if (reader_.has(key)) return required_extent<E>(key, low);
    append(key, extent_toml(otherwise));
    return otherwise;
  }
  template <typename P = Padding2>
  P padding(const char* key) {
    return padding<P>(
        key, [](const P& pad) { return pad; }, nullptr);
  }
  // The same with "same" and "same_lower": resolve(pad) puts numbers in their place.
  template <typename P, typename Resolve>
  P padding(const char* key, const Resolve& resolve) {
    Same same = Same::no;
    return padding<P>(key, resolve, &same);
  }
  Init init(const char* key) {
    const TomlNode* node = reader_.find(key);
    const Init init = node == nullptr ? Init{}
                                      : read_init(reader_.source(), *node,
                                                  fmt::format("{}: {}", reader_.what(), key));
    append(key, init_toml(init));
    return init;
  }

  // Left out of the resolved text where it is not given.
  std::string optional_text(const char* key) {
    const std::string text = reader_.text(key, "");
    if (!text.empty()) append(key, quoted(text));
    return text;
  }

  const TableReader& table() const { return reader_; }
  // For what the methods above do not cover.
  void append(const char* key, const std::string& value) {
    text_ += fmt::format("{}{} = {}", text_.empty() ? "" : ", ", key, value);
  }
  // `{ out = 6, kernel = [5, 5] }`
  std::string text() const { return text_.empty() ? "{}" : "{ " + text_ + " }"; }

 private:
  template <typename T>
  T note(const char* key, T value) {
    append(key, fmt::format("{}", value));
    return value;
  }
  static std::string extent_toml(int64_t e) { return fmt::format("{}", e); }
  static std::string extent_toml(const Extent2& e) { return list_toml({e.h, e.w}); }
  static std::string extent_toml(const Extent3& e) { return list_toml({e.d, e.h, e.w}); }
  static std::string sides_toml(const Padding1& p) { return list_toml({p.begin, p.end}); }
  static std::string sides_toml(const Padding2& p) {
    return list_toml({p.top, p.left, p.bottom, p.right});
  }
  static std::string sides_toml(const Padding3& p) {
    return list_toml({p.front, p.top, p.left, p.back, p.bottom, p.right});
  }

  template <typename P, typename Resolve>
  P padding(const char* key, const Resolve& resolve, Same* same) {
    constexpr size_t axes = kAxes<P>;
    const auto sides = reader_.padding(key, axes, same);
    P pad = 0;
    if constexpr (axes == 1) pad = {sides[0], sides[1]};
    if constexpr (axes == 2) pad = {sides[0], sides[1], sides[2], sides[3]};
    if constexpr (axes == 3) pad = {sides[0], sides[1], sides[2], sides[3], sides[4], sides[5]};
    if (same != nullptr) pad.same = *same;
    pad = resolve(pad);
    append(key, sides_toml(pad));
    return pad;
  }

  const TableReader& reader_;
  std::string text_;
};

// What makes one layer.
struct LayerContext {
  ModelBuilder& builder;
  OptionReader& options;
  const std::string& kind;  // "relu"
  const std::string& name;
  const std::vector<Var>& inputs;

  Var x() const { return inputs[0]; }
};

// How many inputs a layer takes.
struct InputCount {
  size_t least = 1;
  size_t most = 1;
};

struct LayerKind {
  std::string name;  // "conv2d"
  std::string stem;  // of names that are not given: "conv" makes conv1, conv2, as in ModelBuilder
  Keys keys;
  Var (*make)(const LayerContext& context);
  InputCount inputs = {};
};

// What ends the network.
struct LossContext {
  ModelBuilder& builder;
  OptionReader& options;
  Var x;
};

struct LossKindInfo {
  std::string name;
  Keys keys;
  void (*make)(const LossContext& context);
};

std::vector<LayerKind> conv_layers();
std::vector<LayerKind> pool_layers();
std::vector<LayerKind> norm_layers();
std::vector<LayerKind> activation_layers();
std::vector<LayerKind> shape_layers();
std::vector<LossKindInfo> all_losses();

// All of them, in the order of the documentation.
const std::vector<LayerKind>& all_layers();

}  // namespace tanul::recipe
