// SPDX-License-Identifier: Apache-2.0
// mish. With e = e^x and n = e (e + 2), tanh(softplus(x)) is n / (n + 2): nothing cancels.
// Source: D. Misra, "Mish: A Self Regularized Non-Monotonic Activation Function", BMVC 2020.
struct Mish {
  static constexpr ActivationDef kDef{
      .formula = "x tanh(log(1 + e^x))",
      .gradient = "dy (t + x σ(x) (1 − t²)) with t = tanh(log(1 + e^x))",
      .onnx = "Mish",
      .is_double_forward = true,
      .is_double_backward = true,
      .flops = 16,
      .gain = [](const double*) { return rectifier_gain(0); },
      .is_rectifier = true,
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double*) {
    const V e = exp(clamp(x, -700, 150));
    const V n = e * (e + 2);
    return max(x, -700) * (n / (n + 2));
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double*) {
    const V bounded = clamp(x, -700, 150);
    const V e = exp(bounded);
    const V n = e * (e + 2);
    const V inverse = 1 / (n + 2);
    return dy * (n * inverse + bounded * 4 * (e * inverse) * ((e + 1) * inverse));
  }
};
