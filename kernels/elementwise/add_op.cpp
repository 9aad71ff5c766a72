// SPDX-License-Identifier: Apache-2.0
// add: y = a + b of one shape (the join of a residual branch).
//   add_fwd  in: a, b  out: y   y may lie over a or b; the gradient of both is dy itself
#include "kernels/op.h"

namespace tanul {

namespace {

void infer_add(InferContext& context) {
  if (context.shape(0) != context.shape(1)) {
    context.reject("the inputs must have one shape, got {} and {}", context.shape(0).str(),
                   context.shape(1).str());
  }
  for (int i = 0; i < 2; ++i) {
    if (context.dtype(i) != DType::f32) {
      context.reject("input {} must be f32, got {}", i, dtype_name(context.dtype(i)));
    }
  }
  context.add_out(context.shape(0));
}

void grad_add(GradContext& context) {
  for (int i = 0; i < 2; ++i) {
    if (context.wants(i)) context.set_grad(i, context.grad_out(0));
  }
}

double flops_add(const StepArgs& args) { return static_cast<double>(args.out[0].elems()); }

}  // namespace

const OpDef op_add_fwd = {
    .doc = "y = a + b",
    .infer = infer_add,
    .grad = grad_add,
    .flops = flops_add,
    .in_place = {{0, 0}, {1, 0}},
    .onnx = "Add",
};

}  // namespace tanul
