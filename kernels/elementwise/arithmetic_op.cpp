// SPDX-License-Identifier: Apache-2.0
// Arithmetic with broadcasting: shape inference, gradients, cost. The formulas are in arithmetic.h.
#include <algorithm>

#include "kernels/elementwise/arithmetic.h"
#include "kernels/op.h"

namespace tanul {

namespace {

void infer_fwd(InferContext& context) {
  const Shape& a = context.shape(0);
  const Shape& b = context.shape(1);
  for (int i = 0; i < 2; ++i) {
    if (context.dtype(i) != DType::f32) {
      context.reject("input {} must be f32, got {}", i, dtype_name(context.dtype(i)));
    }
    if (context.shape(i).rank() > kMaxOperandRank) {
      context.reject("at most {} axes are possible, input {} is {}", kMaxOperandRank, i,
                     context.shape(i).str());
    }
  }
  Shape y = a.rank() < b.rank() ? b : a;
  for (int back = 1; back <= y.rank(); ++back) {
    const int64_t of_a = back <= a.rank() ? a[a.rank() - back] : 1;
    const int64_t of_b = back <= b.rank() ? b[b.rank() - back] : 1;
    if (of_a != of_b && of_a != 1 && of_b != 1) {
      context.reject("extents must be equal, or 1 where one is repeated, got {} and {}", a.str(),
                     b.str());
    }
    y[y.rank() - back] = std::max(of_a, of_b);
  }
  ArithmeticParams& params = context.params<ArithmeticParams>();
  params.a_rank = a.rank();
  params.b_rank = b.rank();
  std::copy(a.begin(), a.end(), params.a_dims);
  std::copy(b.begin(), b.end(), params.b_dims);
  context.add_out(y);
}

void infer_bwd(InferContext& context) {
  const ArithmeticParams& params = context.params<ArithmeticParams>();
  const auto add = [&](int bit, const int64_t* dims, int rank) {
    if ((params.wanted >> bit & 1) == 0) return context.add_no_out();
    context.add_out(Shape(std::vector<int64_t>(dims, dims + rank)));
  };
  add(0, params.a_dims, params.a_rank);
  add(1, params.b_dims, params.b_rank);
}

// Was operand `side` (0: a, 1: b) repeated nowhere?
bool has_full_shape(const ArithmeticParams& params, int side) {
  const int64_t* own = side == 0 ? params.a_dims : params.b_dims;
  const int64_t* other = side == 0 ? params.b_dims : params.a_dims;
  const int own_rank = side == 0 ? params.a_rank : params.b_rank;
  const int other_rank = side == 0 ? params.b_rank : params.a_rank;
  if (own_rank < other_rank) return false;
  for (int back = 1; back <= other_rank; ++back) {
    if (own[own_rank - back] < other[other_rank - back]) return false;
  }
  return true;
}

template <Arithmetic kOp>
void grad(GradContext& context) {
  const ValueId dy = context.grad_out(0);
  if (dy == kNoValue) return;
  constexpr bool is_sum = kOp == Arithmetic::add || kOp == Arithmetic::subtract;
  ArithmeticParams params = context.node().params.as<ArithmeticParams>();
  params.op = kOp;
  for (int i = 0; i < 2; ++i) {
    if (!context.wants(i)) continue;
    const bool is_dy =
        is_sum && !(kOp == Arithmetic::subtract && i == 1) && has_full_shape(params, i);
    if (is_dy) {
      context.set_grad(i, dy);
    } else {
      params.wanted |= 1 << i;
    }
  }
  if (params.wanted == 0) return;
  const auto operand = [&](int i) {
    // A product's factor is read for the gradient of the other one alone.
    if (is_sum || (kOp == Arithmetic::multiply && (params.wanted >> (1 - i) & 1) == 0)) {
      return kNoValue;
    }
    if (kOp == Arithmetic::divide && i == 0 && (params.wanted & 2) == 0) return kNoValue;
    return context.in(i);
  };
  const std::vector<ValueId> gradients =
      context.emit(OpKind::arithmetic_bwd, {dy, operand(0), operand(1)}, Params::of(params));
  for (int i = 0; i < 2; ++i) {
    if ((params.wanted >> i & 1) != 0) context.set_grad(i, gradients[static_cast<size_t>(i)]);
  }
}

double flops_fwd(const StepArgs& args) { return static_cast<double>(args.out[0].elems()); }

double flops_bwd(const StepArgs& args) {
  double flops = 0;
  for (int i = 0; i < 2; ++i) {
    if (args.out[i].present()) flops += 3 * static_cast<double>(args.in[0].elems());
  }
  return flops;
}

}  // namespace

const OpDef op_add_broadcast_fwd{
    .doc = "y = a + b, repeated along axes of extent 1",
    .infer = infer_fwd,
    .grad = grad<Arithmetic::add>,
    .flops = flops_fwd,
    .in_place = {{0, 0}, {1, 0}},
    .user_name = "add",
    .onnx = "Add",
};
const OpDef op_subtract_fwd{
    .doc = "y = a - b, repeated along axes of extent 1",
    .infer = infer_fwd,
    .grad = grad<Arithmetic::subtract>,
    .flops = flops_fwd,
    .in_place = {{0, 0}, {1, 0}},
    .onnx = "Sub",
};
const OpDef op_multiply_fwd{
    .doc = "y = a b, repeated along axes of extent 1",
    .infer = infer_fwd,
    .grad = grad<Arithmetic::multiply>,
    .flops = flops_fwd,
    .in_place = {{0, 0}, {1, 0}},
    .onnx = "Mul",
};
const OpDef op_divide_fwd{
    .doc = "y = a / b, repeated along axes of extent 1",
    .infer = infer_fwd,
    .grad = grad<Arithmetic::divide>,
    .flops = flops_fwd,
    .in_place = {{0, 0}, {1, 0}},
    .onnx = "Div",
};
const OpDef op_maximum_fwd{
    .doc = "y = max(a, b), repeated along axes of extent 1",
    .infer = infer_fwd,
    .grad = grad<Arithmetic::maximum>,
    .flops = flops_fwd,
    .in_place = {{0, 0}, {1, 0}},
    .onnx = "Max",
};
const OpDef op_minimum_fwd{
    .doc = "y = min(a, b), repeated along axes of extent 1",
    .infer = infer_fwd,
    .grad = grad<Arithmetic::minimum>,
    .flops = flops_fwd,
    .in_place = {{0, 0}, {1, 0}},
    .onnx = "Min",
};
const OpDef op_arithmetic_bwd{
    .doc = "da, db = dy times the derivative, summed over the axes that were repeated",
    .infer = infer_bwd,
    .flops = flops_bwd,
    .optional_outputs = 3,
};

}  // namespace tanul
