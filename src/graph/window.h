// SPDX-License-Identifier: Apache-2.0
// The window of a convolution or pooling layer over one to three axes, however many the options of the
// layer have: what the builder and the model file make of Extent1 to Extent3 and Padding1 to Padding3.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "tanul/model.h"

namespace tanul::build {

// By axis: depth, height, width. Those in front of 3 - axes do not exist.
using Axes = std::array<int64_t, 3>;

struct Window {
  int axes = 0;
  Axes kernel{1, 1, 1};
  Axes stride{1, 1, 1};
  Axes begin{0, 0, 0}, end{0, 0, 0};  // padding
  Axes dilation{1, 1, 1};
  Same same = Same::no;

  int first() const { return 3 - axes; }  // axis that exists
};

inline Axes axes_of(int64_t e, int64_t missing) { return {missing, missing, e}; }
inline Axes axes_of(const Extent2& e, int64_t missing) { return {missing, e.h, e.w}; }
inline Axes axes_of(const Extent3& e, int64_t) { return {e.d, e.h, e.w}; }

inline void put_padding(Window& window, const Padding1& pad) {
  window.axes = 1;
  window.begin = {0, 0, pad.begin};
  window.end = {0, 0, pad.end};
}
inline void put_padding(Window& window, const Padding2& pad) {
  window.axes = 2;
  window.begin = {0, pad.top, pad.left};
  window.end = {0, pad.bottom, pad.right};
}
inline void put_padding(Window& window, const Padding3& pad) {
  window.axes = 3;
  window.begin = {pad.front, pad.top, pad.left};
  window.end = {pad.back, pad.bottom, pad.right};
}

template <typename Extent, typename Padding>
Window make_window(const Extent& kernel, const Extent& stride, const Padding& pad,
                   const Extent& dilation) {
  Window window;
  put_padding(window, pad);
  window.same = pad.same;
  window.kernel = axes_of(kernel, 1);
  window.stride = axes_of(stride, 1);
  window.dilation = axes_of(dilation, 1);
  return window;
}

// Puts numbers in the place of Same, for a sample {C, …} of as many axes. Kernel, stride and dilation
// are at least 1.
void resolve_same(Window& window, const Shape& sample);

inline void take_padding(const Window& w, Padding1& pad) { pad = {w.begin[2], w.end[2]}; }
inline void take_padding(const Window& w, Padding2& pad) {
  pad = {w.begin[1], w.begin[2], w.end[1], w.end[2]};
}
inline void take_padding(const Window& w, Padding3& pad) {
  pad = {w.begin[0], w.begin[1], w.begin[2], w.end[0], w.end[1], w.end[2]};
}

// The numbers that `pad` means for a sample {C, …}. One of another number of axes keeps its Same: the
// builder refuses it.
template <typename Extent, typename Padding>
Padding resolved(Padding pad, const Shape& sample, const Extent& kernel, const Extent& stride,
                 const Extent& dilation) {
  Window window = make_window(kernel, stride, pad, dilation);
  if (window.same == Same::no || sample.rank() != window.axes + 1) return pad;
  resolve_same(window, sample);
  take_padding(window, pad);
  return pad;
}

// "3x5", or "3" where all are equal and `short_form` is asked for.
std::string axes_text(const Window& window, const Axes& values, bool short_form);
// "conv2d 3x3 /2 +1"
std::string window_text(const char* op, const Window& window);

// Throws Error{invalid_argument} where a number is out of range (`checked` of builder.h).
void check_window(const std::string& where, const Window& window);
// Throws where x {N, C, …} has another number of axes: `wanted` is how users write the shape.
void check_spatial(const std::string& where, const Shape& x, int axes);

}  // namespace tanul::build
