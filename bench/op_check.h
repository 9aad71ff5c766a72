// SPDX-License-Identifier: Apache-2.0
// Do two implementations of a step agree, as far as their arithmetic allows?
//
// Let u be half the distance of 1 and the next float. A sum of n products, rounded at each of its steps,
// differs from the exact one by a random walk of n steps, each u times the sum so far: by about
// sqrt(n) u / 3 of the size of the results. Allowed are (32 + 2 sqrt(n)) u for each of the two, of the norm
// of all results, and of the largest result for each single one: one element that is wrong by its own
// size stands out of any number of right ones. An implementation that multiplies in tf32, bf16 or fp16 adds
// 4 v, v being half the distance of 1 and the next number of that format: a term is off by up to 2 v of
// itself, as often up as down, and so a sum by 2 v of the size of sums; a result that is rounded too (cuDNN's
// in bf16 and fp16) by v of itself. One that is less precise (Implementation::is_less_precise, Winograd's)
// counts four times: its transforms add and subtract what cancels. Steps that only move elements, and
// integers, must have the same bits.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "bench/op_cases.h"
#include "kernels/backend_abi.h"

namespace tanul::bench {

// Half the distance of 1 and the next number; 0 for fp32, whose products are those of float.
double rounding_of(Precision precision);

// The share of the results' norm by which `implementation` may be off; 0: not at all.
double allowed_error(const OpCase& op, const Implementation& implementation);

struct Agreement {
  double error = 0;  // largest over the outputs: norm of the difference over that of `want`
  std::string what;  // is wrong, with the output and the numbers; empty: they agree
};
// Outputs as bytes, those that are left out empty.
Agreement compare(const OpCase& op, const std::vector<std::vector<std::byte>>& got,
                  const std::vector<std::vector<std::byte>>& want, double allowed);

}  // namespace tanul::bench
