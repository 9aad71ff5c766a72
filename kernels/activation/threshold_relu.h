// SPDX-License-Identifier: Apache-2.0
// threshold_relu: the gradient at the threshold is 0.
struct ThresholdRelu {
  static constexpr ActivationDef kDef{
      .formula = "x where x > alpha, else 0",
      .gradient = "dy where x > alpha, else 0",
      .onnx = "ThresholdedRelu",
      .params = {{.name = "alpha", .otherwise = 1}},
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double* p) {
    return keep_nan(x, select(x > p[0], x, 0));
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double* p) {
    return select(x > p[0], dy, 0);
  }
};
