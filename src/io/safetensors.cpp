// SPDX-License-Identifier: Apache-2.0
// The safetensors format: 8 bytes little-endian header length, a JSON header, then the tensors,
// raw, little-endian, one behind the other. Source: github.com/huggingface/safetensors, "Format";
// the checks are those of its reference implementation (safetensors/src/tensor.rs).
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/format.h"
#include "io/file.h"
#include "tanul/checkpoint.h"

namespace tanul {

namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "tensors are copied as they lie");

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr int kMaxDepth = 16;                      // the format itself needs 3
constexpr size_t kLengthBytes = 8;
constexpr const char* kMetadataKey = "__metadata__";

struct NamedType {
  std::string_view name;
  DType dtype;
};

// In the order of DType; BOOL, which only the reader knows, comes last.
constexpr std::array<NamedType, 10> kTypes{{{"F32", DType::f32},
                                            {"F64", DType::f64},
                                            {"F16", DType::f16},
                                            {"BF16", DType::bf16},
                                            {"U8", DType::u8},
                                            {"I8", DType::i8},
                                            {"I16", DType::i16},
                                            {"I32", DType::i32},
                                            {"I64", DType::i64},
                                            {"BOOL", DType::u8}}};

// A name as it is shown in messages: quoted, control characters escaped, not endless.
std::string quoted(const std::string& name) {
  std::string text = json(name).dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 120) text = text.substr(0, 117) + "...";
  return text;
}

// Parses the header; `keys` gets the names of the outermost object in their order. nlohmann-json
// parses without recursion, so depth is a question of memory only; repeated keys it would accept.
json parse_header(const std::string& path, std::string_view text, std::vector<std::string>& keys) {
  std::vector<std::set<std::string>> open_objects;
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    switch (event) {
      case json::parse_event_t::object_start:
      case json::parse_event_t::array_start:
        if (depth >= kMaxDepth) {
          fail(Code::format, "{}: the header at offset 8 is nested more than {} levels deep", path,
               kMaxDepth);
        }
        if (event == json::parse_event_t::object_start) open_objects.emplace_back();
        break;
      case json::parse_event_t::object_end: open_objects.pop_back(); break;
      case json::parse_event_t::key: {
        const auto& key = value.get_ref<const std::string&>();
        if (!open_objects.back().insert(key).second) {
          fail(Code::format, "{}: the header at offset 8 has {} twice", path, quoted(key));
        }
        if (open_objects.size() == 1) keys.push_back(key);
        break;
      }
      default: break;
    }
    return true;
  };
  // The parser takes a NUL for the end of its input, and what follows would go unread.
  const size_t nul = text.find('\0');
  if (nul != std::string_view::npos) {
    fail(Code::format, "{}: the header is not JSON: a zero byte at offset {}", path,
         kLengthBytes + nul);
  }
  try {
    return json::parse(text, watch);
  } catch (const json::parse_error& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 9: syntax error while …"
    std::string why = e.what();
    const size_t colon = why.find(": ");
    if (colon != std::string::npos) why = why.substr(colon + 2);
    if (why.size() > 200) why = why.substr(0, 197) + "...";
    fail(Code::format, "{}: the header is not JSON at offset {}: {}", path,
         kLengthBytes + std::max<size_t>(e.byte, 1) - 1, why);
  } catch (const json::exception& e) {
    fail(Code::format, "{}: the header at offset 8 is not usable JSON: {}", path, e.what());
  }
}

struct Entry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  uint64_t begin = 0;  // from the end of the header
  uint64_t end = 0;
};

DType parse_dtype(const std::string& where, const json& value) {
  if (!value.is_string()) fail(Code::format, "{}: dtype must be a text", where);
  const auto& name = value.get_ref<const std::string&>();
  for (const NamedType& type : kTypes) {
    if (type.name == name) return type.dtype;
  }
  for (const char* known :
       {"U16", "U32", "U64", "C64", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F6_E2M3", "F6_E3M2", "F4"}) {
    if (name == known) {
      fail(Code::unsupported,
           "{}: dtype {} is not supported; convert it to one of F64 F32 F16 BF16 I64 I32 I16 I8 U8 "
           "BOOL",
           where, name);
    }
  }
  fail(Code::format, "{}: unknown dtype {}: must be one of F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL",
       where, quoted(name));
}

std::vector<uint64_t> parse_counts(const std::string& where, const char* key, const json& value) {
  if (!value.is_array()) fail(Code::format, "{}: {} must be a list", where, key);
  std::vector<uint64_t> counts;
  for (const json& element : value) {
    if (!element.is_number_unsigned()) {
      fail(Code::format, "{}: {} must hold whole numbers from 0, got {}", where, key,
           element.is_primitive() ? element.dump(-1, ' ', false, json::error_handler_t::replace)
                                  : std::string(element.type_name()));
    }
    counts.push_back(element.get<uint64_t>());
  }
  return counts;
}

Entry parse_entry(const std::string& path, const std::string& name, const json& value) {
  const std::string where = fmt::format("{}: tensor {}", path, quoted(name));
  if (!value.is_object()) {
    fail(Code::format, "{}: must be an object, got {}", where, value.type_name());
  }
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!value.contains(key)) fail(Code::format, "{}: {} is missing", where, key);
  }
  Entry entry;
  entry.name = name;
  entry.dtype = parse_dtype(where, value["dtype"]);

  const std::vector<uint64_t> extents = parse_counts(where, "shape", value["shape"]);
  if (extents.size() > Shape::kMaxRank) {
    fail(Code::format, "{}: shape has {} extents: at most {} can be read", where, extents.size(),
         Shape::kMaxRank);
  }
  auto bytes = static_cast<uint64_t>(dtype_bytes(entry.dtype));
  std::vector<int64_t> signed_extents;
  bool overflows = false;
  for (const uint64_t extent : extents) {
    overflows |= __builtin_mul_overflow(bytes, extent, &bytes) || extent > (uint64_t{1} << 62) ||
                 bytes > (uint64_t{1} << 62);
    if (!overflows) signed_extents.push_back(static_cast<int64_t>(extent));
  }
  if (overflows) {
    fail(Code::format, "{}: shape {} overflows: no file holds so many bytes", where,
         value["shape"].dump());
  }
  entry.shape = Shape(signed_extents);

  const std::vector<uint64_t> offsets = parse_counts(where, "data_offsets", value["data_offsets"]);
  if (offsets.size() != 2) {
    fail(Code::format, "{}: data_offsets must be [begin, end], got {} numbers", where,
         offsets.size());
  }
  entry.begin = offsets[0];
  entry.end = offsets[1];
  if (entry.end < entry.begin) {
    fail(Code::format, "{}: data_offsets [{}, {}] end before they begin", where, entry.begin,
         entry.end);
  }
  if (entry.end - entry.begin != bytes) {
    fail(Code::format, "{}: data_offsets [{}, {}] hold {} bytes, but {} of {} are {}", where,
         entry.begin, entry.end, entry.end - entry.begin, entry.shape.str(),
         value["dtype"].get_ref<const std::string&>(), bytes);
  }
  return entry;
}

// Every byte of the data belongs to exactly one tensor.
void check_coverage(const std::string& path, const std::vector<Entry>& entries, uint64_t data_bytes,
                    uint64_t data_offset) {
  uint64_t at = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != at) {
      fail(Code::format, "{}: tensor {}: data_offsets [{}, {}] {}: {} was expected as begin", path,
           quoted(entry.name), entry.begin, entry.end,
           entry.begin < at ? "overlap the tensor before" : "leave a hole", at);
    }
    at = entry.end;
    if (at > data_bytes) {
      fail(Code::format,
           "{}: truncated: tensor {} ends {} bytes after offset {}, the file has {}; fetch or save "
           "it again",
           path, quoted(entry.name), entry.end, data_offset, data_bytes);
    }
  }
  if (at != data_bytes) {
    fail(Code::format, "{}: {} trailing bytes from offset {}: the last tensor ends there", path,
         data_bytes - at, data_offset + at);
  }
}

}  // namespace

const Tensor* TensorFile::find(const std::string& name) const {
  for (const auto& [key, tensor] : tensors) {
    if (key == name) return &tensor;
  }
  return nullptr;
}

TensorFile read_safetensors(const std::string& path) {
  const std::string content = read_file(path);
  if (content.size() < kLengthBytes) {
    fail(Code::format, "{}: truncated: a safetensors file has at least 8 bytes, the file has {}",
         path, content.size());
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, content.data(), kLengthBytes);
  if (header_bytes > kMaxHeaderBytes) {
    fail(Code::format,
         "{}: the header length {} at offset 0 is above the limit of {} bytes; is it a safetensors "
         "file?",
         path, header_bytes, kMaxHeaderBytes);
  }
  if (header_bytes > content.size() - kLengthBytes) {
    fail(Code::format,
         "{}: truncated: the header promises {} bytes after offset 8, the file has {}", path,
         header_bytes, content.size() - kLengthBytes);
  }
  const std::string_view text(content.data() + kLengthBytes, header_bytes);
  if (!text.starts_with('{')) {
    fail(Code::format, "{}: the header at offset 8 must start with {{{}", path,
         text.empty() ? ", but it is empty"
                      : fmt::format(", got byte 0x{:02x}", static_cast<uint8_t>(text[0])));
  }
  std::vector<std::string> keys;
  const json header = parse_header(path, text, keys);

  TensorFile file;
  std::vector<Entry> entries;
  for (const std::string& key : keys) {
    const json& value = header[key];
    if (key != kMetadataKey) {
      entries.push_back(parse_entry(path, key, value));
      continue;
    }
    if (!value.is_object()) {
      fail(Code::format, "{}: __metadata__ must be an object, got {}", path, value.type_name());
    }
    for (const auto& [name, element] : value.items()) {
      if (!element.is_string()) {
        fail(Code::format, "{}: __metadata__ {} must be a text, got {}", path, quoted(name),
             element.type_name());
      }
      file.metadata[name] = element.get<std::string>();
    }
  }
  // By place in the file; tensors without bytes share a place and keep the header's order.
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  const uint64_t data_offset = kLengthBytes + header_bytes;
  check_coverage(path, entries, content.size() - data_offset, data_offset);
  for (const Entry& entry : entries) {
    Tensor tensor(entry.shape, entry.dtype);
    std::memcpy(tensor.raw(), content.data() + data_offset + entry.begin, entry.end - entry.begin);
    file.tensors.emplace_back(entry.name, std::move(tensor));
  }
  return file;
}

void write_safetensors(const std::string& path, const TensorFile& file) {
  const auto json_text = [&](const std::string& text) {
    try {
      return json(text).dump();
    } catch (const json::exception&) {
      fail(Code::invalid_argument, "{}: the text {} is not UTF-8 and cannot be written", path,
           quoted(text));
    }
  };
  std::string header = "{";
  if (!file.metadata.empty()) {
    header += fmt::format("{}:{{", json_text(kMetadataKey));
    const char* comma = "";
    for (const auto& [key, value] : file.metadata) {
      header += fmt::format("{}{}:{}", comma, json_text(key), json_text(value));
      comma = ",";
    }
    header += "}";
  }
  std::set<std::string_view> names;
  uint64_t at = 0;
  for (const auto& [name, tensor] : file.tensors) {
    if (tensor.empty()) {
      fail(Code::invalid_argument, "{}: tensor {} is empty and cannot be written", path,
           quoted(name));
    }
    if (name == kMetadataKey || !names.insert(name).second) {
      fail(Code::invalid_argument, "{}: tensor {}: {}", path, quoted(name),
           name == kMetadataKey ? "this name is the format's own" : "two tensors have this name");
    }
    const auto* type =
        std::find_if(kTypes.begin(), kTypes.end(),
                     [&, dtype = tensor.dtype()](const NamedType& t) { return t.dtype == dtype; });
    const uint64_t end = at + static_cast<uint64_t>(tensor.bytes());
    std::string extents;
    for (const int64_t extent : tensor.shape()) {
      extents += fmt::format("{}{}", extents.empty() ? "" : ",", extent);
    }
    header +=
        fmt::format(R"({}{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                    header.size() > 1 ? "," : "", json_text(name), type->name, extents, at, end);
    at = end;
  }
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');
  if (header.size() > kMaxHeaderBytes) {
    fail(Code::invalid_argument, "{}: a header of {} bytes is above the format's limit of {}", path,
         header.size(), kMaxHeaderBytes);
  }

  const uint64_t header_bytes = header.size();
  std::string content;
  content.reserve(kLengthBytes + header.size() + at);
  content.append(reinterpret_cast<const char*>(&header_bytes), kLengthBytes);
  content += header;
  for (const auto& [name, tensor] : file.tensors) {
    content.append(static_cast<const char*>(tensor.raw()), static_cast<size_t>(tensor.bytes()));
  }
  write_file_atomic(path, content);
}

}  // namespace tanul
