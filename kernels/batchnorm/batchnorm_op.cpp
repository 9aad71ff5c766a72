// SPDX-License-Identifier: Apache-2.0
// batchnorm: shape inference, gradients, cost, and what it becomes in training.
#include <cmath>

#include "kernels/batchnorm/batchnorm.h"
#include "kernels/op.h"

namespace tanul {

namespace {

void check_x(const InferContext& context, int i, const char* name) {
  const Shape& x = context.shape(i);
  if (context.dtype(i) != DType::f32 || x.rank() < 2 || x.rank() > 5) {
    context.reject("{} is f32 [N, C], [N, C, L], [N, C, H, W] or [N, C, D, H, W], got {} {}", name,
                   dtype_name(context.dtype(i)), x.str());
  }
  if (x.elems() < 1) context.reject("{} needs at least one element, got {}", name, x.str());
}

void check_channels(const InferContext& context, int i, const char* name, int64_t C) {
  if (!context.has(i)) return;
  if (context.dtype(i) != DType::f32 || context.shape(i) != Shape{C}) {
    context.reject("{} is f32 [{}], one number per channel, got {} {}", name, C,
                   dtype_name(context.dtype(i)), context.shape(i).str());
  }
}

void check_params(InferContext& context) {
  const BatchNormParams& p = context.params<BatchNormParams>();
  if (!(p.eps > 0) || !std::isfinite(p.eps)) context.reject("eps is above 0, got {}", p.eps);
  if (!(p.momentum >= 0 && p.momentum <= 1)) {
    context.reject(
        "momentum, the share of the new batch in the running statistics, lies in 0 to 1, got {}",
        p.momentum);
  }
}

void infer_fwd(InferContext& context) {
  check_x(context, 0, "x");
  check_params(context);
  const Shape& x = context.shape(0);
  check_channels(context, 1, "gamma", x[1]);
  check_channels(context, 2, "beta", x[1]);
  if (x.elems() == x[1]) {
    context.reject(
        "training needs at least two values per channel, x {} has one; use a larger batch, or "
        "drop_last where only the last batch of an epoch is this small",
        x.str());
  }
  context.add_out(x);
  context.add_out({x[1]});
  context.add_out({x[1]});
}

void infer_eval_fwd(InferContext& context) {
  check_x(context, 0, "x");
  check_params(context);
  const Shape& x = context.shape(0);
  check_channels(context, 1, "gamma", x[1]);
  check_channels(context, 2, "beta", x[1]);
  check_channels(context, 3, "mean", x[1]);
  check_channels(context, 4, "var", x[1]);
  context.add_out(x);
}

void infer_bwd(InferContext& context) {
  check_x(context, 1, "x");
  const Shape& x = context.shape(1);
  if (context.dtype(0) != DType::f32 || context.shape(0) != x) {
    context.reject("dy is f32 of the shape of x {}, got {} {}", x.str(),
                   dtype_name(context.dtype(0)), context.shape(0).str());
  }
  check_channels(context, 2, "gamma", x[1]);
  check_channels(context, 3, "beta", x[1]);
  check_channels(context, 4, "mean", x[1]);
  check_channels(context, 5, "var", x[1]);
  context.add_out(x);
  for (int i : {2, 3}) {
    if (context.has(i)) {
      context.add_out({x[1]});
    } else {
      context.add_no_out();
    }
  }
}

void infer_stats_update(InferContext& context) {
  const BatchNormStatsParams& p = context.params<BatchNormStatsParams>();
  const char* names[] = {"running_mean", "mean", "running_var", "var"};
  const Shape& running = context.shape(0);
  for (int i = 0; i < 4; ++i) {
    if (context.dtype(i) != DType::f32 || context.shape(i) != running || running.rank() != 1) {
      context.reject("{} is f32 [C], as running_mean {}, got {} {}", names[i], running.str(),
                     dtype_name(context.dtype(i)), context.shape(i).str());
    }
  }
  if (!(p.momentum >= 0 && p.momentum <= 1)) {
    context.reject("momentum lies in 0 to 1, got {}", p.momentum);
  }
  if (p.count < 2) {
    context.reject("the unbiased variance needs at least two values, got {}", p.count);
  }
}

template <OpKind kBackward>
void grad(GradContext& context) {
  const bool is_eval = kBackward == OpKind::batchnorm_eval_bwd;
  const auto optional = [&](int i) {
    return i < static_cast<int>(context.node().in.size()) ? context.in(i) : kNoValue;
  };
  const std::vector<ValueId> outs = context.emit(
      kBackward,
      {context.grad_out(0), context.in(0), optional(1), optional(2),
       is_eval ? context.in(3) : context.out(1), is_eval ? context.in(4) : context.out(2)},
      context.node().params);
  for (int i = 0; i < 3; ++i) context.set_grad(i, outs[static_cast<size_t>(i)]);
}

std::vector<ValueId> lower(LowerContext& context) {
  const Params& params = context.node().params;
  const auto& p = params.as<BatchNormParams>();
  const ValueId running_mean = context.in(3);
  const ValueId running_var = context.in(4);
  if (!context.is_training() || p.is_frozen != 0) {
    return context.emit(OpKind::batchnorm_eval_fwd,
                        {context.in(0), context.in(1), context.in(2), running_mean, running_var},
                        params);
  }
  const std::vector<ValueId> outs =
      context.emit(OpKind::batchnorm_fwd, {context.in(0), context.in(1), context.in(2)}, params);
  const Shape x = context.shape(0);
  context.mutate(OpKind::batchnorm_stats_update, {running_mean, outs[1], running_var, outs[2]},
                 {running_mean, running_var},
                 Params::of(BatchNormStatsParams{p.momentum, x.elems() / x[1]}));
  return {outs[0]};
}

Node recompute_fwd(const Node& node) {
  Node again;
  again.kind = OpKind::batchnorm_eval_fwd;
  again.layer = node.layer;
  again.params = node.params;
  again.in = {node.in[0], node.in[1], node.in[2], node.out[1], node.out[2]};
  return again;
}

Node recompute_eval_fwd(const Node& node) {
  Node again = node;
  again.out.clear();
  return again;
}

// Per element; what is done per channel does not count.
template <int kFlops, int kX>
double flops(const StepArgs& args) {
  return kFlops * static_cast<double>(args.in[kX].elems());
}

}  // namespace

const OpDef op_batchnorm_fwd{
    .doc = "y = gamma (x - mean) / sqrt(var + eps) + beta, mean and var of each channel of x",
    .infer = infer_fwd,
    .grad = grad<OpKind::batchnorm_bwd>,
    .flops = flops<7, 0>,
    .in_place = {{0, 0}, {-1, -1}},
    .optional_outputs = 0b110,
    .user_name = "batch_norm",
    .onnx = "BatchNormalization",
    .recompute = recompute_fwd,
};

const OpDef op_batchnorm_bwd{
    .doc = "dx = gamma / sqrt(var + eps) (dy - mean of dy - x_hat times mean of dy x_hat)",
    .infer = infer_bwd,
    .flops = flops<10, 1>,
    .in_place = {{0, 0}, {1, 0}},
    .optional_outputs = 0b111,
};

const OpDef op_batchnorm_eval_fwd{
    .doc = "y = gamma (x - mean) / sqrt(var + eps) + beta, mean and var given",
    .infer = infer_eval_fwd,
    .grad = grad<OpKind::batchnorm_eval_bwd>,
    .flops = flops<3, 0>,
    .in_place = {{0, 0}, {-1, -1}},
    .user_name = "batch_norm",
    .onnx = "BatchNormalization",
    .lower = lower,
    .recompute = recompute_eval_fwd,
};

const OpDef op_batchnorm_eval_bwd{
    .doc = "dx = gamma / sqrt(var + eps) dy",
    .infer = infer_bwd,
    .flops = flops<5, 1>,
    .in_place = {{0, 0}, {1, 0}},
    .optional_outputs = 0b111,
};

const OpDef op_batchnorm_stats_update{
    .doc = "running = (1 - momentum) running + momentum new, of the mean and the unbiased variance",
    .infer = infer_stats_update,
    .in_place = {{0, 0}, {2, 1}},
};

}  // namespace tanul
