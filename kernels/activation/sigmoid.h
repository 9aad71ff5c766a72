// SPDX-License-Identifier: Apache-2.0
// sigmoid, also written σ: the logistic function. Its gradient is made of x, since 1 − y has lost what it
// takes where y is near 1.
struct Sigmoid {
  static constexpr ActivationDef kDef{
      .formula = "1 / (1 + e^−x)",
      .gradient = "dy σ(x) σ(−x)",
      .onnx = "Sigmoid",
      .is_double_backward = true,
      .flops = 12,
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double*) {
    return keep_nan(x, 1 / (exp(min(-x, 100)) + 1));
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double*) {
    const V e = exp(-min(abs(x), 700));
    return dy * e / ((e + 1) * (e + 1));
  }
};
