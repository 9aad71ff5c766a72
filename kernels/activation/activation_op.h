// SPDX-License-Identifier: Apache-2.0
// For the ops that can apply an activation while they write their output: conv2d, linear.
#pragma once

#include "kernels/activation/activation.h"
#include "kernels/op.h"

namespace tanul {

// The gradient before an activation that was fused into the node: of output 0.
inline ValueId grad_before_activation(GradContext& context, ActivationKind activation) {
  const ValueId dy = context.grad_out(0);
  const auto through = [&](OpKind kind) { return context.emit(kind, {dy, context.out(0)}, {})[0]; };
  switch (activation) {
    case ActivationKind::none: return dy;
    case ActivationKind::relu: return through(OpKind::relu_bwd);
    case ActivationKind::sigmoid: return through(OpKind::sigmoid_bwd_output);
    case ActivationKind::tanh: return through(OpKind::tanh_bwd_output);
  }
  return dy;
}

}  // namespace tanul
