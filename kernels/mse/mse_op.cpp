// SPDX-License-Identifier: Apache-2.0
// mse: shape inference, gradient and cost.
#include "kernels/mse/mse.h"
#include "kernels/op.h"

namespace tanul {

namespace {

void check_operands(InferContext& context) {
  const Shape& x = context.shape(0);
  const Shape& target = context.shape(1);
  if (context.dtype(0) != DType::f32) {
    context.reject("predictions are f32, got {}", dtype_name(context.dtype(0)));
  }
  if (x.rank() < 1 || x.elems() < 1) {
    context.reject("predictions [N, ...] need at least one element, got {}", x.str());
  }
  switch (context.dtype(1)) {
    case DType::f32:
      if (target != x) {
        context.reject("targets have the shape of the predictions {}, got {}", x.str(),
                       target.str());
      }
      break;
    case DType::i32:
      if (x.rank() != 2) {
        context.reject("class indices need predictions [N, C], got {}; flatten them first",
                       x.str());
      }
      if (target != Shape{x[0]}) {
        context.reject("class indices are i32 [{}], one per row of the predictions {}, got {}",
                       x[0], x.str(), target.str());
      }
      break;
    default:
      context.reject("targets are f32 values or i32 class indices, got {}",
                     dtype_name(context.dtype(1)));
  }
}

void infer_fwd(InferContext& context) {
  check_operands(context);
  context.add_out({1});
  context.add_out({4});
}

void infer_bwd(InferContext& context) {
  check_operands(context);
  if (context.dtype(2) != DType::f32 || context.shape(2) != Shape{1}) {
    context.reject("the gradient of the loss is f32 [1], got {} {}", dtype_name(context.dtype(2)),
                   context.shape(2).str());
  }
  context.add_out(context.shape(0));
}

void grad(GradContext& context) {
  if (!context.wants(0) || context.grad_out(0) == kNoValue) return;
  context.set_grad(
      0, context.emit(OpKind::mse_bwd, {context.in(0), context.in(1), context.grad_out(0)},
                      context.node().params)[0]);
}

double flops_fwd(const StepArgs& args) { return 3.0 * static_cast<double>(args.in[0].elems()); }
double flops_bwd(const StepArgs& args) { return 2.0 * static_cast<double>(args.in[0].elems()); }

}  // namespace

const OpDef op_mse_fwd{
    .doc = "loss = sum (x - t)^2 / elems",
    .infer = infer_fwd,
    .grad = grad,
    .flops = flops_fwd,
    .user_name = "mean_squared_error",
};

const OpDef op_mse_bwd{
    .doc = "dx = dloss 2 (x - t) / elems",
    .infer = infer_bwd,
    .flops = flops_bwd,
    .in_place = {{0, 0}, {-1, -1}},
};

}  // namespace tanul
