// SPDX-License-Identifier: Apache-2.0
#include "bench/bar_chart.h"

#include <fmt/core.h>

#include <algorithm>

namespace tanul::bench {

namespace {

constexpr int kWidth = 1000, kLeft = 290, kAxis = 480, kMargin = 20;
constexpr int kBarHeight = 14, kTitleHeight = 24, kGap = 8;
// Told apart by people who see red and green alike (Okabe and Ito, 2008).
constexpr const char* kColours[] = {"#0072b2", "#e69f00", "#009e73",
                                    "#cc79a7", "#56b4e9", "#d55e00"};

std::string escaped(const std::string& text) {
  std::string result;
  for (char c : text) {
    switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      default: result += c;
    }
  }
  return result;
}

const char* colour_of(size_t series) { return kColours[series % std::size(kColours)]; }

std::string text_at(int x, int y, const char* style, const std::string& text) {
  return fmt::format("<text x=\"{}\" y=\"{}\" class=\"{}\">{}</text>\n", x, y, style,
                     escaped(text));
}

}  // namespace

std::string to_svg(const BarChart& chart) {
  int y = kMargin + 16;
  std::string head = text_at(kMargin, y, "title", chart.title);
  for (const std::string& note : chart.notes) head += text_at(kMargin, y += 18, "note", note);
  y += 22;
  int x = kMargin;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const int width = 40 + 7 * static_cast<int>(chart.series[i].size());
    if (x > kMargin && x + width > kWidth) {
      x = kMargin;
      y += 18;
    }
    head += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{}\"/>\n", x,
                        y - 10, colour_of(i));
    head += text_at(x + 17, y, "label", chart.series[i]);
    x += width;
  }
  y += 24;
  const auto place = [&](double value) { return std::clamp(value / chart.most, 0.0, 1.0) * kAxis; };
  for (size_t i = 0; i < chart.ticks.size(); ++i) {
    head +=
        text_at(kLeft + static_cast<int>(place(chart.ticks[i])), y, "tick", chart.tick_labels[i]);
  }
  const int top = y + 6;
  y = top;
  std::string body;
  for (const BarGroup& group : chart.groups) {
    y += kTitleHeight;
    body += text_at(kMargin, y - 7, "group", group.title);
    for (const Bar& bar : group.bars) {
      body += fmt::format("<text x=\"{}\" y=\"{}\" class=\"label end\">{}</text>\n", kLeft - 8,
                          y + kBarHeight - 4, escaped(bar.label));
      body += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\" fill=\"{}\"/>\n",
                          kLeft, y + 1, std::max(1.0, place(bar.value)), kBarHeight - 3,
                          colour_of(bar.series));
      body += text_at(kLeft + kAxis + 8, y + kBarHeight - 4, "label", bar.text);
      y += kBarHeight;
    }
    y += kGap;
  }
  std::string grid;
  for (double tick : chart.ticks) {
    const double at = kLeft + place(tick);
    grid +=
        fmt::format("<line x1=\"{0:.1f}\" y1=\"{1}\" x2=\"{0:.1f}\" y2=\"{2}\"/>\n", at, top, y);
  }
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
      "viewBox=\"0 0 {0} {1}\">\n<style>\n"
      "text {{ font-family: sans-serif; font-size: 11px; fill: #222 }}\n"
      ".title {{ font-size: 17px; font-weight: bold }}\n.note {{ fill: #555 }}\n"
      ".group {{ font-weight: bold }}\n.end {{ text-anchor: end }}\n"
      ".tick {{ text-anchor: middle; fill: #555 }}\n"
      "line {{ stroke: #ccc; stroke-width: 1 }}\n</style>\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n{2}{3}{4}</svg>\n",
      kWidth, y + kMargin, grid, head, body);
}

}  // namespace tanul::bench
