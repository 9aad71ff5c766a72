// SPDX-License-Identifier: Apache-2.0
// What a loss says of its targets and of the values that it looks at. The op's own `infer` is asked
// what it accepts, so that the rules stand in one place.
#pragma once

#include <optional>

#include "graph/model.h"

namespace tanul {

// The shape of one target, without N; none where targets of that kind are refused.
struct TargetForms {
  std::optional<Shape> labels;  // i32: class indices
  std::optional<Shape> values;  // f32
};

TargetForms accepted_targets(const Model::Impl& model, const Model::Impl::Loss& loss);

// The element type of targets where no data has been seen yet.
DType default_target(const Model::Impl& model, const Model::Impl::Loss& loss);

// The shape of targets of this type for N = 1: what the builder declared, or else that of x
// [N, C, ...] (f32), of x without C (i32).
Shape target_shape(const Model::Impl& model, const Model::Impl::Loss& loss, DType dtype);

// The label that counts for nothing, where a loss has one.
std::optional<int32_t> ignored_label(const Model::Impl& model, const Model::Impl::Loss& loss);

// Does training follow the sum of the losses (Reduction::sum, Reduction::none) and not their mean?
bool follows_sum(const Model::Impl& model, const Model::Impl::Loss& loss);

// Does evaluation deliver each loss by itself (Reduction::none)?
bool has_single_losses(const Model::Impl& model, const Model::Impl::Loss& loss);

// What Trainer::predict makes of the values that a loss looks at.
enum class Shown { as_they_are, softmax, sigmoid };
Shown shown_outputs(const Model::Impl& model, const Model::Impl::Loss& loss);

}  // namespace tanul
