// SPDX-License-Identifier: Apache-2.0
// silu, also called swish. Source: S. Elfwing, E. Uchibe, K. Doya, "Sigmoid-Weighted Linear Units for
// Neural Network Function Approximation in Reinforcement Learning", 2017.
struct Silu {
  static constexpr ActivationDef kDef{
      .formula = "x σ(x)",
      .gradient = "dy σ(x) (1 + x σ(−x))",
      .is_double_forward = true,
      .is_double_backward = true,
      .flops = 13,
      .gain = [](const double*) { return rectifier_gain(0); },
      .is_rectifier = true,
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double*) {
    const V bounded = max(x, -700);
    return bounded / (exp(-bounded) + 1);
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double*) {
    const V bounded = clamp(x, -700, 700);
    const V e = exp(-bounded);
    const V s = 1 / (e + 1);
    return dy * s * (bounded * e * s + 1);
  }
};
