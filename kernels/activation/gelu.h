// SPDX-License-Identifier: Apache-2.0
// gelu: Φ is the distribution function of the standard normal, φ its density.
// Source: D. Hendrycks, K. Gimpel, "Gaussian Error Linear Units", 2016.
//
// With z = |x| / √2, Φ(−|x|) = e^(−z²) erfcx(z) / 2, which keeps its relative accuracy in the tail. erfcx
// is (1 + 2 z) erfcx(z) as a polynomial of degree 23 in t = (z − 3.75) / (z + 3.75), after M. Shepherd,
// J. Laframboise, "Chebyshev Approximation of (1 + 2x) exp(x²) erfc x", Math. Comp. 36, 1981; the
// coefficients are our own, from values of 70 digits at 40 Chebyshev nodes, and are within 4e-16.
struct Gelu {
  static constexpr ActivationDef kDef{
      .formula = "x Φ(x)",
      .gradient = "dy (Φ(x) + x φ(x))",
      .onnx = "Gelu",
      .is_double_forward = true,
      .is_double_backward = true,
      .flops = 70,
      .gain = [](const double*) { return rectifier_gain(0); },
      .is_rectifier = true,
  };
  // (1 + 2 z) erfcx(z)
  template <class V>
  TANUL_FORMULA V scaled_erfcx(V t) {
    V p = 3.1114333809799254e-10;
    p = mul_add(p, t, -2.6231073471334759e-09);
    p = mul_add(p, t, -3.7442100809620183e-09);
    p = mul_add(p, t, 3.1979266716668042e-08);
    p = mul_add(p, t, 2.3263508708859124e-08);
    p = mul_add(p, t, -2.4857126248016745e-07);
    p = mul_add(p, t, -5.7218230603224086e-08);
    p = mul_add(p, t, 1.7419821586224816e-06);
    p = mul_add(p, t, -9.7355989673677497e-07);
    p = mul_add(p, t, -1.1438048033346894e-05);
    p = mul_add(p, t, 2.2384239155082231e-05);
    p = mul_add(p, t, 5.1646529741774162e-05);
    p = mul_add(p, t, -0.00029015408054084172);
    p = mul_add(p, t, 0.00029371437804495801);
    p = mul_add(p, t, 0.0017556258528952954);
    p = mul_add(p, t, -0.0097465796832652621);
    p = mul_add(p, t, 0.028362277418956406);
    p = mul_add(p, t, -0.05869339857664934);
    p = mul_add(p, t, 0.092304321160377484);
    p = mul_add(p, t, -0.10880393014244462);
    p = mul_add(p, t, 0.082276738490145204);
    p = mul_add(p, t, 0.0035854154854790257);
    p = mul_add(p, t, -0.14024059858554697);
    p = mul_add(p, t, 1.2375126308378275);
    return p;
  }
  // Φ(x), and e^(−x²/2).
  template <class V>
  TANUL_FORMULA V distribution(V x, V& density) {
    const V z = abs(x) * 0.70710678118654752;
    const V t = (z - 3.75) / (z + 3.75);
    density = exp(x * x * -0.5);
    const V tail = density * scaled_erfcx(t) / (z * 4 + 2);
    return select(x < 0, tail, 1 - tail);
  }
  template <class V>
  TANUL_FORMULA V forward(V x, const double*) {
    V density = 0;
    return max(x, -40) * distribution(clamp(x, -40, 40), density);  // Φ(-40) = 4e-350
  }
  template <class V>
  TANUL_FORMULA V backward(V dy, V x, const double*) {
    const V bounded = clamp(x, -40, 40);
    V density = 0;
    const V phi = distribution(bounded, density);
    return dy * (phi + bounded * density * 0.39894228040143268);
  }
};
