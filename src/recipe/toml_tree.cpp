// SPDX-License-Identifier: Apache-2.0
// The one source file that includes toml++ (it is heavy).
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#define TOML_ENABLE_UNRELEASED_FEATURES 0
// A model file nests lists of tables of tables: a handful. The bound keeps the parser's, the
// converter's and the destructors' recursion shallow.
#define TOML_MAX_NESTED_VALUES 32
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#endif
#include <toml++/toml.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#include <algorithm>

#include "recipe/toml_tree.h"

namespace tanul::recipe {

namespace {

constexpr int kMaxKeyParts = 16;           // of a dotted key; toml++ has no bound of its own
constexpr size_t kMaxFileBytes = 1 << 20;  // a model file is a page or two

Where where_of(const toml::source_region& region, int override_index) {
  return {static_cast<int>(region.begin.line), static_cast<int>(region.begin.column),
          override_index};
}

// One line, printable: toml++ quotes what it saw.
std::string one_line(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += ' ';
    } else {
      out += c;
    }
  }
  while (!out.empty() && (out.back() == '.' || out.back() == ' ')) out.pop_back();
  return out;
}

// Refuses keys like a.a.a.a…: every part is one level of the tree.
void refuse_deep_keys(const std::string& text, const Source& source) {
  int line = 1;
  int column = 0;
  int dots = 0;
  size_t i = 0;
  const auto step = [&] {
    if (text[i] == '\n') {
      ++line;
      column = 0;
    } else {
      ++column;
    }
    ++i;
  };
  while (i < text.size()) {
    const char c = text[i];
    if (c == '#') {
      while (i < text.size() && text[i] != '\n') step();
      continue;
    }
    if (c == '"' || c == '\'') {
      const std::string triple(3, c);
      const std::string quote = text.compare(i, 3, triple) == 0 ? triple : std::string(1, c);
      for (size_t k = 0; k < quote.size(); ++k) step();
      while (i < text.size() && text.compare(i, quote.size(), quote) != 0) {
        if (quote.size() == 1 && text[i] == '\n') break;
        if (c == '"' && text[i] == '\\' && i + 1 < text.size()) step();
        step();
      }
      for (size_t k = 0; k < quote.size() && i < text.size() && text[i] != '\n'; ++k) step();
      continue;
    }
    if (c == '.' && ++dots >= kMaxKeyParts) {
      fail_at(source, {line, column + 1, -1},
              "a key of more than {} parts; nothing in a model file nests that deep", kMaxKeyParts);
    }
    if (std::string_view("=,[]{}\n").find(c) != std::string_view::npos) dots = 0;
    step();
  }
}

TomlNode convert(const toml::node& node, int override_index) {
  TomlNode out;
  out.where = where_of(node.source(), override_index);
  if (const auto* text = node.as_string()) {
    out.kind = TomlNode::Kind::string;
    out.text = text->get();
  } else if (const auto* integer = node.as_integer()) {
    out.kind = TomlNode::Kind::integer;
    out.integer = integer->get();
    out.real = static_cast<double>(out.integer);
  } else if (const auto* real = node.as_floating_point()) {
    out.kind = TomlNode::Kind::real;
    out.real = real->get();
  } else if (const auto* boolean = node.as_boolean()) {
    out.kind = TomlNode::Kind::boolean;
    out.boolean = boolean->get();
  } else if (const auto* list = node.as_array()) {
    out.kind = TomlNode::Kind::list;
    for (const toml::node& item : *list) out.items.push_back(convert(item, override_index));
  } else if (const auto* table = node.as_table()) {
    out.kind = TomlNode::Kind::table;
    for (const auto& [key, value] : *table) {
      out.entries.push_back({{std::string(key.str()), where_of(key.source(), override_index)},
                             convert(value, override_index)});
    }
    // toml++ sorts by name; people read in the order of the file
    std::stable_sort(out.entries.begin(), out.entries.end(), [](const auto& a, const auto& b) {
      return std::pair(a.first.where.line, a.first.where.column) <
             std::pair(b.first.where.line, b.first.where.column);
    });
  } else {
    out.kind = TomlNode::Kind::date;
  }
  return out;
}

bool is_bare_word(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("_-./:~+@ ").find(c) != std::string_view::npos ||
           static_cast<unsigned char>(c) >= 0x80;
  });
}

}  // namespace

const TomlNode* TomlNode::find(const std::string& key) const {
  for (const auto& [k, value] : entries) {
    if (k.name == key) return &value;
  }
  return nullptr;
}

TomlNode* TomlNode::find(const std::string& key) {
  return const_cast<TomlNode*>(std::as_const(*this).find(key));
}

std::string TomlNode::description() const {
  switch (kind) {
    case Kind::string:
      return "a string (" + quoted(text.size() > 40 ? text.substr(0, 37) + "…" : text) + ")";
    case Kind::integer:
      return fmt::format("a whole number ({})", integer);
    case Kind::real:
      return fmt::format("a number ({})", real);
    case Kind::boolean:
      return boolean ? "true" : "false";
    case Kind::date:
      return "a date or time";
    case Kind::list:
      return "a list";
    case Kind::table:
      return "a table";
  }
  return {};
}

std::string Source::place(const Where& where) const {
  if (where.override_index >= 0) {
    return "--set " + one_line(overrides[static_cast<size_t>(where.override_index)]);
  }
  return fmt::format("{}:{}:{}", file, where.line, where.column);
}

TomlNode parse_toml(const std::string& text, const Source& source) {
  if (text.size() > kMaxFileBytes) {
    fail_at(source, {1, 1, -1}, "a model file of {} bytes; at most {} are read", text.size(),
            kMaxFileBytes);
  }
  refuse_deep_keys(text, source);
  try {
    return convert(toml::parse(text), -1);
  } catch (const toml::parse_error& e) {
    fail_at(source, where_of(e.source(), -1), "{}", one_line(e.description()));
  }
}

TomlNode parse_override_value(const std::string& text, const Source& source, int index) {
  const Where where{0, 0, index};
  refuse_deep_keys(text, source);
  TomlNode out;
  try {
    const toml::table table = toml::parse("value = " + text);
    if (table.size() != 1) fail_at(source, where, "holds more than one value");
    out = convert(*table.get("value"), index);
    return out;
  } catch (const toml::parse_error& e) {
    if (!is_bare_word(text)) fail_at(source, where, "{}", one_line(e.description()));
  }
  out.kind = TomlNode::Kind::string;
  out.where = where;
  out.text = text;
  return out;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\u{:04X}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace tanul::recipe
