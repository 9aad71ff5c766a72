// SPDX-License-Identifier: Apache-2.0
#include "bench/report.h"

#include <tanul/device.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "tanul_commit.h"

namespace tanul::bench {

nlohmann::ordered_json provenance() {
  const SystemInfo system = system_info();
  nlohmann::ordered_json result;
  result["tanul"] = system.version;
  result["commit"] = TANUL_COMMIT;
  result["build"] = system.build;
  char date[32];
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
  result["date"] = date;
  nlohmann::ordered_json& machine = result["machine"];
  machine["cpu"] = system.cpu;
  machine["isa"] = system.isa.empty() ? "" : system.isa.front();
  machine["processors"] = system.threads;
  machine["blas"] = system.blas;
  machine["cuda"] = system.cuda;
  if (!system.cuda_versions.empty()) machine["cuda_versions"] = system.cuda_versions;
  for (const GpuInfo& gpu : system.gpus) {
    machine["gpus"].push_back({{"device", gpu.device},
                               {"name", gpu.name},
                               {"compute_capability", gpu.compute_capability},
                               {"memory_bytes", gpu.memory_bytes}});
  }
  return result;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double rounded(double value, int decimals) {
  const double scale = std::pow(10.0, decimals);
  return std::round(value * scale) / scale;
}

double significant(double value) {
  if (value == 0 || !std::isfinite(value)) return value;
  return rounded(value, 3 - static_cast<int>(std::floor(std::log10(std::fabs(value)))));
}

}  // namespace tanul::bench
