// SPDX-License-Identifier: Apache-2.0
// Named tensors in files: the safetensors format (8 bytes little-endian header length, JSON header,
// raw little-endian tensors).
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tanul/export.h"
#include "tanul/tensor.h"

namespace tanul {

// An ordered set of named tensors with text metadata.
struct TANUL_API TensorFile {
  std::vector<std::pair<std::string, Tensor>> tensors;
  std::map<std::string, std::string> metadata;

  // The tensor of that name, or null.
  const Tensor* find(const std::string& name) const;
};

// Reads a whole safetensors file (F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL; BOOL arrives as u8); the
// tensors come in the order of their data. Throws Error{not_found, format, io} naming file, offset
// and reason: header length beyond the file, JSON errors, unknown types, offsets that overlap,
// leave holes, exceed the file or disagree with the shape, repeated names, more than 8 extents;
// Error{unsupported} for a type that the format has and tanul has not (U64, F8_E4M3, …).
TANUL_API TensorFile read_safetensors(const std::string& path);

// Writes a safetensors file, through a temporary file in the same folder, flushed, and renamed onto
// `path`. The bytes depend on the content alone. Throws Error{io, invalid_argument}.
TANUL_API void write_safetensors(const std::string& path, const TensorFile& file);

}  // namespace tanul
