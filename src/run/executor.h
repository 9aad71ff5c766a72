// SPDX-License-Identifier: Apache-2.0
// Runs a bound plan, once per call.
#pragma once

#include <functional>

#include "backend/backend.h"
#include "plan/plan.h"
#include "tanul/trainer.h"

namespace tanul {

// Walks the steps in order. Allocates nothing. Throws Error{internal} naming the step whose launch
// failed.
void run_plan(Backend& backend, const Plan& plan);

// Runs the steps of the nodes up to `node`, that one included.
void run_plan_to(Backend& backend, const Plan& plan, int32_t node);

// The same walk, with a look at the outputs after each step.
void run_plan_stepwise(Backend& backend, const Plan& plan,
                       const std::function<void(const StepReport&)>& on_step, bool looks);

}  // namespace tanul
