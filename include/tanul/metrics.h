// SPDX-License-Identifier: Apache-2.0
// Metrics, exact and streaming: each is a class with add() for a sample or a batch, merge() for
// parts that were counted apart (threads, machines), reset(), and its values. Everything is
// computed in double. Truth comes first: add(truth, what was predicted, weight). docs/METRICS.md
// lists them with their formulas.
#pragma once

#include "tanul/metrics_counts.h"       // IWYU pragma: export
#include "tanul/metrics_curves.h"       // IWYU pragma: export
#include "tanul/metrics_probability.h"  // IWYU pragma: export
#include "tanul/metrics_regression.h"   // IWYU pragma: export
