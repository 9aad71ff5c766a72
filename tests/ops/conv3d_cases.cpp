// SPDX-License-Identifier: Apache-2.0
#include "kernels/conv3d/conv3d.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

struct Three {
  int d, h, w;
  Three(int all) : d(all), h(all), w(all) {}  // NOLINT: one number is meant to convert
  Three(int depth, int height, int width) : d(depth), h(height), w(width) {}
};

struct Conv {
  std::string name;
  Shape x;  // [N, C, D, H, W]
  int64_t K;
  Three kernel;
  Three stride = 1;
  Three begin = 0, end = 0;
  Three dilation = 1;
  int groups = 1;
  bool has_bias = true;
  ActivationKind activation = ActivationKind::none;
};

Conv3dParams params_of(const Conv& c) {
  Conv3dParams p{};
  p.kernel_d = c.kernel.d;
  p.stride_d = c.stride.d;
  p.pad_front = c.begin.d;
  p.pad_back = c.end.d;
  p.dilation_d = c.dilation.d;
  p.plane.kernel_h = c.kernel.h;
  p.plane.kernel_w = c.kernel.w;
  p.plane.stride_h = c.stride.h;
  p.plane.stride_w = c.stride.w;
  p.plane.pad_top = c.begin.h;
  p.plane.pad_left = c.begin.w;
  p.plane.pad_bottom = c.end.h;
  p.plane.pad_right = c.end.w;
  p.plane.dilation_h = c.dilation.h;
  p.plane.dilation_w = c.dilation.w;
  p.plane.groups = c.groups;
  p.plane.has_bias = c.has_bias ? 1 : 0;
  p.plane.activation = c.activation;
  return p;
}

OpCase make(const Conv& c) {
  OpCase op{
      "conv3d " + c.name, OpKind::conv3d_fwd, Params::of(params_of(c)), {}, {0, 1}, {}, 1, true};
  const Shape w{c.K, c.x[1] / c.groups, c.kernel.d, c.kernel.h, c.kernel.w};
  // Whole numbers and a bias of a half keep fused ReLU away from its kink: differences are exact.
  const bool is_relu = c.activation == ActivationKind::relu;
  const Fill x_fill = is_relu ? Fill{Fill::integers, 3, {}} : Fill{};
  const Fill w_fill = is_relu ? Fill{Fill::integers, 3, {}} : Fill{Fill::normal, 0.3, {}};
  const Fill b_fill = is_relu ? Fill{Fill::half_integers, 2, {}} : Fill{};
  op.in = {{c.x, x_fill}, {w, w_fill}, c.has_bias ? In{Shape{c.K}, b_fill} : absent()};
  if (c.has_bias) op.differentiable.push_back(2);
  op.has_gradient_check = !is_relu || c.has_bias;
  return op;
}

// Transposed: x [N, C, Z, P, Q], w [C, K/groups, T, R, S].
OpCase make_transposed(const Conv& c, const Three& output_pad = 0) {
  Conv3dParams p = params_of(c);
  p.plane.is_transposed = 1;
  p.output_pad_d = output_pad.d;
  p.plane.output_pad_h = output_pad.h;
  p.plane.output_pad_w = output_pad.w;
  const Shape w{c.x[1], c.K / c.groups, c.kernel.d, c.kernel.h, c.kernel.w};
  return {"conv_transpose3d " + c.name,
          OpKind::conv3d_bwd_data,
          Params::of(p),
          {{c.x, {}}, {w, {Fill::normal, 0.3, {}}}},
          {0, 1},
          {},
          1,
          true};
}

}  // namespace

std::vector<OpCase> conv3d_cases() {
  const std::vector<Conv> all = {
      {"one element", {1, 1, 1, 1, 1}, 1, 1},
      {"1x1x1: a plain matrix product", {2, 6, 3, 4, 5}, 9, 1},
      {"1x1x1 stride 2: reads every eighth element", {1, 3, 5, 6, 7}, 4, 1, 2},
      {"3x3x3 pad 1: same size", {2, 3, 5, 6, 7}, 4, 3, 1, 1, 1},
      {"3x3x3 no padding", {1, 4, 5, 6, 6}, 5, 3},
      {"2x3x4: all extents differ", {2, 2, 5, 7, 9}, 3, {2, 3, 4}},
      {"1x3x3 of a clip: space alone", {1, 3, 6, 8, 8}, 4, {1, 3, 3}, 1, {0, 1, 1}, {0, 1, 1}},
      {"3x1x1 of a clip: time alone, stride 2",
       {2, 3, 9, 4, 5},
       4,
       {3, 1, 1},
       {2, 1, 1},
       {1, 0, 0}},
      {"stride 1 2 3", {1, 2, 5, 8, 11}, 3, 3, {1, 2, 3}, 1, 1},
      {"stride 3 above the kernel 2: gaps get no gradient", {1, 2, 7, 8, 9}, 2, 2, 3},
      {"all six paddings differ", {1, 2, 4, 5, 6}, 3, 3, 1, {0, 1, 2}, {3, 4, 5}},
      {"padding wider than the kernel: pure bias at the rim", {1, 2, 2, 3, 2}, 2, 2, 1, 3, 3},
      {"kernel as large as the input: one output", {2, 3, 3, 4, 5}, 6, {3, 4, 5}},
      {"dilation 1 2 3 with padding", {1, 2, 5, 7, 9}, 3, 2, 1, {1, 0, 2}, {0, 1, 2}, {1, 2, 3}},
      {"dilation 2 stride 2: both at once", {1, 2, 7, 8, 7}, 3, 3, 2, 1, 1, 2},
      {"2 groups, stride 2", {2, 4, 5, 6, 5}, 6, 3, 2, 1, 1, 1, 2},
      {"depthwise, no bias", {1, 6, 4, 5, 6}, 6, 3, 1, 1, 1, 1, 6, false},
      {"depthwise with 2 filters a channel", {1, 3, 4, 5, 4}, 6, 2, 1, 0, 0, 1, 3},
      {"40 channels: the reduction is cut", {1, 40, 3, 4, 4}, 5, 3, 1, 1, 1},
      {"40 channels, fused ReLU: the activation waits for all",
       {1, 40, 3, 4, 4},
       5,
       3,
       1,
       1,
       1,
       1,
       1,
       true,
       ActivationKind::relu},
      {"several blocks of positions", {1, 8, 8, 17, 19}, 3, 3, 1, 1, 1},
      {"5x5x5 on one channel", {2, 1, 9, 9, 9}, 7, 5, 1, 2, 2},
      {"many volumes: runs of slices end within one", {7, 2, 5, 3, 4}, 3, 2},
      {"wide 1x1x1 in 2 groups", {1, 4, 3, 9, 31}, 6, 1, 1, 0, 0, 1, 2},
      {"fused ReLU", {2, 2, 4, 5, 5}, 3, 3, 1, 1, 1, 1, 1, true, ActivationKind::relu},
      {"fused sigmoid, no bias",
       {1, 2, 4, 4, 4},
       3,
       2,
       1,
       0,
       0,
       1,
       1,
       false,
       ActivationKind::sigmoid},
  };
  std::vector<OpCase> cases;
  for (const Conv& c : all) cases.push_back(make(c));
  // Many rows and columns and a short sum: what the largest tiles of a matrix product take.
  const std::vector<Conv> large = {
      {"large: 100 filters at 8,360 positions", {2, 6, 11, 20, 20}, 100, {1, 1, 2}},
      {"large: gradient of 8,748 elements in 97 channels", {3, 97, 9, 18, 18}, 5, {1, 1, 2}},
      {"large: 900 filters of 896 weights", {2, 112, 2, 2, 2}, 900, 2},
  };
  for (const Conv& c : large) {
    cases.push_back(make(c));
    cases.back().has_gradient_check = false;
  }
  const std::vector<std::pair<Conv, Three>> up = {
      {{"1x1x1: a plain matrix product", {2, 4, 2, 3, 4}, 5, 1}, 0},
      {{"2x2x2 stride 2: blocks do not overlap", {2, 3, 3, 4, 3}, 4, 2, 2}, 0},
      {{"3x3x3 stride 2 pad 1", {1, 3, 3, 4, 5}, 2, 3, 2, 1, 1}, 1},
      {{"stride 3 above the kernel 2: gaps stay 0", {1, 2, 2, 3, 3}, 3, 2, 3}, {2, 1, 0}},
      {{"all differ", {1, 4, 3, 3, 4}, 6, {1, 2, 3}, {2, 1, 3}, {0, 1, 1}, {0, 0, 2}, {1, 2, 1}, 2},
       {1, 1, 2}},
      {{"1x1x1, output_padding below the dilation: more fits than there is",
        {1, 2, 2, 3, 2},
        3,
        1,
        1,
        0,
        0,
        3},
       2},
  };
  for (const auto& [c, output_pad] : up) cases.push_back(make_transposed(c, output_pad));
  return cases;
}

std::vector<RejectCase> conv3d_rejections() {
  const OpKind fwd = OpKind::conv3d_fwd, up = OpKind::conv3d_bwd_data;
  const Conv plain{"", {2, 4, 5, 6, 7}, 8, 3};
  const In x{plain.x, {}}, w{{8, 4, 3, 3, 3}, {}}, b{{8}, {}};
  const auto changed = [&](void (*change)(Conv3dParams&)) {
    Conv3dParams p = params_of(plain);
    change(p);
    return Params::of(p);
  };
  const Params params = changed([](Conv3dParams&) {});
  return {
      {"conv3d \"layer\": x must be [N, C, D, H, W], got [2, 4, 6, 7]",
       fwd,
       params,
       {{{2, 4, 6, 7}, {}}, w, b}},
      {"conv3d \"layer\": w must be [K, C/groups, T, R, S], got [8, 4, 3, 3]",
       fwd,
       params,
       {x, {{8, 4, 3, 3}, {}}, b}},
      {"conv3d \"layer\": w [8, 4, 3, 3, 2] does not have the kernel 3x3x3",
       fwd,
       params,
       {x, {{8, 4, 3, 3, 2}, {}}, b}},
      {"conv3d \"layer\": kernel depth 3 with dilation 4 spans 9 elements but the padded input has "
       "6 "
       "(5 + 1 + 0)",
       fwd,
       changed([](Conv3dParams& p) {
         p.dilation_d = 4;
         p.pad_front = 1;
       }),
       {x, w, b}},
      {"conv3d \"layer\": stride depth must be at least 1, got 0",
       fwd,
       changed([](Conv3dParams& p) { p.stride_d = 0; }),
       {x, w, b}},
      {"conv3d \"layer\": padding must not be negative, got 0 and -1 (depth)",
       fwd,
       changed([](Conv3dParams& p) { p.pad_back = -1; }),
       {x, w, b}},
      {"conv_transpose3d \"layer\": output_padding depth must be 0 to 0, below the larger of "
       "stride 1 "
       "and dilation 1, got 1",
       up,
       changed([](Conv3dParams& p) {
         p.plane.is_transposed = 1;
         p.output_pad_d = 1;
       }),
       {x, {{4, 8, 3, 3, 3}, {}}}},
      {"conv3d_bwd_weights \"layer\": dy [2, 8, 3, 4, 4] does not have the output's extents 3x4x5",
       OpKind::conv3d_bwd_weights,
       params,
       {x, {{2, 8, 3, 4, 4}, {}}}},
  };
}

}  // namespace tanul::test
