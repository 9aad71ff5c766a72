// SPDX-License-Identifier: Apache-2.0
// Element-wise activations and their gradients. The gradients are written with the output y, so that
// the forward pass may overwrite its input.
//
//   relu     y = max(x, 0)               dx = y > 0 ? dy : 0
//   sigmoid  y = 1 / (1 + exp(-x))       dx = dy y (1 - y)
//   tanh     y = tanh(x)                 dx = dy (1 - y^2)
//
//   <name>_fwd  in: x      out: y    same shape, may be in place
//   <name>_bwd  in: dy, y  out: dx   same shape, dx may lie over dy
#pragma once

#include <cstdint>

namespace tanul {

// Activations that convolution and linear layers can apply while they write their output.
enum class ActivationKind : int32_t { none = 0, relu, sigmoid, tanh };

}  // namespace tanul
