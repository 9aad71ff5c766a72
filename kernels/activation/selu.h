// SPDX-License-Identifier: Apache-2.0
// selu: the two numbers make mean 0 and variance 1 a stable point of the layers. At 0 the gradient is
// that of the branch below. The gain is the one that PyTorch uses.
// Source: G. Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017.
struct Selu {
  static constexpr ActivationDef kDef{
      .formula = "scale x where x > 0, else scale alpha (e^x − 1)",
      .gradient = "dy scale where x > 0, else dy scale alpha e^x",
      .onnx = "Selu",
      .params = {{.name = "alpha", .otherwise = 1.6732632423543772},
                 {.name = "scale", .otherwise = 1.0507009873554805}},
      .is_double_forward = true,
      .is_double_backward = true,
      .flops = 13,
      .gain = [](const double*) { return 0.75; },
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double* p) {
    return select(x > 0, x, expm1(clamp(x, -700, 0)) * p[0]) * p[1];
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double* p) {
    return dy * select(x > 0, 1, exp(clamp(x, -700, 0)) * p[0]) * p[1];
  }
};
