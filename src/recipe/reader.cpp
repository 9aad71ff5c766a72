// SPDX-License-Identifier: Apache-2.0
#include "recipe/reader.h"

#include <algorithm>
#include <cmath>

#include "core/suggest.h"

namespace tanul::recipe {

TableReader::TableReader(const Source& source, const TomlNode* table, std::string what,
                         const Keys& keys)
    : source_(source), table_(table), what_(std::move(what)) {
  if (table_ == nullptr) return;
  if (table_->kind != TomlNode::Kind::table) {
    fail_at(source_, table_->where, "{} must be a table, not {}", what_, table_->description());
  }
  for (const auto& [key, value] : table_->entries) {
    if (std::find(keys.begin(), keys.end(), key.name) != keys.end()) continue;
    if (keys.empty())
      fail_at(source_, key.where, "{} has no key \"{}\"; it takes none", what_, key.name);
    fail_at(source_, key.where, "{} has no key \"{}\"{}", what_, key.name,
            suggestion(key.name, keys));
  }
}

const TomlNode* TableReader::find(const std::string& key) const {
  return table_ == nullptr ? nullptr : table_->find(key);
}

Where TableReader::where(const std::string& key) const {
  if (const TomlNode* node = find(key)) return node->where;
  return table_ == nullptr ? Where{} : table_->where;
}

const TomlNode& TableReader::required(const std::string& key) const {
  const TomlNode* node = find(key);
  if (node != nullptr) return *node;
  fail_at(source_, where(key), "{} needs the key \"{}\"", what_, key);
}

int64_t TableReader::whole(const std::string& key, const TomlNode& node, int64_t low,
                           int64_t high) const {
  if (node.kind != TomlNode::Kind::integer) {
    fail_at(source_, node.where, "{}: {} must be a whole number, not {}", what_, key,
            node.description());
  }
  if (node.integer < low) {
    fail_at(source_, node.where, "{}: {} must be at least {}, got {}", what_, key, low,
            node.integer);
  }
  if (node.integer > high) {
    fail_at(source_, node.where, "{}: {} must be at most {}, got {}", what_, key, high,
            node.integer);
  }
  return node.integer;
}

double TableReader::real(const std::string& key, const TomlNode& node, const Range& range) const {
  if (!node.is_number()) {
    fail_at(source_, node.where, "{}: {} must be a number, not {}", what_, key, node.description());
  }
  const bool is_possible = std::isinf(node.real) && node.real == range.high;
  if (!std::isfinite(node.real) && !is_possible) {
    fail_at(source_, node.where, "{}: {} must be finite, got {}", what_, key, node.real);
  }
  if (node.real < range.low || (range.open_low && node.real == range.low)) {
    fail_at(source_, node.where, "{}: {} must be {} {}, got {}", what_, key,
            range.open_low ? "greater than" : "at least", range.low, node.real);
  }
  if (node.real > range.high || (range.open_high && node.real == range.high)) {
    fail_at(source_, node.where, "{}: {} must be {} {}, got {}", what_, key,
            range.open_high ? "less than" : "at most", range.high, node.real);
  }
  return node.real;
}

int64_t TableReader::integer(const std::string& key, int64_t otherwise, int64_t low,
                             int64_t high) const {
  const TomlNode* node = find(key);
  return node == nullptr ? otherwise : whole(key, *node, low, high);
}

int64_t TableReader::required_integer(const std::string& key, int64_t low, int64_t high) const {
  return whole(key, required(key), low, high);
}

double TableReader::number(const std::string& key, double otherwise, const Range& range) const {
  const TomlNode* node = find(key);
  return node == nullptr ? otherwise : real(key, *node, range);
}

bool TableReader::boolean(const std::string& key, bool otherwise) const {
  const TomlNode* node = find(key);
  if (node == nullptr) return otherwise;
  if (node->kind != TomlNode::Kind::boolean) {
    fail_at(source_, node->where, "{}: {} must be true or false, not {}", what_, key,
            node->description());
  }
  return node->boolean;
}

std::string TableReader::text(const std::string& key, const std::string& otherwise) const {
  const TomlNode* node = find(key);
  if (node == nullptr) return otherwise;
  if (node->kind != TomlNode::Kind::string) {
    fail_at(source_, node->where, "{}: {} must be a string, not {}", what_, key,
            node->description());
  }
  return node->text;
}

std::vector<double> TableReader::numbers(const std::string& key, const Range& range) const {
  std::vector<double> out;
  const TomlNode* node = find(key);
  if (node == nullptr) return out;
  if (node->kind != TomlNode::Kind::list) {
    fail_at(source_, node->where, "{}: {} must be a list of numbers, not {}", what_, key,
            node->description());
  }
  for (const TomlNode& item : node->items) out.push_back(real(key, item, range));
  return out;
}

std::vector<int64_t> TableReader::required_integers(const std::string& key, int64_t low,
                                                    int64_t high) const {
  const TomlNode& node = required(key);
  if (node.kind == TomlNode::Kind::integer) return {whole(key, node, low, high)};
  if (node.kind != TomlNode::Kind::list) {
    fail_at(source_, node.where, "{}: {} must be a whole number or a list of them, not {}", what_,
            key, node.description());
  }
  std::vector<int64_t> out;
  for (const TomlNode& item : node.items) out.push_back(whole(key, item, low, high));
  return out;
}

std::vector<int64_t> TableReader::whole_list(const std::string& key, const TomlNode& node,
                                             int64_t low, const std::vector<size_t>& sizes,
                                             const char* forms) const {
  if (node.kind == TomlNode::Kind::integer) return {whole(key, node, low, kMostSize)};
  if (node.kind != TomlNode::Kind::list ||
      std::find(sizes.begin(), sizes.end(), node.items.size()) == sizes.end()) {
    fail_at(source_, node.where, "{}: {} must be {}, not {}", what_, key, forms,
            node.kind == TomlNode::Kind::list ? fmt::format("a list of {}", node.items.size())
                                              : node.description());
  }
  std::vector<int64_t> out;
  for (const TomlNode& item : node.items) out.push_back(whole(key, item, low, kMostSize));
  return out;
}

std::vector<int64_t> TableReader::required_extents(const std::string& key, size_t axes,
                                                   int64_t low) const {
  constexpr const char* kForms[] = {"", "a whole number", "a whole number or [height, width]",
                                    "a whole number or [depth, height, width]"};
  auto list = whole_list(key, required(key), low, {axes}, kForms[axes]);
  if (list.size() < axes) list.resize(axes, list.front());
  return list;
}

std::vector<int64_t> TableReader::padding(const std::string& key, size_t axes, Same* same) const {
  constexpr const char* kForms[] = {
      "", "a whole number or [begin, end]",
      "a whole number, [height, width] or [top, left, bottom, right]",
      "a whole number, [depth, height, width] or [front, top, left, back, bottom, right]"};
  std::vector<int64_t> sides(2 * axes, 0);
  const TomlNode* node = find(key);
  if (node == nullptr) return sides;
  if (same != nullptr && node->kind == TomlNode::Kind::string) {
    if (node->text != "same" && node->text != "same_lower") {
      fail_at(source_, node->where, "{}: {} must be {}, \"same\" or \"same_lower\", not {}", what_,
              key, kForms[axes], node->description());
    }
    *same = node->text == "same" ? Same::upper : Same::lower;
    return sides;
  }
  // one axis has no list of one number a side
  const std::vector<size_t> sizes =
      axes == 1 ? std::vector<size_t>{2} : std::vector<size_t>{axes, 2 * axes};
  const auto list = whole_list(key, *node, 0, sizes, kForms[axes]);
  for (size_t i = 0; i < sides.size(); ++i) sides[i] = list[i % list.size()];
  return sides;
}

Choice read_choice(const Source& source, const TomlNode& node, const std::string& what,
                   const Keys& kinds) {
  Choice choice;
  choice.where = node.where;
  if (node.kind == TomlNode::Kind::string) {
    choice.kind = node.text;
  } else if (node.kind == TomlNode::Kind::table && node.entries.size() == 1) {
    choice.kind = node.entries[0].first.name;
    choice.where = node.entries[0].first.where;
    choice.options = &node.entries[0].second;
  } else {
    std::string got = node.description();
    if (node.kind == TomlNode::Kind::table) {
      got = "a table of";
      for (const auto& [key, value] : node.entries) got += " " + key.name;
      if (node.entries.empty()) got = "an empty table";
    }
    fail_at(source, node.where,
            "{} must be one name, or a table of one name with its options, not {}", what, got);
  }
  if (std::find(kinds.begin(), kinds.end(), choice.kind) == kinds.end()) {
    fail_at(source, choice.where, "{}: there is no \"{}\"{}", what, choice.kind,
            suggestion(choice.kind, kinds));
  }
  return choice;
}

}  // namespace tanul::recipe
