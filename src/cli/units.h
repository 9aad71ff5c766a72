// SPDX-License-Identifier: Apache-2.0
// What the precision and the promise of equal bits came to in a plan, in words.
#pragma once

#include <string>

#include "tanul/plan.h"

namespace tanul::cli {

// Lines for what differs from the defaults, empty where nothing does:
//   precision bf16: 12 of 20 products on tensor cores, the others in fp32
//   not deterministic: 3 of 61 steps may differ in their last bits from run to run
std::string units_text(const PlanInfo& plan);

// "implicit_gemm", and what it multiplies in where that is not fp32: "implicit_gemm (bf16)"
std::string implementation_text(const std::string& name, Precision multiplies_in);

}  // namespace tanul::cli
