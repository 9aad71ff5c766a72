// SPDX-License-Identifier: Apache-2.0
// Runs a bound plan, once per call: walks its steps or, on a device that can record, walks once, then
// records them and from there on queues the recording. Both give the same bits.
#pragma once

#include <functional>

#include "backend/backend.h"
#include "plan/plan.h"
#include "tanul/trainer.h"

namespace tanul {

// Runs the steps in order. Allocates nothing once it walked and recorded. Throws Error{internal} (on the
// CPU) or Error{device} naming the step whose launch failed.
void run_plan(Backend& backend, Plan& plan);

// Walks the steps of the nodes up to `node`, that one included.
void run_plan_to(Backend& backend, const Plan& plan, int32_t node);

// Walks, waits after each step, and looks at its outputs.
void run_plan_stepwise(Backend& backend, const Plan& plan,
                       const std::function<void(const StepReport&)>& on_step, bool looks);

}  // namespace tanul
