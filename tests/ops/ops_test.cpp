// SPDX-License-Identifier: Apache-2.0
// Every implementation of every step kind of ops.def on every case of tests/ops that reaches it:
// values against the double reference within a derived bound, small whole numbers exactly, memory
// (poison, guards, exact workspace, untouched inputs), declared in-place pairs, left out outputs,
// repeatability for 1, 2 and 3 threads. Nothing here is edited when an op is added.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>

#include "core/format.h"
#include "kernels/op.h"
#include "ops/cases.h"
#include "support/bounds.h"
#include "support/gpu_under_test.h"
#include "support/op_graph.h"
#include "support/step_runner.h"

namespace tanul::test {
namespace {

OpKind kind_of(int i) { return static_cast<OpKind>(i); }

std::vector<OpKind> all_kinds() {
  std::vector<OpKind> kinds;
  for (int i = 0; i < kOpKinds; ++i) kinds.push_back(kind_of(i));
  return kinds;
}

// TANUL_CASE=text runs only the cases whose name contains the text.
bool is_selected(const std::string& name) {
  const char* wanted = std::getenv("TANUL_CASE");
  return wanted == nullptr || name.find(wanted) != std::string::npos;
}

std::string command_for(const std::string& case_name) {
  const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
  return fmt::format("TANUL_CASE='{}' {}/bin/tanul_tests --gtest_filter='{}.{}'", case_name,
                     TANUL_BINARY_DIR, test->test_suite_name(), test->name());
}

bool holds_kind(const Graph& graph, OpKind kind) {
  for (const Node& node : graph.nodes) {
    if (node.kind == kind) return true;
  }
  return false;
}

void round_to_float(std::vector<RefTensor>& tensors) {
  for (RefTensor& t : tensors) {
    for (double& value : t.v) value = static_cast<double>(static_cast<float>(value));
  }
}

// Behind a sigmoid or tanh the gradients that arrive are no whole numbers any more.
bool are_whole(const std::vector<RefTensor>& tensors) {
  for (const RefTensor& t : tensors) {
    for (double value : t.v) {
      if (value != std::nearbyint(value)) return false;
    }
  }
  return true;
}

constexpr Fill kSmallIntegers{Fill::integers, 4, {}};

// The steps of one kind that a case leads to: forward as it is, backward as its grad rule emits them.
std::vector<Step> steps_of(const OpCase& op_case, OpKind kind, const Fill* fill) {
  const OpGraph graph(op_case);
  std::vector<Step> steps;
  if (!holds_kind(graph.graph, kind)) return steps;
  RefContext context;
  context.seed = 12345678901;
  context.step = 3;
  context.first = 2;
  context.epoch = 5;
  RefInterpreter interpreter(graph.graph, context);
  feed_case(interpreter, graph, op_case, fill);
  for (const Node& node : graph.graph.nodes) {
    if (node.kind != kind) continue;
    Step step{kind, node.params, interpreter.operands(node), {}, context};
    round_to_float(step.in);
    step.want = reference(kind, node.params, step.in, context);
    steps.push_back(std::move(step));
  }
  return steps;
}

// How far each element of each output may be off. Takes several times as long as the reference itself.
using StepBounds = std::vector<std::vector<double>>;
StepBounds bounds_of(const Implementation& implementation, const Step& step, bool is_exact) {
  if (!is_exact) {
    return error_bounds(step.kind, step.params, step.in, step.want, step.context,
                        implementation.name);
  }
  StepBounds none;
  for (const RefTensor& want : step.want) none.emplace_back(want.v.size(), 0.0);
  return none;
}

// What can be wrong with the values of a run; empty: nothing.
std::string value_error(const Step& step, const RunResult& run, const StepBounds& bounds) {
  for (size_t i = 0; i < step.want.size(); ++i) {
    if (!step.want[i].present) continue;
    const std::string error =
        first_error(to_ref(step.want[i], run.out[i]), step.want[i], bounds[i]);
    if (!error.empty()) return fmt::format("output {}: {}", i, error);
  }
  return {};
}

// Runs a step in every way that must give the same bits as `first`, or, where the implementation does not
// promise them, values within the same bounds; what differs, as text.
std::string repetition_error(const Implementation& implementation, const Step& step,
                             const StepBounds& bounds, const RunOptions& base,
                             const RunResult& first) {
  const auto differs = [&](const RunResult& run) -> std::string {
    if (!implementation.is_deterministic) return value_error(step, run, bounds);
    return run.out == first.out ? "" : "other bits";
  };
  // In the emulation `threads` chooses the order of turns, and `first` ran in that of 1.
  const bool is_emulated = base.device != nullptr && base.device == emulated_cuda_device();
  for (int threads = is_emulated ? 2 : 1; threads <= 3; ++threads) {
    RunOptions options = base;
    options.threads = threads;
    const RunResult run = run_step(implementation, step, options);
    if (!run.failure.empty()) return fmt::format("{} threads: {}", threads, run.failure);
    const std::string what = differs(run);
    if (!what.empty()) return fmt::format("{} with {} threads", what, threads);
  }
  if (!base.in_place.empty()) return {};
  const OpDef& op = op_def(step.kind);
  for (int i = 0; i < 32; ++i) {
    const size_t at = static_cast<size_t>(i);
    if ((op.optional_outputs >> i & 1) == 0 || at >= step.want.size()) continue;
    if (!step.want[at].present) continue;
    RunOptions options;
    options.device = base.device;
    options.absent_out = i;
    RunResult run = run_step(implementation, step, options);
    if (!run.failure.empty()) return fmt::format("without output {}: {}", i, run.failure);
    run.out[at] = first.out[at];
    const std::string what = differs(run);
    if (!what.empty()) return fmt::format("{} without output {}", what, i);
  }
  std::vector<std::pair<int, int>> pairs;
  for (const InPlace& pair : op.in_place) {
    if (pair.in < 0 || !step.in.at(static_cast<size_t>(pair.in)).present) continue;
    // As in src/plan/liveness.cpp: what is repeated cannot be written over.
    if (step.in[static_cast<size_t>(pair.in)].elems() !=
        step.want.at(static_cast<size_t>(pair.out)).elems()) {
      continue;
    }
    pairs.emplace_back(pair.in, pair.out);
  }
  for (const auto& pair : pairs) {
    RunOptions options;
    options.device = base.device;
    options.threads = 2;
    options.in_place = {pair};
    const RunResult run = run_step(implementation, step, options);
    const std::string where = fmt::format("output {} over input {}", pair.second, pair.first);
    if (!run.failure.empty()) return fmt::format("{}: {}", where, run.failure);
    const std::string what = differs(run);
    if (!what.empty()) return fmt::format("{} with {}", what, where);
  }
  return {};
}

// Everything about one step; empty where all is well. What is not deterministic owes no equal bits.
std::string step_error(const Implementation& implementation, const Step& step, bool is_exact,
                       const RunOptions& base, RunResult& run) {
  run = run_step(implementation, step, base);
  // It may still do without an output that nobody has to read.
  for (size_t i = 0; run.is_refused && i < step.want.size(); ++i) {
    if ((op_def(step.kind).optional_outputs >> i & 1) == 0 || !step.want[i].present) continue;
    Step narrower = step;
    narrower.want[i] = RefTensor::absent();
    const std::string error = step_error(implementation, narrower, is_exact, base, run);
    if (!run.is_refused) return error;
  }
  if (run.is_refused) return {};
  if (!run.failure.empty()) return run.failure;
  const StepBounds bounds = bounds_of(implementation, step, is_exact);
  std::string error = value_error(step, run, bounds);
  return error.empty() ? repetition_error(implementation, step, bounds, base, run) : error;
}

// An update runs several times, each step from the state that the one before it left.
std::string update_error(TestDevice* device, const Implementation& implementation,
                         const OpCase& op_case, bool& is_refused) {
  const OpGraph graph(op_case);
  RunOptions options;
  options.device = device;
  for (const auto& pair : op_case.mutates) options.in_place.push_back(pair);
  std::vector<RefTensor> state;
  for (size_t i = 0; i < op_case.in.size(); ++i) {
    state.push_back(make_values(op_case.in[i], op_case.name, static_cast<int>(i)));
  }
  for (int at = 0; at < op_case.steps; ++at) {
    Step step{op_case.kind, op_case.params, state, {}, {}};
    step.context.step = static_cast<uint64_t>(at);
    step.context.lr = 0.1f / static_cast<float>(at + 1);
    step.in[1] = make_values(op_case.in[1], op_case.name + std::to_string(at), 1);
    step.want = reference(step.kind, step.params, step.in, step.context);
    RunResult run;
    const std::string error = step_error(implementation, step, false, options, run);
    is_refused = run.is_refused;
    if (is_refused) return {};
    if (!error.empty()) return fmt::format("step {}: {}", at, error);
    for (const auto& [in, out] : op_case.mutates) {
      state[static_cast<size_t>(in)] =
          to_ref(step.want[static_cast<size_t>(out)], run.out[static_cast<size_t>(out)]);
    }
  }
  return {};
}

struct Named {
  TestDevice* device;
  OpKind kind;
  int at;  // in the list of the device

  const Implementation& implementation() const { return device->implementations(kind).items[at]; }
  friend void PrintTo(const Named& named, std::ostream* out) {
    *out << named.implementation().name;
  }
};

std::vector<Named> all_implementations(TestDevice* device) {
  std::vector<Named> all;
  if (device == nullptr) return all;
  for (OpKind kind : all_kinds()) {
    for (int i = 0; i < device->implementations(kind).count; ++i) all.push_back({device, kind, i});
  }
  return all;
}

class Implementations : public testing::TestWithParam<Named> {};

TEST_P(Implementations, AgreeWithTheReference) {
  const OpKind kind = GetParam().kind;
  const Implementation& implementation = GetParam().implementation();
  RunOptions on_device;
  on_device.device = GetParam().device;
  int ran = 0;
  int failed = 0;
  std::string refusal;  // the last one
  const auto report = [&](const OpCase& op_case, const std::string& what) {
    ++failed;
    ADD_FAILURE() << op_name(kind) << ":" << implementation.name << " on \"" << op_case.name
                  << "\": " << what << "\n  " << command_for(op_case.name);
  };
  for (const Family& family : families()) {
    for (const OpCase& op_case : family.cases()) {
      if (failed >= 10) return;
      if (!is_selected(op_case.name)) continue;
      if (!op_case.mutates.empty()) {
        if (op_case.kind != kind) continue;
        bool is_refused = false;
        const std::string error =
            update_error(GetParam().device, implementation, op_case, is_refused);
        if (!error.empty()) report(op_case, error);
        ran += is_refused ? 0 : 1;
        continue;
      }
      for (const Step& step : steps_of(op_case, kind, nullptr)) {
        RunResult run;
        const std::string error = step_error(implementation, step, false, on_device, run);
        if (!error.empty()) report(op_case, error);
        ran += run.is_refused ? 0 : 1;
        if (run.is_refused) refusal = run.failure;
        if (!error.empty() || run.is_refused ||
            !is_exact_on_integers(kind, step.params, implementation.name)) {
          continue;
        }
        for (const Step& whole : steps_of(op_case, kind, &kSmallIntegers)) {
          if (!are_whole(whole.in)) continue;
          const std::string inexact = step_error(implementation, whole, true, on_device, run);
          if (!inexact.empty()) report(op_case, "on whole numbers, " + inexact);
        }
      }
    }
  }
  // A library that this machine has not got; the emulated device has them all.
  if (ran == 0 && GetParam().device != emulated_cuda_device() &&
      refusal.find("was not found") != std::string::npos) {
    GTEST_SKIP() << refusal;
  }
  if (std::getenv("TANUL_CASE") == nullptr) {
    EXPECT_GT(ran, 0) << "no case reaches " << op_name(kind) << ":" << implementation.name;
  }
}

std::string implementation_name(const testing::TestParamInfo<Named>& info) {
  return std::string(op_name(info.param.kind)) + "_" + info.param.implementation().name;
}

INSTANTIATE_TEST_SUITE_P(Cpu, Implementations,
                         testing::ValuesIn(all_implementations(&cpu_device())),
                         implementation_name);
// On the device that TANUL_TEST_DEVICE names; usually none.
std::vector<Named> on_the_gpu() {
  GpuUnderTest* gpu = GpuUnderTest::get();
  return all_implementations(gpu != nullptr ? &gpu->test_device() : nullptr);
}
INSTANTIATE_TEST_SUITE_P(Gpu, Implementations, testing::ValuesIn(on_the_gpu()),
                         implementation_name);
#ifdef TANUL_EMULATE_CUDA
INSTANTIATE_TEST_SUITE_P(Cuda, Implementations,
                         testing::ValuesIn(all_implementations(emulated_cuda_device())),
                         implementation_name);

TEST(Ops, EveryKindHasACudaKernel) {
  for (OpKind kind : all_kinds()) {
    if (op_is_view(kind)) continue;
    EXPECT_GT(emulated_cuda_device()->implementations(kind).count, 0) << op_name(kind);
  }
}

// A sum whose order is the blocks' own is not let through as one of a fixed order.
TEST(Ops, AnImplementationThatHidesItsOrderIsFound) {
  RunOptions options;
  options.device = emulated_cuda_device();
  const OpKind kind = OpKind::linear_bwd_weights;
  int hidden = 0, found = 0;
  for (const Named& named : all_implementations(options.device)) {
    if (named.kind != kind || named.implementation().is_deterministic) continue;
    Implementation hides = named.implementation();
    hides.is_deterministic = true;
    ++hidden;
    bool is_found = false;
    for (const Family& family : families()) {
      if (std::string_view(family.name) != "linear") continue;
      for (const OpCase& op_case : family.cases()) {
        for (const Step& step : steps_of(op_case, kind, nullptr)) {
          RunResult run;
          const std::string error = step_error(hides, step, false, options, run);
          is_found = is_found || error.find("other bits") != std::string::npos;
        }
        if (is_found) break;
      }
    }
    found += is_found ? 1 : 0;
  }
  EXPECT_GT(hidden, 0);
  EXPECT_EQ(found, hidden);
}
#endif

// One of each list has to take whatever `infer` accepts.
TEST(Ops, OneImplementationOfEachListAcceptsEveryCase) {
  // The first refusal of each implementation; empty: none.
  std::map<std::pair<TestDevice*, OpKind>, std::vector<std::string>> lists;
  for (const Family& family : families()) {
    for (const OpCase& op_case : family.cases()) {
      const OpGraph graph(op_case);
      for (const Node& node : graph.graph.nodes) {
        if (op_is_view(node.kind)) continue;
        std::vector<Operand> in, out;
        const auto operand = [&](ValueId id) {
          Operand o{};
          o.rank = id == kNoValue ? -1 : graph.graph.value(id).shape.rank();
          for (int i = 0; i < o.rank; ++i) o.dims[i] = graph.graph.value(id).shape[i];
          o.dtype = id == kNoValue ? 0 : static_cast<int32_t>(graph.graph.value(id).dtype);
          return o;
        };
        for (ValueId id : node.in) in.push_back(operand(id));
        for (ValueId id : node.out) out.push_back(operand(id));
        StepArgs args{};
        args.in = in.data();
        args.out = out.data();
        args.in_count = static_cast<int32_t>(in.size());
        args.out_count = static_cast<int32_t>(out.size());
        args.params = node.params.data();
        for (TestDevice* device : test_devices()) {
          const ImplementationList& list = device->implementations(node.kind);
          std::vector<std::string>& refusals = lists[{device, node.kind}];
          refusals.resize(static_cast<size_t>(list.count));
          for (int i = 0; i < list.count; ++i) {
            std::string& refusal = refusals[static_cast<size_t>(i)];
            if (!refusal.empty()) continue;
            const Implementation& item = list.items[i];
            if (item.multiplies_in != Precision::fp32 || !item.is_deterministic ||
                item.is_less_precise || item.least_architecture != 0) {
              refusal = "plans of which it is no part";
              continue;
            }
            const char* reason = item.supports(args);
            if (reason != nullptr) refusal = fmt::format("\"{}\": {}", op_case.name, reason);
          }
        }
        if (op_def(node.kind).flops != nullptr) {
          const double flops = op_def(node.kind).flops(args);
          EXPECT_TRUE(std::isfinite(flops) && flops >= 0) << op_name(node.kind);
        }
      }
    }
  }
  for (const auto& [key, refusals] : lists) {
    if (refusals.empty()) continue;
    EXPECT_TRUE(std::find(refusals.begin(), refusals.end(), "") != refusals.end())
        << key.first->name() << ", " << op_name(key.second) << " on " << refusals.back();
  }
}

TEST(Ops, EveryKindHasAReferenceACaseAndADocumentation) {
  std::set<OpKind> reached;
  for (const Family& family : families()) {
    for (const OpCase& op_case : family.cases()) {
      for (const Node& node : OpGraph(op_case).graph.nodes) reached.insert(node.kind);
    }
  }
  for (OpKind kind : all_kinds()) {
    EXPECT_TRUE(has_reference(kind)) << op_name(kind) << " has no reference in tests/support";
    EXPECT_TRUE(reached.count(kind) == 1) << op_name(kind) << " has no case in tests/ops";
    EXPECT_GT(std::string(op_def(kind).doc).size(), 5u) << op_name(kind);
    EXPECT_EQ(op_is_view(kind), cpu_implementations(kind).count == 0) << op_name(kind);
  }
}

TEST(Ops, CaseNamesAreUnique) {
  std::set<std::string> names;
  for (const Family& family : families()) {
    for (const OpCase& op_case : family.cases()) {
      EXPECT_TRUE(names.insert(op_case.name).second) << op_case.name;
    }
  }
}

std::string family_name(const testing::TestParamInfo<Family>& family) { return family.param.name; }

class Families : public testing::TestWithParam<Family> {};

// `infer` and the reference work out the shapes of all outputs on their own.
TEST_P(Families, InferAcceptsAndGivesTheShapesOfTheReference) {
  for (const OpCase& op_case : GetParam().cases()) {
    SCOPED_TRACE(op_case.name);
    const OpGraph graph(op_case);
    if (!op_case.mutates.empty()) continue;
    RefInterpreter interpreter(graph.graph, {});
    feed_case(interpreter, graph, op_case);
    for (const Node& node : graph.graph.nodes) {
      const std::vector<RefTensor> want =
          reference(node.kind, node.params, interpreter.operands(node), {});
      ASSERT_LE(node.out.size(), want.size()) << op_name(node.kind);
      for (size_t i = 0; i < want.size(); ++i) {
        const ValueId out = i < node.out.size() ? node.out[i] : kNoValue;
        ASSERT_EQ(out != kNoValue, want[i].present) << op_name(node.kind) << " output " << i;
        if (out == kNoValue) continue;
        EXPECT_EQ(graph.graph.value(out).shape.str(), want[i].shape.str()) << op_name(node.kind);
        EXPECT_EQ(graph.graph.value(out).dtype, want[i].dtype) << op_name(node.kind);
      }
    }
  }
}

TEST_P(Families, InferSaysWhyItRefuses) {
  for (const RejectCase& reject : GetParam().rejections()) {
    const OpCase op_case{reject.text, reject.kind, reject.params, reject.in, {}, {}, 1, false};
    try {
      const OpGraph graph(op_case);
      ADD_FAILURE() << "accepted; expected: " << reject.text;
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()), reject.text);
      EXPECT_EQ(e.code(), Code::invalid_argument);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, Families, testing::ValuesIn(families()), family_name);

TEST(Ops, RefusalsAreTested) {
  size_t count = 0;
  for (const Family& family : families()) count += family.rejections().size();
  EXPECT_GE(count, 40u);
}

}  // namespace
}  // namespace tanul::test
