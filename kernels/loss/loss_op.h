// SPDX-License-Identifier: Apache-2.0
// What the OpDefs of losses share: the checks of their operands, their outputs, and what becomes of
// single losses in training.
#pragma once

#include <vector>

#include "kernels/loss/loss.h"
#include "kernels/op.h"

namespace tanul {

// [N, C, ...] without C.
inline Shape shape_of_positions(const Shape& x) {
  std::vector<int64_t> extents{x[0]};
  for (int axis = 2; axis < x.rank(); ++axis) extents.push_back(x[axis]);
  return Shape(extents);
}

inline void check_reduction(InferContext& context) {
  const auto reduction = static_cast<int32_t>(context.params<LossParams>().reduction);
  if (reduction < 0 || reduction > static_cast<int32_t>(Reduction::batch_mean)) {
    context.reject("there is no reduction {}", reduction);
  }
}

// `name`: "logits", "predictions".
inline void check_scores(InferContext& context, const char* name) {
  const Shape& x = context.shape(0);
  if (context.dtype(0) != DType::f32 || x.rank() < 2) {
    context.reject("{} are f32 [N, C, ...], got {} {}", name, dtype_name(context.dtype(0)),
                   x.str());
  }
  if (x.elems() < 1) context.reject("{} need at least one element, got {}", name, x.str());
}

// Class indices for x [N, C, ...].
inline void check_class_indices(InferContext& context) {
  const Shape want = shape_of_positions(context.shape(0));
  if (context.dtype(1) != DType::i32 || context.shape(1) != want) {
    context.reject("class indices are i32 {} for x {}, got {} {}", want.str(),
                   context.shape(0).str(), dtype_name(context.dtype(1)), context.shape(1).str());
  }
}

// A weight for each class, where operand i is there.
inline void check_class_weights(InferContext& context, int i) {
  const Shape want{context.shape(0)[1]};
  if (!context.has(i) || (context.dtype(i) == DType::f32 && context.shape(i) == want)) return;
  context.reject("class weights are f32 {}, one per class of x {}, got {} {}", want.str(),
                 context.shape(0).str(), dtype_name(context.dtype(i)), context.shape(i).str());
}

// The shape of the loss, where `each` is that of the losses that are added up.
inline Shape shape_of_loss(InferContext& context, const Shape& each) {
  return context.params<LossParams>().reduction == Reduction::none ? each : Shape{1};
}

inline void add_loss_outs(InferContext& context, const Shape& each) {
  context.add_out(shape_of_loss(context, each));
  context.add_out({4});
}

inline void check_dloss(InferContext& context, int i, const Shape& each) {
  const Shape want = shape_of_loss(context, each);
  if (context.has(i) && context.dtype(i) == DType::f32 && context.shape(i) == want) return;
  context.reject("the gradient of the loss is f32 {}, got {}", want.str(),
                 context.has(i)
                     ? fmt::format("{} {}", dtype_name(context.dtype(i)), context.shape(i).str())
                     : "none");
}

inline void check_stats(InferContext& context, int i) {
  if (context.has(i) && context.dtype(i) == DType::f32 && context.shape(i) == Shape{4}) return;
  context.reject("the statistics of the forward step are f32 [4], got {}",
                 context.has(i)
                     ? fmt::format("{} {}", dtype_name(context.dtype(i)), context.shape(i).str())
                     : "none");
}

// Operand i of a forward node, or none where the node ends before it.
inline ValueId operand_or_none(GradContext& context, size_t i) {
  return i < context.node().in.size() ? context.in(static_cast<int>(i)) : kNoValue;
}

// A model is trained by one number: single losses become their sum.
inline std::vector<ValueId> lower_loss(LowerContext& context) {
  Params params = context.node().params;
  LossParams& loss = params.as<LossParams>();
  if (context.is_training() && loss.reduction == Reduction::none) loss.reduction = Reduction::sum;
  std::vector<ValueId> in;
  for (size_t i = 0; i < context.node().in.size(); ++i) {
    in.push_back(context.in(static_cast<int>(i)));
  }
  return context.emit(context.node().kind, std::move(in), params);
}

}  // namespace tanul
