// SPDX-License-Identifier: Apache-2.0
// How far convolution by Winograd's minimal filtering may be off. The operands go through transforms
// whose terms are larger than the products they stand for, so that rounding weighs more than in the
// plain sum; T is therefore the same computation with all matrices and operands without their signs.
#pragma once

#include "support/rule.h"

namespace tanul::test {

// F(m x m, r x r) over the given points and infinity.
struct Filtering {
  int m, r;
  std::vector<double> points;  // m + r - 2
};

// Bounds of the step `kind` of a two-dimensional convolution of stride 1. Roundings on the way of a
// product: at most 4 for an input, 10 for weights (constants included), 6 for an output, the bias, and
// one for each summand; where the data gradient is scattered from the tiles of dy, one for each tile
// that reaches a pixel.
Bounds winograd_bounds(OpKind kind, const Filtering& filtering, const BoundArgs& args,
                       bool is_scatter);

// What holds for the implementations of a conv2d step that filter so.
std::vector<ImplementationRule> winograd_rules(OpKind kind);

}  // namespace tanul::test
