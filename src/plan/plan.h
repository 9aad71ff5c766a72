// SPDX-License-Identifier: Apache-2.0
// A plan: the steps of a graph in order, each with its implementation and its operands' addresses in
// two regions of memory: the persistent one (parameters, state, constants; shared by all plans of a
// trainer) and the scratch one (inputs and the packed arena). Nothing is allocated after it is built.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "graph/step_graph.h"
#include "kernels/backend_abi.h"
#include "plan/liveness.h"
#include "tanul/plan.h"

namespace tanul {

class Tuner;

struct PlanStep {
  int (*launch)(Stream* stream, const StepArgs& args);
  StepArgs args;
  int32_t node;  // of the graph, for labels
};

struct PlanOptions {
  std::string device = "cpu";  // for messages
  int threads = 1;
  std::function<const ImplementationList&(OpKind)> implementations;
  std::function<std::string(int)> status_text;  // of the device, for messages
  // Implementation by step kind, in place of the first that fits.
  std::vector<std::pair<std::string, std::string>> force;
  bool precise_convolutions = false;  // these three: see TrainerOptions
  Precision precision = Precision::fp32;
  bool is_deterministic = true;
  int32_t architecture = 0;  // see Backend
  Tuner* tuner = nullptr;    // null: the order of the list decides
};

// What the executor keeps of the runs of a plan on its device.
struct PlanRuns {
  bool has_walked = false;
  std::unique_ptr<Recording> recording;  // of the plan as it is bound now
};

class Plan {
 public:
  // Selects implementations, finds lifetimes, packs; with Memory::low also chooses what is kept, unless
  // graph_options say so. Throws Error{invalid_argument, unsupported}.
  Plan(const Model& model, const StepGraphOptions& graph_options, const PlanOptions& options);
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  const StepGraph& step_graph() const { return step_; }
  const std::vector<PlanStep>& steps() const { return steps_; }
  const PlanInfo& info() const { return info_; }
  // What of the forward pass it keeps, where that was chosen: good for every batch size.
  const std::optional<Keeping>& keeping() const { return keeping_; }
  int64_t scratch_bytes() const { return scratch_bytes_; }

  // Parameters, state and constants: they live outside the plan's own memory.
  std::vector<ValueId> persistent_values() const;

  // Fixes all addresses. `persistent` gives the memory of a persistent value by name, `data_set` that of a
  // value of StepGraph::data_set.
  void bind(const std::function<std::byte*(const std::string& name)>& persistent,
            std::byte* scratch, const StepBlock* block,
            const std::function<std::byte*(ValueId)>& data_set = {});

  PlanRuns& runs() { return runs_; }

  // Where a value lies, once bound; null where it is nowhere.
  std::byte* address(ValueId value) const { return addresses_[static_cast<size_t>(value)]; }

 private:
  void select(const PlanOptions& options);
  void lay_out();
  void explain(const Model& model, const StepGraphOptions& graph_options);

  std::optional<Keeping> keeping_;
  StepGraph step_;
  Liveness live_;
  Packing packing_;
  std::vector<Operand> operands_;
  std::vector<PlanStep> steps_;
  std::vector<int64_t> input_offsets_;     // of each value that is an input, in scratch; else -1
  std::vector<int64_t> workspace_bytes_;   // of each step
  std::vector<int32_t> workspace_buffer_;  // of each step, in packing_; kNoBuffer without
  int64_t input_bytes_ = 0;
  int64_t scratch_bytes_ = 0;
  std::vector<std::byte*> addresses_;
  PlanInfo info_;
  PlanRuns runs_;
};

}  // namespace tanul
