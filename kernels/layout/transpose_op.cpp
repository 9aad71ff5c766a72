// SPDX-License-Identifier: Apache-2.0
// transpose: shape inference and gradient.
#include "kernels/layout/transpose.h"
#include "kernels/op.h"

namespace tanul {

namespace {

void infer(InferContext& context) {
  const TransposeParams& params = context.params<TransposeParams>();
  const Shape& x = context.shape(0);
  if (context.dtype(0) != DType::f32) {
    context.reject("x must be f32, got {}", dtype_name(context.dtype(0)));
  }
  if (x.rank() < 1 || x.rank() > kMaxOperandRank || params.rank != x.rank()) {
    context.reject("the new order names each axis of x {}, 1 to {}; {} are given", x.str(),
                   kMaxOperandRank, params.rank);
  }
  int32_t seen = 0;
  Shape y = x;
  for (int i = 0; i < x.rank(); ++i) {
    const int32_t from = params.perm[i];
    if (from < 0 || from >= x.rank() || (seen >> from & 1) != 0) {
      context.reject("the new order names each axis of x {} once, but place {} says {}", x.str(), i,
                     from);
    }
    seen |= 1 << from;
    y[i] = x[from];
  }
  context.add_out(y);
}

void grad(GradContext& context) {
  if (!context.wants(0) || context.grad_out(0) == kNoValue) return;
  const TransposeParams& forward = context.node().params.as<TransposeParams>();
  TransposeParams back{};
  back.rank = forward.rank;
  for (int i = 0; i < forward.rank; ++i) back.perm[forward.perm[i]] = i;
  context.set_grad(0,
                   context.emit(OpKind::transpose_fwd, {context.grad_out(0)}, Params::of(back))[0]);
}

}  // namespace

const OpDef op_transpose_fwd{
    .doc = "y = x with its axes in another order",
    .infer = infer,
    .grad = grad,
    .onnx = "Transpose",
};

}  // namespace tanul
