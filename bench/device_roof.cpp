// SPDX-License-Identifier: Apache-2.0
#include "bench/device_roof.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bench/op_timer.h"
#include "bench/peak.h"
#include "bench/report.h"

namespace tanul::bench {

namespace {

// y = x w^T, and y = relu(x), at a size.
OpCase lone_step(const char* name, int64_t batch, int64_t features, OpKind kind) {
  ModelBuilder m(name);
  const Var x = m.input({features});
  m.mean_squared_error(kind == OpKind::linear_fwd ? m.linear(x, {.out = features, .bias = false})
                                                  : m.relu(x));
  OpSource source{name, m.build(), {}};
  source.options.batch = batch;
  source.options.is_training = false;
  source.options.targets = PortTypes(DType::f32);
  return op_cases({source}, kind == OpKind::linear_fwd ? "linear_fwd" : "relu_fwd").front();
}

// Seconds of the fastest implementation in each precision; 0 where there is none.
std::array<double, 4> best_of(Backend& backend, const OpCase& op) {
  std::array<double, 4> best{};
  OpMemory memory(backend, op, 1);
  const ImplementationList& list = backend.implementations(op.node().kind);
  for (int i = 0; i < list.count; ++i) {
    if (memory.refusal(list.items[i]) != nullptr) continue;
    memory.bind(list.items[i]);
    const OpTiming timing = time_op(backend, memory, list.items[i], 0.3, 5);
    const double seconds = *std::min_element(timing.seconds.begin(), timing.seconds.end());
    double& before = best[static_cast<size_t>(list.items[i].multiplies_in)];
    if (before == 0 || seconds < before) before = seconds;
  }
  return best;
}

}  // namespace

double Roof::seconds(double work_flops, double work_bytes, Precision precision) const {
  double rate = flops[static_cast<size_t>(precision)];
  if (rate == 0) rate = flops[static_cast<size_t>(Precision::fp32)];
  return std::max(rate > 0 ? work_flops / rate : 0, bytes > 0 ? work_bytes / bytes : 0);
}

Roof measure_roof_of(Backend& backend) {
  Roof roof;
  if (backend.device().type == DeviceType::cpu) {
    roof.flops[0] = measure_fma_peak(backend.threads());
    roof.bytes = measure_copy(backend.threads());
    return roof;
  }
  const OpCase product = lone_step("product", 4096, 4096, OpKind::linear_fwd);
  const std::array<double, 4> products = best_of(backend, product);
  for (size_t i = 0; i < products.size(); ++i) {
    if (products[i] > 0) roof.flops[i] = product.flops / products[i];
  }
  const OpCase pass = lone_step("pass", 8192, 8192, OpKind::relu_fwd);  // 256 MiB each way
  const double seconds = best_of(backend, pass)[static_cast<size_t>(Precision::fp32)];
  if (seconds > 0) roof.bytes = pass.bytes / seconds;
  return roof;
}

nlohmann::ordered_json to_json(const Backend& backend, const Roof& roof) {
  nlohmann::ordered_json result;
  result["device"] = backend.device().str();
  result["description"] = backend.description();
  for (size_t i = 0; i < roof.flops.size(); ++i) {
    if (roof.flops[i] == 0) continue;
    result["gflop_per_s"][precision_name(static_cast<Precision>(i))] =
        significant(roof.flops[i] / 1e9);
  }
  if (roof.bytes > 0) result["gb_per_s"] = significant(roof.bytes / 1e9);
  return result;
}

void print_device_roof(const nlohmann::ordered_json& roof) {
  fmt::print("{}", roof["description"].get<std::string>());
  if (roof.contains("gb_per_s")) {
    std::string rates;
    for (const auto& [precision, rate] : roof["gflop_per_s"].items()) {
      rates += fmt::format("{}{:.0f} GFLOP/s in {}", rates.empty() ? "" : ", ", rate.get<double>(),
                           precision);
    }
    fmt::print(" · ceilings: {}, {:.1f} GB/s read and written", rates,
               roof["gb_per_s"].get<double>());
  }
  fmt::print("\n");
}

}  // namespace tanul::bench
