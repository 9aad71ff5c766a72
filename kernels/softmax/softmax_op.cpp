// SPDX-License-Identifier: Apache-2.0
// softmax, log_softmax: shape inference, gradient and cost.
#include "kernels/op.h"
#include "kernels/softmax/softmax.h"

namespace tanul {

namespace {

void infer_fwd(InferContext& context) {
  const SoftmaxParams& params = context.params<SoftmaxParams>();
  const Shape& x = context.shape(0);
  if (context.dtype(0) != DType::f32) {
    context.reject("x must be f32, got {}", dtype_name(context.dtype(0)));
  }
  if (x.rank() < 1 || x.rank() > kMaxOperandRank) {
    context.reject("x has 1 to {} axes, got {}", kMaxOperandRank, x.str());
  }
  if (params.axis < 0 || params.axis >= x.rank()) {
    context.reject("axis {} does not exist, x {} has axes 0 to {}", params.axis, x.str(),
                   x.rank() - 1);
  }
  context.add_out(x);
}

void infer_bwd(InferContext& context) {
  if (context.shape(0) != context.shape(1)) {
    context.reject("dy {} and y {} must have one shape", context.shape(0).str(),
                   context.shape(1).str());
  }
  context.add_out(context.shape(0));
}

template <OpKind kBackward>
void grad(GradContext& context) {
  if (!context.wants(0) || context.grad_out(0) == kNoValue) return;
  context.set_grad(
      0, context.emit(kBackward, {context.grad_out(0), context.out(0)}, context.node().params)[0]);
}

// exp counts 10.
template <int kEach>
double flops(const StepArgs& args) {
  return kEach * static_cast<double>(args.out[0].elems());
}

}  // namespace

const OpDef op_softmax_fwd{
    .doc = "y = e^x / sum of e^x along one axis",
    .infer = infer_fwd,
    .grad = grad<OpKind::softmax_bwd>,
    .flops = flops<14>,
    .in_place = {{0, 0}, {-1, -1}},
    .onnx = "Softmax",
};

const OpDef op_softmax_bwd{
    .doc = "dx = y (dy - sum of dy y along one axis)",
    .infer = infer_bwd,
    .flops = flops<4>,
    .in_place = {{0, 0}, {-1, -1}},
};

const OpDef op_log_softmax_fwd{
    .doc = "y = x - log of the sum of e^x along one axis",
    .infer = infer_fwd,
    .grad = grad<OpKind::log_softmax_bwd>,
    .flops = flops<14>,
    .in_place = {{0, 0}, {-1, -1}},
    .onnx = "LogSoftmax",
};

const OpDef op_log_softmax_bwd{
    .doc = "dx = dy - e^y times the sum of dy along one axis",
    .infer = infer_bwd,
    .flops = flops<13>,
    .in_place = {{0, 0}, {-1, -1}},
};

}  // namespace tanul
