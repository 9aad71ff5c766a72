// SPDX-License-Identifier: Apache-2.0
// input_load: shape inference and cost.
#include "kernels/input_load/input_load.h"
#include "kernels/op.h"

namespace tanul {

namespace {

void infer(InferContext& context) {
  const Shape& x = context.shape(0);
  const DType dtype = context.dtype(0);
  if (dtype != DType::u8 && dtype != DType::f32) {
    context.reject("samples are u8 or f32, got {}", dtype_name(dtype));
  }
  if (x.rank() < 2 || x.rank() > kMaxOperandRank) {
    context.reject("samples have 2 to {} axes [N, C, ...] or [N, F], got {}", kMaxOperandRank,
                   x.str());
  }
  const int64_t channels = x.rank() == 2 ? 1 : x[1];
  const char* names[] = {"", "mean", "deviation"};
  for (int i = 1; i <= 2; ++i) {
    if (context.dtype(i) != DType::f32 || context.shape(i) != Shape{channels}) {
      context.reject("{} is f32 [{}], one number per channel of the samples {}, got {} {}",
                     names[i], channels, x.str(), dtype_name(context.dtype(i)),
                     context.shape(i).str());
    }
  }
  context.add_out(x);
}

double flops(const StepArgs& args) { return 2.0 * static_cast<double>(args.out[0].elems()); }

}  // namespace

const OpDef op_input_load{
    .doc = "x = (v - mean[c]) / deviation[c], v = u8 / 255 or f32",
    .infer = infer,
    .flops = flops,
};

}  // namespace tanul
