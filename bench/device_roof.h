// SPDX-License-Identifier: Apache-2.0
// The ceilings of a device, as roofline models want them (S. Williams, A. Waterman, D. Patterson, 2009).
#pragma once

#include <string>
#include <vector>

#include "backend/backend.h"

namespace tanul::bench {

struct Roof {
  double flops = 0;  // a second; 0: not measured
  double bytes = 0;  // read and written, a second
  // The least time that work of this size can take.
  double seconds(double work_flops, double work_bytes) const;
};

// Of the CPU: independent multiply-adds, and copies. Of a GPU: the best matrix product of 4096^3 that
// it has an implementation of, and an element-wise step over arrays far larger than its caches.
Roof measure_roof_of(Backend& backend);

}  // namespace tanul::bench
