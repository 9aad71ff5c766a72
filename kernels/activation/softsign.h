// SPDX-License-Identifier: Apache-2.0
// softsign: like tanh, with tails that fall as 1/x. Infinities go to the ends.
// Source: Y. Bengio et al., "Quadratic features and deep architectures for chunking", 2009.
struct Softsign {
  static constexpr ActivationDef kDef{
      .formula = "x / (1 + |x|)",
      .gradient = "dy / (1 + |x|)²",
      .onnx = "Softsign",
      .is_double_forward = true,
      .is_double_backward = true,
      .flops = 3,
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double*) {
    const V bounded = clamp(x, -1e300, 1e300);
    return bounded / (abs(bounded) + 1);
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double*) {
    const V inverse = 1 / (abs(x) + 1);
    return dy * inverse * inverse;
  }
};
