// SPDX-License-Identifier: Apache-2.0
#include "cli/output.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>

namespace tanul::cli {

namespace {
bool is_lost = false;

void note_error() {
  if (errno != EPIPE) is_lost = true;
}
}  // namespace

void write_out(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) note_error();
}

bool flush_out() {
  if (std::fflush(stdout) != 0) note_error();
  return !is_lost;
}

bool out_is_terminal() {
  static const bool is_terminal = ::isatty(STDOUT_FILENO) == 1;
  return is_terminal;
}

int terminal_width() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

std::string with_commas(int64_t value) {
  std::string digits = std::to_string(value < 0 ? -value : value);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), ",");
  }
  return value < 0 ? "-" + digits : digits;
}

std::string mib(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (value >= 1073741824.0) return fmt::format("{:.1f} GiB", value / 1073741824.0);
  if (value >= 0.1 * 1048576.0) return fmt::format("{:.1f} MiB", value / 1048576.0);
  return value >= 1024 ? fmt::format("{:.1f} KiB", value / 1024.0) : fmt::format("{} B", bytes);
}

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

std::string flop_text(double flops) {
  if (flops >= 1e8) return fmt::format("{:.1f} GFLOP", flops / 1e9);
  if (flops >= 1e5) return fmt::format("{:.1f} MFLOP", flops / 1e6);
  return fmt::format("{:.1f} kFLOP", flops / 1e3);
}

std::string seconds_text(double seconds) {
  if (!(seconds >= 0) || seconds > 1e8) return "?";
  if (seconds < 100) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::lround(seconds));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

}  // namespace tanul::cli
