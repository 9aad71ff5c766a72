// SPDX-License-Identifier: Apache-2.0
// reduce_sum, reduce_mean: shape inference, gradient and cost.
#include <algorithm>

#include "kernels/op.h"
#include "kernels/reduce/reduce.h"

namespace tanul {

namespace {

template <int kIsMean>
void infer_fwd(InferContext& context) {
  ReduceParams& params = context.params<ReduceParams>();
  const Shape& x = context.shape(0);
  if (context.dtype(0) != DType::f32) {
    context.reject("x must be f32, got {}", dtype_name(context.dtype(0)));
  }
  if (x.rank() > kMaxOperandRank) {
    context.reject("x has at most {} axes, got {}", kMaxOperandRank, x.str());
  }
  if (params.axes <= 0 || params.axes >> x.rank() != 0) {
    context.reject("at least one axis of x {} is summed over, each from 0 to {}", x.str(),
                   x.rank() - 1);
  }
  params.is_mean = kIsMean;
  params.in_rank = x.rank();
  std::copy(x.begin(), x.end(), params.in_dims);
  std::vector<int64_t> y;
  for (int i = 0; i < x.rank(); ++i) {
    const bool is_summed = (params.axes >> i & 1) != 0;
    if (!is_summed || params.keep_dims != 0) y.push_back(is_summed ? 1 : x[i]);
  }
  context.add_out(Shape(y));
}

void infer_bwd(InferContext& context) {
  const ReduceParams& params = context.params<ReduceParams>();
  context.add_out(Shape(std::vector<int64_t>(params.in_dims, params.in_dims + params.in_rank)));
}

void grad(GradContext& context) {
  if (!context.wants(0) || context.grad_out(0) == kNoValue) return;
  context.set_grad(
      0, context.emit(OpKind::reduce_bwd, {context.grad_out(0)}, context.node().params)[0]);
}

double flops(const StepArgs& args) {
  return static_cast<double>(std::max(args.in[0].elems(), args.out[0].elems()));
}

}  // namespace

const OpDef op_reduce_sum_fwd{
    .doc = "y = sum of x over some axes",
    .infer = infer_fwd<0>,
    .grad = grad,
    .flops = flops,
    .onnx = "ReduceSum",
};

const OpDef op_reduce_mean_fwd{
    .doc = "y = mean of x over some axes",
    .infer = infer_fwd<1>,
    .grad = grad,
    .flops = flops,
    .onnx = "ReduceMean",
};

const OpDef op_reduce_bwd{
    .doc = "dx = dy over the number of summands (of a mean), repeated over the axes",
    .infer = infer_bwd,
    .flops = flops,
};

}  // namespace tanul
