// SPDX-License-Identifier: Apache-2.0
#include "kernels/conv2d/conv2d.h"
#include "ops/cases.h"

namespace tanul::test {

namespace {

struct Conv {
  std::string name;
  Shape x;  // [N, C, H, W]
  int64_t K, R, S;
  int stride_h = 1, stride_w = 1;
  int top = 0, left = 0, bottom = 0, right = 0;
  int dilation_h = 1, dilation_w = 1;
  int groups = 1;
  bool has_bias = true;
  ActivationKind activation = ActivationKind::none;
};

Params params_of(const Conv& c) {
  Conv2dParams p{};
  p.kernel_h = static_cast<int32_t>(c.R);
  p.kernel_w = static_cast<int32_t>(c.S);
  p.stride_h = c.stride_h;
  p.stride_w = c.stride_w;
  p.pad_top = c.top;
  p.pad_left = c.left;
  p.pad_bottom = c.bottom;
  p.pad_right = c.right;
  p.dilation_h = c.dilation_h;
  p.dilation_w = c.dilation_w;
  p.groups = c.groups;
  p.has_bias = c.has_bias ? 1 : 0;
  p.activation = c.activation;
  return Params::of(p);
}

OpCase make(const Conv& c) {
  OpCase op{"conv " + c.name, OpKind::conv2d_fwd, params_of(c), {}, {0, 1}, {}, 1, true};
  const Shape w{c.K, c.x[1] / c.groups, c.R, c.S};
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

constexpr ActivationKind kRelu = ActivationKind::relu;
constexpr ActivationKind kSigmoid = ActivationKind::sigmoid;
constexpr ActivationKind kTanh = ActivationKind::tanh;

// A signal [N, C, L] with the numbers of its window; nothing is said about a height.
struct Signal {
  std::string name;
  Shape x;
  int64_t K;
  int S, stride = 1, left = 0, right = 0, dilation = 1, groups = 1;
  bool has_bias = true;
  ActivationKind activation = ActivationKind::none;
};

void add_signals(std::vector<OpCase>& cases) {
  const std::vector<Signal> all = {
      {"one element", {1, 1, 1}, 1, 1},
      {"3 taps", {2, 5, 17}, 7, 3},
      {"1 tap: a plain matrix product", {3, 4, 21}, 6, 1},
      {"9 taps, same length", {2, 3, 31}, 4, 9, 1, 4, 4},
      {"causal: all padding in front, dilation 2", {2, 3, 24}, 5, 3, 1, 4, 0, 2},
      {"80 taps stride 16: raw sound", {1, 1, 400}, 12, 80, 16, 20, 20},
      {"stride 3 above 2 taps: gaps get no gradient", {2, 2, 23}, 3, 2, 3},
      {"as many taps as elements", {3, 6, 11}, 5, 11},
      {"3 groups, stride 2", {2, 6, 19}, 9, 3, 2, 1, 1, 1, 3},
      {"depthwise, no bias", {2, 8, 33}, 8, 5, 1, 2, 2, 1, 8, false},
      {"long: several blocks of positions", {1, 3, 6001}, 5, 7, 1, 3, 3},
      {"many short signals", {90, 4, 5}, 6, 2},
      {"70 channels: the reduction is cut", {2, 70, 40}, 9, 5, 1, 2, 2},
      {"fused ReLU", {2, 3, 40}, 5, 3, 1, 1, 1, 1, 1, true, kRelu},
      {"fused tanh, stride 2", {2, 3, 20}, 4, 3, 2, 1, 1, 1, 1, true, kTanh},
  };
  for (const Signal& c : all) {
    Conv plane{c.name, {c.x[0], c.x[1], 1, c.x[2]}, c.K, 0, c.S};
    plane.stride_h = plane.dilation_h = 0;
    plane.stride_w = c.stride;
    plane.left = c.left;
    plane.right = c.right;
    plane.dilation_w = c.dilation;
    plane.groups = c.groups;
    plane.has_bias = c.has_bias;
    plane.activation = c.activation;
    OpCase op = make(plane);
    op.name = "conv1d " + c.name;
    op.in[0].shape = c.x;
    op.in[1].shape = {c.K, c.x[1] / c.groups, c.S};
    cases.push_back(op);
  }
}

// Transposed: x [N, C, P, Q], w [C, K/groups, R, S].
void add_transposed(std::vector<OpCase>& cases) {
  struct Up {
    Conv conv;
    int pad_h = 0, pad_w = 0;  // output_padding
  };
  const std::vector<Up> all = {
      {{"one element", {1, 1, 1, 1}, 1, 1, 1}},
      {{"1x1: a plain matrix product", {2, 5, 6, 6}, 7, 1, 1}},
      {{"3x3 stride 1: full convolution", {2, 3, 5, 6}, 4, 3, 3}},
      {{"2x2 stride 2: U-Net, blocks do not overlap", {2, 6, 8, 9}, 3, 2, 2, 2, 2}},
      {{"4x4 stride 2 pad 1: DCGAN, blocks overlap", {3, 8, 7, 7}, 5, 4, 4, 2, 2, 1, 1, 1, 1}},
      {{"3x3 stride 2 pad 1: the shape of a strided 3x3 upside down",
        {2, 3, 8, 8},
        4,
        3,
        3,
        2,
        2,
        1,
        1,
        1,
        1},
       1,
       1},
      {{"stride 3 above the kernel 2: gaps stay 0", {1, 4, 5, 6}, 3, 2, 2, 3, 3}, 2, 1},
      {{"stride 2 1, padding on one side", {1, 3, 4, 9}, 4, 3, 5, 2, 1, 0, 2, 1, 0}},
      {{"dilation 2 3", {1, 3, 6, 7}, 2, 3, 3, 1, 1, 1, 1, 1, 1, 2, 3}},
      {{"1x1, output_padding below the dilation: more fits than there is",
        {2, 3, 4, 5},
        4,
        1,
        1,
        1,
        1,
        0,
        0,
        0,
        0,
        3,
        2},
       2,
       1},
      {{"3x3, output_padding below the dilation: more fits than there is",
        {1, 2, 9, 33},
        9,
        3,
        3,
        1,
        1,
        1,
        0,
        0,
        1,
        3,
        2},
       2,
       1},
      {{"2 groups", {2, 4, 5, 5}, 6, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 2}},
      {{"depthwise stride 2: bilinear upsampling",
        {2, 6, 6, 6},
        6,
        4,
        4,
        2,
        2,
        1,
        1,
        1,
        1,
        1,
        1,
        6}},
      {{"many images with tiny planes", {80, 3, 3, 3}, 4, 2, 2, 2, 2}},
      {{"64 channels: a long reduction", {1, 64, 6, 6}, 5, 3, 3}},
      {{"big plane", {1, 3, 40, 51}, 4, 3, 3, 2, 2, 1, 1, 1, 1}},
  };
  for (const Up& up : all) {
    const Conv& c = up.conv;
    Conv2dParams p = params_of(c).as<Conv2dParams>();
    p.is_transposed = 1;
    p.output_pad_h = up.pad_h;
    p.output_pad_w = up.pad_w;
    OpCase op{"conv_transpose " + c.name,
              OpKind::conv2d_bwd_data,
              Params::of(p),
              {},
              {0, 1},
              {},
              1,
              true};
    op.in = {{c.x, {}}, {Shape{c.x[1], c.K / c.groups, c.R, c.S}, {Fill::normal, 0.3, {}}}};
    cases.push_back(op);
  }
  // Signals.
  Conv2dParams p{};
  p.kernel_w = 4;
  p.stride_w = 2;
  p.pad_left = p.pad_right = p.dilation_w = 1;
  p.groups = 2;
  p.is_transposed = 1;
  cases.push_back({"conv_transpose1d doubles a signal, 2 groups",
                   OpKind::conv2d_bwd_data,
                   Params::of(p),
                   {{{3, 6, 21}, {}}, {{6, 2, 4}, {}}},
                   {0, 1},
                   {},
                   1,
                   true});
  p.groups = 1;
  p.output_pad_w = 1;
  cases.push_back({"conv_transpose1d with output_padding",
                   OpKind::conv2d_bwd_data,
                   Params::of(p),
                   {{{2, 3, 10}, {}}, {{3, 4, 4}, {}}},
                   {0, 1},
                   {},
                   1,
                   true});
}

// Stride 1 and enough channels for minimal filtering (conv2d_winograd.h) to take them.
void add_tiled(std::vector<OpCase>& cases) {
  const auto add = [&](const char* name, const Shape& x, int64_t K, int64_t kernel, int pad,
                       void (*change)(Conv&) = nullptr) {
    Conv c{name, x, K, kernel, kernel, 1, 1, pad, pad, pad, pad};
    if (change != nullptr) change(c);
    cases.push_back(make(c));
  };
  add("tiles: few, cut by the plane; channels cut vectors", {1, 24, 13, 11}, 33, 3, 1);
  add("tiles: many, of three images, fused ReLU", {3, 16, 26, 26}, 18, 3, 1,
      [](Conv& c) { c.activation = kRelu; });
  add("tiles: 2 groups", {1, 32, 12, 12}, 40, 3, 1, [](Conv& c) { c.groups = 2; });
  add("tiles: asymmetric padding wider than the kernel reaches, sigmoid", {1, 24, 9, 10}, 32, 3, 1,
      [](Conv& c) {
        c.top = 0, c.left = 3, c.bottom = 2, c.right = 1;
        c.activation = kSigmoid;
      });
  add("tiles: no bias, fused tanh, no padding", {1, 32, 10, 10}, 32, 3, 0, [](Conv& c) {
    c.has_bias = false;
    c.activation = kTanh;
  });
  add("tiles: weight gradient by lots, cut inside of images", {3, 17, 45, 38}, 19, 3, 1);
  add("tiles: weight gradient by lots of two images, 2 groups", {16, 32, 17, 16}, 34, 3, 1,
      [](Conv& c) { c.groups = 2; });
  add("tiles: planes of 2x2", {8, 32, 2, 2}, 32, 3, 1);
  add("tiles: many weights, few tiles", {2, 129, 5, 6}, 128, 3, 1);
  add("tiles: 5x5 over five images", {5, 20, 14, 14}, 16, 5, 2);
  add("tiles: 5x5 without padding", {1, 24, 12, 12}, 24, 5, 0);
  add("tiles: 5x5, channels cut vectors, fused ReLU", {2, 35, 7, 9}, 33, 5, 2,
      [](Conv& c) { c.activation = kRelu; });
}

// Many rows and columns and a short sum: what the largest tiles of a matrix product take.
void add_large(std::vector<OpCase>& cases) {
  const std::vector<Conv> all = {
      {"large: 100 filters at 8,280 positions", {4, 6, 46, 46}, 100, 1, 2},
      {"large: gradient of 8,464 elements in 97 channels", {4, 97, 46, 46}, 5, 1, 2},
      {"large: 900 filters of 900 weights", {2, 100, 3, 3}, 900, 3, 3},
      {"large: 100 filters of 12 channels at 8,320 positions", {2, 12, 64, 66}, 100, 1, 2},
      {"large: gradient of 8,464 elements in 97 channels from 13 filters",
       {4, 97, 46, 46},
       13,
       1,
       2},
  };
  for (const Conv& c : all) {
    cases.push_back(make(c));
    cases.back().has_gradient_check = false;
  }
}

}  // namespace

std::vector<OpCase> conv2d_cases() {
  const std::vector<Conv> all = {
      // Windows and planes.
      {"one element", {1, 1, 1, 1}, 1, 1, 1},
      {"1x1: a plain matrix product", {2, 8, 6, 6}, 16, 1, 1},
      {"1x1 stride 2: reads every other pixel", {2, 4, 7, 7}, 6, 1, 1, 2, 2},
      {"1x1 with padding: a frame of biases", {1, 3, 4, 4}, 2, 1, 1, 1, 1, 1, 1, 1, 1},
      {"3x3 pad 1: same size", {2, 3, 8, 8}, 4, 3, 3, 1, 1, 1, 1, 1, 1},
      {"3x3 no padding", {2, 4, 9, 9}, 8, 3, 3},
      {"5x5 pad 2 on 28x28: LeNet-5 conv1", {3, 1, 28, 28}, 6, 5, 5, 1, 1, 2, 2, 2, 2},
      {"5x5 on 14x14: LeNet-5 conv2", {3, 6, 14, 14}, 16, 5, 5},
      {"5x5 K 20 from 1 channel: Caffe LeNet conv1", {2, 1, 28, 28}, 20, 5, 5},
      {"5x5 C 20 K 50: Caffe LeNet conv2, no multiple of 4 or 8", {2, 20, 12, 12}, 50, 5, 5},
      {"7x7 stride 2 pad 3 on 3 channels: ResNet stem", {1, 3, 23, 23}, 8, 7, 7, 2, 2, 3, 3, 3, 3},
      {"kernel as large as the input: one output", {3, 5, 4, 6}, 7, 4, 6},
      {"kernel as large as the padded input", {2, 2, 3, 4}, 3, 5, 6, 1, 1, 1, 1, 1, 1},
      {"kernel 1x5: rows only", {2, 3, 5, 9}, 4, 1, 5},
      {"kernel 5x1: columns only", {2, 3, 9, 5}, 4, 5, 1},
      {"kernel 2x3 pad 0 1: even and odd", {1, 3, 7, 8}, 5, 2, 3, 1, 1, 0, 1, 0, 1},
      {"wide plane of one row", {1, 2, 1, 67}, 3, 1, 3, 1, 1, 0, 1, 0, 1},
      {"high plane of one column", {1, 2, 67, 1}, 3, 3, 1, 1, 1, 1, 0, 1, 0},
      // Strides.
      {"ih20oh9_kh3_sh2: floor cuts a row", {1, 3, 20, 20}, 4, 3, 3, 2, 2},
      {"stride 2 pad 1: the last column is not read", {2, 3, 8, 8}, 4, 3, 3, 2, 2, 1, 1, 1, 1},
      {"stride 3 above the kernel 2: gaps get no gradient", {1, 2, 11, 11}, 3, 2, 2, 3, 3},
      {"stride 2 1: rows and columns differ", {1, 3, 9, 9}, 4, 3, 3, 2, 1},
      {"stride 1 3: columns and rows differ", {2, 2, 7, 13}, 3, 3, 3, 1, 3, 1, 0, 1, 0},
      // Padding.
      {"asymmetric padding: all four differ", {2, 2, 6, 7}, 3, 3, 3, 1, 1, 0, 1, 2, 3},
      {"padding at the end only: SAME of stride 2", {1, 3, 8, 8}, 4, 3, 3, 2, 2, 0, 0, 1, 1},
      {"padding wider than the kernel: pure bias at the rim",
       {1, 2, 3, 3},
       2,
       2,
       2,
       1,
       1,
       3,
       3,
       3,
       3},
      // Dilation.
      {"dilation 2", {2, 3, 9, 9}, 4, 3, 3, 1, 1, 0, 0, 0, 0, 2, 2},
      {"dilation 3 1 with padding 3 1", {1, 2, 10, 8}, 3, 3, 3, 1, 1, 3, 1, 3, 1, 3, 1},
      {"dilation 2 stride 2: both at once", {1, 3, 13, 13}, 4, 3, 3, 2, 2, 1, 1, 1, 1, 2, 2},
      // Groups.
      {"2 groups", {2, 4, 6, 6}, 6, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 2},
      {"3 groups of odd size, stride 2", {2, 9, 7, 7}, 15, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 3},
      {"depthwise: a group for each channel", {2, 8, 7, 7}, 8, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 8},
      {"depthwise with 2 filters a channel", {1, 5, 6, 6}, 10, 3, 3, 1, 1, 0, 0, 0, 0, 1, 1, 5},
      {"1x1 in 4 groups, no bias", {2, 8, 5, 5}, 12, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 4, false},
      // Batches and sizes of tiles.
      {"batch 1", {1, 7, 10, 10}, 9, 3, 3, 1, 1, 1, 1, 1, 1},
      {"many images with tiny planes", {67, 3, 3, 3}, 5, 2, 2},
      {"many images with tiny planes in 2 groups",
       {131, 4, 3, 4},
       6,
       2,
       2,
       1,
       1,
       0,
       0,
       0,
       0,
       1,
       1,
       2},
      {"many images with tiny planes in 3 groups, padded, stride 2",
       {70, 6, 5, 5},
       9,
       3,
       3,
       2,
       2,
       1,
       1,
       1,
       1,
       1,
       1,
       3,
       false},
      {"many images with tiny planes, dilated, fused ReLU",
       {97, 2, 5, 4},
       5,
       2,
       2,
       1,
       1,
       0,
       0,
       0,
       0,
       2,
       3,
       1,
       true,
       kRelu},
      {"many images, 1x1 kernel in 2 groups", {80, 4, 3, 3}, 6, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 2},
      {"many images, 1x1 planes: a linear layer", {33, 10, 1, 1}, 12, 1, 1},
      {"big plane: several blocks of rows", {1, 3, 97, 83}, 5, 3, 3, 1, 1, 1, 1, 1, 1},
      {"big plane of one channel, 5x5 stride 2", {1, 1, 129, 131}, 3, 5, 5, 2, 2, 2, 2, 2, 2},
      {"33 channels to 17 filters: odd everywhere", {2, 33, 7, 5}, 17, 3, 3, 1, 1, 1, 1, 1, 1},
      {"64 channels: a long reduction", {1, 64, 6, 6}, 24, 3, 3, 1, 1, 1, 1, 1, 1},
      // Channels and filters that nearly fill runs of 16.
      {"16 channels to 14 filters, stride 2, dilation 1 2",
       {2, 16, 9, 11},
       14,
       3,
       3,
       2,
       2,
       1,
       1,
       1,
       1,
       1,
       2},
      {"2 groups of 15 channels to 16 filters, stride 3 2, no bias",
       {1, 30, 10, 9},
       32,
       3,
       4,
       3,
       2,
       1,
       2,
       0,
       1,
       1,
       1,
       2,
       false},
      // Wide planes: implementations that read whole vectors of a row take these only.
      {"wide plane, stride 2 1", {2, 3, 21, 37}, 5, 3, 3, 2, 1},
      {"wide plane, stride 3 1, padded", {1, 2, 26, 40}, 4, 3, 3, 3, 1, 1, 1, 1, 1},
      {"wide plane, dilation 2 3", {1, 3, 25, 43}, 4, 3, 3, 1, 1, 2, 3, 2, 3, 2, 3},
      {"wide plane, 2 groups, asymmetric padding",
       {2, 4, 19, 33},
       6,
       3,
       5,
       1,
       1,
       0,
       1,
       2,
       3,
       1,
       1,
       2},
      {"wide plane, 70 channels: the reduction is cut", {1, 70, 9, 35}, 9, 3, 3, 1, 1, 1, 1, 1, 1},
      {"wide plane, 70 channels, fused ReLU",
       {2, 70, 8, 34},
       7,
       3,
       3,
       1,
       1,
       1,
       1,
       1,
       1,
       1,
       1,
       1,
       true,
       kRelu},
      {"wide plane, 1x1 no padding", {2, 9, 8, 41}, 10, 1, 1},
      {"wide plane, stride 2 2, pad 1", {2, 5, 20, 45}, 7, 3, 3, 2, 2, 1, 1, 1, 1},
      {"one filter", {3, 6, 7, 7}, 1, 3, 3},
      // Bias and activation.
      {"no bias", {2, 3, 7, 7}, 4, 3, 3, 1, 1, 0, 0, 0, 0, 1, 1, 1, false},
      {"fused ReLU", {2, 3, 8, 8}, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, true, kRelu},
      {"fused ReLU, no bias", {2, 3, 8, 8}, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, false, kRelu},
      {"fused ReLU in 2 groups, stride 2",
       {3, 4, 9, 9},
       6,
       3,
       3,
       2,
       2,
       1,
       1,
       1,
       1,
       1,
       1,
       2,
       true,
       kRelu},
      {"fused sigmoid", {2, 2, 6, 6}, 3, 3, 3, 1, 1, 0, 0, 0, 0, 1, 1, 1, true, kSigmoid},
      {"fused tanh", {2, 2, 6, 6}, 3, 3, 3, 1, 1, 0, 0, 0, 0, 1, 1, 1, true, kTanh},
      {"fused tanh, no bias, 1x1", {1, 4, 5, 5}, 3, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, false, kTanh},
  };
  std::vector<OpCase> cases;
  for (const Conv& c : all) cases.push_back(make(c));
  add_signals(cases);
  add_transposed(cases);
  add_tiled(cases);
  add_large(cases);
  return cases;
}

std::vector<RejectCase> conv2d_rejections() {
  const OpKind fwd = OpKind::conv2d_fwd;
  const Shape x_shape{2, 4, 6, 7};
  const In x{x_shape, {}}, w{{8, 4, 3, 3}, {}}, b{{8}, {}};
  const Conv plain{"", x_shape, 8, 3, 3};
  const Params params = params_of(plain);
  const auto changed = [&](void (*change)(Conv2dParams&)) {
    Conv2dParams p = params.as<Conv2dParams>();
    p.in_h = 6;
    p.in_w = 7;
    change(p);
    return Params::of(p);
  };
  const Params resolved = changed([](Conv2dParams&) {});
  const OpKind up = OpKind::conv2d_bwd_data;
  const auto transposed = [&](void (*change)(Conv2dParams&)) {
    Conv2dParams p = params.as<Conv2dParams>();
    p.is_transposed = 1;
    change(p);
    return Params::of(p);
  };
  return {
      {"conv1d \"layer\": x must be [N, C, H, W] or [N, C, L], got [2, 168]",
       fwd,
       params,
       {{{2, 168}, {}}, w, b}},
      {"conv2d \"layer\": x must be [N, C, H, W] or [N, C, L], got [2, 4, 6, 7, 1]",
       fwd,
       params,
       {{{2, 4, 6, 7, 1}, {}}, w, b}},
      {"conv1d \"layer\": w must be [K, C/groups, S], got [8, 4, 3, 3]",
       fwd,
       params,
       {{{2, 4, 42}, {}}, w, b}},
      {"conv1d \"layer\": kernel length 3 with dilation 1 spans 3 elements but the padded input "
       "has 2 "
       "(2 + 0 + 0)",
       fwd,
       params,
       {{{2, 4, 2}, {}}, {{8, 4, 3}, {}}, b}},
      {"conv2d \"layer\": x must be f32, got u8", fwd, params, {{x_shape, {}, DType::u8}, w, b}},
      {"conv2d \"layer\": x must not be empty, got [0, 4, 6, 7]",
       fwd,
       params,
       {{{0, 4, 6, 7}, {}}, w, b}},
      {"conv2d \"layer\": w must be [K, C/groups, R, S], got [8, 36]",
       fwd,
       params,
       {x, {{8, 36}, {}}, b}},
      {"conv2d \"layer\": w [8, 4, 5, 5] does not have the kernel 3x3",
       fwd,
       params,
       {x, {{8, 4, 5, 5}, {}}, b}},
      {"conv2d \"layer\": x has 4 channels but w expects 3 (x [2, 4, 6, 7], w [8, 3, 3, 3]); check "
       "in_channels",
       fwd,
       params,
       {x, {{8, 3, 3, 3}, {}}, b}},
      {"conv2d \"layer\": the 8 output channels cannot be cut into 3 groups (w [8, 4, 3, 3]); "
       "check "
       "out_channels",
       fwd,
       changed([](Conv2dParams& p) { p.groups = 3; }),
       {x, w, b}},
      {"conv2d \"layer\": the 4 channels of x cannot be cut into 8 groups (x [2, 4, 6, 7])",
       fwd,
       changed([](Conv2dParams& p) { p.groups = 8; }),
       {x, w, b}},
      {"conv2d \"layer\": groups must be at least 1, got 0",
       fwd,
       changed([](Conv2dParams& p) { p.groups = 0; }),
       {x, w, b}},
      {"conv2d \"layer\": b must be [8], one value for each output channel, got [4]",
       fwd,
       params,
       {x, w, {{4}, {}}}},
      {"conv2d \"layer\": stride height must be at least 1, got 0",
       fwd,
       changed([](Conv2dParams& p) { p.stride_h = 0; }),
       {x, w, b}},
      {"conv2d \"layer\": dilation width must be at least 1, got 0",
       fwd,
       changed([](Conv2dParams& p) { p.dilation_w = 0; }),
       {x, w, b}},
      {"conv2d \"layer\": padding must not be negative, got -1 and 0 (width)",
       fwd,
       changed([](Conv2dParams& p) { p.pad_left = -1; }),
       {x, w, b}},
      {"conv2d \"layer\": kernel height 3 with dilation 4 spans 9 elements but the padded input "
       "has 7 "
       "(6 + 1 + 0)",
       fwd,
       changed([](Conv2dParams& p) {
         p.dilation_h = 4;
         p.pad_top = 1;
       }),
       {x, w, b}},
      {"conv2d_bwd_data \"layer\": dy has 7 channels but w makes 8 (dy [2, 7, 4, 5], w [8, 4, 3, "
       "3])",
       OpKind::conv2d_bwd_data,
       resolved,
       {{{2, 7, 4, 5}, {}}, w}},
      {"conv2d_bwd_data \"layer\": dy [2, 8, 5, 5] does not have the output's extents 4x5",
       OpKind::conv2d_bwd_data,
       resolved,
       {{{2, 8, 5, 5}, {}}, w}},
      {"conv2d \"layer\": an output height of 5 is asked for, 4 fit",
       fwd,
       changed([](Conv2dParams& c) { c.out_h = 5; }),
       {x, w, b}},
      {"conv_transpose2d \"layer\": x has 4 channels but w expects 8 (x [2, 4, 6, 7], w [8, 4, 3, "
       "3]); "
       "check in_channels",
       up,
       transposed([](Conv2dParams&) {}),
       {x, w}},
      {"conv_transpose2d \"layer\": w must be [C, K/groups, R, S], got [8, 4, 3]",
       up,
       transposed([](Conv2dParams&) {}),
       {x, {{8, 4, 3}, {}}}},
      {"conv_transpose1d \"layer\": w [4, 8, 5] does not have the kernel 3",
       up,
       transposed([](Conv2dParams&) {}),
       {{{2, 4, 7}, {}}, {{4, 8, 5}, {}}}},
      {"conv_transpose2d \"layer\": the 4 input channels cannot be cut into 3 groups (w [4, 8, 3, "
       "3]); "
       "check in_channels",
       up,
       transposed([](Conv2dParams& c) { c.groups = 3; }),
       {x, {{4, 8, 3, 3}, {}}}},
      {"conv_transpose2d \"layer\": output_padding width must be 0 to 1, below the larger of "
       "stride 2 "
       "and dilation 1, got 2",
       up,
       transposed([](Conv2dParams& c) {
         c.stride_w = 2;
         c.output_pad_w = 2;
       }),
       {x, {{4, 8, 3, 3}, {}}}},
      {"conv_transpose2d \"layer\": the output height would be 0 = (6 - 1) 1 + 3 + 0 - 4 - 4; "
       "check pad",
       up,
       transposed([](Conv2dParams& c) { c.pad_top = c.pad_bottom = 4; }),
       {x, {{4, 8, 3, 3}, {}}}},
      {"conv_transpose2d \"layer\": stride height must be at least 1, got 0",
       up,
       transposed([](Conv2dParams& c) { c.stride_h = 0; }),
       {x, {{4, 8, 3, 3}, {}}}},
      {"conv2d_bwd_weights \"layer\": x has 2 images but dy has 3 (x [2, 4, 6, 7], dy [3, 8, 4, "
       "5])",
       OpKind::conv2d_bwd_weights,
       resolved,
       {x, {{3, 8, 4, 5}, {}}}},
      {"conv2d_bwd_weights \"layer\": dy [2, 8, 4, 4] does not have the output's extents 4x5",
       OpKind::conv2d_bwd_weights,
       resolved,
       {x, {{2, 8, 4, 4}, {}}}},
  };
}

}  // namespace tanul::test
