// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/last_error.h"

#include <cstdarg>
#include <cstdio>

namespace tanul::cuda {

namespace {

thread_local char text[512];

}  // namespace

void keep_error(const char* format, ...) {
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
}

const char* last_error() { return text; }

}  // namespace tanul::cuda
