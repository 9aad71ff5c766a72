// SPDX-License-Identifier: Apache-2.0
// slice: shape inference and gradient.
#include "kernels/layout/pad.h"
#include "kernels/layout/slice.h"
#include "kernels/op.h"

namespace tanul {

namespace {

void infer(InferContext& context) {
  SliceParams& params = context.params<SliceParams>();
  const Shape& x = context.shape(0);
  if (context.dtype(0) != DType::f32) {
    context.reject("x must be f32, got {}", dtype_name(context.dtype(0)));
  }
  if (x.rank() < 1 || x.rank() > kMaxOperandRank || params.rank != x.rank()) {
    context.reject("1 to {} axes, all with a begin; x is {}, {} are given", kMaxOperandRank,
                   x.str(), params.rank);
  }
  Shape y = x;
  for (int i = 0; i < x.rank(); ++i) {
    params.in_dims[i] = static_cast<int32_t>(x[i]);
    const int64_t begin = params.begin[i];
    const int64_t size = params.size[i] == 0 ? x[i] - begin : params.size[i];
    if (begin < 0 || size < 1 || begin + size > x[i]) {
      context.reject("along axis {} of x {}, {} elements from {} on do not exist", i, x.str(), size,
                     begin);
    }
    y[i] = size;
  }
  context.add_out(y);
}

void grad(GradContext& context) {
  if (!context.wants(0) || context.grad_out(0) == kNoValue) return;
  const SliceParams& slice = context.node().params.as<SliceParams>();
  PadParams pad{};
  pad.mode = PadMode::constant;
  pad.rank = slice.rank;
  for (int i = 0; i < slice.rank; ++i) {
    pad.begin[i] = slice.begin[i];
    pad.end[i] = slice.size[i] == 0 ? 0 : slice.in_dims[i] - slice.begin[i] - slice.size[i];
  }
  context.set_grad(0, context.emit(OpKind::pad_fwd, {context.grad_out(0)}, Params::of(pad))[0]);
}

}  // namespace

const OpDef op_slice_fwd{
    .doc = "y = x[begin : begin + size] along every axis",
    .infer = infer,
    .grad = grad,
    .onnx = "Slice",
};

}  // namespace tanul
