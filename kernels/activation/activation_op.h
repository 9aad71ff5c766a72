// SPDX-License-Identifier: Apache-2.0
// What the OpDefs of the activations share: relu_op.cpp, sigmoid_op.cpp, tanh_op.cpp.
#pragma once

#include "kernels/activation/activation.h"
#include "kernels/op.h"

namespace tanul {

inline void infer_activation_fwd(InferContext& context) {
  if (context.dtype(0) != DType::f32) {
    context.reject("x must be f32, got {}", dtype_name(context.dtype(0)));
  }
  context.add_out(context.shape(0));
}

inline void infer_activation_bwd(InferContext& context) {
  if (context.shape(0) != context.shape(1)) {
    context.reject("dy {} and y {} must have one shape", context.shape(0).str(),
                   context.shape(1).str());
  }
  context.add_out(context.shape(0));
}

template <OpKind kBackward>
void grad_activation(GradContext& context) {
  if (!context.wants(0)) return;
  context.set_grad(0, context.emit(kBackward, {context.grad_out(0), context.out(0)}, {})[0]);
}

template <int kFlopsPerElement>
double flops_activation(const StepArgs& args) {
  return kFlopsPerElement * static_cast<double>(args.out[0].elems());
}

// The gradient before an activation that was fused into the node: of output 0.
inline ValueId grad_before_activation(GradContext& context, ActivationKind activation) {
  const ValueId dy = context.grad_out(0);
  const auto through = [&](OpKind kind) { return context.emit(kind, {dy, context.out(0)}, {})[0]; };
  switch (activation) {
    case ActivationKind::none: return dy;
    case ActivationKind::relu: return through(OpKind::relu_bwd);
    case ActivationKind::sigmoid: return through(OpKind::sigmoid_bwd);
    case ActivationKind::tanh: return through(OpKind::tanh_bwd);
  }
  return dy;
}

}  // namespace tanul
