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
  Extent2 required_extent(const char* key, int64_t low = 1) {
    return note_extent(key, reader_.required_extent(key, low));
  }
  Extent2 extent(const char* key, Extent2 otherwise, int64_t low) {
    return note_extent(key, reader_.extent(key, otherwise, low));
  }
  Padding2 padding(const char* key) {
    const Padding2 pad = reader_.padding(key);
    append(key, padding_toml(pad));
    return pad;
  }
  Init init(const char* key) {
    const TomlNode* node = reader_.find(key);
    const Init init = node == nullptr ? Init{}
                                      : read_init(reader_.source(), *node,
                                                  fmt::format("{}: {}", reader_.what(), key));
    append(key, init_toml(init));
    return init;
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
  Extent2 note_extent(const char* key, Extent2 value) {
    append(key, pair_toml(value));
    return value;
  }

  const TableReader& reader_;
  std::string text_;
};

// What makes one layer.
struct LayerContext {
  ModelBuilder& builder;
  OptionReader& options;
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
