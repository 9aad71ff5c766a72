// SPDX-License-Identifier: Apache-2.0
// relu6: the gradient at 0 and at 6 is 0. The gain is relu's: of the inputs that initialisers aim at,
// those of variance 1, next to none reach 6.
struct Relu6 {
  static constexpr ActivationDef kDef{
      .formula = "min(max(0, x), 6)",
      .gradient = "dy where 0 < y < 6, else 0",
      .onnx = "Clip",
      .reads_output = [](const double*) { return true; },
      .flops = 2,
      .gain = [](const double*) { return rectifier_gain(0); },
      .is_rectifier = true,
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double*) {
    return select(x < 0, 0, select(x > 6, 6, x));
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V y, const double*) {
    return select(y > 0, select(y < 6, dy, 0), 0);
  }
};
