// SPDX-License-Identifier: Apache-2.0
// Whole files: read into memory, written atomically (temporary file in the same folder, fsync,
// rename). Errors name the path and the operating system's reason.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace tanul {

// Throws Error{not_found} where there is no such file, Error{io} where it cannot be read.
std::string read_file(const std::string& path);

// Replaces `path` as a whole or leaves it as it was. Throws Error{io}.
void write_file_atomic(const std::string& path, std::string_view content);

}  // namespace tanul
