// SPDX-License-Identifier: Apache-2.0
// celu: elu with one slope on both sides of 0.
// Source: J. Barron, "Continuously Differentiable Exponential Linear Units", 2017.
struct Celu {
  static constexpr ActivationDef kDef{
      .formula = "x where x > 0, else alpha (e^(x / alpha) − 1)",
      .gradient = "dy where x > 0, else dy e^(x / alpha)",
      .onnx = "Celu",
      .params = {{.name = "alpha", .otherwise = 1, .low = 0, .is_open = true}},
      .is_double_forward = true,
      .is_double_backward = true,
      .flops = 13,
      .gain = [](const double*) { return rectifier_gain(0); },
      .is_rectifier = true,
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double* p) {
    return select(x > 0, x, expm1(clamp(x / p[0], -700, 0)) * p[0]);
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double* p) {
    return select(x > 0, dy, dy * exp(clamp(x / p[0], -700, 0)));
  }
};
