// SPDX-License-Identifier: Apache-2.0
// hardtanh: the gradient at both ends is 0.
struct HardTanh {
  static constexpr ActivationDef kDef{
      .formula = "max(min, min(max, x))",
      .gradient = "dy where min < y < max, else 0",
      .onnx = "Clip",
      .params = {{.name = "min", .otherwise = -1}, {.name = "max", .otherwise = 1}},
      .reads_output = [](const double*) { return true; },
      .flops = 2,
      .refusal = [](const double* p) -> const char* {
        return p[0] < p[1] ? nullptr : "min must be below max";
      },
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double* p) {
    return select(x < p[0], p[0], select(x > p[1], p[1], x));
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V y, const double* p) {
    return select(y > p[0], select(y < p[1], dy, 0), 0);
  }
};
