// SPDX-License-Identifier: Apache-2.0
// What a loss wants as targets: class indices (i32) for each sample or position, or values (f32) of the
// shape of what it looks at.
#pragma once

#include "graph/model.h"

namespace tanul {

struct TargetForms {
  bool labels;  // i32: the shape of x without its channel axis
  bool values;  // f32: the shape of x
};

TargetForms accepted_targets(LossKind kind);

// The element type of targets where no data has been seen yet.
DType default_target(LossKind kind);

// The shape of a batch of targets, given that of x [N, C, ...].
Shape target_shape(const Shape& x, DType dtype);

}  // namespace tanul
