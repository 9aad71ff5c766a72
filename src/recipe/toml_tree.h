// SPDX-License-Identifier: Apache-2.0
// A TOML file as a plain tree whose nodes know their place in the file, so that only one source
// file includes toml++. Keys keep the order of the file.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tanul/error.h"

namespace tanul::recipe {

// A place in the model file, or in the `override_index`-th override.
struct Where {
  int line = 0;
  int column = 0;
  int override_index = -1;
};

struct TomlKey;

struct TomlNode {
  enum class Kind { string, integer, real, boolean, date, list, table };
  Kind kind = Kind::table;
  Where where;
  std::string text;  // string
  int64_t integer = 0;
  double real = 0;
  bool boolean = false;
  std::vector<TomlNode> items;                        // list
  std::vector<std::pair<TomlKey, TomlNode>> entries;  // table

  bool is_number() const { return kind == Kind::integer || kind == Kind::real; }
  const TomlNode* find(const std::string& key) const;
  TomlNode* find(const std::string& key);
  // `a string ("six")`, `a list`: for messages.
  std::string description() const;
};

struct TomlKey {
  std::string name;
  Where where;
};

// The names behind every Where, and the way errors leave.
struct Source {
  std::string file;
  std::vector<std::string> overrides;

  // "lenet5.toml:7:22", or "--set train.epochs=x" for an override.
  std::string place(const Where& where) const;
};

template <typename... Args>
[[noreturn]] void fail_at(const Source& source, const Where& where,
                          fmt::format_string<Args...> format, Args&&... args) {
  throw Error(Code::format,
              source.place(where) + ": " + fmt::format(format, std::forward<Args>(args)...));
}

// Parses a whole file. Throws Error{format} with line and column.
TomlNode parse_toml(const std::string& text, const Source& source);

// Parses the value of override `index`: TOML, or else a bare word that is taken as a string.
TomlNode parse_override_value(const std::string& text, const Source& source, int index);

// `text` in quotes, as TOML has it.
std::string quoted(const std::string& text);

}  // namespace tanul::recipe
