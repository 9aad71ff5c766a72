// SPDX-License-Identifier: Apache-2.0
// Arithmetic of two tensors with broadcasting as in numpy: the shapes are aligned at their last axis,
// and an extent of 1 is repeated. Up to six axes.
//
//   <name>_fwd      in: a, b        out: y    y has the larger extent along each axis
//   arithmetic_bwd  in: dy, a?, b?  out: da?, db?   summed over the axes along which a, b were repeated
//
//   add, subtract   y = a + b, a - b     da = dy, db = ± dy
//   multiply        y = a b              da = dy b, db = dy a
//   divide          y = a / b            da = dy / b, db = -dy a / b^2
//   maximum         y = max(a, b)        dy goes to the larger one, half of it to each of two equal
//   minimum         y = min(a, b)        ones; y is NaN where a or b is
//
// The forward step of a sum of equal shapes is add_fwd (add_op.cpp): its gradient needs no step.
#pragma once

#include <cstdint>

namespace tanul {

enum class Arithmetic : int32_t { add = 0, subtract, multiply, divide, maximum, minimum };

struct ArithmeticParams {
  Arithmetic op;   // arithmetic_bwd
  int32_t wanted;  // arithmetic_bwd: bit 0: da, bit 1: db
  int32_t a_rank,
      b_rank;  // the shapes: set by infer of the forward step, since sums do not keep a, b
  int64_t a_dims[6];
  int64_t b_dims[6];
};

}  // namespace tanul
