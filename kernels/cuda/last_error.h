// SPDX-License-Identifier: Apache-2.0
// What the last call of this thread that failed was, in one line.
#pragma once

namespace tanul::cuda {

// A launch or a preparation failed in a library, whose statuses are not CUDA's: last_error() has the text.
constexpr int kLibraryError = 1 << 20;

[[gnu::format(printf, 1, 2)]] void keep_error(const char* format, ...);
// Valid until the thread's next failure.
const char* last_error();

}  // namespace tanul::cuda
