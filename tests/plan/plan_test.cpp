// SPDX-License-Identifier: Apache-2.0
// The engine's promises about memory, on random networks: every operand still holds what was put
// there when it is read.
#include "plan/plan.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>

#include "core/format.h"
#include "kernels/op.h"
#include "support/random_model.h"
#include "tanul/trainer.h"
#include "train/trainer_impl.h"

namespace tanul {
namespace {

PlanOptions cpu_options() {
  PlanOptions options;
  options.threads = 2;
  options.implementations = [](OpKind kind) -> const ImplementationList& {
    return cpu_implementations(kind);
  };
  return options;
}

// Walks the plan and keeps a map of which value owns which bytes. Each step must find its inputs
// intact, and may write only where nothing alive lies, but for what it declares in place.
void check_ownership(const Plan& plan) {
  const Graph& graph = plan.step_graph().graph;
  std::map<std::byte*, std::pair<std::byte*, ValueId>> owner;  // begin -> {end, value}
  std::map<ValueId, ValueId> root;                             // of views
  const auto root_of = [&](ValueId id) { return root.count(id) != 0 ? root[id] : id; };
  const auto claim = [&](ValueId id) {
    std::byte* begin = plan.address(id);
    ASSERT_NE(begin, nullptr) << graph.value(id).name;
    std::byte* end = begin + graph.value(id).shape.elems() * dtype_bytes(graph.value(id).dtype);
    for (auto it = owner.begin(); it != owner.end();) {
      const bool overlaps = it->first < end && begin < it->second.first;
      it = overlaps ? owner.erase(it) : std::next(it);
    }
    owner[begin] = {end, id};
  };
  const auto share_memory = [&](ValueId a, ValueId b) {
    const auto end = [&](ValueId id) {
      const Value& value = graph.value(id);
      return plan.address(id) + value.shape.elems() * dtype_bytes(value.dtype);
    };
    return plan.address(a) < end(b) && plan.address(b) < end(a);
  };
  const auto expect_owned = [&](ValueId id, const char* when, size_t n) {
    const auto found = owner.find(plan.address(id));
    ASSERT_TRUE(found != owner.end() && found->second.second == root_of(id))
        << "\"" << graph.value(id).name << "\" was overwritten before it was read (" << when
        << " of node " << n << ", " << op_name(graph.nodes[n].kind) << ")";
  };
  for (size_t i = 0; i < graph.values.size(); ++i) {
    const auto id = static_cast<ValueId>(i);
    if (graph.value(id).kind != ValueKind::temp) claim(id);
  }
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    for (ValueId in : node.in) {
      if (in == kNoValue) continue;
      ASSERT_NO_FATAL_FAILURE(expect_owned(in, "input", n));
    }
    if (op_is_view(node.kind)) {
      root[node.out.front()] = root_of(node.in.front());
      continue;
    }
    for (size_t o = 0; o < node.out.size(); ++o) {
      const ValueId out = node.out[o];
      if (out == kNoValue) continue;
      ASSERT_NO_FATAL_FAILURE(claim(out));
      // An output may take the place of an input only where the op says so.
      for (size_t i = 0; i < node.in.size(); ++i) {
        const ValueId in = node.in[i];
        if (in == kNoValue || in == out) continue;
        if (!share_memory(in, out)) continue;
        bool declared = false;
        for (const InPlace& pair : op_def(node.kind).in_place) {
          declared |= pair.in == static_cast<int>(i) && pair.out == static_cast<int>(o);
        }
        ASSERT_TRUE(declared) << op_name(node.kind) << " overwrites its input " << i;
      }
    }
    // Outputs of one step do not overlap each other.
    for (ValueId out : node.out) {
      if (out == kNoValue) continue;
      ASSERT_NO_FATAL_FAILURE(expect_owned(out, "output", n));
    }
  }
  for (ValueId id : {plan.step_graph().losses[0].loss, plan.step_graph().losses[0].stats}) {
    const auto found = owner.find(plan.address(id));
    ASSERT_TRUE(found != owner.end() && found->second.second == root_of(id))
        << graph.value(id).name << " did not live to the end";
  }
}

TEST(Plan, RandomNetworksReadWhatWasWritten) {
  double ratio = 0;
  constexpr uint32_t kModels = 1000;
  for (uint32_t which = 0; which < kModels; ++which) {
    const Model model = test::random_model(which);
    StepGraphOptions graph_options;
    graph_options.batch = 1 + which % 5;
    graph_options.is_training = which % 4 != 3;
    graph_options.optimizer = which % 2 == 0 ? Optimizer{Sgd{0.1f, 0.9f}} : Optimizer{Adam{}};
    graph_options.clip_norm = which % 3 == 0 ? 1.0 : 0.0;
    Plan plan(model, graph_options, cpu_options());
    // Addresses are only compared, never read: any distinct ones will do.
    auto* base = reinterpret_cast<std::byte*>(uintptr_t{1} << 40);
    std::map<std::string, std::byte*> persistent;
    plan.bind(
        [&](const std::string& name) {
          const auto at = persistent.emplace(name, base - ((persistent.size() + 1) << 20));
          return at.first->second;
        },
        base, nullptr);
    ASSERT_NO_FATAL_FAILURE(check_ownership(plan)) << "model " << which;
    ratio += static_cast<double>(plan.info().activation_bytes) /
             static_cast<double>(plan.info().activation_lower_bound_bytes);
  }
  RecordProperty("mean_ratio_to_lower_bound", std::to_string(ratio / kModels));
  EXPECT_LT(ratio / kModels, 1.02);
}

Model small_model() {
  ModelBuilder m("small");
  Var x = m.input({1, 8, 8});
  x = m.max_pool2d(m.relu(m.conv2d(x, {.out = 4, .kernel = 3, .pad = 1})), {.kernel = 2});
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 3}));
  return m.build();
}

TEST(Plan, FusesTheActivationAndSaysSo) {
  const PlanInfo info = make_plan(small_model(), {.device = "cpu", .batch = 4});
  ASSERT_EQ(info.layers.size(), 7u);
  EXPECT_EQ(info.layers[1].name, "conv1");
  EXPECT_EQ(info.layers[1].description, "conv2d 3x3 /1 +1");
  EXPECT_EQ(info.layers[1].parameters, 4 * 9 + 4);
  EXPECT_EQ(info.layers[1].output, (Shape{4, 4, 8, 8}));
  EXPECT_EQ(info.layers[1].flops, 2.0 * 4 * 4 * 64 * 9 + 4 * 4 * 64);  // and the bias
  EXPECT_EQ(info.layers[2].name, "relu1");
  EXPECT_EQ(info.layers[2].fused_into, "conv1");
  for (const StepInfo& step : info.steps) EXPECT_NE(step.op, "relu_fwd");
}

Model two_linear_layers() {
  ModelBuilder m("mlp");
  const Var x = m.relu(m.linear(m.input({90}), {.out = 70}));
  m.softmax_cross_entropy(m.linear(x, {.out = 5}));
  return m.build();
}

std::vector<std::string> steps_of_layer(const std::string& layer, TrainerOptions options) {
  options.device = "cpu";
  std::vector<std::string> steps;
  for (const StepInfo& step : make_plan(two_linear_layers(), options).steps) {
    if (step.layer == layer) steps.push_back(step.op);
  }
  return steps;
}

using Names = std::vector<std::string>;

TEST(Plan, SgdBecomesPartOfTheStepThatMakesTheGradient) {
  const Sgd sgd{.lr = 0.1f, .momentum = 0.9f};
  // what is left is the bias
  EXPECT_EQ(steps_of_layer("linear1", {.batch = 16, .optimizer = sgd}),
            (Names{"linear_fwd", "relu_bwd", "linear_bwd_weights_sgd", "sgd_update"}));
  // behind the last step that reads the weights; 5 outputs of 4 samples
  EXPECT_EQ(steps_of_layer("linear2", {.batch = 4, .optimizer = sgd}),
            (Names{"linear_fwd", "linear_bwd_data", "linear_bwd_weights_sgd", "sgd_update"}));
}

// Whose gradient is larger than x here, too.
TEST(Plan, TheBiasOfALinearLayerIsUpdatedOnItsOwn) {
  ModelBuilder m;
  m.softmax_cross_entropy(m.linear(m.input({4}), {.out = 30}));
  Names steps;
  for (const StepInfo& step : make_plan(m.build(), {.device = "cpu", .batch = 1}).steps) {
    if (step.layer == "linear1") steps.push_back(step.op);
  }
  EXPECT_EQ(steps, (Names{"linear_fwd", "linear_bwd_weights_sgd", "sgd_update"}));
}

TEST(Plan, TheUpdateStaysAStepOfItsOwn) {
  const Sgd sgd{.lr = 0.1f, .momentum = 0.9f};
  const Names apart{"linear_fwd", "relu_bwd", "linear_bwd_weights", "sgd_update", "sgd_update"};
  // x, which would live longer, is larger than the gradient
  EXPECT_EQ(steps_of_layer("linear1", {.batch = 71, .optimizer = sgd}), apart);
  // others read the gradient
  EXPECT_EQ(steps_of_layer("linear1", {.batch = 16, .optimizer = sgd, .clip_norm = 1}), apart);
  for (const TrainerOptions& options :
       {TrainerOptions{.optimizer = sgd, .clip_value = 1},
        TrainerOptions{.optimizer = sgd, .accumulate = 2},
        TrainerOptions{.optimizer = sgd, .l2 = 0.1}, TrainerOptions{.optimizer = Adam{}}}) {
    for (const std::string& step : steps_of_layer("linear1", options)) {
      EXPECT_NE(step, "linear_bwd_weights_sgd");
    }
  }
}

// Clipping by a limit that nothing reaches keeps the two steps apart.
TEST(Plan, SgdInsideOfTheGradientStepHasTheSameBits) {
  const auto trained = [](int64_t batch, double clip_value) {
    Trainer trainer(two_linear_layers(), {.device = "cpu",
                                          .batch = batch,
                                          .optimizer = Sgd{.lr = 0.1f, .momentum = 0.9f},
                                          .clip_value = clip_value,
                                          .threads = 2});
    Tensor samples({batch, 90}, DType::f32), labels({batch}, DType::i32);
    for (int64_t i = 0; i < samples.elems(); ++i) {
      samples.data<float>()[i] = static_cast<float>(i * 37 % 101) / 50 - 1;
    }
    for (int64_t i = 0; i < batch; ++i) labels.data<int32_t>()[i] = static_cast<int32_t>(i % 5);
    for (int step = 0; step < 3; ++step) trainer.step(samples, labels);
    return trainer.state();
  };
  for (int64_t batch : {3, 40}) {
    const TensorFile inside = trained(batch, 0), apart = trained(batch, 1e30);
    ASSERT_EQ(inside.tensors.size(), apart.tensors.size());
    for (size_t i = 0; i < inside.tensors.size(); ++i) {
      const auto& [name, a] = inside.tensors[i];
      const Tensor& b = apart.tensors[i].second;
      ASSERT_EQ(a.bytes(), b.bytes()) << name;
      EXPECT_EQ(std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())), 0) << name;
    }
  }
}

TEST(Plan, AnInputThatNeedsNoGradientGetsNone) {
  for (const StepInfo& step : make_plan(small_model(), {.device = "cpu", .batch = 4}).steps) {
    EXPECT_NE(step.op, "conv2d_bwd_data");
  }
}

TEST(Plan, EvaluationKeepsNoArgmaxAndNoGradients) {
  const PlanInfo info = make_plan(small_model(), {.device = "cpu", .batch = 4}, false);
  for (const StepInfo& step : info.steps) EXPECT_NE(step.phase, "backward");
  const PlanInfo training = make_plan(small_model(), {.device = "cpu", .batch = 4});
  EXPECT_LT(info.total_bytes, training.total_bytes);
}

TEST(Plan, DropoutIsIdentityInEvaluation) {
  ModelBuilder m;
  Var x = m.flatten(m.input({1, 4, 4}));
  m.softmax_cross_entropy(m.linear(m.dropout(x), {.out = 2}));
  const Model model = m.build();
  int training = 0;
  int evaluation = 0;
  for (const StepInfo& s : make_plan(model, {.device = "cpu"}, true).steps) {
    training += s.op == "dropout_fwd";
  }
  for (const StepInfo& s : make_plan(model, {.device = "cpu"}, false).steps) {
    evaluation += s.op == "dropout_fwd";
  }
  EXPECT_EQ(training, 1);
  EXPECT_EQ(evaluation, 0);
}

std::string error_of(const TrainerOptions& options) {
  try {
    make_plan(small_model(), options);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Plan, ForcingWhatIsNotThereIsAnError) {
  EXPECT_EQ(error_of({.device = "cpu", .force = {{"conv2d_fwd", "magic"}}}).substr(0, 51),
            "force: conv2d_fwd has no implementation \"magic\"; it");
  EXPECT_EQ(error_of({.device = "cpu", .force = {{"conv9d", "magic"}}}),
            "force: there is no step kind \"conv9d\"; `tanul plan --steps` lists them");
}

TEST(Plan, PreciseConvolutionsArePlainSums) {
  ModelBuilder m("wide");
  const Var x = m.conv2d(m.input({32, 16, 16}), {.out = 32, .kernel = 3, .pad = 1});
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 10}));
  const Model model = m.build();
  const auto conv_step = [&](bool is_precise) {
    const PlanInfo plan =
        make_plan(model, {.device = "cpu", .batch = 8, .precise_convolutions = is_precise});
    for (const StepInfo& step : plan.steps) {
      if (step.op == "conv2d_fwd") return step;
    }
    return StepInfo{};
  };
  EXPECT_EQ(conv_step(false).implementation, "winograd_f4x4_3x3");
  const StepInfo precise = conv_step(true);
  EXPECT_EQ(precise.implementation.find("winograd"), std::string::npos);
  ASSERT_FALSE(precise.refused.empty());
  EXPECT_EQ(precise.refused[0], "winograd_f4x4_3x3: precise_convolutions is set");
}

// A device whose backend has not every kernel.
TEST(Plan, AStepWithoutAKernelIsAnError) {
  ModelBuilder m("net");
  const Var x = m.conv2d(m.input({1, 8, 8}), {.out = 2, .kernel = 3});
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 3}));
  const Model model = m.build();
  PlanOptions options = cpu_options();
  options.device = "cuda";
  options.implementations = [](OpKind kind) -> const ImplementationList& {
    static const ImplementationList kNone{nullptr, 0};
    return kind == OpKind::conv2d_fwd ? kNone : cpu_implementations(kind);
  };
  StepGraphOptions graph_options;
  graph_options.batch = 4;
  graph_options.targets = default_targets(model);
  try {
    const Plan plan(model, graph_options, options);
    ADD_FAILURE() << "planned without a kernel";
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()), "conv2d_fwd of layer \"conv1\": no kernel for it on cuda");
    EXPECT_EQ(e.code(), Code::unsupported);
  }
}

// A library on the device cannot prepare a step.
TEST(Plan, AStepThatCannotBePreparedIsAnErrorWithTheReason) {
  ModelBuilder m("net");
  m.softmax_cross_entropy(m.linear(m.input({8}), {.out = 3}));
  const Model model = m.build();
  PlanOptions options = cpu_options();
  options.implementations = [](OpKind kind) -> const ImplementationList& {
    static const Implementation broken{"broken", supports_all,
                                       [](const StepArgs&, int) { return int64_t{-7}; }, nullptr};
    static const ImplementationList list{&broken, 1};
    return kind == OpKind::linear_fwd ? list : cpu_implementations(kind);
  };
  options.status_text = [](int status) { return fmt::format("call {} failed", status); };
  StepGraphOptions graph_options;
  graph_options.batch = 4;
  graph_options.targets = default_targets(model);
  try {
    const Plan plan(model, graph_options, options);
    ADD_FAILURE() << "planned with a step that cannot run";
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()), "linear_fwd of layer \"linear1\", broken: call 7 failed");
    EXPECT_EQ(e.code(), Code::device);
  }
}

// The steps of a plan whose convolution may be computed by what an sm_80 has, or as on the CPU.
StepInfo conv_step_on(int32_t architecture) {
  ModelBuilder m("net");
  const Var x = m.conv2d(m.input({1, 8, 8}), {.out = 2, .kernel = 3});
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 3}));
  const Model model = m.build();
  PlanOptions options = cpu_options();
  options.device = "cuda";
  options.architecture = architecture;
  options.implementations = [](OpKind kind) -> const ImplementationList& {
    static const ImplementationList& all = cpu_implementations(OpKind::conv2d_fwd);
    static const Implementation last = all.items[all.count - 1];
    static const std::vector<Implementation> both = [] {
      Implementation newer = last;
      newer.name = "newer";
      newer.least_architecture = 80;
      return std::vector<Implementation>{newer, last};
    }();
    static const ImplementationList list{both.data(), 2};
    return kind == OpKind::conv2d_fwd ? list : cpu_implementations(kind);
  };
  StepGraphOptions graph_options;
  graph_options.batch = 4;
  graph_options.targets = default_targets(model);
  const Plan plan(model, graph_options, options);
  for (const StepInfo& step : plan.info().steps) {
    if (step.op == "conv2d_fwd") return step;
  }
  return {};
}

TEST(Plan, OlderDevicesGetWhatRunsOnThem) {
  EXPECT_EQ(conv_step_on(90).implementation, "newer");
  EXPECT_EQ(conv_step_on(80).implementation, "newer");
  const StepInfo old = conv_step_on(75);
  EXPECT_NE(old.implementation, "newer");
  ASSERT_EQ(old.refused.size(), 1u);
  EXPECT_EQ(old.refused[0], "newer: needs code for sm_80 or newer, cuda runs sm_75");
}

TEST(Plan, RefusesDevicesThatAreNotThere) {
  EXPECT_EQ(error_of({.device = "tpu"}),
            "there is no device \"tpu\"; devices are auto, cpu, cuda, cuda:N");
}

}  // namespace
}  // namespace tanul
