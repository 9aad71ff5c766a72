// SPDX-License-Identifier: Apache-2.0
// Element-wise activations and their gradients.
//
//   <name>_fwd  in: x          out: y    same shape, may be in place
//   <name>_bwd  in: dy, saved  out: dx   same shape, dx may lie over dy or over what was saved
//
// `saved` is x; or y, where the gradient can be had from it without loss (relu): then the forward pass
// may overwrite its input. Each is defined in a header of this folder, see definition.h.
#pragma once

#include <cstdint>

namespace tanul {

// Activations that convolution and linear layers can apply while they write their output. They keep
// only y, so their gradient is made of it:
//   relu     dx = y > 0 ? dy : 0      (relu_bwd)
//   sigmoid  dx = dy y (1 - y)        (sigmoid_bwd_output)
//   tanh     dx = dy (1 - y^2)        (tanh_bwd_output)
// The last two are accurate relative to dy, not relative to dx where y is near its ends.
enum class ActivationKind : int32_t { none = 0, relu, sigmoid, tanh };

}  // namespace tanul
