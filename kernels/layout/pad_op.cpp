// SPDX-License-Identifier: Apache-2.0
// pad: shape inference, gradient and cost.
#include "kernels/layout/pad.h"
#include "kernels/layout/slice.h"
#include "kernels/op.h"

namespace tanul {

namespace {

void infer_fwd(InferContext& context) {
  PadParams& params = context.params<PadParams>();
  const Shape& x = context.shape(0);
  if (context.dtype(0) != DType::f32) {
    context.reject("x must be f32, got {}", dtype_name(context.dtype(0)));
  }
  if (x.rank() < 1 || x.rank() > kMaxOperandRank || params.rank != x.rank()) {
    context.reject("1 to {} axes, all with a padding; x is {}, {} are given", kMaxOperandRank,
                   x.str(), params.rank);
  }
  Shape y = x;
  for (int i = 0; i < x.rank(); ++i) {
    params.in_dims[i] = static_cast<int32_t>(x[i]);
    if (params.begin[i] < 0 || params.end[i] < 0) {
      context.reject("paddings are at least 0, got {} and {} along axis {}; crop makes smaller",
                     params.begin[i], params.end[i], i);
    }
    if (params.mode == PadMode::reflect && (params.begin[i] >= x[i] || params.end[i] >= x[i])) {
      context.reject(
          "what is mirrored must exist: along axis {} of x {} at most {} can be added, got {} and "
          "{}",
          i, x.str(), x[i] - 1, params.begin[i], params.end[i]);
    }
    y[i] += params.begin[i] + params.end[i];
  }
  context.add_out(y);
}

void infer_bwd(InferContext& context) {
  const PadParams& params = context.params<PadParams>();
  std::vector<int64_t> extents(params.in_dims, params.in_dims + params.rank);
  context.add_out(Shape(extents));
}

void grad(GradContext& context) {
  if (!context.wants(0) || context.grad_out(0) == kNoValue) return;
  const PadParams& pad = context.node().params.as<PadParams>();
  if (pad.mode != PadMode::constant) {
    context.set_grad(0, context.emit(OpKind::pad_bwd, {context.grad_out(0)}, Params::of(pad))[0]);
    return;
  }
  SliceParams slice{};
  slice.rank = pad.rank;
  for (int i = 0; i < pad.rank; ++i) {
    slice.begin[i] = pad.begin[i];
    slice.size[i] = pad.in_dims[i];
  }
  context.set_grad(0, context.emit(OpKind::slice_fwd, {context.grad_out(0)}, Params::of(slice))[0]);
}

double flops_bwd(const StepArgs& args) { return static_cast<double>(args.in[0].elems()); }

}  // namespace

const OpDef op_pad_fwd{
    .doc = "y = x with elements added in front of and behind each axis",
    .infer = infer_fwd,
    .grad = grad,
    .onnx = "Pad",
};

const OpDef op_pad_bwd{
    .doc = "dx = the gradients of all places of an element of x, added up",
    .infer = infer_bwd,
    .flops = flops_bwd,
};

}  // namespace tanul
