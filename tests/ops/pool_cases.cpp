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

// By axis: depth, height, width.
PoolParams pool_params(const std::vector<int>& kernel, const std::vector<int>& stride) {
  PoolParams p{};
  for (size_t axis = 0; axis < 3; ++axis) {
    const size_t missing = 3 - kernel.size();
    if (axis < missing) continue;
    p.kernel[axis] = kernel[axis - missing];
    p.stride[axis] = stride[axis - missing];
    p.dilation[axis] = 1;
  }
  return p;
}

Params params_of(const Pool& c, bool count_include_pad) {
  PoolParams p = pool_params({c.R, c.S}, {c.stride_h, c.stride_w});
  p.pad_begin[1] = c.top;
  p.pad_begin[2] = c.left;
  p.pad_end[1] = c.bottom;
  p.pad_end[2] = c.right;
  p.ceil_mode = c.is_ceil ? 1 : 0;
  p.count_include_pad = count_include_pad ? 1 : 0;
  return Params::of(p);
}

OpCase make(const std::string& name, OpKind kind, const Params& params, const Shape& x,
            const Fill& fill) {
  return {name, kind, params, {{x, fill}}, {0}, {}, 1, true};
}

const Fill kDistinct{Fill::distinct, 0.25, {}};

// Signals, volumes and dilation: what an image without dilation does not show.
void add_windows(std::vector<OpCase>& cases) {
  const auto add = [&](const std::string& why, const PoolParams& p, const Shape& x,
                       bool has_average = true) {
    cases.push_back(make("max pool " + why, OpKind::max_pool_fwd, Params::of(p), x, kDistinct));
    if (!has_average) return;
    for (int include : {0, 1}) {
      PoolParams average = p;
      average.count_include_pad = include;
      cases.push_back(make((include == 1 ? "avg pool, padding counts, " : "avg pool ") + why,
                           OpKind::avg_pool_fwd, Params::of(average), x, {}));
    }
  };
  add("of a signal", pool_params({2}, {2}), {3, 4, 37});
  add("of a long signal, overlapping: several vectors", pool_params({3}, {1}), {1, 2, 150});
  PoolParams p = pool_params({5}, {3});
  p.pad_begin[2] = 4;
  p.pad_end[2] = 2;
  p.ceil_mode = 1;
  add("of a padded signal, ceil", p, {2, 3, 23});
  p = pool_params({3}, {1});
  p.dilation[2] = 4;
  add("of a signal, dilation 4", p, {2, 2, 20}, false);
  p.pad_begin[2] = 5;
  p.pad_end[2] = 7;
  add("of a signal, dilation 4, padded: windows begin between taps", p, {2, 2, 20}, false);
  add("of a volume", pool_params({2, 2, 2}, {2, 2, 2}), {2, 3, 5, 6, 7});
  add("of a clip: space alone", pool_params({1, 3, 3}, {1, 2, 2}), {1, 2, 4, 9, 8});
  add("of a clip: time alone", pool_params({3, 1, 1}, {2, 1, 1}), {1, 2, 7, 4, 5});
  add("of a volume with long rows: several pieces", pool_params({3, 2, 2}, {1, 1, 2}),
      {1, 2, 4, 3, 300});
  p = pool_params({2, 3, 4}, {1, 2, 3});
  p.pad_begin[0] = 1;
  p.pad_begin[1] = 2;
  p.pad_end[1] = 1;
  p.pad_end[2] = 3;
  add("of a volume, all differ", p, {2, 2, 4, 6, 9});
  p.ceil_mode = 1;
  add("of a volume, all differ, ceil", p, {2, 2, 4, 6, 8});
  p = pool_params({2, 2, 3}, {1, 2, 1});
  p.dilation[0] = 2;
  p.dilation[1] = 3;
  p.dilation[2] = 2;
  p.pad_begin[1] = p.pad_end[2] = 1;
  add("of a volume, dilated", p, {1, 3, 5, 8, 7}, false);
  p = pool_params({3, 3}, {2, 2});
  p.dilation[1] = p.dilation[2] = 2;
  p.pad_begin[1] = p.pad_begin[2] = p.pad_end[1] = p.pad_end[2] = 1;
  add("of an image, dilation 2", p, {2, 3, 9, 8}, false);
  p = pool_params({3, 3}, {1, 1});
  p.dilation[1] = 2;
  add("of an image, dilation of rows alone", p, {1, 2, 9, 40}, false);

  PoolParams global{};
  global.global = 1;
  for (const Shape& x :
       {Shape{3, 5, 7}, Shape{3, 7, 6, 5}, Shape{1, 3, 61, 64}, Shape{2, 3, 4, 5, 6}}) {
    const std::string of = " of " + x.str_x();
    cases.push_back(make("global average" + of, OpKind::avg_pool_fwd, Params::of(global), x, {}));
    cases.push_back(
        make("global maximum" + of, OpKind::max_pool_fwd, Params::of(global), x, kDistinct));
  }
}

void add_adaptive(std::vector<OpCase>& cases) {
  struct Adaptive {
    const char* why;
    Shape x;
    std::vector<int> out;
  };
  const std::vector<Adaptive> all = {
      {"11 to 4: windows overlap by one", {2, 3, 11}, {4}},
      {"7x9 to 3x4: sizes do not divide", {2, 3, 7, 9}, {3, 4}},
      {"8x6 to 4x3: sizes divide", {1, 3, 8, 6}, {4, 3}},
      {"3x4 to 5x7: values repeat", {1, 2, 3, 4}, {5, 7}},
      {"6x5 to 6x1: one axis kept, one global", {1, 3, 6, 5}, {6, 1}},
      {"13x13 to 6x6: AlexNet", {2, 4, 13, 13}, {6, 6}},
      {"to 1x1: the whole plane", {3, 4, 9, 9}, {1, 1}},
      {"5x4x7 to 2x3x3", {1, 2, 5, 4, 7}, {2, 3, 3}},
      {"planes above a tile", {1, 2, 131, 129}, {7, 8}},
  };
  for (const Adaptive& c : all) {
    AdaptivePoolParams p{};
    for (size_t i = 0; i < c.out.size(); ++i) p.out[3 - c.out.size() + i] = c.out[i];
    const std::string why = c.why;
    cases.push_back(
        make("adaptive average " + why, OpKind::adaptive_avg_pool_fwd, Params::of(p), c.x, {}));
    cases.push_back(make("adaptive maximum " + why, OpKind::adaptive_max_pool_fwd, Params::of(p),
                         c.x, kDistinct));
  }
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
      {"a stride of nearly 2^31: places beyond 32 bits", {2, 3, 5, 6}, 2, 3, 2147480000, 1},
      {"window of a whole plane of many elements", {1, 2, 51, 45}, 51, 45, 1, 1},
      {"5x5 stride 1: much overlap", {1, 2, 12, 11}, 5, 5, 1, 1, 2, 2, 2, 2},
      {"many planes of one window", {9, 31, 2, 2}, 2, 2, 2, 2},
      {"big plane", {1, 2, 101, 67}, 2, 2, 2, 2},
      {"wide rows: several vectors", {1, 1, 4, 150}, 3, 3, 1, 1, 1, 1, 1, 1},
      {"4x4 stride 4", {2, 3, 12, 12}, 4, 4, 4, 4},
      {"tall plane, overlapping: several batches of rows", {1, 2, 211, 39}, 3, 3, 2, 2, 1, 1, 1, 1},
      {"3x3 stride 2 ceil: cifar10-quick", {2, 3, 32, 32}, 3, 3, 2, 2, 0, 0, 0, 0, true},
      {"a window above 32 columns", {1, 1, 3, 70}, 2, 33, 1, 2},
  };
  std::vector<OpCase> cases;
  for (const Pool& c : shapes) {
    cases.push_back(make("max pool " + c.name, OpKind::max_pool_fwd, params_of(c, false), c.x,
                         {Fill::distinct, 0.25, {}}));
    cases.push_back(make("avg pool " + c.name, OpKind::avg_pool_fwd, params_of(c, false), c.x, {}));
    const bool is_cut = (c.top | c.left | c.bottom | c.right) != 0 || c.is_ceil;
    if (is_cut) {
      cases.push_back(make("avg pool, padding counts, " + c.name, OpKind::avg_pool_fwd,
                           params_of(c, true), c.x, {}));
    }
  }
  add_windows(cases);
  add_adaptive(cases);

  // Values: ties go to the first in row order, NaN wins, -infinity is a value and not padding.
  const Pool two{"", {1, 1, 6, 6}, 2, 2, 2, 2};
  const Pool overlapping{"", {1, 2, 9, 9}, 3, 3, 1, 1, 1, 1, 1, 1};
  const auto add_values = [&](const std::string& name, const Pool& pool, const Fill& fill) {
    cases.push_back(make(name, OpKind::max_pool_fwd, params_of(pool, false), pool.x, fill));
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
  const Pool second{"", {2, 2, 10, 34}, 3, 3, 2, 2, 1, 1, 0, 0, true};
  add_values("max pool of few different values, stride 2", second, {Fill::integers, 1, {}});
  add_values("max pool with NaN, stride 2", second,
             list({1, 2, 3, NAN, 7, 0, -1, 4, 9, 8, 2, 6, 1, NAN, NAN, 3, 5, 7, 2, 4, 8}));
  add_values("max pool of negative infinity, stride 2", second, list({-inf}));
  const auto add_volume = [&](const std::string& name, const Fill& fill) {
    PoolParams p = pool_params({3, 2, 2}, {1, 1, 1});
    p.pad_begin[0] = 1;
    cases.push_back(make(name, OpKind::max_pool_fwd, Params::of(p), {1, 2, 4, 5, 70}, fill));
    cases.back().has_gradient_check = false;
  };
  add_volume("max pool of a volume of few different values: the first slice keeps a tie",
             {Fill::integers, 1, {}});
  add_volume("max pool of a volume with NaN: the first of all slices",
             list({1, 2, 3, NAN, 7, 0, -1, 4, 9, 8, 2, 6, 1, 3, 5, 7, 2, 4, 8}));
  add_values("max pool of infinities", overlapping, list({-inf, inf, 0, 5, -inf}));
  return cases;
}

std::vector<RejectCase> pool_rejections() {
  const OpKind max = OpKind::max_pool_fwd, avg = OpKind::avg_pool_fwd;
  const Shape x{2, 3, 6, 7};
  const auto with = [&](int R, int S, int stride, int top = 0, int left = 0) {
    return params_of({"", x, R, S, stride, stride, top, left}, false);
  };
  const std::vector<In> in{{x, {}}};
  const auto dilated = [&](int kernel, int dilation, int pad) {
    PoolParams p = pool_params({kernel, kernel}, {1, 1});
    p.dilation[1] = dilation;
    p.pad_begin[1] = p.pad_end[1] = pad;
    return Params::of(p);
  };
  AdaptivePoolParams adaptive{};
  adaptive.out[2] = 3;
  return {
      {"max_pool1d \"layer\": x must be [N, C, L], [N, C, H, W] or [N, C, D, H, W], got [2, 3]",
       max,
       with(2, 2, 2),
       {{{2, 3}, {}}}},
      {"max_pool2d \"layer\": x must be f32, got u8", max, with(2, 2, 2), {{x, {}, DType::u8}}},
      {"avg_pool2d \"layer\": x must not be empty, got [2, 0, 6, 7]",
       avg,
       with(2, 2, 2),
       {{{2, 0, 6, 7}, {}}}},
      {"avg_pool2d \"layer\": kernel height must be at least 1, got 0", avg, with(0, 2, 2), in},
      {"avg_pool1d \"layer\": kernel length must be at least 1, got 0",
       avg,
       with(2, 0, 2),
       {{{2, 3, 7}, {}}}},
      {"avg_pool3d \"layer\": kernel depth must be at least 1, got 0",
       avg,
       with(2, 2, 2),
       {{{2, 3, 5, 6, 7}, {}}}},
      {"avg_pool2d \"layer\": stride height must be at least 1, got 0", avg, with(2, 2, 0), in},
      {"max_pool2d \"layer\": dilation height must be at least 1, got 0", max, dilated(2, 0, 0),
       in},
      {"avg_pool2d \"layer\": the windows of an average have no dilation, got 2", avg,
       dilated(2, 2, 0), in},
      {"max_pool2d \"layer\": padding must not be negative, got -1 and 0 (height)", max,
       with(2, 2, 2, -1), in},
      {"max_pool2d \"layer\": padding 2 and 0 (width) must be smaller than the window's 2; a "
       "window "
       "would see padding only",
       max, with(2, 2, 2, 0, 2), in},
      {"max_pool2d \"layer\": kernel width 8 is larger than the padded input 7 (x [2, 3, 6, 7])",
       max, with(2, 8, 2), in},
      {"max_pool2d \"layer\": window 0 (height) would see padding only: no tap of it lies inside x "
       "[2, 3, 6, 7]",
       max, dilated(2, 7, 1), in},
      {"adaptive_max_pool \"layer\": output height must be at least 1, got 0",
       OpKind::adaptive_max_pool_fwd, Params::of(adaptive), in},
      {"adaptive_avg_pool \"layer\": x must be [N, C, L], [N, C, H, W] or [N, C, D, H, W], got [4, "
       "5]",
       OpKind::adaptive_avg_pool_fwd,
       Params::of(adaptive),
       {{{4, 5}, {}}}},
  };
}

}  // namespace tanul::test
