// SPDX-License-Identifier: Apache-2.0
// What TrainerOptions::precision and ::deterministic select, on a device that has an implementation of each
// kind in front of the CPU's own.
#include <gtest/gtest.h>

#include <map>

#include "kernels/op.h"
#include "plan/plan.h"
#include "train/trainer_impl.h"

namespace tanul::test {
namespace {

const char* supports_batches(const StepArgs& args) {
  return args.in[0].dims[0] > 1 ? nullptr : "a batch of one";
}

// The CPU's list of a product behind a product in each format, and one that is not deterministic. None
// of them is ever launched.
const ImplementationList& with_units(OpKind kind) {
  struct List {
    std::vector<Implementation> items;
    ImplementationList list;
  };
  static std::map<OpKind, List> lists;
  if (!op_def(kind).is_product || kind == OpKind::linear_bwd_weights_sgd) {
    return cpu_implementations(kind);
  }
  const auto [found, is_new] = lists.try_emplace(kind);
  List& list = found->second;
  if (is_new) {
    const auto unit = [](const char* name, Precision precision) {
      Implementation i{name, supports_batches, no_workspace, nullptr};
      i.multiplies_in = precision;
      return i;
    };
    list.items = {unit("mma_bf16", Precision::bf16), unit("mma_fp16", Precision::fp16),
                  unit("mma_tf32", Precision::tf32), unit("atomics", Precision::fp32)};
    list.items.back().is_deterministic = false;
    const ImplementationList& own = cpu_implementations(kind);
    list.items.insert(list.items.end(), own.items, own.items + own.count);
    list.list = {list.items.data(), static_cast<int32_t>(list.items.size())};
  }
  return list.list;
}

Model small_model() {
  ModelBuilder m("net");
  const Var x = m.relu(m.conv2d(m.input({1, 8, 8}), {.out = 2, .kernel = 3}));
  m.softmax_cross_entropy(m.linear(m.flatten(x), {.out = 3}));
  return m.build();
}

PlanInfo plan_with(Precision precision, bool is_deterministic = true, int64_t batch = 4,
                   const std::string& forced = {}) {
  const Model model = small_model();
  PlanOptions options;
  options.device = "cuda";
  options.implementations = with_units;
  options.precision = precision;
  options.is_deterministic = is_deterministic;
  if (!forced.empty()) options.force = {{"conv2d_fwd", forced}};
  StepGraphOptions graph_options;
  graph_options.batch = batch;
  graph_options.targets = default_targets(model);
  return Plan(model, graph_options, options).info();
}

StepInfo step_of(const PlanInfo& plan, const std::string& op) {
  for (const StepInfo& step : plan.steps) {
    if (step.op == op) return step;
  }
  ADD_FAILURE() << "no step " << op;
  return {};
}

TEST(Precision, FloatPlansTakeNothingElse) {
  const PlanInfo plan = plan_with(Precision::fp32);
  const StepInfo conv = step_of(plan, "conv2d_fwd");
  ASSERT_GE(conv.refused.size(), 4u);
  EXPECT_EQ(conv.refused[0], "mma_bf16: multiplies in bf16, the plan wants fp32");
  EXPECT_EQ(conv.refused[1], "mma_fp16: multiplies in fp16, the plan wants fp32");
  EXPECT_EQ(conv.refused[2], "mma_tf32: multiplies in tf32, the plan wants fp32");
  EXPECT_EQ(conv.refused[3], "atomics: is not deterministic, and deterministic is set");
  EXPECT_EQ(conv.multiplies_in, Precision::fp32);
  EXPECT_EQ(plan.products, plan.products_in_precision);
  EXPECT_EQ(plan.nondeterministic_steps, 0);
}

TEST(Precision, EachPlanTakesItsOwnFormat) {
  for (const Precision precision : {Precision::tf32, Precision::bf16, Precision::fp16}) {
    const std::string name = precision_name(precision);
    SCOPED_TRACE(name);
    const PlanInfo plan = plan_with(precision);
    for (const StepInfo& step : plan.steps) {
      const bool is_unit = step.implementation == "mma_" + name;
      EXPECT_EQ(step.multiplies_in, is_unit ? precision : Precision::fp32) << step.op;
      EXPECT_EQ(is_unit, step.is_product && step.op != "linear_bwd_weights_sgd") << step.op;
    }
    const LayerInfo& conv = plan.layers.at(1);
    EXPECT_EQ(conv.implementation, "mma_" + name);
    EXPECT_EQ(conv.multiplies_in, precision);
  }
}

// conv2d forward and weights, linear forward, data and weights; the last one's update is part of it and has
// no unit here.
TEST(Precision, ThePlanSaysHowManyProductsAreInIt) {
  const PlanInfo plan = plan_with(Precision::bf16);
  int64_t in_bf16 = 0;
  for (const StepInfo& step : plan.steps) in_bf16 += step.multiplies_in == Precision::bf16 ? 1 : 0;
  EXPECT_EQ(plan.device, "cuda");
  EXPECT_EQ(plan.precision, Precision::bf16);
  EXPECT_EQ(plan.products, 5);
  EXPECT_EQ(plan.products_in_precision, in_bf16);
  EXPECT_GE(in_bf16, 4);
}

TEST(Precision, WhatDoesNotFitIsInFp32) {
  const PlanInfo plan = plan_with(Precision::bf16, true, 1);
  EXPECT_EQ(step_of(plan, "conv2d_fwd").refused.at(0), "mma_bf16: a batch of one");
  EXPECT_EQ(plan.products_in_precision, 0);
}

TEST(Precision, WhatIsNotDeterministicIsTakenWhereItMay) {
  const PlanInfo plan = plan_with(Precision::fp32, false);
  EXPECT_EQ(step_of(plan, "conv2d_fwd").implementation, "atomics");
  EXPECT_FALSE(step_of(plan, "conv2d_fwd").is_deterministic);
  EXPECT_TRUE(step_of(plan, "input_load").is_deterministic);
  EXPECT_GE(plan.nondeterministic_steps, 4);
}

TEST(Precision, ForcingDoesNotGoBeforeIt) {
  EXPECT_EQ(step_of(plan_with(Precision::bf16, true, 4, "mma_bf16"), "conv2d_fwd").implementation,
            "mma_bf16");
  try {
    plan_with(Precision::fp16, true, 4, "mma_bf16");
    ADD_FAILURE() << "planned in another format";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::unsupported);
    EXPECT_NE(std::string(e.what()).find("mma_bf16: multiplies in bf16, the plan wants fp16"),
              std::string::npos)
        << e.what();
  }
}

TEST(Precision, TheCpuComputesInFp32AndSaysSo) {
  const Model model = small_model();
  TrainerOptions options;
  options.device = "cpu";
  options.batch = 4;
  options.precision = Precision::bf16;
  options.deterministic = false;
  const PlanInfo plan = make_plan(model, options);
  EXPECT_EQ(plan.device, "cpu");
  EXPECT_EQ(plan.products_in_precision, 0);
  EXPECT_EQ(plan.nondeterministic_steps, 0);
  const TensorFile state = Trainer(model, options).state();
  EXPECT_EQ(state.metadata.at("precision"), "bf16");
  EXPECT_EQ(state.metadata.at("products_in_precision"), "0 of 5");
}

}  // namespace
}  // namespace tanul::test
