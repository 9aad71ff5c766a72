// SPDX-License-Identifier: Apache-2.0
// Fully connected layer: definitions. Formulas and operands are in linear.h.
#include "kernels/activation/activation_op.h"
#include "kernels/linear/linear.h"
#include "kernels/optim/optim_checks.h"

namespace tanul {

namespace {

void check_matrix(const InferContext& context, int i, const char* name, const char* rule) {
  if (context.shape(i).rank() != 2) {
    context.reject("{} must be {}, got {}", name, rule, context.shape(i).str());
  }
  if (context.dtype(i) != DType::f32) {
    context.reject("{} must be f32, got {}", name, dtype_name(context.dtype(i)));
  }
  for (int axis = 0; axis < 2; ++axis) {
    if (context.shape(i)[axis] < 1) {
      context.reject("{} must not be empty, got {}", name, context.shape(i).str());
    }
  }
}

void infer_linear_fwd(InferContext& context) {
  check_matrix(context, 0, "x", "[N, C] (flatten it first)");
  check_matrix(context, 1, "w", "[K, C]");
  const Shape& x = context.shape(0);
  const Shape& w = context.shape(1);
  if (x[1] != w[1]) {
    context.reject("x has {} features but w expects {} (x {}, w {}); check in_features", x[1], w[1],
                   x.str(), w.str());
  }
  if (context.has(2)) {
    if (context.shape(2) != Shape{w[0]}) {
      context.reject("b must be [{}], one value for each row of w, got {}", w[0],
                     context.shape(2).str());
    }
    if (context.dtype(2) != DType::f32) {
      context.reject("b must be f32, got {}", dtype_name(context.dtype(2)));
    }
  }
  context.add_out({x[0], w[0]});
}

void infer_linear_bwd_data(InferContext& context) {
  check_matrix(context, 0, "dy", "[N, K]");
  check_matrix(context, 1, "w", "[K, C]");
  if (context.shape(0)[1] != context.shape(1)[0]) {
    context.reject("dy has {} features but w makes {} (dy {}, w {})", context.shape(0)[1],
                   context.shape(1)[0], context.shape(0).str(), context.shape(1).str());
  }
  context.add_out({context.shape(0)[0], context.shape(1)[1]});
}

void check_x_and_dy(const InferContext& context) {
  check_matrix(context, 0, "x", "[N, C]");
  check_matrix(context, 1, "dy", "[N, K]");
  const Shape& x = context.shape(0);
  const Shape& dy = context.shape(1);
  if (x[0] != dy[0]) {
    context.reject("x has {} samples but dy has {} (x {}, dy {})", x[0], dy[0], x.str(), dy.str());
  }
}

void infer_linear_bwd_weights(InferContext& context) {
  check_x_and_dy(context);
  const Shape& x = context.shape(0);
  const Shape& dy = context.shape(1);
  context.add_out({dy[1], x[1]});
  if (context.params<LinearParams>().has_bias != 0) {
    context.add_out({dy[1]});
  } else {
    context.add_no_out();
  }
}

// Writes into values that exist: declares no outputs.
void infer_linear_bwd_weights_sgd(InferContext& context) {
  check_x_and_dy(context);
  const Shape w{context.shape(1)[1], context.shape(0)[1]};
  for (int i : {2, 3}) {
    if (i == 3 && !context.has(i)) continue;
    if (context.dtype(i) != DType::f32 || context.shape(i) != w) {
      context.reject("{} is f32 [K, C] = {}, got {} {}", i == 2 ? "w" : "the velocity", w.str(),
                     dtype_name(context.dtype(i)), context.shape(i).str());
    }
  }
  const SgdParams& sgd = context.params<LinearSgdParams>().sgd;
  optim::check_decay_and_scale(context, sgd.weight_decay, sgd.lr_scale);
  optim::check_sgd(context, sgd, context.has(3));
}

void grad_linear(GradContext& context) {
  LinearParams params = context.node().params.as<LinearParams>();
  const ValueId dy = grad_before_activation(context, params.activation);
  params.activation = ActivationKind::none;
  params.has_bias = context.wants(2) ? 1 : 0;
  const Params backward = Params::of(params);
  if (context.wants(1) || context.wants(2)) {
    const auto grads = context.emit(OpKind::linear_bwd_weights, {context.in(0), dy}, backward);
    if (context.wants(1)) context.set_grad(1, grads[0]);
    if (context.wants(2)) context.set_grad(2, grads[1]);
  }
  if (context.wants(0)) {
    context.set_grad(0, context.emit(OpKind::linear_bwd_data, {dy, context.in(1)}, backward)[0]);
  }
}

// Each of the three products has N K C multiply-adds; in[0] and out[0] hold the three extents.
double product_flops(const Operand& rows, int64_t depth) {
  return 2.0 * static_cast<double>(rows.elems()) * static_cast<double>(depth);
}
double flops_linear_fwd(const StepArgs& args) {
  return product_flops(args.in[0], args.out[0].dims[1]) + static_cast<double>(args.out[0].elems());
}
double flops_linear_bwd_data(const StepArgs& args) {
  return product_flops(args.in[0], args.out[0].dims[1]);
}
double flops_linear_bwd_weights(const StepArgs& args) {
  return product_flops(args.in[0], args.in[1].dims[1]) + static_cast<double>(args.in[1].elems());
}
double flops_linear_bwd_weights_sgd(const StepArgs& args) {
  return flops_linear_bwd_weights(args) + 7 * static_cast<double>(args.in[2].elems());
}

}  // namespace

const OpDef op_linear_fwd = {
    .doc = "y = act(x w^T + b)",
    .infer = infer_linear_fwd,
    .grad = grad_linear,
    .flops = flops_linear_fwd,
    .is_product = true,
    .onnx = "Gemm",
};

const OpDef op_linear_bwd_data = {
    .doc = "dx = dy w",
    .infer = infer_linear_bwd_data,
    .flops = flops_linear_bwd_data,
    .is_product = true,
};

const OpDef op_linear_bwd_weights = {
    .doc = "dw = dy^T x, db = column sums of dy",
    .infer = infer_linear_bwd_weights,
    .flops = flops_linear_bwd_weights,
    .is_product = true,
};

const OpDef op_linear_bwd_weights_sgd = {
    .doc = "dw = dy^T x, db = column sums of dy, and w, v = sgd_update(w, dw, v)",
    .infer = infer_linear_bwd_weights_sgd,
    .flops = flops_linear_bwd_weights_sgd,
    .in_place = {{2, 0}, {3, 1}},
    .is_product = true,
};

}  // namespace tanul
