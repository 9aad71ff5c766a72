// SPDX-License-Identifier: Apache-2.0
// ema_update, lookahead_update, accumulate_*: validation and cost.
#include "kernels/optim/averaging.h"
#include "kernels/optim/optim_checks.h"

namespace tanul {

namespace {

using namespace optim;

void check_f32(const InferContext& context, int i, const char* name) {
  if (context.dtype(i) != DType::f32) {
    context.reject("{} is f32, got {}", name, dtype_name(context.dtype(i)));
  }
}

// The gradient or weights at place i are like those at place 0.
void check_like_first(const InferContext& context, int i, const char* name) {
  if (context.dtype(i) != DType::f32 || context.shape(i) != context.shape(0)) {
    context.reject("{} is f32 {}, got {} {}", name, context.shape(0).str(),
                   dtype_name(context.dtype(i)), context.shape(i).str());
  }
}

void check_small(const InferContext& context, int i, const char* name, int64_t elems) {
  if (context.dtype(i) != DType::f32 || context.shape(i) != Shape{elems}) {
    context.reject("{} is f32 [{}], got {} {}", name, elems, dtype_name(context.dtype(i)),
                   context.shape(i).str());
  }
}

void infer_ema(InferContext& context) {
  check_f32(context, 0, "the average");
  check_like_first(context, 1, "w");
  check_share(context, "decay", context.params<EmaParams>().decay);
  check_left_out(context, 2);
}

void infer_lookahead(InferContext& context) {
  const auto& p = context.params<LookaheadParams>();
  check_f32(context, 0, "slow");
  check_like_first(context, 1, "w");
  check_left_out(context, 2);
  if (p.k < 1) context.reject("k is at least 1, got {}", p.k);
  if (!(p.alpha > 0 && p.alpha <= 1)) context.reject("alpha lies above 0 up to 1, got {}", p.alpha);
}

void infer_accumulate_add(InferContext& context) {
  check_f32(context, 0, "the accumulated gradient");
  check_like_first(context, 1, "the gradient");
  check_small(context, 2, "stats", 4);
  check_small(context, 3, "the total divisor", 1);
}

void infer_accumulate_mean(InferContext& context) {
  check_f32(context, 0, "the gradient");
  check_like_first(context, 1, "the accumulated gradient");
  check_small(context, 2, "stats", 4);
  check_small(context, 3, "the total divisor", 1);
  context.add_out(context.shape(0));
}

void infer_accumulate_total(InferContext& context) {
  check_small(context, 0, "the total divisor", 1);
  check_small(context, 1, "stats", 4);
}

}  // namespace

const OpDef op_ema_update{
    .doc = "avg = decay avg + (1 - decay) w",
    .infer = infer_ema,
    .flops = flops_update<3>,
    .user_name = "ema",
};

const OpDef op_lookahead_update{
    .doc = "every k-th step: slow += alpha (w - slow);  w = slow",
    .infer = infer_lookahead,
    .flops = flops_update<3>,
    .user_name = "lookahead",
};

const OpDef op_accumulate_add{
    .doc = "acc += d g, d the divisor of the micro-batch's loss",
    .infer = infer_accumulate_add,
    .flops = flops_update<2>,
};

const OpDef op_accumulate_mean{
    .doc = "g' = (acc + d g) / (total + d): the gradient of all micro-batches together",
    .infer = infer_accumulate_mean,
    .flops = flops_update<3>,
    .in_place = {{0, 0}, {-1, -1}},
};

const OpDef op_accumulate_total{
    .doc = "total += d, or total = 0",
    .infer = infer_accumulate_total,
    .flops = flops_update<1>,
};

}  // namespace tanul
