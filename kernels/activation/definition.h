// SPDX-License-Identifier: Apache-2.0
// What one activation says of itself. Each header kernels/activation/<name>.h defines one struct:
//
//   struct Relu {
//     static constexpr ActivationDef kDef{.formula = "max(0, x)", …};
//     template <class V> TANUL_FORMULA V forward(V x, const double* p);               // y
//     template <class V> TANUL_FORMULA V backward(V dy, V saved, const double* p);    // dx
//   };
//
// V is a vector (on CUDA: one) of floats or, where kDef asks for it, of doubles, rounded to float at the end:
// the way to a few units in the last place where a formula cancels or has tails. V has + - * /, the
// comparisons < and >, select(condition, a, b), and what kernels/activation/vector-inl.h lists (exp,
// expm1, log1p, abs, min, max, clamp, …); numbers convert to it. NaN in x is NaN in y and, of doubles, in
// dx, whatever the code makes of it: see activation_cpu.cpp. p holds the parameters in the order of kDef.
//
// The headers are read in kernels/activation/all.h by activation_op.cpp (definitions), by
// activation_cuda.cu (code) and, once for each instruction set, by activation_cpu.cpp (code). They include
// nothing and have no include guard. CUDA allows no arrays beside the functions.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/op_kind.h"

// A function of a formula: static, and for CUDA's compiler one that runs on both sides.
#ifdef __CUDACC__
#define TANUL_FORMULA static __host__ __device__
#else
#define TANUL_FORMULA static
#endif

namespace tanul {

// A number that an activation is made with.
struct ActivationParam {
  const char* name;  // "alpha"; null: there is none
  double otherwise;  // the default
  // The values that are possible, ends included unless `is_open`.
  double low = -std::numeric_limits<double>::max();
  double high = std::numeric_limits<double>::max();
  bool is_open = false;  // `low` itself is not possible
};

constexpr int kMaxActivationParams = 2;

// Of the steps <name>_fwd and <name>_bwd.
struct ActivationParams {
  double values[kMaxActivationParams];
};

struct ActivationDef {
  const char* formula;    // of y, for the documentation: "x / (1 + |x|)"
  const char* gradient;   // of dx: "dy / (1 + |x|)^2"
  const char* onnx = "";  // the operator; "" where ONNX has none
  ActivationParam params[kMaxActivationParams] = {};
  bool is_double_forward = false;   // V of `forward` is made of doubles
  bool is_double_backward = false;  // V of `backward`
  // Does `backward` get y in place of x? Then the forward pass may overwrite its input. Null: no.
  bool (*reads_output)(const double* p) = nullptr;
  double flops = 1;  // of one element, forward; exp and its kin count 10
  // The gain of initialisers for the layer in front; smooth rectifiers count as relu. Null: 1.
  double (*gain)(const double* p) = nullptr;
  // Do weights in front of it start as he_normal where nothing else is said?
  bool is_rectifier = false;
  // What is wrong with the parameters together, or null.
  const char* (*refusal)(const double* p) = nullptr;
};

// One line of TANUL_ACTIVATION in ops.def.
struct ActivationInfo {
  const char* name;  // "leaky_relu"
  OpKind forward, backward;
  const ActivationDef* def;

  int param_count() const;
};

constexpr int kActivations = 0
#define TANUL_STEP(name)
#define TANUL_VIEW(name)
#define TANUL_ACTIVATION(name, Type) +1
#include "kernels/ops.def"
#undef TANUL_STEP
#undef TANUL_VIEW
    ;

// All of them, kActivations, in the order of ops.def.
const ActivationInfo* activations();
// By forward step, or by name; null for anything else.
const ActivationInfo* find_activation(OpKind forward);
const ActivationInfo* find_activation(const char* name);

// sqrt(2 / (1 + slope^2)): keeps the variance of what a rectifier with this slope below 0 lets through.
// Source: He et al., "Delving Deep into Rectifiers", ICCV 2015, equation 15.
double rectifier_gain(double slope);

}  // namespace tanul
