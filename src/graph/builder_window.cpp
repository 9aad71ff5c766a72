// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "graph/builder.h"
#include "graph/window.h"

namespace tanul::build {

void resolve_same(Window& window, const Shape& sample) {
  if (window.same == Same::no) return;
  for (int axis = window.first(); axis < 3; ++axis) {
    const auto at = static_cast<size_t>(axis);
    const int64_t in = sample[axis - window.first() + 1];
    const int64_t out = (in + window.stride[at] - 1) / window.stride[at];
    const int64_t span = window.dilation[at] * (window.kernel[at] - 1) + 1;
    const int64_t sum = std::max<int64_t>(0, (out - 1) * window.stride[at] + span - in);
    const bool is_upper = window.same == Same::upper;
    window.begin[at] = is_upper ? sum / 2 : sum - sum / 2;
    window.end[at] = sum - window.begin[at];
  }
  window.same = Same::no;
}

std::string axes_text(const Window& window, const Axes& values, bool short_form) {
  const auto first = values.begin() + window.first();
  if (short_form && std::count(first, values.end(), *first) == window.axes) {
    return std::to_string(*first);
  }
  std::string text;
  for (auto value = first; value != values.end(); ++value) {
    text += (text.empty() ? "" : "x") + std::to_string(*value);
  }
  return text;
}

std::string window_text(const char* op, const Window& window) {
  std::string text = fmt::format("{} {} /{}", op, axes_text(window, window.kernel, false),
                                 axes_text(window, window.stride, true));
  const Axes none{0, 0, 0};
  if (window.begin == window.end && window.begin != none) {
    text += " +" + axes_text(window, window.begin, true);
  } else if (window.begin != window.end) {
    std::string sides;
    for (const Axes* pads : {&window.begin, &window.end}) {
      for (int axis = window.first(); axis < 3; ++axis) {
        sides += (sides.empty() ? "" : ",") + std::to_string((*pads)[static_cast<size_t>(axis)]);
      }
    }
    text += " +" + sides;
  }
  const Axes ones{1, 1, 1};
  if (window.dilation != ones) text += " d" + axes_text(window, window.dilation, true);
  return text;
}

void check_window(const std::string& where, const Window& window) {
  for (size_t axis = static_cast<size_t>(window.first()); axis < 3; ++axis) {
    checked(where, "kernel", window.kernel[axis], 1);
    checked(where, "stride", window.stride[axis], 1);
    checked(where, "pad", window.begin[axis], 0);
    checked(where, "pad", window.end[axis], 0);
    checked(where, "dilation", window.dilation[axis], 1);
  }
}

void check_spatial(const std::string& where, const Shape& x, int axes) {
  constexpr const char* kWanted[] = {"", "{C, L}", "{C, H, W}", "{C, D, H, W}"};
  if (x.rank() == axes + 2) return;
  fail(Code::invalid_argument, "{}: x has the shape {} a sample, {} is expected", where,
       x.tail(1).str(), kWanted[axes]);
}

}  // namespace tanul::build
