// SPDX-License-Identifier: Apache-2.0
// concat: shape inference and gradient.
#include "kernels/concat/concat.h"
#include "kernels/op.h"

namespace tanul {

namespace {

void infer_fwd(InferContext& context) {
  ConcatParams& params = context.params<ConcatParams>();
  const int count = context.in_count();
  if (count < 1 || count > kMaxConcatInputs) {
    context.reject("1 to {} inputs can be joined, got {}", kMaxConcatInputs, count);
  }
  const Shape& first = context.shape(0);
  if (first.rank() < 1 || first.rank() > kMaxOperandRank) {
    context.reject("inputs have 1 to {} axes, got {}", kMaxOperandRank, first.str());
  }
  if (params.axis < 0 || params.axis >= first.rank()) {
    context.reject("axis {} does not exist, inputs {} have axes 0 to {}", params.axis, first.str(),
                   first.rank() - 1);
  }
  Shape y = first;
  y[params.axis] = 0;
  params.count = count;
  for (int i = 0; i < count; ++i) {
    const Shape& x = context.shape(i);
    if (context.dtype(i) != DType::f32) {
      context.reject("inputs are f32, input {} is {}", i, dtype_name(context.dtype(i)));
    }
    bool matches = x.rank() == first.rank();
    for (int axis = 0; matches && axis < x.rank(); ++axis) {
      matches = axis == params.axis || x[axis] == first[axis];
    }
    if (!matches) {
      context.reject(
          "inputs have the same extents but along axis {}, input 0 is {}, input {} is {}",
          params.axis, first.str(), i, x.str());
    }
    params.extents[i] = x[params.axis];
    y[params.axis] += x[params.axis];
  }
  context.add_out(y);
}

void infer_bwd(InferContext& context) {
  const ConcatParams& params = context.params<ConcatParams>();
  const Shape& dy = context.shape(0);
  if (params.axis < 0 || params.axis >= dy.rank()) {
    context.reject("axis {} does not exist in dy {}", params.axis, dy.str());
  }
  if (params.count < 1 || params.count > kMaxConcatInputs) {
    context.reject("1 to {} parts can be cut, got {}", kMaxConcatInputs, params.count);
  }
  int64_t sum = 0;
  for (int i = 0; i < params.count; ++i) sum += params.extents[i];
  if (sum != dy[params.axis]) {
    context.reject("the parts have {} together along axis {}, dy {} has {}", sum, params.axis,
                   dy.str(), dy[params.axis]);
  }
  for (int i = 0; i < params.count; ++i) {
    Shape dx = dy;
    dx[params.axis] = params.extents[i];
    if ((params.wanted >> i & 1) != 0) {
      context.add_out(dx);
    } else {
      context.add_no_out();
    }
  }
}

void grad(GradContext& context) {
  if (context.grad_out(0) == kNoValue) return;
  ConcatParams params = context.node().params.as<ConcatParams>();
  params.wanted = 0;
  for (int i = 0; i < params.count; ++i) {
    if (context.wants(i)) params.wanted |= 1 << i;
  }
  if (params.wanted == 0) return;
  const std::vector<ValueId> parts =
      context.emit(OpKind::concat_bwd, {context.grad_out(0)}, Params::of(params));
  for (int i = 0; i < params.count; ++i) {
    if (context.wants(i)) context.set_grad(i, parts[static_cast<size_t>(i)]);
  }
}

}  // namespace

const OpDef op_concat_fwd{
    .doc = "y = x0, x1, ... behind each other along one axis",
    .infer = infer_fwd,
    .grad = grad,
    .onnx = "Concat",
};

const OpDef op_concat_bwd{
    .doc = "dx0, dx1, ... = the parts of dy along one axis",
    .infer = infer_bwd,
    .optional_outputs = (1u << kMaxConcatInputs) - 1,
};

}  // namespace tanul
