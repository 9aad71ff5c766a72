// SPDX-License-Identifier: Apache-2.0
// gelu_tanh: the approximation of gelu by tanh, as x σ(2 u), which keeps its relative accuracy in the
// tail. Source: D. Hendrycks, K. Gimpel, "Gaussian Error Linear Units", 2016.
struct GeluTanh {
  static constexpr ActivationDef kDef{
      .formula = "x (1 + tanh u) / 2 with u = √(2/π) (x + 0.044715 x³)",
      .gradient = "dy (σ(2u) + x 2 u' σ(2u) σ(−2u))",
      .onnx = "Gelu",
      .is_double_forward = true,
      .is_double_backward = true,
      .flops = 20,
      .gain = [](const double*) { return rectifier_gain(0); },
      .is_rectifier = true,
  };
  static constexpr double kTwice = 1.5957691216057307;  // 2 √(2/π)
  template <class V>
  TANUL_FORMULA V forward(V x, const double*) {
    const V bounded = clamp(x, -20, 20);  // 2 u(-20) = -603
    const V e = exp(bounded * (bounded * bounded * 0.044715 + 1) * -kTwice);
    return max(x, -20) / (e + 1);
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double*) {
    const V bounded = clamp(x, -20, 20);
    const V square = bounded * bounded;
    const V e = exp(bounded * (square * 0.044715 + 1) * -kTwice);
    const V s = 1 / (e + 1);
    const V slope = (square * 0.134145 + 1) * kTwice;
    return dy * s * (bounded * slope * e * s + 1);
  }
};
