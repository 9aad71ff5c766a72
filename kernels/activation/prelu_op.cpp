// SPDX-License-Identifier: Apache-2.0
// prelu: shape inference, gradient and cost.
#include "kernels/activation/prelu.h"
#include "kernels/op.h"

namespace tanul {

namespace {

// Validates x (or dy) and the slopes at operand `at`.
void check(InferContext& context, int at) {
  const Shape& x = context.shape(0);
  const Shape& slope = context.shape(at);
  if (context.dtype(0) != DType::f32 || context.dtype(at) != DType::f32) {
    context.reject("x and slope must be f32, got {} and {}", dtype_name(context.dtype(0)),
                   dtype_name(context.dtype(at)));
  }
  if (x.rank() < 2 || x.rank() > kMaxOperandRank) {
    context.reject("x has 2 to {} axes, [N, C, …], got {}", kMaxOperandRank, x.str());
  }
  if (slope != Shape{1} && slope != Shape{x[1]}) {
    context.reject("slope has the shape [1] or, one for each channel of x {}, [{}]; got {}",
                   x.str(), x[1], slope.str());
  }
}

void infer_fwd(InferContext& context) {
  check(context, 1);
  context.add_out(context.shape(0));
}

void infer_bwd(InferContext& context) {
  check(context, 2);
  if (context.shape(0) != context.shape(1)) {
    context.reject("dy {} and x {} must have one shape", context.shape(0).str(),
                   context.shape(1).str());
  }
  const int32_t wanted = context.params<PreluParams>().wanted;
  for (int bit = 0; bit < 2; ++bit) {
    if ((wanted >> bit & 1) != 0) {
      context.add_out(context.shape(bit == 0 ? 0 : 2));
    } else {
      context.add_no_out();
    }
  }
}

void grad(GradContext& context) {
  if (context.grad_out(0) == kNoValue) return;
  PreluParams params{(context.wants(0) ? 1 : 0) | (context.wants(1) ? 2 : 0)};
  if (params.wanted == 0) return;
  const std::vector<ValueId> gradients = context.emit(
      OpKind::prelu_bwd, {context.grad_out(0), context.in(0), context.in(1)}, Params::of(params));
  for (int i = 0; i < 2; ++i) {
    if (context.wants(i)) context.set_grad(i, gradients[static_cast<size_t>(i)]);
  }
}

double flops_fwd(const StepArgs& args) { return 2 * static_cast<double>(args.out[0].elems()); }

double flops_bwd(const StepArgs& args) {
  const int operations = (args.out[0].present() ? 2 : 0) + (args.out[1].present() ? 3 : 0);
  return operations * static_cast<double>(args.in[0].elems());
}

}  // namespace

const OpDef op_prelu_fwd{
    .doc = "y = x where x > 0, else slope[c] x",
    .infer = infer_fwd,
    .grad = grad,
    .flops = flops_fwd,
    .in_place = {{0, 0}, {-1, -1}},
    .onnx = "PRelu",
};

const OpDef op_prelu_bwd{
    .doc = "dx = dy where x > 0, else slope[c] dy; dslope[c] = sum of dy x where x <= 0",
    .infer = infer_bwd,
    .flops = flops_bwd,
    .optional_outputs = 3,
};

}  // namespace tanul
