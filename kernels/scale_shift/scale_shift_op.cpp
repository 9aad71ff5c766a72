// SPDX-License-Identifier: Apache-2.0
// scale_shift: shape inference, gradient and cost.
#include "kernels/op.h"
#include "kernels/scale_shift/scale_shift.h"

namespace tanul {

namespace {

void check_x(InferContext& context, const char* name) {
  const Shape& x = context.shape(0);
  if (context.dtype(0) != DType::f32) {
    context.reject("{} must be f32, got {}", name, dtype_name(context.dtype(0)));
  }
  if (x.rank() < 2 || x.rank() > kMaxOperandRank) {
    context.reject("{} has 2 to {} axes, [N, C, …], got {}", name, kMaxOperandRank, x.str());
  }
}

void infer_fwd(InferContext& context) {
  check_x(context, "x");
  const Shape& x = context.shape(0);
  if (!context.has(1) && !context.has(2)) {
    context.reject("gamma or beta or both are given, got neither");
  }
  for (int i = 1; i < 3; ++i) {
    if (context.has(i) && (context.shape(i) != Shape{x[1]} || context.dtype(i) != DType::f32)) {
      context.reject("{} is f32 of shape [{}], one number a channel of x {}; got {} {}",
                     i == 1 ? "gamma" : "beta", x[1], x.str(), dtype_name(context.dtype(i)),
                     context.shape(i).str());
    }
  }
  context.add_out(x);
}

void infer_bwd(InferContext& context) {
  check_x(context, "dy");
  const Shape& dy = context.shape(0);
  const int32_t wanted = context.params<ScaleShiftParams>().wanted;
  const auto add = [&](int bit, const Shape& shape) {
    if ((wanted >> bit & 1) != 0) {
      context.add_out(shape);
    } else {
      context.add_no_out();
    }
  };
  if ((wanted & 1) != 0 && !context.has(2)) context.reject("dx is made of gamma, which is absent");
  if ((wanted & 2) != 0 && !context.has(1)) context.reject("dgamma is made of x, which is absent");
  add(0, dy);
  add(1, {dy[1]});
  add(2, {dy[1]});
}

void grad(GradContext& context) {
  const ValueId dy = context.grad_out(0);
  if (dy == kNoValue) return;
  ScaleShiftParams params{};
  const bool has_gamma = context.in(1) != kNoValue;
  if (context.wants(0) && has_gamma) params.wanted |= 1;
  if (context.wants(1)) params.wanted |= 2;
  if (context.wants(2)) params.wanted |= 4;
  if (context.wants(0) && !has_gamma) context.set_grad(0, dy);
  if (params.wanted == 0) return;
  const std::vector<ValueId> gradients =
      context.emit(OpKind::scale_shift_bwd,
                   {dy, (params.wanted & 2) != 0 ? context.in(0) : kNoValue,
                    (params.wanted & 1) != 0 ? context.in(1) : kNoValue},
                   Params::of(params));
  for (int i = 0; i < 3; ++i) {
    if ((params.wanted >> i & 1) != 0) context.set_grad(i, gradients[static_cast<size_t>(i)]);
  }
}

double flops_fwd(const StepArgs& args) {
  const int terms = (args.in[1].present() ? 1 : 0) + (args.in[2].present() ? 1 : 0);
  return terms * static_cast<double>(args.out[0].elems());
}

double flops_bwd(const StepArgs& args) {
  const int operations = (args.out[0].present() ? 1 : 0) + (args.out[1].present() ? 2 : 0) +
                         (args.out[2].present() ? 1 : 0);
  return operations * static_cast<double>(args.in[0].elems());
}

}  // namespace

const OpDef op_scale_shift_fwd{
    .doc = "y = gamma[c] x + beta[c]",
    .infer = infer_fwd,
    .grad = grad,
    .flops = flops_fwd,
    .in_place = {{0, 0}, {-1, -1}},
    .onnx = "",  // a Mul and an Add
};

const OpDef op_scale_shift_bwd{
    .doc = "dx = gamma[c] dy, dgamma[c] = sum dy x, dbeta[c] = sum dy",
    .infer = infer_bwd,
    .flops = flops_bwd,
    .optional_outputs = 7,
};

}  // namespace tanul
