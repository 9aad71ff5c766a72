// SPDX-License-Identifier: Apache-2.0
// A model file from text to Recipe: parse, apply overrides, read the parts, write everything out
// again resolved. May not run or allocate anything of the engine.
#include "tanul/recipe.h"

#include <algorithm>

#include "core/format.h"
#include "io/file.h"
#include "recipe/network.h"
#include "recipe/settings.h"

namespace tanul {

namespace recipe {
namespace {

std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> parts{""};
  for (const char c : path) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

// One step down a path of an override; makes what is missing.
TomlNode& descend(const Source& source, TomlNode& node, const std::string& part,
                  const std::string& so_far, const Where& where) {
  if (node.kind == TomlNode::Kind::list) {
    const bool is_index =
        !part.empty() && part.size() < 10 &&
        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    const size_t index = is_index ? std::stoul(part) : 0;
    if (!is_index || index >= node.items.size()) {
      fail_at(source, where, "{} is a list of {}; \"{}\" is no position in it (from 0)", so_far,
              node.items.size(), part);
    }
    return node.items[index];
  }
  if (node.kind == TomlNode::Kind::string && node.text == part) {
    node.kind = TomlNode::Kind::table;  // "sgd" is short for { sgd = {} }
    node.entries.clear();
  }
  if (node.kind != TomlNode::Kind::table) {
    fail_at(source, where, "{} is {}, it has no \"{}\"", so_far, node.description(), part);
  }
  if (TomlNode* found = node.find(part)) return *found;
  TomlNode made;
  made.where = where;
  node.entries.push_back({{part, where}, made});
  return node.entries.back().second;
}

void apply_override(const Source& source, TomlNode& root, int index) {
  const std::string& text = source.overrides[static_cast<size_t>(index)];
  const Where where{0, 0, index};
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    fail_at(source, where, "an override is written key.path=value, for instance train.epochs=3");
  }
  const std::string path = text.substr(0, equals);
  const std::vector<std::string> parts = split_path(path);
  constexpr size_t kMostParts = 16;
  if (parts.size() > kMostParts ||
      std::any_of(parts.begin(), parts.end(), [](const std::string& p) { return p.empty(); })) {
    fail_at(source, where, "\"{}\" is no path of keys", path);
  }
  const TomlNode value = parse_override_value(text.substr(equals + 1), source, index);
  TomlNode* node = &root;
  std::string so_far;
  for (const std::string& part : parts) {
    node = &descend(source, *node, part, so_far, where);
    so_far += (so_far.empty() ? "" : ".") + part;
  }
  *node = value;
}

std::string resolved(const Network& network, const DataSettings& data, const TrainSettings& train) {
  std::string input;
  for (const int64_t extent : network.input) {
    input += (input.empty() ? "" : ", ") + std::to_string(extent);
  }
  std::string out = "# A recipe with every setting written out; docs/MODEL.md explains the keys.\n";
  out += fmt::format("name = {}\ninput = [{}]\nlayers = [\n", quoted(network.name), input);
  for (const std::string& line : network.layer_lines) out += "  " + line + ",\n";
  out += fmt::format("]\nloss = {}\n\n", network.loss_line);
  return out + data_toml(data) + "\n" + train_toml(train);
}

}  // namespace
}  // namespace recipe

Recipe parse_recipe(const std::string& toml, const std::string& file_name,
                    const std::vector<std::string>& overrides) {
  using namespace recipe;
  const Source source{file_name, overrides};
  TomlNode root = parse_toml(toml, source);
  for (size_t i = 0; i < overrides.size(); ++i) {
    apply_override(source, root, static_cast<int>(i));
  }
  const TableReader top(source, &root, "the model file", keys_of("model"));
  const TrainSettings train = read_train(source, root.find("train"));
  const Network network = build_network(source, root, train.init);
  const DataSettings data = read_data(source, root.find("data"), network.input);

  Recipe out;
  out.model = network.model;
  out.data = data.data;
  out.trainer = train.trainer;
  out.trainer.normalization = data.normalization;
  out.trainer.augmentation = data.augmentation;
  out.fit = train.fit;
  out.start = train.start;
  // what is frozen goes before the groups
  for (const std::string& pattern : train.freeze) {
    out.trainer.groups.insert(out.trainer.groups.begin(), ParameterGroup{pattern, 1, {}, true});
  }
  out.resolved_toml = resolved(network, data, train);
  return out;
}

Recipe load_recipe(const std::string& path, const std::vector<std::string>& overrides) {
  return parse_recipe(read_file(path), path, overrides);
}

}  // namespace tanul
