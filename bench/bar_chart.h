// SPDX-License-Identifier: Apache-2.0
// Horizontal bars in groups, as an SVG document that needs nothing else.
#pragma once

#include <string>
#include <vector>

namespace tanul::bench {

struct Bar {
  std::string label;  // left of it
  double value;       // its length
  std::string text;   // right of it
  size_t series;      // its colour
};
struct BarGroup {
  std::string title;
  std::vector<Bar> bars;
};
struct BarChart {
  std::string title;
  std::vector<std::string> notes;   // lines below the title
  std::vector<std::string> series;  // names in the legend
  double most = 1;                  // the length of the axis; longer bars are cut there
  std::vector<double> ticks;
  std::vector<std::string> tick_labels;
  std::vector<BarGroup> groups;
};

std::string to_svg(const BarChart& chart);

}  // namespace tanul::bench
