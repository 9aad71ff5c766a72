// SPDX-License-Identifier: Apache-2.0
// relu, the rectifier. The gradient at 0 is 0. NaN stays NaN.
struct Relu {
  static constexpr ActivationDef kDef{
      .formula = "max(0, x)",
      .gradient = "dy where y > 0, else 0",
      .onnx = "Relu",
      .reads_output = [](const double*) { return true; },
      .gain = [](const double*) { return rectifier_gain(0); },
      .is_rectifier = true,
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double*) {
    return select(x < 0, 0, x);
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V y, const double*) {
    return select(y > 0, dy, 0);
  }
};
