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

// A description of an initialiser. `gain` 0 means: the gain of the activation that follows the layer
// (relu sqrt(2), tanh 5/3, sigmoid and none 1).
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

  // "he_normal(fan = in, gain = 1.4142)"
  std::string str() const;
};

// Fills `weights` (f32) as `init` says. `name` is the random stream; `following_gain` stands in for a
// gain of 0. Throws Error{invalid_argument} for a deviation below 0, low > high, a gain that is not
// finite.
TANUL_API void initialize(Tensor& weights, const Init& init, uint64_t seed, const std::string& name,
                          double following_gain = 1.0);

}  // namespace tanul
