// SPDX-License-Identifier: Apache-2.0
// What every result of tanul-bench says of how it came about, and the numbers that stand in it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace tanul::bench {

// version, commit, build, date, machine (processor, threads, BLAS, CUDA and GPUs).
nlohmann::ordered_json provenance();

double median(std::vector<double> values);
// To so many decimals; the quotient prints shortest in JSON.
double rounded(double value, int decimals);
// To four significant digits.
double significant(double value);

}  // namespace tanul::bench
