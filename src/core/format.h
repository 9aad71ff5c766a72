// SPDX-License-Identifier: Apache-2.0
// Text formatting for messages, and fail(): the one way an error leaves the library.
#pragma once

#include <fmt/core.h>

#include <string>
#include <utility>

#include "tanul/error.h"

namespace tanul {

// Throws Error{code} with a formatted one-line message.
template <typename... Args>
[[noreturn]] void fail(Code code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace tanul
