// SPDX-License-Identifier: Apache-2.0
// logsigmoid: the logarithm of the sigmoid.
struct LogSigmoid {
  static constexpr ActivationDef kDef{
      .formula = "log σ(x) = −log(1 + e^−x)",
      .gradient = "dy σ(−x)",
      .is_double_forward = true,
      .is_double_backward = true,
      .flops = 25,
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double*) {
    return min(x, 0) - log1p(exp(-abs(x)));
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double*) {
    return dy / (exp(clamp(x, -700, 700)) + 1);
  }
};
