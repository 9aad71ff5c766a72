// SPDX-License-Identifier: Apache-2.0
#include "run/executor.h"

#include <chrono>
#include <cmath>
#include <vector>

#include "core/format.h"

namespace tanul {

namespace {

// `step 3 (conv2d_fwd of layer "conv1", implicit_gemm)`
std::string name_of(const Plan& plan, size_t index) {
  const StepInfo& info = plan.info().steps[index];
  return fmt::format("step {} ({} of layer \"{}\", {})", index, info.op, info.layer,
                     info.implementation);
}

void launch(Backend& backend, const Plan& plan, size_t index) {
  const PlanStep& step = plan.steps()[index];
  const int status = step.launch(backend.stream(), step.args);
  if (status == 0) return;
  const bool is_cpu = backend.device().type == DeviceType::cpu;
  fail(is_cpu ? Code::internal : Code::device, "{} failed: {}", name_of(plan, index),
       backend.status_text(status));
}

void walk(Backend& backend, const Plan& plan) {
  for (size_t i = 0; i < plan.steps().size(); ++i) launch(backend, plan, i);
}

std::unique_ptr<Recording> record(Backend& backend, const Plan& plan) {
  backend.begin_recording();
  try {
    walk(backend, plan);
  } catch (...) {
    backend.drop_recording();
    throw;
  }
  return backend.end_recording();
}

}  // namespace

void run_plan(Backend& backend, Plan& plan) {
  const StepScope scope(backend);
  PlanRuns& runs = plan.runs();
  if (!backend.can_record() || !runs.has_walked) {
    walk(backend, plan);
    runs.has_walked = true;
    return;
  }
  if (runs.recording == nullptr) runs.recording = record(backend, plan);
  backend.replay(*runs.recording);
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
    try {
      backend.synchronize();
    } catch (const Error& e) {
      fail(e.code(), "{} failed: {}", name_of(plan, i), e.what());
    }
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
