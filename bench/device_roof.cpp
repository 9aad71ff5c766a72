// SPDX-License-Identifier: Apache-2.0
#include "bench/device_roof.h"

#include <algorithm>

#include "bench/op_timer.h"
#include "bench/peak.h"

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

// Seconds of the fastest implementation; 0 where there is none.
double best_of(Backend& backend, const OpCase& op) {
  double best = 0;
  OpMemory memory(backend, op, 1);
  const ImplementationList& list = backend.implementations(op.node().kind);
  for (int i = 0; i < list.count; ++i) {
    if (list.items[i].supports(memory.args(0)) != nullptr) continue;
    memory.bind(list.items[i]);
    const OpTiming timing = time_op(backend, memory, list.items[i], 0.5, 5);
    const double seconds = *std::min_element(timing.seconds.begin(), timing.seconds.end());
    if (best == 0 || seconds < best) best = seconds;
  }
  return best;
}

}  // namespace

double Roof::seconds(double work_flops, double work_bytes) const {
  return std::max(flops > 0 ? work_flops / flops : 0, bytes > 0 ? work_bytes / bytes : 0);
}

Roof measure_roof_of(Backend& backend) {
  if (backend.device().type == DeviceType::cpu) {
    return {measure_fma_peak(backend.threads()), measure_copy(backend.threads())};
  }
  const OpCase product = lone_step("product", 4096, 4096, OpKind::linear_fwd);
  const OpCase pass = lone_step("pass", 8192, 8192, OpKind::relu_fwd);  // 256 MiB each way
  return {product.flops / best_of(backend, product), pass.bytes / best_of(backend, pass)};
}

}  // namespace tanul::bench
