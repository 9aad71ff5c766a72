// SPDX-License-Identifier: Apache-2.0
// Everything a program needs: #include <tanul/tanul.h> and link tanul::tanul.
#pragma once

#include "tanul/augment.h"     // IWYU pragma: export
#include "tanul/checkpoint.h"  // IWYU pragma: export
#include "tanul/data.h"        // IWYU pragma: export
#include "tanul/device.h"      // IWYU pragma: export
#include "tanul/error.h"       // IWYU pragma: export
#include "tanul/fit.h"         // IWYU pragma: export
#include "tanul/init.h"        // IWYU pragma: export
#include "tanul/metrics.h"     // IWYU pragma: export
#include "tanul/model.h"       // IWYU pragma: export
#include "tanul/optim.h"       // IWYU pragma: export
#include "tanul/plan.h"        // IWYU pragma: export
#include "tanul/precision.h"   // IWYU pragma: export
#include "tanul/recipe.h"      // IWYU pragma: export
#include "tanul/schedule.h"    // IWYU pragma: export
#include "tanul/start.h"       // IWYU pragma: export
#include "tanul/tensor.h"      // IWYU pragma: export
#include "tanul/trainer.h"     // IWYU pragma: export
