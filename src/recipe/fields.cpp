// SPDX-License-Identifier: Apache-2.0
#include "recipe/fields.h"

#include <algorithm>

#include "core/format.h"
#include "core/suggest.h"
#include "recipe/settings.h"

namespace tanul::recipe {

void FieldReader::choice(const char* key, int& value, const std::vector<std::string>& names) {
  const TomlNode* node = reader_.find(key);
  if (node == nullptr) return;
  const std::string name = reader_.text(key, "");
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    std::string list;
    for (const std::string& one : names) list += (list.empty() ? "" : ", ") + quoted(one);
    fail_at(reader_.source(), node->where, "{}: {} must be one of {}, got {}{}", reader_.what(),
            key, list, quoted(name), suggestion(name, names));
  }
  value = static_cast<int>(found - names.begin());
}

void FieldReader::texts(const char* key, std::vector<std::string>& value) {
  const TomlNode* node = reader_.find(key);
  if (node == nullptr) return;
  const auto is_text = [](const TomlNode& item) { return item.kind == TomlNode::Kind::string; };
  if (node->kind != TomlNode::Kind::list ||
      !std::all_of(node->items.begin(), node->items.end(), is_text)) {
    fail_at(reader_.source(), node->where, "{}: {} must be a list of strings, not {}",
            reader_.what(), key, node->description());
  }
  value.clear();
  for (const TomlNode& item : node->items) value.push_back(item.text);
}

void FieldReader::pairs(const char* key, std::vector<std::pair<double, double>>& value,
                        const Range& range) {
  const TomlNode* node = reader_.find(key);
  if (node == nullptr) return;
  const auto is_good = [&](const TomlNode& item) {
    return item.kind == TomlNode::Kind::list && item.items.size() == 2 &&
           std::all_of(item.items.begin(), item.items.end(), [&](const TomlNode& n) {
             return n.is_number() && n.real >= range.low && n.real <= range.high;
           });
  };
  if (node->kind != TomlNode::Kind::list ||
      !std::all_of(node->items.begin(), node->items.end(), is_good)) {
    fail_at(reader_.source(), node->where,
            "{}: {} must be a list of pairs of numbers from {} to {:g}", reader_.what(), key,
            range.low, range.high);
  }
  value.clear();
  for (const TomlNode& item : node->items) {
    value.emplace_back(item.items[0].real, item.items[1].real);
  }
}

void FieldWriter::append(const char* key, const std::string& value) {
  text_ += fmt::format("{}{} = {}", text_.empty() ? "" : ", ", key, value);
}

void FieldWriter::number(const char* key, double& value, const Range&) {
  append(key, fmt::format("{}", value));
}
void FieldWriter::number(const char* key, float& value, const Range&) {
  append(key, fmt::format("{}", value));
}
void FieldWriter::integer(const char* key, int64_t& value, int64_t, int64_t) {
  append(key, fmt::format("{}", value));
}
void FieldWriter::boolean(const char* key, bool& value) { append(key, bool_toml(value)); }
void FieldWriter::choice(const char* key, int& value, const std::vector<std::string>& names) {
  append(key, quoted(names.at(static_cast<size_t>(value))));
}
void FieldWriter::text(const char* key, std::string& value) { append(key, quoted(value)); }
void FieldWriter::texts(const char* key, std::vector<std::string>& value) {
  std::string list;
  for (const std::string& one : value) list += (list.empty() ? "" : ", ") + quoted(one);
  append(key, "[" + list + "]");
}
void FieldWriter::numbers(const char* key, std::vector<double>& value, const Range&) {
  std::string list;
  for (double one : value) list += fmt::format("{}{}", list.empty() ? "" : ", ", one);
  append(key, "[" + list + "]");
}
void FieldWriter::pairs(const char* key, std::vector<std::pair<double, double>>& value,
                        const Range&) {
  std::string list;
  for (const auto& [at, to] : value) {
    list += fmt::format("{}[{}, {}]", list.empty() ? "" : ", ", at, to);
  }
  append(key, "[" + list + "]");
}

}  // namespace tanul::recipe
