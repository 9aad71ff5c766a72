// SPDX-License-Identifier: Apache-2.0
// hardswish: the gradient is 0 at −3 and 1 at 3.
// Source: A. Howard et al., "Searching for MobileNetV3", ICCV 2019.
struct HardSwish {
  static constexpr ActivationDef kDef{
      .formula = "x max(0, min(1, x/6 + 1/2))",
      .gradient = "0 where x <= −3, dy where x >= 3, else dy (2x + 3) / 6",
      .onnx = "HardSwish",
      .flops = 5,
      .gain = [](const double*) { return rectifier_gain(0); },
      .is_rectifier = true,
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double*) {
    return select(x < -3, 0, x * (min(x + 3, 6) / 6));
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double*) {
    return select(x > -3, select(x < 3, dy * ((x + x + 3) / 6), dy), 0);
  }
};
