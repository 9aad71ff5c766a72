// SPDX-License-Identifier: Apache-2.0
// Reading one table of a model file: unknown keys, wrong types and values out of range become
// errors with the place, the table's name and the nearest valid key.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "recipe/keys.h"
#include "recipe/toml_tree.h"
#include "tanul/model.h"

namespace tanul::recipe {

// Bounds of a number; `open_high`: high itself is not allowed.
struct Range {
  double low = -std::numeric_limits<double>::max();
  double high = std::numeric_limits<double>::max();
  bool open_low = false;
  bool open_high = false;
};

class TableReader {
 public:
  // `what` names the table in messages: `conv2d "conv1"`, `[train]`. `table` may be null: all
  // defaults. Throws at the first key that is not in `keys`.
  TableReader(const Source& source, const TomlNode* table, std::string what, const Keys& keys);

  const TomlNode* find(const std::string& key) const;
  bool has(const std::string& key) const { return find(key) != nullptr; }

  int64_t integer(const std::string& key, int64_t otherwise, int64_t low, int64_t high) const;
  int64_t required_integer(const std::string& key, int64_t low, int64_t high) const;
  double number(const std::string& key, double otherwise, const Range& range) const;
  bool boolean(const std::string& key, bool otherwise) const;
  std::string text(const std::string& key, const std::string& otherwise) const;
  std::vector<double> numbers(const std::string& key, const Range& range) const;
  // A list of whole numbers; one number is a list of one. The key must be there.
  std::vector<int64_t> required_integers(const std::string& key, int64_t low, int64_t high) const;
  // A number for all of `axes` axes, or a list of one for each: [h, w], [d, h, w]. The key must be there.
  std::vector<int64_t> required_extents(const std::string& key, size_t axes, int64_t low) const;
  // What stands before each of `axes` axes, then behind each: a number, a list of one for each axis,
  // or a list of all sides. None where the key is not there. Of a string ("same", "same_lower"), where
  // `same` is not null, the meaning.
  std::vector<int64_t> padding(const std::string& key, size_t axes, Same* same) const;

  const std::string& what() const { return what_; }
  const Source& source() const { return source_; }
  // The place of a key's value, or of the table where the key is left out.
  Where where(const std::string& key) const;

 private:
  const TomlNode& required(const std::string& key) const;
  int64_t whole(const std::string& key, const TomlNode& node, int64_t low, int64_t high) const;
  double real(const std::string& key, const TomlNode& node, const Range& range) const;
  std::vector<int64_t> whole_list(const std::string& key, const TomlNode& node, int64_t low,
                                  const std::vector<size_t>& sizes, const char* forms) const;

  const Source& source_;
  const TomlNode* table_;
  std::string what_;
};

// "name" or { name = { … } }: one of `kinds`, with its options.
struct Choice {
  std::string kind;
  Where where;
  const TomlNode* options = nullptr;  // null where only the name stands
};

// `what`: `[train] optimizer`.
Choice read_choice(const Source& source, const TomlNode& node, const std::string& what,
                   const Keys& kinds);

constexpr int64_t kMostSize = int64_t{1} << 24;  // of a dimension; ModelBuilder has the same bound

}  // namespace tanul::recipe
