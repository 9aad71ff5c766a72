// SPDX-License-Identifier: Apache-2.0
// leaky_relu: the gradient at 0 is alpha. Where alpha is not negative, y has the sign of x.
// Source: A. Maas, A. Hannun, A. Ng, "Rectifier Nonlinearities Improve Neural Network Acoustic Models",
// ICML 2013.
struct LeakyRelu {
  static constexpr ActivationDef kDef{
      .formula = "x where x > 0, else alpha x",
      .gradient = "dy where x > 0, else alpha dy",
      .onnx = "LeakyRelu",
      .params = {{.name = "alpha", .otherwise = 0.01}},
      .reads_output = [](const double* p) { return p[0] >= 0; },
      .gain = [](const double* p) { return rectifier_gain(p[0]); },
      .is_rectifier = true,
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double* p) {
    return select(x > 0, x, x * p[0]);
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V saved, const double* p) {
    return select(saved > 0, dy, dy * p[0]);
  }
};
