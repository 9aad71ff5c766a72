// SPDX-License-Identifier: Apache-2.0
// What the precision and the promise of equal bits came to in a plan, in words.
#pragma once

#include <string>

#include "tanul/trainer.h"

namespace tanul::cli {

// Lines for what differs from the defaults, empty where nothing does:
//   precision bf16: 12 of 20 products on tensor cores, the others in fp32
//   not deterministic: 3 of 61 steps may differ in their last bits from run to run
std::string units_text(const PlanInfo& plan);

// "loss scale 32768 · 1 step left out, its gradients were not finite", for the end of a run in fp16.
std::string loss_scale_text(const LossScale& scale);

// "implicit_gemm", and what it multiplies in where that is not fp32: "implicit_gemm (bf16)"
std::string implementation_text(const std::string& name, Precision multiplies_in);

}  // namespace tanul::cli
