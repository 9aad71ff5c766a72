// SPDX-License-Identifier: Apache-2.0
#include "plan/select.h"

#include <map>
#include <optional>
#include <utility>

#include "core/format.h"
#include "kernels/op.h"
#include "plan/tuner.h"

namespace tanul {

int64_t value_bytes(const Value& value) { return value.shape.elems() * dtype_bytes(value.dtype); }

Operand operand_of(const Graph& graph, ValueId id) {
  Operand operand{};
  operand.rank = -1;
  if (id == kNoValue) return operand;
  const Value& value = graph.value(id);
  if (value.shape.rank() > kMaxOperandRank) {
    fail(Code::unsupported, "\"{}\": tensors have at most {} extents here, got {}", value.name,
         kMaxOperandRank, value.shape.str());
  }
  operand.rank = value.shape.rank();
  for (int i = 0; i < operand.rank; ++i) operand.dims[i] = value.shape[i];
  operand.dtype = static_cast<int32_t>(value.dtype);
  return operand;
}

namespace {

// Why the options rule an implementation out; empty where they do not.
std::string ruled_out(const Implementation& candidate, const PlanOptions& options,
                      const std::string& wanted) {
  if (options.precise_convolutions && candidate.is_less_precise) {
    return "precise_convolutions is set";
  }
  if (candidate.multiplies_in != Precision::fp32 && candidate.multiplies_in != options.precision) {
    return fmt::format("multiplies in {}, the plan wants {}",
                       precision_name(candidate.multiplies_in), precision_name(options.precision));
  }
  if (options.is_deterministic && !candidate.is_deterministic) {
    return "is not deterministic, and deterministic is set";
  }
  if (candidate.least_architecture > options.architecture) {
    return fmt::format("needs code for sm_{} or newer, {} runs sm_{}", candidate.least_architecture,
                       options.device, options.architecture);
  }
  if (!wanted.empty() && wanted != candidate.name) return "another one is forced";
  return "";
}

// The search for an implementation of one step.
class ImplementationSearch {
 public:
  ImplementationSearch(const Node& node, const StepArgs& args, const PlanOptions& options)
      : node_(node), args_(args), options_(options), list_(options.implementations(node.kind)) {
    std::string wanted;
    for (const auto& [kind, name] : options.force) {
      if (kind == op_name(node.kind)) wanted = name;
    }
    for (int i = 0; i < list_.count; ++i) {
      reasons_.push_back(ruled_out(list_.items[i], options, wanted));
      if (reasons_.back().empty()) allowed_.push_back(&list_.items[i]);
    }
  }

  // `workspace_bytes` and the rest of the result are those of the implementation.
  void run(Selection& result) {
    if (list_.count == 0) {
      fail(Code::unsupported, "{} of layer \"{}\": no kernel for it on {}", op_name(node_.kind),
           node_.layer, options_.device);
    }
    Tuner::Choice choice = choose();
    if (choice.implementation == nullptr) {
      std::string why;
      for (const std::string& refusal : refused(list_.count)) why += "; " + refusal;
      fail(Code::unsupported, "layer \"{}\": no implementation of {} fits{}", node_.layer,
           op_name(node_.kind), why);
    }
    const auto place = static_cast<int32_t>(choice.implementation - list_.items);
    result.implementation = choice.implementation;
    result.tuned = std::move(choice.why);
    result.refused = refused(options_.tuner != nullptr ? list_.count : place);
    result.cost.workspace_bytes = workspace_bytes_.at(choice.implementation);
  }

 private:
  Tuner::Choice choose() {
    if (options_.tuner != nullptr && allowed_.size() > 1) {
      std::optional<Tuner::Choice> known = options_.tuner->recall(node_.kind, args_, allowed_);
      if (known && supports(known->implementation)) {
        for (const Implementation* idle : known->idle) {
          if (supports(idle)) reason_of(idle) = "could not run when this was timed";
        }
        return *std::move(known);
      }
    }
    Tuner::Candidates supporting;
    for (const Implementation* candidate : allowed_) {
      if (supports(candidate)) supporting.push_back(candidate);
      if (options_.tuner == nullptr && !supporting.empty()) break;
    }
    if (supporting.empty()) return {};
    if (supporting.size() == 1) return {supporting.front(), {}, {}};
    return options_.tuner->choose(node_.kind, args_, allowed_, supporting);
  }

  // Asks the implementation itself, which may prepare what a launch needs, and for its workspace.
  bool supports(const Implementation* candidate) {
    if (const char* refusal = candidate->supports(args_)) {
      reason_of(candidate) = refusal;
      return false;
    }
    const int64_t bytes = candidate->workspace_bytes(args_, options_.threads);
    if (bytes < 0) {
      const auto status = static_cast<int>(-bytes);
      fail(Code::device, "{} of layer \"{}\", {}: {}", op_name(node_.kind), node_.layer,
           candidate->name,
           options_.status_text ? options_.status_text(status) : std::to_string(status));
    }
    workspace_bytes_[candidate] = bytes;
    return true;
  }

  std::string& reason_of(const Implementation* candidate) {
    return reasons_[static_cast<size_t>(candidate - list_.items)];
  }
  // What is said against the first `count` of the list.
  std::vector<std::string> refused(int32_t count) const {
    std::vector<std::string> all;
    for (int32_t i = 0; i < count; ++i) {
      const std::string& reason = reasons_[static_cast<size_t>(i)];
      if (!reason.empty()) all.push_back(fmt::format("{}: {}", list_.items[i].name, reason));
    }
    return all;
  }

  const Node& node_;
  const StepArgs& args_;
  const PlanOptions& options_;
  const ImplementationList& list_;
  std::vector<std::string> reasons_;  // against each of the list; empty: none so far
  Tuner::Candidates allowed_;         // by the options
  std::map<const Implementation*, int64_t> workspace_bytes_;  // of those that support the arguments
};

}  // namespace

Selection select_implementation(const Graph& graph, const Node& node, const StepArgs& args,
                                const PlanOptions& options) {
  Selection result;
  ImplementationSearch(node, args, options).run(result);
  const OpDef& def = op_def(node.kind);
  result.cost.flops = def.flops == nullptr ? 0 : def.flops(args);
  for (const std::vector<ValueId>* ids : {&node.in, &node.out}) {
    for (ValueId id : *ids) {
      // of a data set a batch of it is read, which is the output
      if (id == kNoValue || graph.value(id).kind == ValueKind::data_set) continue;
      result.cost.bytes += static_cast<double>(value_bytes(graph.value(id)));
    }
  }
  return result;
}

}  // namespace tanul
