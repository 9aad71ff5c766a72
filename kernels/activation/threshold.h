// SPDX-License-Identifier: Apache-2.0
// threshold: the gradient at the threshold is 0.
struct Threshold {
  static constexpr ActivationDef kDef{
      .formula = "x where x > threshold, else value",
      .gradient = "dy where x > threshold, else 0",
      .params = {{.name = "threshold", .otherwise = 0}, {.name = "value", .otherwise = 0}},
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double* p) {
    return keep_nan(x, select(x > p[0], x, p[1]));
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double* p) {
    return select(x > p[0], dy, 0);
  }
};
