// SPDX-License-Identifier: Apache-2.0
#include "cli/progress_line.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "cli/output.h"

namespace tanul::cli {

namespace {

constexpr int kBarCells = 20;
constexpr std::chrono::milliseconds kRedraw{100};

// A bar of `cells`, in eighths of a cell.
std::string bar(double share, int cells) {
  static const char* const kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto eighths = static_cast<int>(std::lround(std::clamp(share, 0.0, 1.0) * cells * 8));
  std::string text;
  for (int i = 0; i < eighths / 8; ++i) text += "█";
  text += kEighths[eighths % 8];
  const int drawn = eighths / 8 + (eighths % 8 != 0 ? 1 : 0);
  return text + std::string(static_cast<size_t>(cells - drawn), ' ');
}

std::string counter(int64_t epoch, int64_t epochs) {
  const std::string total = std::to_string(epochs);
  return fmt::format("epoch {:>{}}/{}", epoch, total.size() + (epochs < 10 ? 1 : 0), total);
}

std::string rate(double images_per_s) {
  return fmt::format("{:>8} img/s", with_commas(std::llround(std::min(images_per_s, 1e12))));
}

}  // namespace

ProgressLine::ProgressLine(int64_t epochs, bool is_classifier, bool is_quiet)
    : epochs_(epochs),
      is_classifier_(is_classifier),
      is_quiet_(is_quiet),
      is_terminal_(out_is_terminal()) {}

void ProgressLine::step(const Progress& p) {
  if (is_quiet_ || !is_terminal_) return;
  const auto now = std::chrono::steady_clock::now();
  if (is_open_ && now - last_ < kRedraw) return;
  last_ = now;
  is_open_ = true;
  const int cells = terminal_width() >= 100 ? kBarCells : kBarCells / 2;
  const double share =
      static_cast<double>(p.step) / static_cast<double>(std::max<int64_t>(p.steps, 1));
  std::string line = fmt::format("{}  {} {}  loss {:.4f}", counter(p.epoch + 1, epochs_),
                                 bar(share, cells), rate(p.images_per_s), p.loss);
  if (is_classifier_) line += "  acc " + percent(p.accuracy);
  say("\r{}  {} left\x1b[K", line, seconds_text(p.seconds_left));
  flush_out();
}

void ProgressLine::epoch(const FitEpoch& e) {
  if (is_quiet_) return;
  std::string line = counter(e.epoch, epochs_) + "  ";
  if (is_terminal_) line += bar(1, terminal_width() >= 100 ? kBarCells : kBarCells / 2) + " ";
  line += fmt::format("{}  loss {:.4f}", rate(e.train.images_per_s), e.train.loss);
  if (e.validation) line += fmt::format("  val {:.4f}", e.validation->loss);
  if (is_classifier_) {
    line += "  acc " + percent(e.validation ? e.validation->accuracy : e.train.accuracy);
  }
  line += fmt::format("  lr {:.2g}  {:>6}", e.train.lr, seconds_text(e.train.seconds));
  say("{}{}{}\n", is_open_ ? "\r" : "", line, is_open_ ? "\x1b[K" : "");
  is_open_ = false;
  flush_out();
}

void ProgressLine::leave() {
  if (is_open_) say("\n");
  is_open_ = false;
}

}  // namespace tanul::cli
