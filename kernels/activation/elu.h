// SPDX-License-Identifier: Apache-2.0
// elu: at 0 the gradient is that of the branch below, alpha.
// Source: D.-A. Clevert, T. Unterthiner, S. Hochreiter, "Fast and Accurate Deep Network Learning by
// Exponential Linear Units", ICLR 2016.
struct Elu {
  static constexpr ActivationDef kDef{
      .formula = "x where x > 0, else alpha (e^x − 1)",
      .gradient = "dy where x > 0, else dy alpha e^x",
      .onnx = "Elu",
      .params = {{.name = "alpha", .otherwise = 1}},
      .is_double_forward = true,
      .is_double_backward = true,
      .flops = 12,
      .gain = [](const double*) { return rectifier_gain(0); },
      .is_rectifier = true,
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double* p) {
    return select(x > 0, x, expm1(clamp(x, -700, 0)) * p[0]);
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double* p) {
    return select(x > 0, dy, dy * exp(clamp(x, -700, 0)) * p[0]);
  }
};
