// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/pool/pool.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

struct Pool {
  std::string name;
  Shape x;  // [N, C, H, W]
  int R, S;
  int stride_h, stride_w;
  int top = 0, left = 0, bottom = 0, right = 0;
  bool is_ceil = false;
};

Params params_of(const Pool& c, bool count_include_pad) {
  Pool2dParams p{};
  p.kernel_h = c.R;
  p.kernel_w = c.S;
  p.stride_h = c.stride_h;
  p.stride_w = c.stride_w;
  p.pad_top = c.top;
  p.pad_left = c.left;
  p.pad_bottom = c.bottom;
  p.pad_right = c.right;
  p.ceil_mode = c.is_ceil ? 1 : 0;
  p.count_include_pad = count_include_pad ? 1 : 0;
  return Params::of(p);
}

OpCase make(const std::string& name, OpKind kind, const Params& params, const Shape& x,
            const Fill& fill) {
  return {name, kind, params, {{x, fill}}, {0}, {}, 1, true};
}

}  // namespace

std::vector<OpCase> pool_cases() {
  const std::vector<Pool> shapes = {
      {"one element", {1, 1, 1, 1}, 1, 1, 1, 1},
      {"2x2 stride 2: LeNet", {3, 6, 28, 28}, 2, 2, 2, 2},
      {"2x2 stride 2, odd plane: the rim is not read", {2, 5, 7, 9}, 2, 2, 2, 2},
      {"2x2 stride 2, odd plane, ceil: cut windows", {2, 5, 7, 9}, 2, 2, 2, 2, 0, 0, 0, 0, true},
      {"3x3 stride 2 overlapping: AlexNet", {2, 4, 13, 13}, 3, 3, 2, 2},
      {"3x3 stride 2 pad 1: ResNet stem", {2, 3, 16, 16}, 3, 3, 2, 2, 1, 1, 1, 1},
      {"3x3 stride 1 pad 1: same size", {2, 3, 6, 6}, 3, 3, 1, 1, 1, 1, 1, 1},
      {"3x3 stride 2 ceil: the last window is cut", {1, 2, 8, 8}, 3, 3, 2, 2, 0, 0, 0, 0, true},
      {"2x2 stride 3: pixels without a window", {2, 2, 11, 10}, 2, 2, 3, 3},
      {"ceil drops the window that starts in the padding",
       {1, 2, 5, 5},
       2,
       2,
       2,
       2,
       1,
       1,
       1,
       1,
       true},
      {"1x1 stride 2: picks", {1, 3, 6, 7}, 1, 1, 2, 2},
      {"1x3 window", {2, 2, 5, 9}, 1, 3, 1, 2},
      {"3x1 window", {2, 2, 9, 5}, 3, 1, 2, 1},
      {"asymmetric padding", {1, 2, 6, 7}, 3, 3, 2, 2, 1, 0, 0, 2},
      {"strides differ", {1, 2, 9, 9}, 2, 3, 1, 2},
      {"window of the whole plane", {3, 4, 5, 6}, 5, 6, 5, 6},
      {"5x5 stride 1: much overlap", {1, 2, 12, 11}, 5, 5, 1, 1, 2, 2, 2, 2},
      {"many planes of one window", {9, 31, 2, 2}, 2, 2, 2, 2},
      {"big plane", {1, 2, 101, 67}, 2, 2, 2, 2},
      {"wide rows: several vectors", {1, 1, 4, 150}, 3, 3, 1, 1, 1, 1, 1, 1},
      {"4x4 stride 4", {2, 3, 12, 12}, 4, 4, 4, 4},
  };
  std::vector<OpCase> cases;
  for (const Pool& c : shapes) {
    cases.push_back(make("max pool " + c.name, OpKind::max_pool2d_fwd, params_of(c, false), c.x,
                         {Fill::distinct, 0.25, {}}));
    cases.push_back(
        make("avg pool " + c.name, OpKind::avg_pool2d_fwd, params_of(c, false), c.x, {}));
    const bool is_cut = (c.top | c.left | c.bottom | c.right) != 0 || c.is_ceil;
    if (is_cut) {
      cases.push_back(make("avg pool, padding counts, " + c.name, OpKind::avg_pool2d_fwd,
                           params_of(c, true), c.x, {}));
    }
  }
  Pool2dParams global{};
  global.global = 1;
  const Params params = Params::of(global);
  cases.push_back(make("global average", OpKind::avg_pool2d_fwd, params, {3, 7, 6, 5}, {}));
  cases.push_back(
      make("global average of a big plane", OpKind::avg_pool2d_fwd, params, {1, 3, 61, 64}, {}));
  cases.push_back(make("global maximum", OpKind::max_pool2d_fwd, params, {3, 7, 6, 5},
                       {Fill::distinct, 0.25, {}}));

  // Values: ties go to the first in row order, NaN wins, -infinity is a value and not padding.
  const Pool two{"", {1, 1, 6, 6}, 2, 2, 2, 2};
  const Pool overlapping{"", {1, 2, 9, 9}, 3, 3, 1, 1, 1, 1, 1, 1};
  const auto add_values = [&](const std::string& name, const Pool& pool, const Fill& fill) {
    cases.push_back(make(name, OpKind::max_pool2d_fwd, params_of(pool, false), pool.x, fill));
    cases.back().has_gradient_check = false;
  };
  const double inf = HUGE_VAL;
  add_values("max pool of equal values", two, list({1}));
  add_values("max pool of equal values, overlapping", overlapping, list({-3}));
  add_values("max pool of few different values", overlapping, {Fill::integers, 1, {}});
  add_values("max pool with NaN", two, list({1, NAN, 3, -2, 5, 4, 0}));
  add_values("max pool with NaN, overlapping", overlapping,
             list({1, 2, 3, NAN, 7, 0, -1, 4, 9, 8, 2, 6, 1, 3, 5, 7, 2, 4, 8}));
  add_values("max pool of negative infinity", overlapping, list({-inf}));
  add_values("max pool of infinities", overlapping, list({-inf, inf, 0, 5, -inf}));
  return cases;
}

std::vector<RejectCase> pool_rejections() {
  const OpKind max = OpKind::max_pool2d_fwd, avg = OpKind::avg_pool2d_fwd;
  const Shape x{2, 3, 6, 7};
  const auto with = [&](int R, int S, int stride, int top = 0, int left = 0) {
    return params_of({"", x, R, S, stride, stride, top, left}, false);
  };
  const std::vector<In> in{{x, {}}};
  return {
      {"max_pool2d \"layer\": x must be [N, C, H, W], got [2, 3, 6]",
       max,
       with(2, 2, 2),
       {{{2, 3, 6}, {}}}},
      {"max_pool2d \"layer\": x must be f32, got u8", max, with(2, 2, 2), {{x, {}, DType::u8}}},
      {"avg_pool2d \"layer\": x must not be empty, got [2, 0, 6, 7]",
       avg,
       with(2, 2, 2),
       {{{2, 0, 6, 7}, {}}}},
      {"avg_pool2d \"layer\": kernel height must be at least 1, got 0", avg, with(0, 2, 2), in},
      {"avg_pool2d \"layer\": stride height must be at least 1, got 0", avg, with(2, 2, 0), in},
      {"max_pool2d \"layer\": padding must not be negative, got -1 and 0 (height)", max,
       with(2, 2, 2, -1), in},
      {"max_pool2d \"layer\": padding 2 and 0 (width) must be smaller than the kernel 2; a window "
       "would see padding only",
       max, with(2, 2, 2, 0, 2), in},
      {"max_pool2d \"layer\": kernel width 8 is larger than the padded input 7 (x [2, 3, 6, 7])",
       max, with(2, 8, 2), in},
  };
}

std::vector<Rule> pool_rules() { return {}; }

}  // namespace tanul::test
