// SPDX-License-Identifier: Apache-2.0
// softplus, a smooth rectifier. Without a threshold it is the true function; PyTorch's default
// threshold is 20.
struct Softplus {
  static constexpr ActivationDef kDef{
      .formula = "log(1 + e^(beta x)) / beta; x where beta x > threshold",
      .gradient = "dy σ(beta x); dy where beta x > threshold",
      .onnx = "Softplus",
      .params = {{.name = "beta", .otherwise = 1, .low = 0, .is_open = true},
                 {.name = "threshold",
                  .otherwise = std::numeric_limits<double>::infinity(),
                  .high = std::numeric_limits<double>::infinity()}},
      .is_double_forward = true,
      .is_double_backward = true,
      .flops = 25,
      .gain = [](const double*) { return rectifier_gain(0); },
      .is_rectifier = true,
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double* p) {
    const V scaled = x * p[0];
    const V y = (max(scaled, 0) + log1p(exp(-abs(scaled)))) / p[0];
    return select(scaled > p[1], x, y);
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double* p) {
    const V scaled = x * p[0];
    return select(scaled > p[1], dy, dy / (exp(-clamp(scaled, -700, 700)) + 1));
  }
};
