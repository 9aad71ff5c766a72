// SPDX-License-Identifier: Apache-2.0
// reshape: shape inference and gradient. A view, so there are no kernels.
#include "kernels/layout/reshape.h"
#include "kernels/op.h"

namespace tanul {

namespace {

void infer(InferContext& context) {
  const Shape& x = context.shape(0);
  ReshapeParams& params = context.params<ReshapeParams>();
  if (x.rank() > kMaxOperandRank) {
    context.reject("x {} has {} axes, at most {} are possible", x.str(), x.rank(), kMaxOperandRank);
  }
  params.in_rank = x.rank();
  for (int i = 0; i < kMaxOperandRank; ++i) params.in_extents[i] = i < x.rank() ? x[i] : 1;

  if (params.flatten != 0) {
    if (x.rank() < 1) context.reject("x is a scalar, it has no axis of samples to keep");
    context.add_out({x[0], x.elems_from(1)}, context.dtype(0));
    return;
  }
  if (params.rank < 0 || params.rank > kMaxOperandRank) {
    context.reject("the new shape has {} axes, possible are 0 to {}", params.rank, kMaxOperandRank);
  }
  std::vector<int64_t> extents(params.extents, params.extents + params.rank);
  for (size_t i = 0; i < extents.size(); ++i) {
    if (extents[i] == 0 && static_cast<int>(i) < x.rank()) extents[i] = x[static_cast<int>(i)];
    if (extents[i] < 1) {
      context.reject("extents of the new shape are at least 1, got {}", extents[i]);
    }
  }
  const Shape y(extents);
  if (y.elems() != x.elems()) {
    context.reject("x {} has {} elements but the new shape {} has {}", x.str(), x.elems(), y.str(),
                   y.elems());
  }
  context.add_out(y, context.dtype(0));
}

void grad(GradContext& context) {
  if (!context.wants(0) || context.grad_out(0) == kNoValue) return;
  const ReshapeParams& forward = context.node().params.as<ReshapeParams>();
  ReshapeParams back{};
  back.rank = forward.in_rank;
  for (int i = 0; i < kMaxOperandRank; ++i) back.extents[i] = forward.in_extents[i];
  context.set_grad(0, context.emit(OpKind::reshape, {context.grad_out(0)}, Params::of(back))[0]);
}

}  // namespace

const OpDef op_reshape{
    .doc = "y = the elements of x in the same order under another shape",
    .infer = infer,
    .grad = grad,
    .onnx = "Reshape",
};

}  // namespace tanul
