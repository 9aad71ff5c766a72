// SPDX-License-Identifier: Apache-2.0
// tanh. Near 0 an odd polynomial, where the quotient beyond it would cancel; else
// 1 − 2 / (e^(2 |x|) + 1). The polynomial is Cephes' tanhf (S. Moshier), for |x| < 0.625. The gradient is
// made of x, since 1 − y² has lost what it takes where |y| is near 1.
struct Tanh {
  static constexpr ActivationDef kDef{
      .formula = "tanh x",
      .gradient = "dy / cosh² x",
      .onnx = "Tanh",
      .is_double_backward = true,
      .flops = 25,
      .gain = [](const double*) { return 5.0 / 3.0; },
  };
  template <class V>
  TANUL_FORMULA V forward(V x, const double*) {
    const V magnitude = abs(x);
    const V square = x * x;
    V p = -5.70498872745e-3;
    p = mul_add(p, square, 2.06390887954e-2);
    p = mul_add(p, square, -5.37397155531e-2);
    p = mul_add(p, square, 1.33314422036e-1);
    p = mul_add(p, square, -3.33332819422e-1);
    const V near = mul_add(p * square, x, x);
    const V bounded = min(magnitude, 20);
    const V far = copysign(1 - 2 / (exp(bounded + bounded) + 1), x);
    return keep_nan(x, select(magnitude < 0.625, near, far));
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double*) {
    const V e = exp(-2 * min(abs(x), 350));
    return dy * 4 * e / ((e + 1) * (e + 1));
  }
};
