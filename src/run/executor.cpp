// SPDX-License-Identifier: Apache-2.0
#include "run/executor.h"

#include <chrono>
#include <cmath>
#include <vector>

#include "core/format.h"

namespace tanul {

namespace {

// begin_step … end_step, also when a step throws.
class StepScope {
 public:
  explicit StepScope(Backend& backend) : backend_(backend) { backend.begin_step(); }
  ~StepScope() { backend_.end_step(); }
  StepScope(const StepScope&) = delete;
  StepScope& operator=(const StepScope&) = delete;

 private:
  Backend& backend_;
};

void launch(Backend& backend, const Plan& plan, size_t index) {
  const PlanStep& step = plan.steps()[index];
  const int status = step.launch(backend.stream(), step.args);
  if (status != 0) {
    const StepInfo& info = plan.info().steps[index];
    fail(Code::internal, "step {} ({} of layer \"{}\", {}) failed with status {}", index, info.op,
         info.layer, info.implementation, status);
  }
}

}  // namespace

void run_plan(Backend& backend, const Plan& plan) {
  const StepScope scope(backend);
  for (size_t i = 0; i < plan.steps().size(); ++i) launch(backend, plan, i);
}

void run_plan_to(Backend& backend, const Plan& plan, int32_t node) {
  const StepScope scope(backend);
  for (size_t i = 0; i < plan.steps().size() && plan.steps()[i].node <= node; ++i) {
    launch(backend, plan, i);
  }
}

void run_plan_stepwise(Backend& backend, const Plan& plan,
                       const std::function<void(const StepReport&)>& on_step, bool looks) {
  using Clock = std::chrono::steady_clock;
  const StepScope scope(backend);
  std::vector<float> host;
  for (size_t i = 0; i < plan.steps().size(); ++i) {
    const Clock::time_point start = Clock::now();
    launch(backend, plan, i);
    StepReport report;
    report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    report.step = &plan.info().steps[i];
    const StepArgs& args = plan.steps()[i].args;
    for (int o = 0; looks && o < args.out_count; ++o) {
      const Operand& out = args.out[o];
      if (!out.present() || out.dtype != static_cast<int32_t>(DType::f32)) continue;
      host.resize(static_cast<size_t>(out.elems()));
      backend.copy_out(host.data(), out.data, out.elems() * 4);
      for (float value : host) {
        if (!std::isfinite(value)) {
          report.is_finite = false;
        } else if (std::fabs(value) > report.largest) {
          report.largest = std::fabs(value);
        }
      }
    }
    on_step(report);
  }
}

}  // namespace tanul
