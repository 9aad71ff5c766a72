// SPDX-License-Identifier: Apache-2.0
// cosine_embedding: shape inference, gradient and cost.
#include "kernels/cosine_embedding/cosine_embedding.h"
#include "kernels/loss/loss_op.h"

namespace tanul {

namespace {

void check_operands(InferContext& context) {
  const Shape& a = context.shape(0);
  if (context.dtype(0) != DType::f32 || a.rank() != 2 || a.elems() < 1) {
    context.reject("vectors are f32 [N, D], got {} {}", dtype_name(context.dtype(0)), a.str());
  }
  if (context.dtype(2) != DType::f32 || context.shape(2) != a) {
    context.reject("both sides of the pairs have one shape, got {} and {} {}", a.str(),
                   dtype_name(context.dtype(2)), context.shape(2).str());
  }
  if (context.dtype(1) != DType::f32 || context.shape(1) != Shape{a[0]}) {
    context.reject("targets are f32 [{}], 1 or -1 for each pair, got {} {}", a[0],
                   dtype_name(context.dtype(1)), context.shape(1).str());
  }
  check_reduction(context);
  const float margin = context.params<CosineEmbeddingParams>().margin;
  if (!(margin >= -1 && margin <= 1)) context.reject("the margin lies in -1 to 1, got {}", margin);
}

void infer_fwd(InferContext& context) {
  check_operands(context);
  add_loss_outs(context, Shape{context.shape(0)[0]});
}

void infer_bwd(InferContext& context) {
  check_operands(context);
  check_dloss(context, 3, Shape{context.shape(0)[0]});
  const int32_t wanted = context.params<CosineEmbeddingParams>().wanted;
  for (int i = 0; i < 2; ++i) {
    if ((wanted >> i & 1) != 0) {
      context.add_out(context.shape(0));
    } else {
      context.add_no_out();
    }
  }
}

void grad(GradContext& context) {
  if (context.grad_out(0) == kNoValue) return;
  CosineEmbeddingParams params = context.node().params.as<CosineEmbeddingParams>();
  params.wanted = (context.wants(0) ? 1 : 0) | (context.wants(2) ? 2 : 0);
  if (params.wanted == 0) return;
  const std::vector<ValueId> outs = context.emit(
      OpKind::cosine_embedding_bwd,
      {context.in(0), context.in(1), context.in(2), context.grad_out(0)}, Params::of(params));
  if (context.wants(0)) context.set_grad(0, outs[0]);
  if (context.wants(2)) context.set_grad(2, outs[1]);
}

double flops_fwd(const StepArgs& args) { return 6.0 * static_cast<double>(args.in[0].elems()); }
double flops_bwd(const StepArgs& args) { return 12.0 * static_cast<double>(args.in[0].elems()); }

}  // namespace

const OpDef op_cosine_embedding_fwd{
    .doc = "loss = mean of 1 - cos(a, b) for t = 1, max(0, cos(a, b) - margin) for t = -1",
    .infer = infer_fwd,
    .grad = grad,
    .flops = flops_fwd,
    .user_name = "cosine_embedding",
    .onnx = "",
    .lower = lower_loss,
};

const OpDef op_cosine_embedding_bwd{
    .doc = "da = -t dloss / N (b / (|a| |b|) - cos a / |a|^2), db likewise; 0 below the margin",
    .infer = infer_bwd,
    .flops = flops_bwd,
    .optional_outputs = 3,
};

}  // namespace tanul
