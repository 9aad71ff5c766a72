// SPDX-License-Identifier: Apache-2.0
#include "graph/loss_targets.h"

namespace tanul {

TargetForms accepted_targets(LossKind kind) {
  switch (kind) {
    case LossKind::softmax_cross_entropy: return {true, false};
    case LossKind::mean_squared_error: return {true, true};
    case LossKind::none: break;
  }
  return {false, false};
}

DType default_target(LossKind kind) {
  return accepted_targets(kind).values ? DType::f32 : DType::i32;
}

Shape target_shape(const Shape& x, DType dtype) {
  if (dtype != DType::i32) return x;
  std::vector<int64_t> extents{x[0]};
  for (int axis = 2; axis < x.rank(); ++axis) extents.push_back(x[axis]);
  return Shape(extents);
}

}  // namespace tanul
