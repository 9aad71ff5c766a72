// SPDX-License-Identifier: Apache-2.0
// The ceilings of a device, as roofline models want them (S. Williams, A. Waterman, D. Patterson, 2009).
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>

#include "backend/backend.h"
#include "tanul/precision.h"

namespace tanul::bench {

struct Roof {
  std::array<double, 4> flops{};  // a second, by Precision; 0: not measured
  double bytes = 0;               // read and written, a second
  // The least time that work of this size can take.
  double seconds(double work_flops, double work_bytes, Precision precision) const;
};

// Of the CPU: independent multiply-adds, and copies. Of a GPU: the best matrix product of 4096^3 that
// it has an implementation of in each precision, and an element-wise step over arrays far larger than its
// caches.
Roof measure_roof_of(Backend& backend);

// {device, description, gflop_per_s: {fp32, …}, gb_per_s}
nlohmann::ordered_json to_json(const Backend& backend, const Roof& roof);

// One line; without the ceilings where they were not measured.
void print_device_roof(const nlohmann::ordered_json& roof);

}  // namespace tanul::bench
