// SPDX-License-Identifier: Apache-2.0
// What the tool says on standard output, and how numbers look there. Write errors are not thrown:
// a reader that has gone (`| head`) must not end a training run.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace tanul::cli {

void write_out(std::string_view text);

template <typename... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  write_out(fmt::format(format, std::forward<Args>(args)...));
}

// Flushes standard output; false where what was said is lost for another reason than a reader that
// has gone.
bool flush_out();

bool out_is_terminal();
int terminal_width();  // columns; 80 where nobody knows

std::string with_commas(int64_t value);    // "61,706"
std::string mib(int64_t bytes);            // "4.1 MiB", "12 KiB"
std::string percent(double share);         // "86.9 %"
std::string flop_text(double flops);       // "0.9 GFLOP"
std::string seconds_text(double seconds);  // "4.6 s", "2 min 05 s"

}  // namespace tanul::cli
