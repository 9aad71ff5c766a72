// SPDX-License-Identifier: Apache-2.0
// How weights start. Every number is a function of (seed, parameter name, index) alone: the same on
// every device and for any number of threads.
#pragma once

#include <cstdint>
#include <string>

#include "tanul/export.h"
#include "tanul/tensor.h"

namespace tanul {

// Which fan a variance is taken from. For w [K, C/G, R, S]: fan_in = C/G R S, fan_out = K R S; for
// w [K, C]: fan_in = C, fan_out = K.
enum class Fan { in, out };

// By what an activation has to be made up for in the deviation of the weights before it, so that
// variance passes: linear, conv, identity, sigmoid, softmax, … 1; tanh 5/3; relu sqrt(2); leaky_relu and
// prelu sqrt(2 / (1 + slope^2)); selu 3/4 (K. He et al. 2015 for the rectifiers, PyTorch's calculate_gain
// for tanh and selu). relu6, elu, celu, gelu, silu, mish, hardswish and softplus count as relu. Names are
// those of the model file. Throws Error{not_found} for a name that is no activation.
TANUL_API double gain_of(const std::string& activation, double slope = 0.01);

// A description of an initialiser. `gain` 0 means: the gain of the activation that follows the layer, as
// gain_of says.
struct TANUL_API Init {
  enum class Kind {
    automatic,         // weights: he_normal before relu, glorot_uniform otherwise; biases: 0
    constant,          // a
    uniform,           // U(a, b)
    normal,            // N(a, b^2)
    truncated_normal,  // N(a, b^2), drawn again beyond a +- 2 b
    glorot_uniform,    // U(-l, l), l = gain sqrt(6 / (fan_in + fan_out))    Glorot & Bengio 2010
    glorot_normal,     // N(0, gain^2 2 / (fan_in + fan_out))
    he_uniform,        // U(-l, l), l = gain sqrt(3 / fan)                   He et al. 2015
    he_normal,         // N(0, gain^2 / fan)
    lecun_normal,      // N(0, 1 / fan_in)                                   LeCun et al. 1998
    lecun_uniform,     // U(-l, l), l = sqrt(3 / fan_in)
    torch_default,     // U(-l, l), l = 1 / sqrt(fan_in): what PyTorch's layers start with
    orthogonal,  // w as [K, C R S]: rows (columns, where it is taller than wide) orthogonal and
                 // of length gain                                     Saxe et al. 2014
    dirac,       // each channel passes through: 1 at the kernel's centre, 0 elsewhere; a = groups
    whitening,   // orthogonal, until Trainer::initialize_whitening has seen data
  };
  Kind kind = Kind::automatic;
  double a = 0;
  double b = 0;
  Fan fan = Fan::in;
  double gain = 0;

  static Init constant(double value) { return {Kind::constant, value}; }
  static Init uniform(double low, double high) { return {Kind::uniform, low, high}; }
  static Init normal(double mean, double deviation) { return {Kind::normal, mean, deviation}; }
  static Init truncated_normal(double mean, double deviation) {
    return {Kind::truncated_normal, mean, deviation};
  }
  static Init glorot_uniform(double gain = 1) {
    return {Kind::glorot_uniform, 0, 0, Fan::in, gain};
  }
  static Init glorot_normal(double gain = 1) { return {Kind::glorot_normal, 0, 0, Fan::in, gain}; }
  static Init he_uniform(Fan fan = Fan::in, double gain = 0) {
    return {Kind::he_uniform, 0, 0, fan, gain};
  }
  static Init he_normal(Fan fan = Fan::in, double gain = 0) {
    return {Kind::he_normal, 0, 0, fan, gain};
  }
  static Init lecun_normal() { return {Kind::lecun_normal}; }
  static Init lecun_uniform() { return {Kind::lecun_uniform}; }
  static Init torch_default() { return {Kind::torch_default}; }
  static Init orthogonal(double gain = 1) { return {Kind::orthogonal, 0, 0, Fan::in, gain}; }
  static Init dirac(int64_t groups = 1) { return {Kind::dirac, static_cast<double>(groups)}; }
  static Init whitening() { return {Kind::whitening}; }

  // "he_normal(fan = in, gain = 1.4142)"
  std::string str() const;
};

// Of a weight tensor: [K, C/G, R, S], [K, C/G, R], [K, C/G, T, R, S] or [K, C]; both are K
// for [K].
struct Fans {
  double in = 1;   // C/G R S
  double out = 1;  // K R S
};
TANUL_API Fans fans_of(const Shape& shape);

// How far numbers of a random initialiser spread: for the uniform kinds the bound l of U(-l, l), else the
// deviation (that of a truncated normal before it is cut: it keeps 0.8796 of it); 0 for the kinds that are
// not drawn (constant, dirac) or have no such number (uniform, orthogonal, whitening).
TANUL_API double spread_of(const Init& init, const Shape& shape, double following_gain = 1.0);

// Fills `weights` (f32) as `init` says. `name` is the random stream; `following_gain` stands in for a
// gain of 0. Throws Error{invalid_argument} for a deviation below 0, low > high, a gain that is not
// finite, dirac on a tensor of rank below 3 or with groups that do not divide K.
TANUL_API void initialize(Tensor& weights, const Init& init, uint64_t seed, const std::string& name,
                          double following_gain = 1.0);

}  // namespace tanul
