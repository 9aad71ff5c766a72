// SPDX-License-Identifier: Apache-2.0
// hardsigmoid: the gradient at both ends of the slope is 0. Keras and ONNX have a slope of 0.2.
struct HardSigmoid {
  static constexpr ActivationDef kDef{
      .formula = "max(0, min(1, alpha x + beta))",
      .gradient = "dy alpha where 0 < alpha x + beta < 1, else 0",
      .onnx = "HardSigmoid",
      .params = {{.name = "alpha", .otherwise = 1.0 / 6}, {.name = "beta", .otherwise = 0.5}},
      .is_double_forward = true,
      .is_double_backward = true,
      .flops = 4,
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double* p) {
    return clamp(x * p[0] + p[1], 0, 1);
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double* p) {
    const V line = x * p[0] + p[1];
    return select(line > 0, select(line < 1, dy * p[0], 0), 0);
  }
};
